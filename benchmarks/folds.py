"""Cross-validation: training and validation split together, parted into folds. The test split is not touched."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import zoo


def folds(data: zoo.Dataset, n: int, seed: int) -> Iterator[zoo.Dataset]:
    """n data sets: a fold for valid and the rest for train; for test, which nobody is to read, the fold again.

    The folds follow RandomState(seed).permutation and differ in size by one at most.
    Raises: ValueError for n below 2 or above the number of examples.
    """
    whole = joined(data.train, data.valid)
    if not 2 <= n <= len(whole):
        raise ValueError(f"folds is {n}; it must lie between 2 and the {len(whole)} examples of train and valid")
    parts = np.array_split(np.random.RandomState(seed).permutation(len(whole)), n)

    def part(i: int) -> zoo.Dataset:
        held_out, rest = parts[i], np.concatenate(parts[:i] + parts[i + 1:])
        valid = whole.take(torch.from_numpy(held_out))
        return replace(data, train=whole.take(torch.from_numpy(rest)), valid=valid, test=valid)
    return map(part, range(n))


def joined(train: zoo.Split, valid: zoo.Split) -> zoo.Split:
    """One split, stored as train is: where pixels are drawn at every visit, those of valid become probabilities 0 and 1."""
    longest = max(train.held.shape[1], valid.held.shape[1])

    def column(name: str) -> Tensor | None:
        a, b = getattr(train, name), getattr(valid, name)
        if a is None or b is None:
            return None
        if a.dtype != b.dtype:
            b = b.to(a.dtype) * (train.levels - 1 if a.dtype == torch.uint8 else 1)
        if train.lengths is not None and name in ("x", "observed"):
            a, b = (F.pad(c, [0, 0] * (c.dim() - 2) + [0, longest - c.shape[1]]) for c in (a, b))
        return torch.cat([a, b])
    x = column("x")
    assert x is not None
    return zoo.Split(x, column("label"), column("lengths"), column("observed"), column("factors"), train.binarise, train.levels,
                     train.flip)
