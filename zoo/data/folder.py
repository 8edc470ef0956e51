"""Your own images: `folder:PATH`. Subfolders, where there are any, are the labels, in sorted order.

All headers are looked at when the data set is loaded; pixels are then read into memory, or batch by batch where that would
take too much of it (see `on_disk.py`). An image that is damaged past its header is then found when a batch needs it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..spec import DataSpec
from .core import Dataset, Split, divide_in_tenths, sizes
from .names import register_dataset
from .on_disk import OnDisk, held, where

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
CONVERSION = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "LA": "RGB"}     # Pillow's modes


@register_dataset("folder:PATH")
def folder(path: Path) -> Dataset:
    """Byte images: (1, H, W) if all are grey, else (3, H, W), transparency dropped. Nothing is resized.

    Raises: ValueError naming the file for an image that is damaged, not of 8 bits, or of another size than the first.
    """
    paths, label, classes = _found(path)
    x = held(_images(paths))
    splits = divide_in_tenths(Split(x, label))
    note = f"""{path}: {len(paths)} images{f", classes {', '.join(classes)}" if classes else ""}; {where(x)}.
Split: sorted paths in the order of RandomState(0).permutation, then {sizes(*splits)}."""
    spec = DataSpec(tuple(x.shape[1:]), "byte", classes=len(classes) or None)
    return Dataset(f"folder:{path}", spec, *splits, note=note)


def _found(folder: Path) -> tuple[np.ndarray, Tensor | None, list[str]]:
    """Paths as bytes, in one array: a million `Path`s would be copied to every process that reads. With labels and classes."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no images ({' '.join(SUFFIXES)})")
    return np.array([os.fsencode(file) for file in files]), *_labels([file.relative_to(folder) for file in files])


def _labels(files: list[Path]) -> tuple[Tensor | None, list[str]]:
    """Labels and the names of the classes, from paths inside the folder; None and [] without subfolders."""
    loose = [file for file in files if len(file.parts) == 1]
    if len(loose) == len(files):
        return None, []
    if loose:
        raise ValueError(f"{loose[0]} lies beside subfolders that hold images: move it into one of them, its label")
    number = {name: i for i, name in enumerate(sorted({file.parts[0] for file in files}))}
    return torch.tensor([number[file.parts[0]] for file in files]), list(number)


@dataclass(frozen=True)
class Images:
    """A source of pixels."""

    paths: np.ndarray
    shape: tuple[int, int, int]                                 # (1, H, W) or (3, H, W)
    dtype = torch.uint8

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: np.ndarray) -> Tensor:
        out = np.empty((len(rows), *self.shape), np.uint8)
        for pixels, path in zip(out, self.paths[rows], strict=True):
            with _opened(path) as image:
                array = np.atleast_3d(np.asarray(image.convert(CONVERSION[image.mode]))).transpose(2, 0, 1)
                if array.shape[1:] != self.shape[1:] or len(array) > len(pixels):
                    raise ValueError(f"it has turned from at most {self.shape} numbers into {array.shape}; load the data anew")
                pixels[:] = array                               # grey, where others are coloured, three times
        return torch.from_numpy(out)


@dataclass(frozen=True)
class Headers:
    """A source of (height, width, channels), which takes no decoding."""

    paths: np.ndarray
    shape = (3,)
    dtype = torch.int64

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: np.ndarray) -> Tensor:
        found = []
        for path in self.paths[rows]:
            with _opened(path) as image:
                found.append((image.height, image.width, 1 if CONVERSION[image.mode] == "L" else 3))
        return torch.tensor(found)


def _images(paths: np.ndarray) -> Images:
    height, width, channels = (headers := OnDisk(Headers(paths), torch.arange(len(paths))).whole()).unbind(1)
    odd = ((height != height[0]) | (width != width[0])).nonzero().flatten().tolist()
    if odd:
        (rows, columns, _), (rows_0, columns_0, _) = headers[odd[0]].tolist(), headers[0].tolist()
        raise ValueError(
            f"{os.fsdecode(paths[odd[0]])} has {rows} rows and {columns} columns, {os.fsdecode(paths[0])} {rows_0} and "
            f"{columns_0}; all images must be of one size: crop or resize them first"
        )
    return Images(paths, (int(channels.max()), int(height[0]), int(width[0])))


@contextmanager
def _opened(path: bytes) -> Iterator["Image"]:
    from PIL import Image

    try:
        with Image.open(os.fsdecode(path)) as image:
            if image.mode not in CONVERSION:
                raise ValueError(f"its mode is {image.mode}; 8 bits of grey or colour are needed")
            yield image
    except (OSError, ValueError, SyntaxError) as error:         # Pillow's words for a damaged file
        raise ValueError(f"{os.fsdecode(path)} cannot be read as an image: {error}") from None
