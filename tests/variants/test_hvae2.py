"""HVAE2, Tomczak & Welling 2018, eq. 12-14: two levels, against joint Gaussians when every net is linear."""

import pytest
import torch
from support import SPECS, K, examples, perturbed, small
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import zoo
from zoo.noise import Generated
from zoo.variants.hvae2 import TopDown, TwoLevels

F64 = torch.float64


class Affine(nn.Module):
    """z2 -> mean a z2 + c, with constant log-variances."""

    def __init__(self, a, c, logvar):
        super().__init__()
        self.a, self.c, self.logvar = (torch.tensor(v, dtype=F64) for v in (a, c, logvar))

    def forward(self, h):
        mu = h @ self.a.T + self.c
        return torch.cat([mu, self.logvar.expand_as(mu)], -1)


def joint(z2_mean, z2_cov, net, a):
    """N over [z2, z1] for z1 = a z2 + c + noise."""
    s = net.logvar.exp().diag()
    mean = torch.cat([z2_mean, a @ z2_mean + net.c])
    cov = torch.cat([torch.cat([z2_cov, z2_cov @ a.T], 1), torch.cat([a @ z2_cov, a @ z2_cov @ a.T + s], 1)])
    return MultivariateNormal(mean, cov)


PRIOR_NET = Affine([[0.5, -1.0], [2.0, 0.3]], [0.1, -0.4], [-0.5, 0.3])
LOWER = Affine([[0.2, 1.0, -0.7], [0.4, 0.1, 0.9]], [0.3, 0.0], [-1.0, -0.2])                   # reads [h, z2], h one number
UPPER = Affine([[1.0], [-2.0]], [0.0, 0.5], [0.2, -0.6])


def test_the_prior_is_the_joint_of_both_levels():
    z = torch.randn(7, 3, 4, dtype=F64)
    same = joint(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64), PRIOR_NET, PRIOR_NET.a)
    torch.testing.assert_close(TopDown(PRIOR_NET, 2).log_prob(z), same.log_prob(z))


def test_the_posterior_is_the_joint_of_both_levels():
    h, z = torch.tensor([[0.7]], dtype=F64), torch.randn(7, 1, 4, dtype=F64)
    shifted = Affine(LOWER.a[:, 1:].tolist(), (LOWER.c + LOWER.a[:, 0] * 0.7).tolist(), LOWER.logvar.tolist())
    same = joint((UPPER.a @ h[0]) + UPPER.c, UPPER.logvar.exp().diag(), shifted, shifted.a)
    torch.testing.assert_close(TwoLevels(h, UPPER, LOWER).log_prob(z), same.log_prob(z))


def test_the_kl_of_both_levels_is_that_of_the_joints():
    h = torch.tensor([[0.7]], dtype=F64)
    shifted = Affine(LOWER.a[:, 1:].tolist(), (LOWER.c + LOWER.a[:, 0] * 0.7).tolist(), LOWER.logvar.tolist())
    q = joint((UPPER.a @ h[0]) + UPPER.c, UPPER.logvar.exp().diag(), shifted, shifted.a)
    p = joint(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64), PRIOR_NET, PRIOR_NET.a)
    _, kl, _ = TwoLevels(h, UPPER, LOWER).draw(TopDown(PRIOR_NET, 2), 40_000, Generated(0))
    total = kl.sum(-1)[:, 0]
    assert abs(total.mean() - kl_divergence(q, p)) < 5 * total.std() / 200


def test_each_levels_kl_is_closed_form_at_the_draw():
    model, batch = perturbed(small("hvae2", "binary")), examples("binary")
    terms = model(batch, K)
    z2 = terms.z[..., :2]
    upper, lower, prior = terms.q.upper(), terms.q.lower(z2), model.prior(batch.given).lower(z2)

    def normal(g):
        return Normal(g.mu, (g.logvar / 2).exp())

    torch.testing.assert_close(terms.kl[..., :2], kl_divergence(normal(upper), Normal(0.0, 1.0)).expand(K, -1, -1))
    torch.testing.assert_close(terms.kl[..., 2:], kl_divergence(normal(lower), normal(prior)))
    torch.testing.assert_close(model.objective(terms, torch.tensor(0.0)), (terms.nll + terms.kl.sum(-1)).mean(0))


def test_the_lower_prior_learns_from_the_kl_alone():
    model, batch = perturbed(small("hvae2", "binary")), examples("binary")
    terms, parameters = model(batch), list(model.prior_z1.parameters())
    assert all(g is None for g in torch.autograd.grad(terms.nll.sum(), parameters, allow_unused=True, retain_graph=True))
    assert all((g != 0).any() for g in torch.autograd.grad(terms.kl.sum(), parameters))


def test_odd_latents_are_shared_out_upper_half_first():
    model = small("hvae2", "binary", latent_dim=5)
    assert model.upper == 3 and model(examples("binary")).kl.shape[-1] == 5
    with pytest.raises(ValueError, match="at least 2"):
        zoo.create("hvae2", SPECS["binary"], latent_dim=1)
