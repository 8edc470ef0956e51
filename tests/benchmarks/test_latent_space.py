"""Metrics of the latent space against closed forms, hand-made codes and loops."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import zoo
from benchmarks.metrics import METRICS, measure
from benchmarks.metrics.clustering import agreement
from benchmarks.metrics.mmd import WIDTHS, witness
from zoo.distributions import DiagonalGaussian
from zoo.likelihoods import Gaussian

LATENT = ("active_units", "gmm", "kl_*", "kmeans", "knn_5", "mmd", "probe", "shuffled_z_gap")


class Shown(zoo.Variant):
    """The code is the data: q(z|x) = N(slope x, sd^2), p(z) = N(centre, I), p(x|z) = N(weight z, 1)."""

    entry = zoo.entry("vae")
    slope, sd, centre, weight = torch.tensor(1.0), torch.tensor(0.1), torch.tensor(0.0), 1.0

    def posterior(self, batch):
        mu = self.slope * batch.x
        return DiagonalGaussian(mu, (2 * self.sd.log()).expand_as(mu))

    def prior(self, given):
        mu = self.centre.expand(len(given.label), self.latent_dim)
        return DiagonalGaussian(mu, torch.zeros_like(mu))

    def likelihood(self, z, given):
        return Gaussian(self.weight * z, torch.ones_like(z))

    def objective(self, terms, step):
        return -terms.elbo


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def shown(context):
    """shown(x, label, **parts): the context of `Shown` on these examples; the first half is trained on, the second tested."""
    def make(x, label=None, **parts):
        label = torch.zeros(len(x), dtype=torch.int64) if label is None else label
        half, spec = len(x) // 2, zoo.DataSpec(x.shape[1:], "real", classes=int(label.max()) + 1)
        train, test = (zoo.Split(x[part], label[part]) for part in (slice(half), slice(half, None)))
        model = Shown(spec=spec, latent_dim=x.shape[1], hidden=4)
        for name, value in parts.items():
            setattr(model, name, value)
        return context(model, zoo.Dataset("shown", spec, train, train, test, note=""), labelled=len(train))
    return make


def value(name, context):
    return METRICS.get(name).measure(context)


# -- clusters and classifiers -------------------------------------------------------------------------------------------
def test_separate_blobs_are_found_and_told_apart(shown):
    label = torch.arange(600) % 4
    c = shown(normal(600, 3) + 30 * torch.eye(4, 3)[label], label)
    for name in ("kmeans", "gmm"):
        found = value(name, c)
        assert list(found) == [f"{name}_nmi", f"{name}_ari", f"{name}_acc"]
        assert all(m.value == pytest.approx(1) and m.mc == pytest.approx(0) and m.n == 300 for m in found.values())
    found = value("probe", c)
    assert list(found) == ["probe_100", "probe_300"] and all(m.value == 1 and m.n == 300 for m in found.values())
    assert found["probe_100"].mc == 0 and found["probe_300"].mc is None
    assert value("knn_5", c).value == 1


def test_labels_that_codes_know_nothing_of_are_guessed(shown):
    c = shown(normal(2000, 3), torch.from_numpy(np.random.RandomState(1).permutation(2000) % 4))
    for name in ("kmeans", "gmm"):
        found = value(name, c)
        assert abs(found[f"{name}_ari"].value) < 0.01 and found[f"{name}_nmi"].value < 0.02
        assert 0.25 < found[f"{name}_acc"].value < 0.33     # the best naming of chance is above 1/4
    for m in (*value("probe", c).values(), value("knn_5", c)):
        assert m.value == pytest.approx(0.25, abs=4 * m.stderr) and m.stderr < 0.02
        assert m.items.shape == (1000,) and float(m.items.mean()) == pytest.approx(m.value)


def test_a_mixture_sees_widths_and_neither_minds_the_scale(shown):
    label = torch.arange(800) % 2
    dot_and_cloud = normal(800, 2) * torch.where(label == 0, 0.2, 3.0)[:, None] + 4 * torch.eye(2)[0] * label[:, None]
    for scale in (1e-4, 1.0, 1e4):
        c = shown(scale * dot_and_cloud, label, sd=torch.tensor(scale))
        assert value("gmm", c)["gmm_ari"].value > 0.85 and value("kmeans", c)["kmeans_ari"].value < 0.5


def test_agreement_by_hand():
    nmi, ari, accuracy = agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 2]))
    assert accuracy == 3 / 4 and ari == pytest.approx(0)    # 1 pair in common; 2 and 3 pairs of 6: 1 is what chance gives
    of_cluster = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert nmi == pytest.approx((of_cluster - 0.5 * math.log(2)) / ((of_cluster + math.log(2)) / 2))


def test_the_naming_of_clusters_does_not_count():
    label = np.arange(60) % 5
    assert agreement(label, np.array([3, 0, 4, 1, 2])[label]) == pytest.approx((1, 1, 1))
    assert agreement(np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0]))[2] == 4 / 6       # two to one, a class without


def test_five_neighbours_by_hand(shown):
    train = [0.0, 1, 2.1, 3, 4, 20, 21, 22, 23, 24]
    known = [0, 0, 1, 0, 0, 1, 1, 1, 1, 1]
    test = [2.2, 19, 12.4, 2.2, 19, 12.4, 0, 0, 0, 0]       # nearest to 2.2 is a 1, but of its five four are 0
    right = [0, 1, 1, 1, 0, 0, 0, 0, 0, 1]                  # of 12.4: 20, 21, 4, 22, 3: three are 1
    c = shown(torch.tensor(train + test)[:, None], torch.tensor(known + right))
    assert value("knn_5", c).items.tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1, 0]


# -- the aggregate posterior and the prior ------------------------------------------------------------------------------
def loop(x, y, scale):
    """The U-statistic as it is written."""
    def k(a, b):
        return sum(w * scale / (w * scale + float((a - b).square().sum())) for w in WIDTHS)
    n, pairs = len(x), list(itertools.product(range(len(x)), repeat=2))
    within = sum(k(v[i], v[j]) for v in (x, y) for i, j in pairs if i != j) / (n * (n - 1))
    return within - 2 * sum(k(x[i], y[j]) for i, j in pairs) / n**2


def test_the_statistic_is_the_loop_over_pairs(monkeypatch):
    monkeypatch.setattr("benchmarks.metrics.mmd.BLOCK", 7)
    x, y = normal(9, 3).double(), normal(9, 3, seed=1).double() + 1
    z, order = torch.cat([x, y]), torch.randperm(18, generator=torch.Generator().manual_seed(2))
    first = torch.stack([torch.arange(18) < 9, torch.zeros(18).index_fill(0, order[:9], 1) > 0], 1)
    found = 2 * witness(z, first, 6.0).mean(0)
    assert found.tolist() == pytest.approx([loop(x, y, 6.0), loop(z[first[:, 1]], z[~first[:, 1]], 6.0)], abs=1e-12)


def population(d, distance):
    """MMD² of N(0, I) and N(m, I), |m| = distance: 1 / (c + r²) is the integral of exp(-t (c + r²)), whose mean is known."""
    def integrand(t, c):
        return c * math.exp(-t * c) * 2 * (1 + 4 * t) ** (-d / 2) * -math.expm1(-t * distance**2 / (1 + 4 * t))
    return sum(quad(integrand, 0, math.inf, args=(w * 2 * d,))[0] for w in WIDTHS)


@pytest.mark.parametrize("centre", [0.0, 0.3, 2.0])
def test_mmd_is_that_of_two_known_gaussians(shown, centre):
    """x ~ N(0, 1 - .6²) and q = N(x, .6²): the aggregate posterior is N(0, I)."""
    c = shown(0.8 * normal(1600, 3), sd=torch.tensor(0.6), centre=torch.tensor(centre))
    found = value("mmd", c)
    exact, m, null = population(3, centre * 3**0.5), found["mmd"], found["mmd_null"].value
    assert m.n == 800 and m.value == pytest.approx(exact, abs=4 * m.stderr)
    assert 0.001 < null < 0.01 and (m.value > 3 * null if centre else m.value < 1.8 * null)


def test_the_null_is_passed_as_often_as_it_says_and_the_error_is_right():
    passed, values, errors, n = 0, [], [], 100
    first = torch.arange(2 * n)[:, None] < n
    halves = torch.rand(2 * n, 100, generator=torch.Generator().manual_seed(0)).argsort(0) < n
    for seed in range(60):
        z = normal(2 * n, 2, seed=seed).double()
        null = 2 * witness(normal(2 * n, 2, seed=1000 + seed).double(), halves, 4.0).mean(0)
        passed += bool(2 * witness(z, first, 4.0).mean() > null.quantile(0.95))
        z[:n] += 1
        h = witness(z, first, 4.0)
        values.append(2 * float(h.mean()))
        errors.append(2 * float(((h[:n].var() + h[n:].var()) / n).sqrt()))
    assert passed <= 9                                      # of 60; P(10 or more) < 0.001 at 5%
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)


# -- collapse -----------------------------------------------------------------------------------------------------------
def test_kl_of_known_gaussians(shown):
    slope, sd = torch.tensor([1.0, 0.5, 0.0, 0.0]), torch.tensor([0.3, 0.9, 1.0, 1.1])
    c = shown(normal(600, 4), slope=slope, sd=sd)
    x2 = c.data.test.x.double().square().mean(0)
    exact = 0.5 * (slope**2 * x2 + sd**2 - 1 - 2 * sd.log())
    assert torch.allclose(c.group_kl, exact, atol=1e-5)
    assert value("kl_largest", c).value == pytest.approx(float(exact.max()), rel=1e-4)
    assert float(exact[3]) == pytest.approx(0.0097, abs=1e-4)          # below the threshold, as exactly 0 is
    assert value("kl_collapsed", c).value == 0.5


def test_a_code_of_another_example_costs_what_it_must(shown):
    """E (x - w z')² - E (x - w z)² = 2 w slope var(x), z' of an independent example: half of it, as p(x|z) has variance 1."""
    c = shown(2 * normal(3000, 2), slope=torch.tensor(0.7), weight=1.3)
    gap, exact = value("shuffled_z_gap", c), 1.3 * 0.7 * float(c.data.test.x.double().var(0).sum())
    assert gap.value == pytest.approx(exact, abs=4 * gap.stderr) and gap.n == 1500
    assert value("shuffled_z_gap", shown(normal(50, 2), weight=0.0)).value == 0


def test_pixels_that_are_drawn_are_those_that_were_encoded(shown):
    """Fair coins: own codes are exact, and another example's differ in every second number. Coins thrown anew would give 0."""
    c = shown(torch.full((2000, 4), 0.5), sd=torch.tensor(1e-3))
    c.data = replace(c.data, test=replace(c.data.test, binarise=True))
    gap = value("shuffled_z_gap", c)
    assert gap.value == pytest.approx(4 * 0.5 / 2, abs=4 * gap.stderr)


# -- what applies to what -----------------------------------------------------------------------------------------------
def names(context, model, data):
    patterns = [name for pattern in LATENT for name in METRICS.names(pattern)]
    return set(measure(context(model, data, metrics=tuple(patterns)))[0])


CLUSTERED = {f"{a}_{b}" for a in ("kmeans", "gmm") for b in ("nmi", "ari", "acc")} | {"probe_100", "probe_1000", "knn_5"}
EVERY = {"active_units", "shuffled_z_gap", "mmd", "mmd_null"}
KL = {"kl_collapsed", "kl_largest"}


@pytest.mark.parametrize("name, also", [("vae", CLUSTERED | KL), ("ae", CLUSTERED), ("cvae", KL), ("vamp", CLUSTERED)])
def test_each_kind_of_model_gets_what_makes_sense(name, also, context, digits):
    """A point has no KL, a mixture prior gives one number for all latents, a conditional encoder is told the label."""
    settings = {"components": 5} if "components" in zoo.entry(name).settings() else {}
    assert names(context, zoo.create(name, digits.spec, latent_dim=3, hidden=8, seed=0, **settings), digits) == EVERY | also


def test_a_latent_a_step_has_units_and_nothing_else(context):
    data = zoo.load_dataset("digit_rows")
    assert names(context, zoo.create("vrnn", data.spec, latent_dim=2, hidden=4, seed=0), data) == {"active_units"}


def test_the_same_seed_gives_the_same_numbers(shown):
    label = torch.arange(400) % 3
    x = normal(400, 3) + torch.eye(3)[label]
    for name in ("gmm", "kmeans", "mmd", "shuffled_z_gap"):
        assert value(name, shown(x, label)) == value(name, shown(x, label))
