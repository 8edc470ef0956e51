"""Codes against known factors of variation: what the disentanglement metrics share.

Codes (N,D) are posterior means, or what a model has in their place; factors (N,F) integers from 0, each example's position on
the grid it was made from. Everything is a function of these and a seed. Models that are told a label are not measured: it is
one of the factors, and what they are told they need not encode. Of models that choose vectors from a list, all coordinates of
a vector tell the same: scores that ask for one coordinate a factor (MIG, SAP, completeness) are low by construction.

The metrics disagree with one another, and none can be had without factors: no model can be chosen by them where factors are
unknown (Locatello et al. 2019).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import entropy

from zoo.noise import fold

from .context import EVALUATION, Context

FACTORS = 16                                                # a branch of the evaluation's stream that the context does not use
STUDY = 10_000                                              # points of Locatello et al. 2019, for metrics that learn nothing
Array = np.ndarray
Score = Callable[[Array, Array, int], float | Sequence[float]]


def repeated(context: Context, times: int, score: Score) -> tuple[Array, int]:
    """score(codes, factors, seed) for so many seeds, (times,) or (times, values); and the number of examples."""
    codes, factors = context.factor_codes
    seeds = [fold(context.seed, EVALUATION, FACTORS, i) % 2**32 for i in range(times)]
    return np.array([score(codes, factors, seed) for seed in seeds]), len(codes)


# -- sampling
def some(n: int, points: int, seed: int) -> Array:
    """`points` of n examples, each at most once; all of them where there are no more."""
    return np.random.default_rng(seed).permutation(n)[:points]


def divided(n: int, points: int, seed: int) -> tuple[Array, Array]:
    """Examples to learn from, at most `points` of them, and half as many others to be tested on."""
    points = min(points, 2 * n // 3)
    order = np.random.default_rng(seed).permutation(n)
    return order[:points], order[points:points + points // 2]


def sharing(factors: Array, factor: Array, like: Array, rng: np.random.Generator) -> Array:
    """Examples (G,L) that agree with `like` (G,L) in the factor (G,) and are otherwise drawn uniformly: one factor is fixed."""
    found = np.empty_like(like)
    for f in range(factors.shape[1]):
        column, here = factors[:, f], factor == f
        order, counts = column.argsort(kind="stable"), np.bincount(column)
        value = column[like[here]]
        found[here] = order[(counts.cumsum() - counts)[value] + rng.integers(counts[value])]
    return found


# -- information
def discretise(values: Array, bins: int) -> Array:
    """Each column (N,.) cut into bins of equal width between its least and its greatest value: integers below `bins`."""
    edges = (np.histogram_bin_edges(column, bins)[1:-1] for column in values.T)
    return np.stack([np.digitize(column, e) for column, e in zip(values.T, edges, strict=True)], 1)


def entropies(factors: Array) -> Array:
    """H(v_f) in nats, (F,)."""
    return np.array([entropy(np.bincount(column)) for column in factors.T])


def mutual_information(codes: Array, factors: Array) -> tuple[Array, Array]:
    """I(z_d; v_f) of integers, in nats, (D,F), and what of it is expected where there is none:

        I = H(z) + H(v) - H(z, v)        of the shares in the sample
        bias = (B - 1) (K - 1) / 2N      to first order, B and K the values of z and v that occur

    Source: Miller 1955, "Note on the bias of information estimates".
    """
    n, levels = len(codes), factors.max(0) + 1
    joint = np.array([[entropy(np.bincount(z * k + v)) for v, k in zip(factors.T, levels, strict=True)] for z in codes.T])
    values = [np.array([np.count_nonzero(np.bincount(column)) for column in table.T]) for table in (codes, factors)]
    return entropies(codes)[:, None] + entropies(factors) - joint, np.outer(values[0] - 1, values[1] - 1) / (2 * n)
