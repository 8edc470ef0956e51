"""Arrays larger than memory: `npy:PATH`, a file written by `numpy.save`, of which only the rows at hand are read.

PATH is x.npy itself, or a folder that holds x.npy and, if there are labels, label.npy:
    x         (N, ...), one row an example; images (N, channels, height, width)
    label     (N,) integers from 0
Kind, split and batches are those of `npz:PATH` with the same arrays, which see. So the values of floats, and of 0 and 1 stored
as bytes, are gone through once when the data set is loaded, and floats once more when training begins; bytes are not.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..spec import DataSpec
from .arrays import STORED, kind, tensor
from .core import READ_AT_ONCE, Dataset, Split, divide_in_tenths, sizes
from .names import register_dataset
from .on_disk import held, where


@register_dataset("npy:PATH")
def npy(path: Path) -> Dataset:
    """Raises: ValueError naming the file and what it should hold; FileNotFoundError for a folder without x.npy."""
    file = path / "x.npy" if path.is_dir() else path
    array = _open(file, "biuf", "numbers")
    if array.ndim < 2:
        raise ValueError(f"{file} has shape {array.shape}; needed is one row an example: x[:, None] adds an axis")
    found = _kind(array)
    x = held(Mapped(file, array.shape[1:], STORED.get(found, torch.float32), len(array)))
    label = _label(path / "label.npy", len(array)) if path.is_dir() and (path / "label.npy").exists() else None
    splits = divide_in_tenths(Split(x, label))
    spec = DataSpec(array.shape[1:], found, classes=None if label is None else 1 + int(label.max()))
    note = f"""{path}: an array of kind {found}; {where(x)}.
Split: in the order of RandomState(0).permutation, {sizes(*splits)}."""
    return Dataset(f"npy:{path}", spec, *splits, note=note)


@dataclass(frozen=True)
class Mapped:
    """A source of the rows of an array. The file is mapped anew at every read: what was read stays in no one's memory."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    n: int

    def __len__(self) -> int:
        return self.n

    def read(self, rows: np.ndarray) -> Tensor:
        return tensor(np.asarray(np.load(self.path, mmap_mode="r")[rows])).to(self.dtype)


def _open(path: Path, kinds: str, what: str) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not an .npy file of a plain array ({error}); numpy.save(path, x) writes one") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} holds several arrays; npz:{path} reads them")
    if array.dtype.kind not in kinds:
        raise ValueError(f"{path} holds {array.dtype}; needed are {what}")
    return array


def _label(path: Path, n: int) -> Tensor:
    label = tensor(np.array(_open(path, "biu", "integers"))).long()
    if label.shape != (n,) or bool((label < 0).any()):
        raise ValueError(f"{path} holds {label.tolist()[:5]} and more, shape {tuple(label.shape)}; needed are ({n},) integers "
                         "from 0")
    return label


def _kind(array: np.ndarray) -> str:
    """By the rule of `npz:PATH`, part by part; it ends at the first part of the widest kind that this type can be."""
    rows, ranks = max(1, READ_AT_ONCE * len(array) // max(1, array.size)), ("binary", "byte", "unit", "real")
    found, widest = "binary", {"bool": "binary", "uint8": "byte"}.get(array.dtype.name, "real")
    for start in range(0, len(array), rows):
        found = max(found, kind([tensor(np.array(array[start:start + rows]))]), key=ranks.index)
        if found == widest:
            break
    return found
