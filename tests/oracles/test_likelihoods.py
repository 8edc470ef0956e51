"""Likelihoods are probabilities: they sum or integrate to one, and draws follow them."""

import math

import pytest
import torch
from support import standard_error
from torch.distributions import Normal

import zoo
from zoo.likelihoods import (
    FAMILIES,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    bits_per_dim,
    family,
)
from zoo.noise import Generated

F64 = torch.float64
SPECS = {"binary": zoo.DataSpec((2,), "binary"), "unit": zoo.DataSpec((2,), "unit"),
         "byte": zoo.DataSpec((2,), "byte", levels=5),
         "real": zoo.DataSpec((2,), "real"), "tokens": zoo.DataSpec((), "tokens", max_length=2, vocabulary=4)}
MADE = [(name, kind) for name, f in FAMILIES.items() for kind in f.kinds]


def made(name, kind, k=3, b=4):
    """A likelihood from a random decoder's output, for K samples of B examples."""
    f, spec = FAMILIES[name], SPECS[kind]
    return f.of(2 * torch.randn(k, b, f.params(spec), *spec.shape, dtype=F64), spec)


def images(pixels):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=F64)] * pixels)


def test_bernoulli_probabilities_of_all_images_sum_to_one():
    logits = 3 * torch.randn(2, 1, 1, 2, 2, dtype=F64).expand(2, 16, 1, 2, 2)
    log_p = Bernoulli(logits).log_prob(images(4).view(16, 1, 2, 2))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(2, dtype=F64))


def test_bernoulli_written_out():
    p = torch.tensor([0.2, 0.7], dtype=F64)
    log_p = Bernoulli(torch.logit(p).view(1, 1, 2)).log_prob(torch.tensor([[1.0, 0.0]], dtype=F64))
    torch.testing.assert_close(log_p, torch.tensor([[math.log(0.2) + math.log(0.3)]], dtype=F64))


@pytest.mark.parametrize("logit", [-200.0, -0.3, 0.0, 1e-3, 4.0, 200.0])
def test_continuous_bernoulli_integrates_to_one(logit):
    x = torch.linspace(0, 1, 200_001, dtype=F64)
    p = ContinuousBernoulli(torch.full((1, len(x), 1), logit, dtype=F64)).log_prob(x[:, None]).exp()[0]
    torch.testing.assert_close(torch.trapezoid(p, x), torch.tensor(1.0, dtype=F64), atol=1e-5, rtol=0)


def test_gaussian_log_density():
    h = torch.randn(3, 4, 2, 5, dtype=F64)
    mu, raw = h.unbind(2)
    x = torch.randn(4, 5, dtype=F64)
    same = Normal(mu, torch.nn.functional.softplus(raw) + 0.01).log_prob(x).sum(-1)
    torch.testing.assert_close(Gaussian.of(h, zoo.DataSpec((5,), "real")).log_prob(x), same)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("raw", [-1000.0, -5.0, 0.0, 3.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_discretised_logistic_sums_to_one(levels, raw, dtype):
    """At any mean, the edges included, and any scale: a point, a flat density, or all of it in the open end bins."""
    spec = zoo.DataSpec((1,), "byte", levels=levels)
    mean = torch.tensor([-50.0, -2.0, 0.0, 0.123, 3.0, 50.0], dtype=dtype)
    h = torch.stack([mean, torch.full_like(mean, raw)], -1).view(6, 1, 2, 1).expand(6, levels, 2, 1)
    x = (torch.arange(levels, dtype=dtype) / (levels - 1)).view(levels, 1)
    log_p = DiscretisedLogistic.of(h, spec).log_prob(x)
    assert log_p.isfinite().all() and (log_p <= 1e-6).all()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(6, dtype=dtype), atol=tolerance, rtol=0)


def test_discretised_logistic_is_the_mass_of_its_bin():
    mu, log_scale, levels = torch.tensor([[0.4]], dtype=F64), torch.tensor([[-2.0]], dtype=F64), 17
    x = torch.tensor([[5 / 16]], dtype=F64)

    def cdf(v):
        return 1 / (1 + math.exp(-(v - 0.4) / math.exp(-2.0)))

    expected = math.log(cdf(5.5 / 16) - cdf(4.5 / 16))
    assert abs(DiscretisedLogistic(mu, log_scale, levels).element(x).item() - expected) < 1e-12


@pytest.mark.parametrize("raw", [-1000.0, 1000.0])
def test_discretised_logistic_has_finite_gradients_at_extreme_scales(raw):
    h = torch.tensor([0.3, raw]).view(1, 1, 2, 1).requires_grad_()
    DiscretisedLogistic.of(h, zoo.DataSpec((1,), "byte")).log_prob(torch.tensor([[100 / 255]])).sum().backward()
    assert h.grad.isfinite().all()


def test_categorical_sums_to_one():
    p = Categorical(3 * torch.randn(2, 1, 4, dtype=F64).expand(2, 4, 4))
    torch.testing.assert_close(p.log_prob(torch.arange(4)).exp().sum(-1), torch.ones(2, dtype=F64))


@pytest.mark.parametrize(("name", "kind"), [m for m in MADE if m[1] != "tokens"])
def test_pixels_add_up_and_hidden_ones_cost_nothing(name, kind):
    p, x = made(name, kind), torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], dtype=F64)
    mask = torch.tensor([[True, False], [True, True], [False, False], [False, True]])
    element = p.element(x)
    torch.testing.assert_close(p.log_prob(x), element.sum(-1))
    torch.testing.assert_close(p.log_prob(x, mask), (element * mask).sum(-1))
    junk = torch.where(mask, x, float("nan"))
    assert torch.equal(p.log_prob(torch.where(mask, junk, 0.0), mask), p.log_prob(torch.where(mask, x, 0.0), mask))


