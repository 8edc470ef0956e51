"""Variations of a data set, written after its name: cifar10+flip, digits+without=3, mnist:dynamic+missing=0.5.

    flip             training images are mirrored left to right, half of them at random, at every visit
    without=CLASS    train and valid lack this class, test has it still, with its label: what is to be found is new
    missing=SHARE    every number is missing with this probability, independent of all else, in every split
    missing=half     of every image the upper, lower, left or right half is missing, one of the four at random

What is missing is marked in `Split.observed`, by masks drawn once from a stream that numpy has frozen. x keeps the truth there,
for those who score imputations; models never see it (`Batch.visible`). Real data, unless sequences, are then standardised by
the mean and deviation of the observed training values: a scale from complete data would tell of what is hidden.

After a path only +flip or +word=value at the very end counts, and no value with a file's extension: `npz:a+b=2.npz` is a file.
A folder whose own name ends so is written with a / after it.
"""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..registry import nearest
from .core import Dataset, Split

SEED = 0
DRAWN_AT_ONCE = 1000                                            # examples; a draw is 8 times the size of its mask
TAIL = re.compile(r"(?:\+(?:flip|\w*=[^+/\\.]*(?:\.\d*)?))+$")

Modifiers = list[tuple[str, str]]
Draw = Callable[[int, tuple[int, ...], np.random.RandomState], np.ndarray]


def parse(name: str) -> tuple[str, Modifiers]:
    """"digits+without=3" -> "digits", [("without", "3")].

    Raises: LookupError for an unknown modifier, with the nearest match; ValueError for one given twice.
    """
    tail = TAIL.search(name)
    if tail is None:
        return name, []
    pairs = [(key, value) for part in tail[0][1:].split("+") for key, _, value in [part.partition("=")]]
    for key, _ in pairs:
        if key not in MODIFIERS:
            raise LookupError(f"{name!r}: unknown modifier {key!r}{nearest(key, MODIFIERS)}")
        if sum(key == other for other, _ in pairs) > 1:
            raise ValueError(f"{name!r}: {key} is given twice; give it once")
    return name[: tail.start()], pairs


def modified(data: Dataset, modifiers: Modifiers) -> Dataset:
    """Each modifier in turn.  Raises: ValueError where one does not fit the data."""
    for key, value in modifiers:
        data = replace(MODIFIERS[key](data, value), log_likelihood=None)        # of the process that made the whole
    return data


def without(data: Dataset, value: str) -> Dataset:
    """`novel` is the class left out.  Raises: ValueError for data without labels, and for a class that they do not have."""
    if data.spec.classes is None or data.test.label is None:
        raise ValueError(f"{data.name} has no labels, so no class can be left out of it")
    if not value.isdecimal() or int(value) >= data.spec.classes:
        raise ValueError(f"+without={value}: the classes of {data.name} are 0 .. {data.spec.classes - 1}")
    novel = int(value)

    def known(split: Split) -> Split:
        assert split.label is not None
        return split.take(split.label != novel)

    train, valid = known(data.train), known(data.valid)
    if not 0 < len(known(data.test)) < len(data.test) or not len(train) or not len(valid):
        raise ValueError(f"+without={value}: {data.name} is too small; train and valid need examples of other classes, "
                         f"and test of this one and of others")
    return replace(data, train=train, valid=valid, novel=novel, note=f"{data.note}\nTrain and valid without class {novel}.")


def flip(data: Dataset, value: str) -> Dataset:
    """Which images are mirrored is drawn from the noise of each batch.  Raises: ValueError for a value, and for no images."""
    if value:
        raise ValueError(f"+flip={value}: +flip takes no value")
    if len(data.spec.shape) != 3 or data.spec.sequence:
        raise ValueError(f"+flip: {data.name} is no set of images")
    note = f"{data.note}\nTraining images mirrored left to right with probability one half, anew at every visit."
    return replace(data, train=replace(data.train, flip=True), note=note)


def missing(data: Dataset, value: str) -> Dataset:
    """Masks of test, valid and train, drawn in this order.

    Raises: ValueError for a share that is not between 0 and 1, halves of what is no image, data with missing values of their
    own, whose truth nobody knows, and data on disk, whose masks would be larger than memory as well.
    """
    if not data.train.in_memory:
        raise ValueError(f"+missing={value}: {data.name} is too large to be held in memory, and so would be its masks")
    if any(split.observed is not None for split in data.splits.values()):
        raise ValueError(f"+missing={value}: {data.name} has missing values of its own; their truth is not known")
    if value == "half":
        if len(data.spec.shape) != 3 or data.spec.sequence:
            raise ValueError(f"+missing=half: {data.name} is no set of images; a share such as +missing=0.5 fits any data")
        draw: Draw = _halves
    else:
        draw = _at_random(_share(value))
    rng = np.random.RandomState(SEED)
    test, valid, train = (_hidden(split, draw, rng) for split in (data.test, data.valid, data.train))
    note = f"{data.note}\nMissing: {value}, by masks from RandomState({SEED}): test, valid, train."
    if data.spec.kind == "real" and not data.spec.sequence:
        mean, deviation = _statistics(train)
        test, valid, train = (replace(s, x=(s.held - mean) / deviation) for s in (test, valid, train))
        note += "\nStandardised by the observed values of train."
    return replace(data, train=train, valid=valid, test=test, hidden=True, note=note)


MODIFIERS: dict[str, Callable[[Dataset, str], Dataset]] = {"flip": flip, "without": without, "missing": missing}


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise ValueError(f"+missing={value}: it must be 'half' or a share between 0 and 1, such as 0.5")
    return share


def _hidden(split: Split, draw: Draw, rng: np.random.RandomState) -> Split:
    observed = np.empty(split.x.shape, np.bool_)
    for start in range(0, len(split), DRAWN_AT_ONCE):
        part = observed[start:start + DRAWN_AT_ONCE]
        part[:] = draw(len(part), part.shape[1:], rng)
    return replace(split, observed=torch.from_numpy(observed))


def _at_random(share: float) -> Draw:
    return lambda n, shape, rng: rng.random_sample((n, *shape)) >= share


def _halves(n: int, shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
    _, height, width = shape
    upper = np.broadcast_to(np.arange(height)[:, None] < height // 2, (height, width))
    left = np.broadcast_to(np.arange(width) < width // 2, (height, width))
    side = rng.randint(4, size=n)                               # the half that stays
    return np.stack([upper, ~upper, left, ~left])[side][:, None]


def _statistics(train: Split) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each number over the training examples in which it is observed; 0 and 1 where it never is."""
    seen = train.observed
    assert seen is not None
    n = seen.sum(0).clamp_min(1)
    mean = torch.where(seen, train.held, 0.0).sum(0) / n
    variance = torch.where(seen, train.held - mean, 0.0).square().sum(0) / n
    return mean, torch.where(variance > 0, variance.sqrt(), 1.0)
