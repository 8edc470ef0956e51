"""Your own images: `folder:PATH`. Subfolders, where there are any, are the labels, in sorted order."""

from pathlib import Path

import numpy as np
import torch

from ..spec import DataSpec
from .core import Dataset, Split, divide_in_tenths, sizes
from .names import register_dataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
CONVERSION = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "LA": "RGB"}     # Pillow's modes


@register_dataset("folder:PATH")
def folder(path: Path) -> Dataset:
    """Byte images: (1, H, W) if all are grey, else (3, H, W), transparency dropped. Nothing is resized.

    Raises: ValueError naming the file for an image that is damaged, not of 8 bits, or of another size than the first.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{path} holds no images ({' '.join(SUFFIXES)})")
    label, classes = _labels([file.relative_to(path) for file in files])
    splits = divide_in_tenths(Split(_images(files), label))
    note = f"""{path}: {len(files)} images{f", classes {', '.join(classes)}" if classes else ""}.
Split: sorted paths in the order of RandomState(0).permutation, then {sizes(*splits)}."""
    spec = DataSpec(tuple(splits[0].x.shape[1:]), "byte", classes=len(classes) or None)
    return Dataset(f"folder:{path}", spec, *splits, note=note)


def _labels(files: list[Path]) -> tuple[torch.Tensor | None, list[str]]:
    """Labels and the names of the classes, from paths inside the folder; None and [] without subfolders."""
    loose = [file for file in files if len(file.parts) == 1]
    if len(loose) == len(files):
        return None, []
    if loose:
        raise ValueError(f"{loose[0]} lies beside subfolders that hold images: move it into one of them, its label")
    classes = sorted({file.parts[0] for file in files})
    return torch.tensor([classes.index(file.parts[0]) for file in files]), classes


def _images(paths: list[Path]) -> torch.Tensor:
    """(N, C, H, W) uint8."""
    arrays = [_image(path) for path in paths]
    channels = max(array.shape[2] for array in arrays)
    for path, array in zip(paths, arrays, strict=True):
        if array.shape[:2] != arrays[0].shape[:2]:
            raise ValueError(
                f"{path} has {array.shape[0]} rows and {array.shape[1]} columns, {paths[0]} {arrays[0].shape[0]} and "
                f"{arrays[0].shape[1]}; all images must be of one size: crop or resize them first"
            )
    alike = [np.broadcast_to(array, (*array.shape[:2], channels)) for array in arrays]
    return torch.from_numpy(np.stack(alike)).permute(0, 3, 1, 2).contiguous()


def _image(path: Path) -> np.ndarray:
    """(H, W, 1) grey or (H, W, 3) colour."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in CONVERSION:
                raise ValueError(f"its mode is {image.mode}; 8 bits of grey or colour are needed")
            return np.atleast_3d(np.asarray(image.convert(CONVERSION[image.mode])))
    except (OSError, ValueError, SyntaxError) as error:         # Pillow's words for a damaged file
        raise ValueError(f"{path} cannot be read as an image: {error}") from None