@pytest.mark.parametrize(("name", "kind"), MADE)
def test_draws_follow_the_density(name, kind):
    """Frequencies meet the probabilities of all values; moments those of the density, integrated."""
    f, spec, n = FAMILIES[name], SPECS[kind], 40_000
    h = torch.randn(f.params(spec), *([1] if kind != "tokens" else []), dtype=F64)
    one = zoo.DataSpec((1,), kind, levels=5) if kind != "tokens" else spec
    p = f.of(h.expand(1, n, *h.shape), one)
    x = p.draw(Generated(0))
    assert x.shape == ((1, n, 1) if kind != "tokens" else (1, n))
    x = x.flatten()
    if spec.discrete:
        levels = 2 if kind == "binary" else 5
        values = torch.arange(spec.vocabulary) if kind == "tokens" else torch.linspace(0, 1, levels, dtype=F64)
        likelihood = f.of(h.expand(1, len(values), *h.shape), one)
        expected = likelihood.log_prob(values if kind == "tokens" else values[:, None])[0].exp()
        frequency = torch.stack([torch.isclose(x.double(), v.double()).double().mean() for v in values])
        assert ((frequency - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()
    else:
        low, high = (-30, 30) if name == "gaussian" else (0, 1)
        grid = torch.linspace(low, high, 60_001, dtype=F64)
        density = f.of(h.expand(1, len(grid), *h.shape), one).log_prob(grid[:, None])[0].exp()
        for power in (1, 2):
            expected = torch.trapezoid(density * grid**power, grid)
            assert abs((x**power).mean() - expected) < 5 * standard_error(x**power)


@pytest.mark.parametrize(("name", "kind"), [m for m in MADE if m[0] not in ("categorical", "discretised_logistic")])
def test_the_mean_is_the_mean_of_draws(name, kind):
    p = made(name, kind, k=1)
    x = torch.stack([p.draw(Generated(0, step)) for step in range(3000)])
    assert ((x.mean(0) - p.mean).abs() < 5 * standard_error(x) + 1e-6).all()


@pytest.mark.parametrize(("name", "kind"), [m for m in MADE if SPECS[m[1]].discrete])
def test_the_mode_is_a_value_x_can_take(name, kind):
    x = made(name, kind).mode
    levels = {"binary": 2, "byte": 5}.get(kind)
    assert x.dtype == torch.int64 if levels is None else torch.isclose(x * (levels - 1), (x * (levels - 1)).round()).all()


def test_a_likelihood_that_is_none_of_such_data_is_refused():
    with pytest.raises(ValueError, match="no bound"):
        family(SPECS["unit"], "bernoulli")
    with pytest.raises(LookupError, match="'bernoulli'"):
        family(SPECS["binary"], "bernouli")
    assert family(SPECS["unit"], "gaussian") is Gaussian


def test_bits_per_dim():
    assert abs(bits_per_dim(math.log(256) * 10, 10) - 8) < 1e-12
