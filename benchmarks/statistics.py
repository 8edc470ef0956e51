"""Is B better than A? Differences in pairs, with 95% intervals, and Holm's correction for a table of them.

Two things vary: the seed a model was trained with, and the test examples. Both models have the same of both, so the
differences d[s, i] = B - A of seed s and example i are what is looked at; what the pairs share cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

LEVEL, RESAMPLES = 0.95, 10_000
NUMBERS = 10**8                                             # resamples x examples: bounds the memory, 1 byte each
ROWS = 512                                                  # of them multiplied at once


@dataclass(frozen=True)
class Difference:
    """B - A, its 95% interval and two-sided p-value for 0; `method` says what was taken to vary."""

    value: float
    low: float
    high: float
    p: float
    method: str


def over_examples(d: np.ndarray, resamples: int = RESAMPLES) -> Difference:
    """d (S,N): differences of every test example under every seed -> the mean's, by a bootstrap of examples within seeds.

        d[s, i] = mean + seed_s + example_i + rest_si

    Examples are resampled, the same ones for all seeds, since all seeds are tested on the same. Seeds are too few for that
    (resamples of three stay between the extremes, which hold the truth in 3 cases of 4): to each resample is added a draw of
    Student's t, S - 1 degrees of freedom, times the standard error of the seeds' means. That holds the rest too; what the
    resampled examples add is only what the seeds agree on, the mean covariance between seeds, so the rest counts once.
    The interval is of percentiles. p is of the same sum with the examples' part taken as normal, since a share of 10,000
    resamples cannot be small enough for Holm's correction of a large table. With one seed: examples only.
    Sources: Efron & Tibshirani 1993, ch. 13; Owen 2007 (examples crossed with seeds); Fisher 1935 (such a sum's quantiles).
    """
    s, n = d.shape
    means, examples = d.mean(1), d.mean(0)
    value = float(examples.mean())
    shared = float(examples.var(ddof=1))
    if s > 1:
        total = d.var(axis=1, ddof=1).sum()                 # sum_s var_s + sum_{s != t} cov_st = var of the sum over seeds
        shared = max(0.0, (s * s * shared - total) / (s * (s - 1)))
    spread = float(examples.std(ddof=1))
    deviations = _resampled(examples - value, resamples) * (shared**0.5 / spread if spread else 0.0)
    seeds = float(means.var(ddof=1)) / s if s > 1 else 0.0
    if s > 1:
        deviations += seeds**0.5 * _student(s - 1, len(deviations))
    low, high = value + np.quantile(deviations, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(value, float(low), float(high), _p(value, (shared / n)**0.5, seeds**0.5, s - 1),
                      "examples within seeds" if s > 1 else "examples")


def over_seeds(d: np.ndarray) -> Difference:
    """d (S,), S > 1: one difference a seed -> the mean's interval and test by Student's t, paired by seed."""
    value, error = float(d.mean()), float(stats.sem(d)) if np.ptp(d) else 0.0
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, len(d) - 1))
    return Difference(value, value - half, value + half, _p(value, 0.0, error, len(d) - 1), "seeds")


def unpaired(value: float, error_a: float, error_b: float) -> Difference:
    """The difference of two numbers that have a standard error each, as if their examples were not the same: too wide
    wherever they are."""
    error = (error_a**2 + error_b**2)**0.5
    half = error * float(stats.norm.ppf((1 + LEVEL) / 2))
    return Difference(value, value - half, value + half, _p(value, error), "unpaired")


def holm(p: Sequence[float]) -> list[float]:
    """p-values -> adjusted ones, in the same order: rejecting those below alpha, the chance of even one false rejection among
    them all is below alpha.  Source: Holm 1979."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def _p(value: float, normal: float, student: float = 0.0, freedom: int = 0) -> float:
    """P(|normal z + student t| >= |value|), z standard normal and t Student's; t is integrated over z."""
    size = abs(value)
    if not student:
        return float(2 * stats.norm.sf(size / normal)) if normal else float(value == 0)
    z = np.linspace(-12, 12, 4801) if normal else np.zeros(1)
    density = stats.norm.pdf(z)
    return float(2 * (density @ stats.t.sf((size - normal * z) / student, freedom)) / density.sum())


def _resampled(values: np.ndarray, resamples: int) -> np.ndarray:
    """Means of resamples of `values` (N,), drawn with replacement: the same draws at every call."""
    counts = _counts(len(values), min(resamples, max(1, NUMBERS // len(values))))
    column = values.astype(np.float32)
    parts = [counts[i:i + ROWS].astype(np.float32) @ column for i in range(0, len(counts), ROWS)]
    return np.concatenate(parts).astype(float) / len(values)


@lru_cache(maxsize=2)
def _counts(n: int, resamples: int) -> np.ndarray:
    """(resamples,n): how often each of n is in a resample of n."""
    rng = np.random.default_rng(n)
    return np.stack([np.bincount(rng.integers(n, size=n), minlength=n).astype(np.uint8) for _ in range(resamples)])


@lru_cache(maxsize=8)
def _student(freedom: int, draws: int) -> np.ndarray:
    """Student's t at evenly spaced quantiles, in random order: no sampling error in its tails."""
    return np.random.default_rng(freedom).permutation(stats.t.ppf((np.arange(draws) + 0.5) / draws, freedom))
