"""Your own arrays: `npz:PATH`, a file written by `numpy.savez(path, x=..., label=...)`.

One row an example; all but x optional:
    x         (N, ...); images (N, channels, height, width); sequences (N, T, features), tokens (N, T)
    label     (N,) integers from 0
    lengths   (N,) integers 1 .. T: the examples are sequences
    observed  like x, 0 or 1: 0 marks a missing value; `mask` is another name for it
Either these names, and then a fixed split into 80, 10 and 10 %; or each of them with _train, _valid and _test.

The kind is read off x, all splits together, by the first rule that holds:
    integers (N, T) with lengths: tokens; only 0 and 1: binary; uint8: byte; floats in [0, 1]: unit; else real.
Values that are missing or past the end do not count, may be anything, and are stored as 0.
"""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..registry import nearest
from ..spec import DataSpec
from ..variant import Batch
from .core import Dataset, Split, check, divide_in_tenths, sizes
from .names import register_dataset

COLUMNS = ("x", "label", "lengths", "observed")
SUFFIXES = ("_train", "_valid", "_test")
STORED = {"binary": torch.bool, "byte": torch.uint8, "tokens": torch.int64}    # as in Split; float32 for the rest


@register_dataset("npz:PATH")
def npz(path: Path) -> Dataset:
    """Raises: ValueError naming the file, the array, and what it should hold."""
    try:
        return _dataset(path)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _dataset(path: Path) -> Dataset:
    arrays = _read(path)
    suffixes = _suffixes(set(arrays))
    splits = [_split(arrays, suffix) for suffix in suffixes]
    spec = _spec(splits)
    splits = [replace(split, x=split.held.to(STORED.get(spec.kind, torch.float32))) for split in splits]
    for suffix, split in zip(suffixes, splits, strict=True):
        check(spec, split, f"x{suffix}")
    how = "as in the file" if len(splits) == 3 else "in the order of RandomState(0).permutation"
    train, valid, test = splits if len(splits) == 3 else divide_in_tenths(splits[0])
    note = f"{path}: arrays of kind {spec.kind}.\nSplit: {how}, {sizes(train, valid, test)}."
    return Dataset(f"npz:{path}", spec, train, valid, test, note)


def _read(path: Path) -> dict[str, np.ndarray]:
    known = [column + suffix for column in (*COLUMNS, "mask") for suffix in ("", *SUFFIXES)]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"not an .npz file of plain arrays ({error}); numpy.savez(path, x=...) writes one") from None
    for name, array in arrays.items():
        if name not in known:
            raise ValueError(f"unknown array {name!r}{nearest(name, known)}")
        kinds, what = ("biu", "integers") if name.startswith(("label", "lengths")) else ("biuf", "numbers")
        if array.dtype.kind not in kinds:
            raise ValueError(f"{name} holds {array.dtype}; needed are {what}")
        if not len(np.atleast_1d(array)):
            raise ValueError(f"{name} has no rows; at least one example is needed")
    renamed = {name.replace("mask", "observed"): array for name, array in arrays.items()}
    if len(renamed) < len(arrays):
        raise ValueError("observed and mask are two names of one array; give one of them")
    return renamed


def _suffixes(names: set[str]) -> list[str]:
    """[""] for one set of arrays, or the suffix of every split, each with the same arrays."""
    for suffixes in ([""], list(SUFFIXES)):
        columns = {name.removesuffix(suffixes[0]) for name in names if name.endswith(suffixes[0])} & set(COLUMNS)
        if "x" in columns and names == {column + suffix for column in columns for suffix in suffixes}:
            return suffixes
    raise ValueError(
        f"it holds {', '.join(sorted(names)) or 'nothing'}; needed is x, or x_train, x_valid and x_test (not both), "
        "and every other array for all three splits or for none"
    )


def _split(arrays: dict[str, np.ndarray], suffix: str) -> Split:
    """Tensors of plain types, x being zero where it is not to be seen."""
    given = {column: tensor(arrays[column + suffix]) for column in COLUMNS if column + suffix in arrays}
    x, label, lengths, observed = (given.get(column) for column in COLUMNS)
    assert x is not None                                        # `_suffixes` saw to it
    if x.dim() < 2:
        raise ValueError(f"x{suffix} has shape {tuple(x.shape)}; needed is one row an example: x[:, None] adds an axis")
    for name, column in (("label", label), ("lengths", lengths)):
        if column is not None and column.dim() != 1:
            raise ValueError(f"{name}{suffix} has shape {tuple(column.shape)}; needed is ({len(x)},)")
    if observed is not None:
        if observed.shape != x.shape or bool(((observed != 0) & (observed != 1)).any()):
            raise ValueError(
                f"observed{suffix} must be 0 or 1 and of x's shape {tuple(x.shape)}; got {tuple(observed.shape)} "
                f"from {observed.min().item()} to {observed.max().item()}"
            )
        observed = observed.bool()
    split = Split(x, None if label is None else label.long(), None if lengths is None else lengths.long(), observed)
    visible = Batch(x, observed=observed, lengths=split.lengths).visible.x
    assert visible is not None
    return replace(split, x=visible)


def tensor(array: np.ndarray) -> Tensor:
    """bool and uint8 as they are, other integers as int64, floats as float32."""
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    return torch.from_numpy(array if array.dtype in (np.bool_, np.uint8) else array.astype(np.int64))


def _spec(splits: list[Split]) -> DataSpec:
    x, labels = [split.held for split in splits], [split.label for split in splits if split.label is not None]
    sequence = splits[0].lengths is not None
    shape = tuple(x[0].shape[2 if sequence else 1 :])
    if any(tuple(part.shape[2 if sequence else 1 :]) != shape for part in x):
        raise ValueError(f"examples differ in shape: {', '.join(str(tuple(part.shape)) for part in x)}")
    classes = 1 + max(int(label.max()) for label in labels) if labels else None
    longest = max(part.shape[1] for part in x) if sequence else None
    if shape:
        return DataSpec(shape, kind(x), classes, longest)
    if any(part.is_floating_point() or part.dtype == torch.bool for part in x):
        raise ValueError("sequences of numbers other than tokens must be (N, T, features): x[..., None] adds an axis")
    return DataSpec((), "tokens", classes, longest, vocabulary=1 + max(int(part.max()) for part in x))


def kind(x: list[Tensor]) -> str:
    """Of arrays that are not tokens."""
    if all(bool(((part == 0) | (part == 1)).all()) for part in x):
        return "binary"
    if all(part.dtype == torch.uint8 for part in x):
        return "byte"
    if all(part.is_floating_point() and bool(((part >= 0) & (part <= 1)).all()) for part in x):
        return "unit"
    return "real"
