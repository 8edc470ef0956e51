"""Posteriors and priors against torch.distributions, integrals and finite differences."""

import math

import pytest
import torch
from support import Given, cubature, standard_error
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

import zoo
from zoo.distributions import VARIANCE_FLOOR, DiagonalGaussian, Mixture, Point, StandardNormal
from zoo.noise import Generated

F64 = torch.float64
torch.manual_seed(0)
MU, LOGVAR = torch.randn(6, 3, dtype=F64), 1.5 * torch.randn(6, 3, dtype=F64)
P_MU, P_LOGVAR = torch.randn(6, 3, dtype=F64), torch.randn(6, 3, dtype=F64)


def normal(mu, logvar):
    return Independent(Normal(mu, (logvar / 2).exp()), 1)


def test_gaussian_log_density():
    z = torch.randn(5, 6, 3, dtype=F64)
    torch.testing.assert_close(DiagonalGaussian(MU, LOGVAR).log_prob(z), normal(MU, LOGVAR).log_prob(z))
    torch.testing.assert_close(StandardNormal(3).log_prob(z), normal(0 * z, 0 * z).log_prob(z))


@pytest.mark.parametrize(("prior", "same"), [
    (StandardNormal(3), normal(0 * MU, 0 * MU)),
    (DiagonalGaussian(P_MU, P_LOGVAR), normal(P_MU, P_LOGVAR)),
], ids=["N(0,I)", "learned"])
def test_gaussian_kl_and_density_of_the_draw(prior, same):
    q = DiagonalGaussian(MU, LOGVAR)
    z, kl, log_q = q.draw(prior, 4, Generated(0))
    assert z.shape == kl.shape == (4, 6, 3)
    torch.testing.assert_close(kl.sum(-1), kl_divergence(normal(MU, LOGVAR), same).expand(4, 6))
    torch.testing.assert_close(log_q, normal(MU, LOGVAR).log_prob(z))


def test_kl_is_zero_only_where_q_is_the_prior():
    q = DiagonalGaussian(P_MU, P_LOGVAR)
    assert (q.draw(q, 1, Generated(0))[1].abs() < 1e-12).all()
    assert (DiagonalGaussian(P_MU, P_LOGVAR + 0.1).draw(q, 1, Generated(0))[1] > 1e-3).all()


def test_one_step_of_a_rollout_is_a_draw():
    """`pair` is `draw` of one sample at given noise."""
    q, p, eps = DiagonalGaussian(MU, LOGVAR), DiagonalGaussian(P_MU, P_LOGVAR), torch.randn(6, 3, dtype=F64)
    z, kl, _ = q.draw(p, 1, Given(lambda site, shape: eps.view(shape)))
    torch.testing.assert_close(q.pair(p, eps), (z[0], kl[0]))


@pytest.mark.parametrize("prior", [StandardNormal(3), DiagonalGaussian(P_MU, P_LOGVAR)], ids=["N(0,I)", "learned"])
def test_gradients_of_sample_and_kl(prior):
    eps, weights = torch.randn(2, 6, 3, dtype=F64), torch.randn(2, 6, 3, dtype=F64)

    def value(mu, logvar):
        z, kl, log_q = DiagonalGaussian(mu, logvar).draw(prior, 2, Given(lambda site, shape: eps))
        return (z * weights).sum() + (kl * weights).sum() + log_q.sum()

    assert torch.autograd.gradcheck(value, (MU.clone().requires_grad_(), LOGVAR.clone().requires_grad_()))


def test_draws_have_the_stated_moments():
    z, _, _ = DiagonalGaussian(MU, LOGVAR).draw(StandardNormal(3), 40_000, Generated(1))
    assert ((z.mean(0) - MU).abs() < 5 * standard_error(z)).all()
    spread = (z - MU).square()
    assert ((spread.mean(0) - LOGVAR.exp()).abs() < 5 * standard_error(spread)).all()
    centred = (z - MU) / (LOGVAR / 2).exp()
    covariance = torch.einsum("kbd,kbe->bde", centred, centred) / 40_000
    torch.testing.assert_close(covariance, torch.eye(3, dtype=F64).expand(6, 3, 3), atol=0.03, rtol=0)


def test_softplus_heads_have_a_floor_and_no_ceiling():
    q = DiagonalGaussian.softplus(torch.tensor([[0.0, 0.0, -200.0, 200.0]]))
    torch.testing.assert_close(q.logvar.exp(), torch.tensor([[VARIANCE_FLOOR, 200.0 + VARIANCE_FLOOR]]))


