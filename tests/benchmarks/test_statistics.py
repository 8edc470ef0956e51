"""Intervals cover what they say they cover; Holm's numbers by hand; what pairing and seeds are worth."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import statistics as s

TABLES, N = 1000, 100


def tables(seeds, *, seed_sd=0.0, example_sd=0.0, rest_sd=1.0, mean=1.0):
    """(TABLES,S,N) differences of examples crossed with seeds, whose mean is known."""
    rng = np.random.default_rng(seeds)
    return (mean + seed_sd * rng.normal(size=(TABLES, seeds, 1)) + example_sd * rng.normal(size=(TABLES, 1, N))
            + rest_sd * rng.normal(size=(TABLES, seeds, N)))


@pytest.mark.parametrize("seeds, sd", [(1, {}), (3, {}), (3, {"example_sd": 1.0, "rest_sd": 0.0}),
                                       (3, {"seed_sd": 1.0, "example_sd": 1.0}), (5, {"seed_sd": 0.1, "example_sd": 0.5})])
def test_95_percent_of_the_intervals_hold_the_truth(seeds, sd):
    found = [s.over_examples(d, 1000) for d in tables(seeds, **sd)]
    assert np.mean([f.low <= 1 <= f.high for f in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_where_nothing_differs_5_percent_of_the_p_values_are_below_005(seeds):
    p = [s.over_examples(d, 10).p for d in tables(seeds, seed_sd=0.3 if seeds > 1 else 0.0, mean=0.0)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_seeds_that_disagree_are_not_outvoted_by_examples():
    """Two seeds up, one as far down: a million examples do not say whether B is better."""
    d = np.array([[1.0], [1.0], [-1.0]]) + 0.01 * np.random.default_rng(0).normal(size=(3, 1000))
    found, examples_alone = s.over_examples(d, 1000), s.over_examples(d.mean(0)[None], 1000)
    assert examples_alone.p < 1e-6 and examples_alone.low > 0
    assert found.p > 0.5 and found.low < 0 < found.high
    assert found.high - found.value == pytest.approx(4.303 * d.mean(1).std(ddof=1) / 3**0.5, rel=0.05)


def test_examples_that_disagree_are_not_outvoted_by_seeds():
    """Every seed has the same test split: agreement of seeds says nothing of other examples."""
    item = np.random.default_rng(0).normal(size=N)
    found = s.over_examples(np.stack([item, item, item]))
    assert found.high - found.low == pytest.approx(2 * 1.96 * item.std() / N**0.5, rel=0.05)


def test_noise_alone_gives_the_t_interval_over_seeds():
    """Where seeds agree on no example, examples resampled add nothing."""
    d = tables(4)[0]
    d -= d.mean(0) - d.mean()                               # every example's mean over seeds is the same
    found, t = s.over_examples(d), s.over_seeds(d.mean(1))
    assert (found.low, found.high, found.p) == pytest.approx((t.low, t.high, t.p), rel=1e-3)


def test_pairs_are_narrower():
    rng = np.random.default_rng(0)
    a = rng.normal(0, 10, N)
    b = a + rng.normal(0.5, 1, N)
    paired, apart = s.over_examples((b - a)[None]), s.unpaired(float((b - a).mean()), stats.sem(a), stats.sem(b))
    assert paired.value == pytest.approx(apart.value)
    assert (paired.high - paired.low) * 5 < apart.high - apart.low and paired.p < 1e-4 and apart.p > 0.2


def test_over_seeds_is_the_t_test():
    d = np.array([0.3, 0.1, 0.4, 0.2])
    found, expected = s.over_seeds(d), stats.ttest_1samp(d, 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue)


def test_p_of_a_sum_of_a_normal_and_a_t():
    rng = np.random.default_rng(0)
    draws = 0.7 * rng.normal(size=10**6) + 0.2 * rng.standard_t(2, size=10**6)
    assert s._p(1.5, 0.7, 0.2, 2) == pytest.approx(np.mean(np.abs(draws) >= 1.5), rel=0.02)
    assert s._p(1.5, 0.7, 1e-9, 2) == pytest.approx(2 * stats.norm.sf(1.5 / 0.7), rel=0.01)
    assert s._p(1.5, 1e-9, 0.2, 2) == pytest.approx(2 * stats.t.sf(7.5, 2), rel=0.01)


@pytest.mark.parametrize("d", [np.zeros((3, 5)), np.zeros((1, 5)), np.full((2, 5), 2.0)])
def test_what_does_not_vary_is_certain(d):
    for found in [s.over_examples(d), *([s.over_seeds(d.mean(1))] if len(d) > 1 else [])]:
        assert (found.low, found.value, found.high) == (d[0, 0],) * 3 and found.p == float(d[0, 0] == 0)


def test_holm_by_hand():
    """0.01 x 4, 0.02 x 3, then 0.03 x 2 = 0.06 (not below its neighbour), 0.5 x 1."""
    assert s.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert s.holm([0.02, 0.03]) == pytest.approx([0.04, 0.04])     # 0.03 x 1 is raised to the one before
    assert s.holm([0.9, 0.6]) == [1.0, 1.0] and s.holm([]) == []


def test_the_same_interval_at_every_call():
    d = tables(2)[0]
    assert s.over_examples(d) == s.over_examples(d)
