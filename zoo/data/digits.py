"""The 8x8 digits that come with scikit-learn: real data, small, always at hand."""

from pathlib import Path

import numpy as np
import torch

from ..spec import DataSpec
from .core import Dataset, Split, divide, shuffle, sizes
from .names import register_dataset

SEED, VALID, TEST = 0, 250, 250
NOTE = """Handwritten digits: 1797 images of 8x8 pixels with values 0..16, ten classes.
Source: Alpaydin & Kaynak 1998, UCI repository, test part (CC BY 4.0), as shipped by scikit-learn."""


@register_dataset("digits", binarise=True)
def digits(root: Path) -> Dataset:
    """Images (1, 8, 8)."""
    images, label = _load()
    spec = DataSpec((1, 8, 8), "byte", classes=10, levels=17)
    return _dataset("digits", spec, Split(images[:, None], label, levels=17))


@register_dataset("digit_rows")
def digit_rows(root: Path) -> Dataset:
    """The same images, in the same splits, read from top to bottom: 8 frames of 8 pixels."""
    images, label = _load()
    spec = DataSpec((8,), "byte", classes=10, max_length=8, levels=17)
    return _dataset("digit_rows", spec, Split(images, label, lengths=torch.full((len(images),), 8), levels=17))


def _load() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.images.astype(np.uint8)), torch.from_numpy(bunch.target.astype(np.int64))


def _dataset(name: str, spec: DataSpec, whole: Split) -> Dataset:
    splits = divide(shuffle(whole, SEED), VALID, TEST)
    return Dataset(name, spec, *splits, note=f"{NOTE}\nSplit: RandomState({SEED}).permutation, then {sizes(*splits)}.")