def test_half_precision_heads_give_float32_densities():
    q = DiagonalGaussian.of(torch.randn(4, 6, dtype=torch.bfloat16))
    z, kl, log_q = q.draw(StandardNormal(3), 2, Generated(0))
    assert z.dtype == kl.dtype == log_q.dtype == torch.float32


def test_mixture_log_density():
    z = torch.randn(5, 7, 3, dtype=F64)
    same = MixtureSameFamily(Categorical(torch.ones(6, dtype=F64)), normal(MU, LOGVAR))
    torch.testing.assert_close(Mixture(MU, LOGVAR).log_prob(z), same.log_prob(z))


def test_mixture_integrates_to_one():
    z = torch.linspace(-80, 80, 400_001, dtype=F64)
    p = Mixture(MU[:, :1], LOGVAR[:, :1]).log_prob(z[:, None, None]).exp()[:, 0]
    torch.testing.assert_close(torch.trapezoid(p, z), torch.tensor(1.0, dtype=F64), atol=1e-6, rtol=0)


def test_mixture_draws_follow_its_density():
    p = Mixture(MU, LOGVAR)
    z = p.sample(40_000, Generated(2))
    assert ((z.mean(0) - MU.mean(0)).abs() < 5 * standard_error(z)).all()
    second = MU.square() + LOGVAR.exp()
    assert ((z.square().mean(0) - second.mean(0)).abs() < 5 * standard_error(z.square())).all()


def test_against_a_mixture_the_cost_is_that_of_the_draw():
    q, p = DiagonalGaussian(MU, LOGVAR), Mixture(P_MU, P_LOGVAR)
    z, kl, log_q = q.draw(p, 3, Generated(0))
    torch.testing.assert_close(kl, (normal(MU, LOGVAR).log_prob(z) - p.log_prob(z)).unsqueeze(-1))
    torch.testing.assert_close(log_q, normal(MU, LOGVAR).log_prob(z))


def test_a_point_costs_nothing():
    z, kl, log_q = Point(MU).draw(StandardNormal(3), 2, Generated(0))
    assert torch.equal(z, MU.expand(2, 6, 3)) and (kl == 0).all() and (log_q == 0).all()


def test_a_prior_of_other_conditions_is_refused():
    with pytest.raises(ValueError, match="one condition each"):
        DiagonalGaussian(MU, LOGVAR).sample(5, Generated(0))


def test_the_bounds_of_terms_written_out():
    log_w = torch.tensor([[-1.0, -5.0], [-2.0, -5.0], [-4.0, -5.0]], dtype=F64)
    nll = torch.tensor([[3.0, 1.0], [5.0, 1.0], [1.0, 1.0]], dtype=F64)
    kl = torch.tensor([0.5, 0.25], dtype=F64).expand(3, 2, 2)
    terms = zoo.Terms(zoo.Batch(), log_w, None, nll, kl, log_w)
    iwae = math.log((math.exp(-1) + math.exp(-2) + math.exp(-4)) / 3)
    torch.testing.assert_close(terms.iwae, torch.tensor([iwae, -5.0], dtype=F64))
    torch.testing.assert_close(terms.elbo, torch.tensor([-3.75, -1.75], dtype=F64))


def test_iwae_of_an_enumerated_posterior():
    """A Gaussian mixture with a uniform guide: E[IWAE_K] exactly, by all 3^K tuples of its component."""
    pi, scale = torch.tensor([0.2, 0.5, 0.3], dtype=F64), torch.tensor([0.5, 0.8, 1.2], dtype=F64)
    mu = torch.tensor([[-1.0, 0], [1, 1], [0, -2]], dtype=F64)
    i = torch.arange(5, dtype=F64)
    x = torch.stack([0.3 * i - 1, 0.5 - 0.4 * i], -1)
    log_joint = pi.log() + Independent(Normal(mu, scale[:, None]), 1).log_prob(x[:, None])                  # (5,3)
    assert abs(log_joint.logsumexp(-1).mean() - -2.8538517409) < 1e-9
    for k, golden in ((1, -3.5437467564), (2, -3.2637352229), (3, -3.1277794454)):
        tuples = torch.cartesian_prod(*[torch.arange(3)] * k).view(-1, k).T                                # (k,3^k)
        log_w = log_joint[:, tuples].permute(1, 0, 2).flatten(1) + math.log(3)
        terms = zoo.Terms(zoo.Batch(), log_w, None, log_w, log_w[..., None], log_w)
        assert abs(terms.iwae.mean() - golden) < 1e-9


def test_cubature_has_the_moments_of_a_standard_normal():
    points = cubature(5)
    torch.testing.assert_close(points.mean(0), torch.zeros(5, dtype=F64))
    torch.testing.assert_close(points.T @ points / 10, torch.eye(5, dtype=F64))
