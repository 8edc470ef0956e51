"""Imputation by a linear-Gaussian model, whose conditional mean and density are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

import zoo
from benchmarks.metrics import METRICS, measure
from benchmarks.metrics.imputation import CONDITIONAL, _imputed, _rmse, conditional_mean
from zoo.data.modified import modified
from zoo.distributions import DiagonalGaussian
from zoo.likelihoods import Gaussian

W = torch.tensor([[1.5, 0.0], [1.0, -1.0], [0.0, 1.5], [-1.0, 0.5]])
S = 0.7                                                     # x = W z + S eps
COVARIANCE = (W @ W.T + S**2 * torch.eye(4)).double()
SPEC = zoo.DataSpec((4,), "real")


class Linear(zoo.Variant):
    """p(x, z) exact; q is the prior, which knows nothing of what is observed: the weights do all."""

    entry = zoo.entry("vae")

    def posterior(self, batch):
        zeros = torch.zeros(len(batch.x), 2)
        return DiagonalGaussian(zeros, zeros)

    def likelihood(self, z, given):
        mu = z @ W.T
        return Gaussian(mu, torch.full_like(mu, S))

    def objective(self, terms, step):
        return -terms.elbo


@pytest.fixture
def linear(context):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 2, generator=generator) @ W.T + S * torch.randn(60, 4, generator=generator)
    split = zoo.Split(x)
    data = modified(zoo.Dataset("line", SPEC, split, split, split, note=""), [("missing", "0.4")])
    data = replace(data, **{name: replace(s, x=x) for name, s in data.splits.items()})      # on W's scale again
    return context(Linear(spec=SPEC, latent_dim=2, hidden=4), data, iwae_k=20_000, iwae_examples=40,
                   metrics=("imputation_*",))


def exact(x, seen):
    """(conditional mean of all four numbers, log density of the hidden ones)"""
    mean, hidden = x.clone(), ~seen
    if not hidden.any():
        return mean, 0.0
    inverse = torch.linalg.inv(COVARIANCE[seen][:, seen]) if seen.any() else torch.zeros(0, 0, dtype=torch.float64)
    gain = COVARIANCE[hidden][:, seen] @ inverse
    mean[hidden] = gain @ x[seen]
    rest = COVARIANCE[hidden][:, hidden] - gain @ COVARIANCE[seen][:, hidden]
    return mean, float(MultivariateNormal(mean[hidden], rest).log_prob(x[hidden]))


def test_the_conditional_mean_and_density_are_the_exact_ones(linear):
    test = linear.data.test.head(40)
    means, log_p = zip(*map(exact, test.x.double(), test.observed), strict=True)
    hidden = ~test.observed
    error = (conditional_mean(linear) - torch.stack(means))[hidden]
    assert error.abs().max() < 0.1 and error.square().mean().sqrt() < 0.02          # 20,000 samples of z
    nll = METRICS.get("imputation_nll").measure(linear)
    assert nll.value == pytest.approx(-sum(log_p) / int(hidden.sum()), abs=0.01) and nll.n == 40
    rmse = measure(linear)[0]["imputation_rmse"]["value"]
    best = ((test.x.double() - torch.stack(means))[hidden]).square().mean().sqrt()
    assert rmse == pytest.approx(float(best), abs=0.01)


def test_one_sample_weighs_nothing(linear):
    """K = 1: the decoder's mean at the one z, whatever its weight; and K = 51 comes in pieces."""
    c = replace(linear, evaluation=replace(linear.evaluation, iwae_k=1))
    assert torch.isfinite(conditional_mean(c)).all()
    batch, noise = next(c.blocks(c.test.head(40), c.rows, CONDITIONAL))
    assert torch.allclose(conditional_mean(c).float(), c.model.decode(c.model(batch, 1, noise).z[0]))
    odd = replace(linear, evaluation=replace(linear.evaluation, iwae_k=51))
    batch, noise = next(odd.blocks(odd.test.head(40), odd.rows // 50, CONDITIONAL))
    terms = [odd.model(batch, k, noise) for k in (50, 1)]
    weights = torch.cat([t.log_w for t in terms]).softmax(0)
    by_hand = (weights.unsqueeze(-1) * (torch.cat([t.z for t in terms]) @ W.T)).sum(0)
    assert torch.allclose(conditional_mean(odd).float(), by_hand, atol=1e-5)


def test_hidden_numbers_decide_nothing(linear):
    """The hidden are garbled, in training and test: what is filled in is the same."""
    def garbled(split):
        return replace(split, x=torch.where(split.observed, split.x, torch.nan))
    other = replace(linear, data=replace(linear.data, **{n: garbled(s) for n, s in linear.data.splits.items()}))
    few = replace(linear.evaluation, iwae_k=20)
    a, b = (_imputed(replace(c, evaluation=few)) for c in (linear, other))
    assert a.keys() == {"", "_mean", "_knn", "_iterative"}
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_no_other_metric_sees_what_is_hidden(context):
    data = zoo.load_dataset("digits+missing=0.5")
    model = zoo.create("vae", data.spec, latent_dim=2, hidden=8, seed=0)
    garbled = replace(data.test, x=torch.where(data.test.observed, data.test.x, 16 - data.test.x))
    metrics = ("elbo", "nll_iwae", "bits_per_dim", "active_units")
    found = [measure(context(model, d, metrics=metrics))[0] for d in (data, replace(data, test=garbled))]
    assert found[0] == found[1] and {"elbo", "nll_iwae_7", "bits_per_dim", "active_units"} <= set(found[0])
    whole = measure(context(model, zoo.load_dataset("digits"), metrics=metrics))[0]
    assert found[0]["elbo"]["value"] > 0.6 * whole["elbo"]["value"]         # nats of half the pixels


def test_the_mean_is_of_what_training_observed(linear):
    train = linear.data.train
    column = np.nanmean(np.where(train.observed, train.x.double(), np.nan), 0)
    filled, hidden = _imputed(linear)["_mean"], ~linear.data.test.observed[:40]
    assert np.allclose(filled.numpy(), np.where(hidden, column, linear.data.test.x[:40]))


def test_the_error_counts_numbers_not_examples():
    x, filled = torch.zeros(2, 3), torch.tensor([[3.0, 9.0, 9.0], [1.0, 2.0, 4.0]])
    hidden = torch.tensor([[True, False, False], [True, True, True]])
    found = _rmse(x.double(), filled.double(), hidden)
    assert found.value == pytest.approx(math.sqrt((9 + 1 + 4 + 16) / 4)) and found.n == 2


@pytest.mark.parametrize("name, variant, labels", [
    ("digits:fixed+missing=half", "vae", {"nll", "accuracy", "accuracy_mean", "accuracy_knn", "accuracy_iterative"}),
    ("wine+missing=0.5", "ae", {"rmse", "rmse_mean", "rmse_knn", "rmse_iterative"}),
    ("wine", "vae", set()),
    ("wine+missing=0.5", "cvae", set()),
])
def test_only_where_it_means_something(context, name, variant, labels):
    data = zoo.load_dataset(name)
    c = context(zoo.create(variant, data.spec, latent_dim=2, hidden=8), data, metrics=("imputation_*",))
    assert set(measure(c)[0]) == {f"imputation_{label}" for label in labels}
