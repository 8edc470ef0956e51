"""p(x, z) for any z, as inference other than the model's own q needs it."""

import pytest
import torch
from support import CASES, SPECS, B, K, examples, perturbed, small

import zoo
from zoo.noise import Generated


def made(name, kind):
    return perturbed(small(name, kind)).double(), examples(kind, dtype=torch.float64)


def real(name):
    return not {"deterministic", "discrete"} & set(zoo.entry(name).tags)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_it_is_what_the_terms_are_made_of(name, kind):
    model, batch = made(name, kind)
    terms, joint = model(batch, K, Generated(0)), model.joint(batch)
    assert (joint is None) == (terms.z.dim() == 4)
    if joint is None:
        return
    torch.testing.assert_close(joint.log_likelihood(terms.z), -terms.nll)
    log_p = joint.prior.log_prob(terms.z) + joint.log_likelihood(terms.z)
    torch.testing.assert_close(log_p - terms.q.log_prob(terms.z), terms.log_w)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_it_can_be_asked_anywhere_and_differentiated(name, kind):
    model, batch = made(name, kind)
    if not real(name) or model.joint(batch) is None:
        pytest.skip("no density of z")
    joint = model.joint(batch)
    z = torch.randn(K, B, model.latent_dim, dtype=torch.float64).requires_grad_()
    log_p = joint.prior.log_prob(z) + joint.log_likelihood(z)
    assert log_p.shape == (K, B) and log_p.isfinite().all()
    slope = torch.autograd.grad(log_p.sum(), z)[0]
    assert slope.isfinite().all() and (slope.flatten(2).abs().sum(-1) > 0).all()
    other = joint.prior.log_prob(z.flip(1)) + joint.log_likelihood(z.flip(1))
    assert not torch.allclose(log_p, other)


@torch.no_grad()
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_it_draws_pairs_of_z_and_x(name, kind):
    """From what is given alone: no x goes in, and valid data come out."""
    model, batch = perturbed(small(name, kind)), examples(kind)
    joint = model.joint(batch.given)
    if joint is None:
        return
    z = joint.prior.sample(B, Generated(0))
    assert z.shape == (B, model.latent_dim)
    x = joint.likelihood(z[None]).draw(Generated(1))[0]
    SPECS[kind].check(zoo.Batch(x, batch.label, lengths=batch.lengths))
