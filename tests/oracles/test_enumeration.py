"""Probabilities of all possible data sum to one, and are the frequencies of what a model draws: for every variant by name.

With the prior as guide, and the same noise for every x, log w = log p(x|z) sums to one over x for *every* z: no Monte Carlo
error is left. Weights are strong (1.5): a weak dependence on x_{t-1} would hide a wrong lag.
"""

import pytest
import torch
from support import NAMES, Given, perturbed, small

import zoo
from zoo.distributions import DiagonalGaussian
from zoo.noise import Generated

SPECS = {
    "binary": zoo.DataSpec((1, 2, 2), "binary", classes=2),
    "byte": zoo.DataSpec((2,), "byte", classes=2, levels=3),
    "bits": zoo.DataSpec((1,), "binary", classes=2, max_length=3),
    "pairs": zoo.DataSpec((2,), "binary", classes=2, max_length=2),
    "grey": zoo.DataSpec((1,), "byte", classes=2, max_length=3, levels=3),
    "words": zoo.DataSpec((), "tokens", classes=2, max_length=3, vocabulary=3),
}
CASES = [(n, kind) for n in NAMES for kind, spec in SPECS.items() if zoo.entry(n).why_not(spec) is None]


class PriorGuide:
    """q(z|x) := p(z), with the same z for all n rows of x, which are given the same label."""

    def __init__(self, n):
        self.n = n

    def draw(self, prior, k, noise):
        z = torch.stack([prior.sample(self.n, noise)[:1].expand(self.n, -1) for _ in range(k)])
        return z, torch.zeros(k, self.n, 1), prior.log_prob(z)


def guided_by_its_prior(model, batch, k):
    """The model with its prior for a posterior: a chain's step by step, a whole's at once."""
    if isinstance(model, zoo.SequenceVariant):
        zeros = torch.zeros(k * len(batch.x), model.latent_dim)
        standard = DiagonalGaussian(zeros, zeros)
        model.posterior_step = lambda state, context, p: p if isinstance(p, DiagonalGaussian) else standard
    else:
        prior = model.prior(batch.given)
        model.prior, model.posterior = lambda given: prior, lambda batch: PriorGuide(len(batch.x))
    return model


def shared(n):
    """The same noise for every example: shape (.., n, D), or (T, K*n, D) sample-major."""
    generator = torch.Generator().manual_seed(0)

    def draw(site, shape):
        rows = shape[-2]
        own = torch.randn(*shape[:-2], rows // n, 1, shape[-1], generator=generator)
        return own.expand(*shape[:-2], rows // n, n, shape[-1]).reshape(shape)

    return Given(draw)


def all_data(spec, frames=None):
    """Every value x can take: (N, *shape)."""
    levels = 2 if spec.kind == "binary" else spec.levels
    values = torch.arange(spec.vocabulary) if spec.kind == "tokens" else torch.linspace(0, 1, levels)
    shape = ((frames or spec.max_length,) if spec.sequence else ()) + spec.shape
    numbers = torch.Size(shape).numel()
    return torch.cartesian_prod(*[values] * numbers).view(-1, *shape)


def model_of(name, kind, seed=0):
    return perturbed(small(name, SPECS[kind], hidden=8), 1.5, seed)


@torch.no_grad()
def terms_under_the_prior(name, kind, x, k, lengths=None, seed=0):
    batch = zoo.Batch(x, torch.ones(len(x), dtype=torch.int64), lengths=lengths)
    model = guided_by_its_prior(model_of(name, kind, seed), batch, k)
    terms = model(batch, k, shared(len(x)) if isinstance(model, zoo.SequenceVariant) else Generated(0))
    torch.testing.assert_close(terms.log_w, -terms.nll, atol=1e-4, rtol=1e-5)                  # the guide costs nothing
    return terms


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_probabilities_sum_to_one(name, kind):
    terms = terms_under_the_prior(name, kind, all_data(SPECS[kind]), 50)
    torch.testing.assert_close(terms.log_w.exp().sum(1), torch.ones(50), atol=1e-4, rtol=0)
    torch.testing.assert_close(terms.iwae.exp().sum(), torch.tensor(1.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "kind"), [c for c in CASES if SPECS[c[1]].sequence])
def test_probabilities_of_shorter_sequences_sum_to_one(name, kind):
    """Padded: what lies past the end adds nothing."""
    frames = SPECS[kind].max_length - 1
    short = all_data(SPECS[kind], frames)
    x = torch.cat([short, short[:, :1]], 1)
    terms = terms_under_the_prior(name, kind, x, 50, torch.full((len(x),), frames))
    torch.testing.assert_close(terms.log_w.exp().sum(1), torch.ones(50), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_draws_have_these_frequencies(name, kind):
    if zoo.entry(name).bound == "none":
        pytest.skip("no model of its codes")
    x, n, k = all_data(SPECS[kind]), 20_000, 10_000
    seeds = (s for s in range(50) if 0.2 < terms_under_the_prior(name, kind, x, 500, seed=s).iwae.exp().max() < 0.8)
    seed = next(seeds)                                      # weights under which something is left to chance
    p = terms_under_the_prior(name, kind, x, k, seed=seed).iwae.exp()
    drawn = model_of(name, kind, seed).sample(n, label=torch.ones(n, dtype=torch.int64), observe=True, noise=Generated(1))
    frequency = torch.stack([torch.isclose(drawn.float(), value.float()).flatten(1).all(1).float().mean() for value in x])
    most = torch.maximum(p, frequency)
    error = (most * (1 - most) * (1 / n + 1 / k)).sqrt()    # weights lie in [0, 1]: their variance is at most p (1 - p)
    assert abs(frequency.sum() - 1) < 1e-4
    assert ((frequency - p).abs() < 5 * error + 1e-4).all()
