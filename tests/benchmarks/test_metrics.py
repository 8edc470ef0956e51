"""Metrics against numbers worked out by hand, from models whose log p(x) is known."""

import math
from dataclasses import replace

import pytest
import torch
from ignorant import Ignorant

import zoo
from benchmarks import context as context_module
from benchmarks.context import mean_and_error
from benchmarks.metrics import METRICS, measure, metric
from zoo.distributions import DiagonalGaussian
from zoo.likelihoods import Gaussian

W, S = 1.5, 0.5                                             # x = W z + S eps


class Exact(Ignorant):
    """Linear and Gaussian, one latent a dimension, with the exact posterior: log w is log p(x) for every z."""

    def posterior(self, batch):
        total = W**2 + S**2
        return DiagonalGaussian(W * batch.x / total, torch.full_like(batch.x, math.log(S**2 / total)))

    def likelihood(self, z, given):
        return Gaussian(W * z, torch.full_like(z, S))


@pytest.fixture
def ignorant(context):
    data = zoo.load_dataset("digits:fixed")
    model = Ignorant(spec=data.spec, latent_dim=3, hidden=4)
    p = data.test.x.float().mean(0).clamp(1e-3, 1 - 1e-3)
    model.logits = p.logit()
    return context(model, data, metrics=("elbo", "bits_per_dim")), p.double()


@pytest.fixture
def exact(context):
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(1)) * (W**2 + S**2) ** 0.5
    spec = zoo.DataSpec((4,), "real")
    data = zoo.Dataset("line", spec, *[zoo.Split(x)] * 3, note="")
    return context(Exact(spec=spec, latent_dim=4, hidden=4), data, metrics=("elbo", "bits_per_dim"))


def value(name, context):
    return METRICS.get(name).measure(context)


def test_a_model_that_ignores_z(ignorant):
    context, p = ignorant
    x = context.data.test.x.double()
    entropy = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
    elbo = value("elbo", context)
    assert elbo.value == pytest.approx(-float(entropy.mean()), rel=1e-6) and elbo.n == 250
    assert elbo.stderr == pytest.approx(float(entropy.std()) / 250**0.5, rel=1e-4)
    assert value("rate", context).value == 0 and value("distortion", context).value == pytest.approx(-elbo.value, rel=1e-9)
    nll = value("nll_iwae", context)["nll_iwae_7"]
    assert nll.value == pytest.approx(float(entropy[:11].mean()), rel=1e-6) and nll.n == 11
    assert value("bits_per_dim", context).value == pytest.approx(float(entropy.mean()) / (64 * math.log(2)), rel=1e-6)
    assert value("active_units", context).value == 0


def test_the_exact_posterior_gives_the_exact_likelihood(exact):
    var = W**2 + S**2
    x = exact.data.test.x.double()
    log_p = -0.5 * (x.square() / var + math.log(2 * math.pi * var)).sum(1)
    assert torch.allclose(exact.log_p, log_p[:11], atol=1e-5)
    elbo = value("elbo", exact)
    assert elbo.value == pytest.approx(float(log_p.mean()), abs=0.1)            # its KL is closed form, its nll two draws
    assert value("active_units", exact).value == 4
    assert measure(exact)[0].keys() == {"elbo"}                # bits of a density mean nothing


@pytest.mark.parametrize("numbers", [1, 128 * 3, 1 << 22])
def test_the_memory_bound_changes_no_value(exact, monkeypatch, numbers):
    monkeypatch.setattr(context_module, "NUMBERS", numbers)
    fresh = replace(exact)
    assert torch.allclose(fresh.log_p, exact.log_p, atol=1e-5) and len(fresh.codes) == 300 and len(fresh.elbo) == 300
    assert len(fresh.samples.x) == 80


def test_ratio_and_its_error():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(1, 9, (4000,), generator=generator).double()
    values = 2 * weights + torch.randn(4000, generator=generator, dtype=torch.float64)
    mean, error = mean_and_error(values, weights)
    assert mean == pytest.approx(float(values.sum() / weights.sum()))
    index = torch.randint(4000, (2000, 4000), generator=generator)
    bootstrap = (values[index].sum(1) / weights[index].sum(1)).std()
    assert error == pytest.approx(float(bootstrap), rel=0.1)


