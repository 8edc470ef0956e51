"""Grey images as binary ones: pixels are Bernoulli draws whose probabilities are the grey values.

Valid, then test, are drawn once from numpy's RandomState(777), whose stream is frozen: on MNIST the protocol of
Tomczak & Welling's VampPrior code. `fixed` goes on to draw the training images from the same stream; `dynamic` leaves
them grey and draws them at every visit. So both have the same valid and test. Numbers on another draw, such as
Larochelle's files, are not comparable: the draw alone moves 500 images by some tenths of a nat, and thresholding at one
half moves them by 12.
"""

from dataclasses import replace

import numpy as np
import torch

from ..spec import DataSpec
from .core import Dataset, Split

SEED = 777
DRAWN_AT_ONCE = 1000                                            # examples; binomial returns int64, 8 times the result


def binarised(grey: Dataset, *, fixed: bool) -> Dataset:
    """The binary counterpart of a data set of kind byte or unit. Raises: ValueError for any other kind."""
    if grey.spec.kind not in ("byte", "unit"):
        raise ValueError(f"{grey.name} holds {grey.spec.kind} data; only byte and unit data can be binarised")
    rng = np.random.RandomState(SEED)
    valid, test = _draw(grey.valid, rng), _draw(grey.test, rng)
    train = _draw(grey.train, rng) if fixed else replace(grey.train, binarise=True)
    how = "train drawn once, third" if fixed else "train drawn anew at every visit"
    note = f"{grey.note}\nBinarised by RandomState({SEED}): valid, then test, drawn once; {how}."
    spec = replace(grey.spec, kind="binary", levels=DataSpec.levels)
    return replace(grey, spec=spec, train=train, valid=valid, test=test, note=note)


def _draw(split: Split, rng: np.random.RandomState) -> Split:
    drawn = torch.empty_like(split.held, dtype=torch.bool)
    for start in range(0, len(split), DRAWN_AT_ONCE):
        rows = slice(start, start + DRAWN_AT_ONCE)
        probability = split.batch(rows).x
        assert probability is not None
        drawn[rows] = torch.from_numpy(rng.binomial(1, probability.numpy())).bool()
    return replace(split, x=drawn)
