"""Small tables that come with scikit-learn: rows of real numbers, for imputation and quick trials."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..spec import DataSpec
from .core import Dataset, Split, divide, shuffle, sizes
from .names import register_dataset

SEED = 0


@register_dataset("breast_cancer")
def breast_cancer(root: Path) -> Dataset:
    """569 tumours, 30 measurements each; two classes."""
    from sklearn.datasets import load_breast_cancer
    return _dataset("breast_cancer", load_breast_cancer, "Wolberg et al. 1993, Diagnostic, UCI repository")


@register_dataset("wine")
def wine(root: Path) -> Dataset:
    """178 wines, 13 measurements each; three classes."""
    from sklearn.datasets import load_wine
    return _dataset("wine", load_wine, "Aeberhard & Forina 1992, UCI repository")


def _dataset(name: str, load: Callable[..., Any], source: str) -> Dataset:
    x, label = (torch.from_numpy(array) for array in load(return_X_y=True))
    fifth = len(x) // 5
    train, valid, test = divide(shuffle(Split(x, label.long()), SEED), fifth, fifth)
    mean, deviation = train.held.mean(0), train.held.std(0, correction=0)
    train, valid, test = (Split(((s.held - mean) / deviation).float(), s.label) for s in (train, valid, test))
    note = f"""Table of {len(x)} rows and {x.shape[1]} columns of real numbers.
Source: {source} (CC BY 4.0), as shipped by scikit-learn.
Split: RandomState({SEED}).permutation, then {sizes(train, valid, test)}; standardised by the mean and deviation of train."""
    return Dataset(name, DataSpec((x.shape[1],), "real", classes=int(label.max()) + 1), train, valid, test, note)
