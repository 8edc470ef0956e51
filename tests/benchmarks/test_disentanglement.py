"""Disentanglement metrics by hand on few examples, their sampling, and what they take from a model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import zoo
from benchmarks import factors
from benchmarks.metrics import METRICS, beta_vae_score, dci, explicitness, factor_vae_score, irs, measure, mig, modularity, sap
from zoo.distributions import DiagonalGaussian

GRID = np.stack(np.unravel_index(np.arange(600) % 6, (2, 3)), 1)        # 2 x 3 values, each pair 100 times
NAMES = [name for name in METRICS if METRICS.get(name).group == "disentanglement"]


class Reads(zoo.Variant):
    """Its codes are the data."""

    entry = zoo.entry("vae")

    def posterior(self, batch):
        return DiagonalGaussian(batch.x, torch.zeros_like(batch.x))

    def objective(self, terms, step):
        return -terms.elbo


@pytest.fixture
def reader(context):
    """reader(...) -> the context of a model whose codes are the two factors."""
    spec = zoo.DataSpec((2,), "real", classes=2, factors=(("a", 2), ("b", 3)))
    f = torch.from_numpy(GRID)
    parts = [zoo.Split(f[rows].float(), label=f[rows, 0].clone(), factors=f[rows])
             for rows in (slice(300), slice(300, 450), slice(450, None))]
    data = zoo.Dataset("grid", spec, *parts, note="")
    return lambda **sizes: context(Reads(spec=spec, latent_dim=2, hidden=4), data, metrics=tuple(NAMES), **sizes)


# -- by hand
def test_mutual_information_by_hand():
    """H(1/2) + H(1/4) - H(1/2, 1/4, 1/4) = 0.2158 nats."""
    z, v = np.array([[0, 0, 0, 1]]).T, np.array([[0, 0, 1, 1]]).T
    information, bias = factors.mutual_information(z, v)
    assert information == pytest.approx(0.2158, abs=1e-4) and bias == pytest.approx(1 / 8)
    assert factors.entropies(v) == pytest.approx(np.log(2))


def test_mutual_information_is_scikit_learns():
    from sklearn.metrics import mutual_info_score

    rng = np.random.default_rng(0)
    z, v = rng.integers(7, size=(500, 2)), rng.integers(4, size=(500, 3))
    expected = [[mutual_info_score(a, b) for b in v.T] for a in z.T]
    np.testing.assert_allclose(factors.mutual_information(z, v)[0], expected, atol=1e-12)


def test_bins_are_numpys_histogram():
    values = np.random.default_rng(0).standard_normal((300, 2))
    values[:, 1] = 3                                            # a constant is in one bin
    cut = factors.discretise(values, 20)
    assert np.bincount(cut[:, 0], minlength=20).tolist() == np.histogram(values[:, 0], 20)[0].tolist()
    assert cut.min() == 0 and cut[:, 0].max() == 19 and len(np.unique(cut[:, 1])) == 1


def test_mig_by_hand():
    v = np.array([[0, 0, 1, 1]]).T
    half = np.array([[0.0, 0, 0, 1]]).T
    assert mig.gap(v.astype(float), v, 20) == pytest.approx(1)
    assert mig.gap(np.hstack([v, half]), v, 20) == pytest.approx(1 - 0.2158 / np.log(2), abs=1e-4)
    assert mig.gap(GRID.astype(float), GRID, 64) == pytest.approx(1) and mig.gap(np.tile(GRID, 2), GRID, 64) == 0


def test_modularity_by_hand():
    assert modularity.exclusive(np.array([[3.0, 1, 0], [0, 2, 2]])) == pytest.approx((17 / 18 + 1 / 2) / 2)
    assert modularity.corrected(GRID.astype(float), GRID) == pytest.approx(1)
    assert modularity.corrected(np.ones((600, 3)), GRID) == 0


def test_irs_by_hand():
    """z = a + b / 2 over {0, 1}^2 is at most 3/4 off its mean, and 1/4 off where a is fixed."""
    v = np.stack(np.unravel_index(np.arange(4), (2, 2)), 1)
    z = v @ [[1.0], [0.5]]
    assert irs.robustness(z, v) == pytest.approx(2 / 3)
    assert irs.robustness(np.hstack([z, 9 + 0 * z]), v) == pytest.approx(2 / 3)         # a constant does not count
    assert irs.robustness(np.hstack([z, 2.0 * v[:, :1]]), v) == pytest.approx((0.75 * 2 / 3 + 1) / 1.75)
    assert irs.robustness(np.ones((4, 2)), v) == 0


def test_dci_by_hand():
    """Shares 3/4, 1/4 have 0.8113 bits of entropy, shares 1/5, 4/5 0.7219."""
    importance = np.array([[3.0, 1], [0, 4]])
    assert dci.concentration(importance) == pytest.approx((1 - 0.8113) / 2 + 1 / 2, abs=1e-4)
    assert dci.concentration(importance.T) == pytest.approx(3 / 8 + (1 - 0.7219) * 5 / 8, abs=1e-4)
    assert dci.concentration(np.ones((4, 3))) == pytest.approx(0) and dci.concentration(np.zeros((4, 3))) == 0
    assert dci.concentration(np.ones((3, 1))) == 1                                      # a single code holds all there is
    assert dci.framework(GRID.astype(float), GRID, 0, 300, 5) == pytest.approx((1, 1, 1))


def test_sap_by_hand():
    assert sap.gap(np.array([[0.9, 0.3], [0.5, 0.4], [0.2, 0.8]])) == pytest.approx((0.4 + 0.4) / 2)
    assert sap.gap(np.array([[0.9, 0.7]])) == pytest.approx(0.8)
    v = np.stack(np.unravel_index(np.arange(3000) % 4, (2, 2)), 1)
    z = 2.0 * v - 1
    assert sap.separated(z, v, 0, 1500) == pytest.approx(0.5, abs=0.05)                 # 1 against a guess
    assert sap.separated(np.tile(z, 2), v, 0, 1500) == 0
    assert sap.separated(z[:, :1] * [[1, 0]], v[:, :1], 0, 1500) == pytest.approx(0.5, abs=0.05)


def test_the_two_games_are_won_with_perfect_codes():
    z = GRID.astype(float)
    assert beta_vae_score.accuracy(z, GRID, 0, 400) == 1 and factor_vae_score.accuracy(z, GRID, 0, 400) == 1
    assert explicitness.area(z, GRID, 0, 400) == pytest.approx((1 + (1 + 0.5 + 1) / 3) / 2, abs=0.1)    # no line singles out 1


def test_codes_that_are_all_alike_cast_no_vote():
    dead = np.hstack([GRID, np.full((600, 1), 7.0), 1e-3 * np.random.default_rng(0).standard_normal((600, 2))])
    assert factor_vae_score.accuracy(dead, GRID, 0, 400) == 1
    assert factor_vae_score.accuracy(dead[:, 2:], GRID, 0, 400) == 0


# -- sampling
def test_one_factor_is_fixed_and_the_others_are_free():
    rng = np.random.default_rng(0)
    factor, like = rng.integers(2, size=400), rng.integers(600, size=(400, 64))
    found = factors.sharing(GRID, factor, like, rng)
    for f in (0, 1):
        mine, theirs = GRID[found[factor == f]], GRID[like[factor == f]]
        assert (mine[..., f] == theirs[..., f]).all()
        other = np.bincount(mine[..., 1 - f].ravel()) / mine[..., f].size
        assert other == pytest.approx(np.full(len(other), 1 / len(other)), abs=0.02)
    assert len(np.unique(found)) == 600


def test_examples_to_learn_from_are_not_those_to_be_tested_on():
    for points, sizes in ((10, (10, 5)), (1000, (66, 33))):
        train, test = factors.divided(100, points, seed=0)
        assert (len(train), len(test)) == sizes and len({*train, *test}) == sum(sizes)
    assert sorted(factors.some(5, 10, seed=0)) == list(range(5)) and len(factors.some(100, 10, seed=0)) == 10


@pytest.mark.parametrize("module", [beta_vae_score, factor_vae_score])
def test_the_memory_bound_changes_no_score(module, monkeypatch):
    z = GRID + np.random.default_rng(0).standard_normal(GRID.shape)
    whole = module.accuracy(z, GRID, 0, 300)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    assert module.accuracy(z, GRID, 0, 300) == whole < 1


# -- what they take from a model
def test_every_split_is_encoded_once_the_held_out_ones_first(reader):
    c = reader(factor_examples=200)
    codes, known = c.factor_codes
    assert codes.shape == known.shape == (200, 2) and np.array_equal(codes, known)
    assert np.array_equal(known, np.concatenate([c.data.test.factors, c.data.valid.factors[:50]]))
    assert len(reader(factor_examples=1000).factor_codes[0]) == 600


def test_all_of_them_on_a_model_that_reads_the_factors(reader):
    found, items = measure(reader(dci_seeds=2))
    labels = {"mig_20", "mig_64", "dci_disentanglement", "dci_completeness", "dci_informativeness", "beta_vae_score",
              "factor_vae_score", "modularity", "irs"}
    assert labels | {"sap", "explicitness"} == found.keys() and not items
    assert all(found[label]["value"] == pytest.approx(1) for label in labels)
    assert all(m["n"] == 600 and m["mc"] is not None and m["stderr"] is None for m in found.values())
    assert measure(reader(dci_seeds=2))[0] == found and measure(reader(factor_seeds=1))[0]["sap"]["mc"] is None
    assert measure(replace(reader(), seed=4))[0]["sap"]["value"] != found["sap"]["value"]


def test_who_is_not_measured(reader, context, digits):
    """Data without factors; a model that is told the label, which is one of them."""
    c = reader()
    assert all(METRICS.get(name).applies(c) for name in NAMES)
    told = replace(c, model=zoo.create("cvae", c.data.spec, latent_dim=2, hidden=4, seed=0))
    plain = context(zoo.create("vae", digits.spec, latent_dim=2, hidden=4), digits)
    assert not any(METRICS.get(name).applies(other) for other in (told, plain) for name in NAMES)