def test_per_step_metrics_divide_totals(context):
    data = zoo.load_dataset("lgssm")
    c = context(zoo.create("vrae", data.spec, latent_dim=2, hidden=4, seed=0), data)
    total, steps = float(c.elbo.sum()), float(data.test.lengths.sum())
    assert value("elbo_per_step", c).value == pytest.approx(total / steps)
    exact = float(data.log_likelihood(data.test.batch(slice(None))).sum())
    assert value("nll_gap_per_step", c).value == pytest.approx((exact - total) / steps)
    assert value("nll_gap_per_step", c).value > 0
    assert value("nll_iwae_per_step", c).value == pytest.approx(-float(c.log_p.sum() / data.test.lengths[:11].sum()))
    assert {"fcd_random_projection", "nll_iwae_7_per_step"} <= set(measure(c)[0]) and "bits_per_dim" not in measure(c)[0]


def test_a_latent_a_step_counts_frames_inside_only(context):
    data = zoo.load_dataset("lgssm")
    c = context(zoo.create("vrnn", data.spec, latent_dim=2, hidden=4, seed=0), replace(data, test=data.test.head(20)))
    assert c.codes.shape == (int(c.data.test.lengths.sum()), 2)


def test_a_model_without_a_bound_gets_no_likelihood(context, digits):
    found, _ = measure(context(zoo.create("ae", digits.spec, latent_dim=2, hidden=8), digits))
    assert not {"elbo", "bits_per_dim", "nll_iwae_7"} & set(found)
    assert {"fcd_random_projection", "active_units", "train_throughput", "encode_throughput", "sample_throughput"} <= set(found)
    assert all(found[f"{what}_throughput"]["iqr"] is not None for what in ("train", "encode", "sample"))


def test_measuring_leaves_the_model_as_it_is(context, digits):
    model = zoo.create("vae", digits.spec, latent_dim=2, hidden=8, seed=0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    measure(context(model, digits))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and not model.training


def test_the_same_seed_gives_the_same_numbers(context, digits):
    model = zoo.create("vae", digits.spec, latent_dim=2, hidden=8, seed=0)
    a, b, other = context(model, digits), context(model, digits), replace(context(model, digits), seed=4)
    assert torch.equal(a.elbo, b.elbo) and torch.equal(a.log_p, b.log_p) and torch.equal(a.samples.x, b.samples.x)
    assert not torch.equal(a.elbo, other.elbo) and not torch.equal(a.samples.x, other.samples.x)


def test_what_is_drawn_at_every_visit_is_scored_against_grey(context):
    data = zoo.load_dataset("digits:dynamic")
    c = context(zoo.create("vae", data.spec, latent_dim=2, hidden=8, seed=0), data, extractor="digits8-v1")
    assert len(c.reference.x.unique()) == 17
    assert value("fcd", c).n == 80


def test_an_infinite_metric_is_an_error(ignorant):
    context, _ = ignorant
    context.model.logits = torch.full_like(context.model.logits, -math.inf)
    with pytest.raises(FloatingPointError, match="elbo"):
        measure(context)


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_is_documented(name):
    text = METRICS.get(name).documentation
    assert "Source:" in text and len(text.splitlines()[0]) > 20


def test_a_metric_that_is_wrong_is_refused_when_it_is_entered():
    with pytest.raises(ValueError, match="better"):
        metric("m", unit="nats", better="up", group="cost")
    with pytest.raises(ValueError, match="group is 'speed'.*cost"):
        metric("m", unit="nats", better="higher", group="speed")
    with pytest.raises(ValueError, match="did you mean 'bound'"):
        metric("m", unit="nats", better="higher", group="cost", needs=["bounds"])
    with pytest.raises(ValueError, match="docstring"):
        metric("m", unit="nats", better="higher", group="cost")(lambda context: None)
    assert "m" not in METRICS
