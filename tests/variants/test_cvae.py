"""CVAE, Sohn et al. 2015, eq. 4: both sides know the label, and the prior may."""

import math
from dataclasses import replace

import torch
from support import B, K, examples, perturbed, small
from torch.distributions import Normal, kl_divergence

from zoo.noise import Generated


def model_of(**settings):
    return perturbed(small("cvae", "binary", **settings)), examples("binary")


def test_the_kl_is_to_the_prior_of_the_examples_own_label():
    model, batch = model_of(learned_prior=True)
    terms = model(batch, K)
    mu, logvar = model.labels.weight[batch.label].chunk(2, -1)
    q = Normal(terms.q.mu, (terms.q.logvar / 2).exp())
    torch.testing.assert_close(terms.kl[0], kl_divergence(q, Normal(mu, (logvar / 2).exp())))
    torch.testing.assert_close(model.objective(terms, torch.tensor(0.0)), (terms.nll + terms.kl.sum(-1)).mean(0))


def test_without_a_learned_prior_it_is_to_a_standard_normal():
    model, batch = model_of()
    terms = model(batch, K)
    q = Normal(terms.q.mu, (terms.q.logvar / 2).exp())
    torch.testing.assert_close(terms.kl[0], kl_divergence(q, Normal(0.0, 1.0)))


def test_both_sides_know_the_label():
    model, batch = model_of()
    changed = replace(batch, label=(batch.label + 1) % 3)
    assert not torch.isclose(model(batch).q.mu, model(changed).q.mu).all(1).any()
    z = torch.randn(1, B, 4)
    here, there = (model.likelihood(z, b.given).logits for b in (batch, changed))
    assert not torch.isclose(here, there).flatten(2).all(-1).any()
    x = model.sample(3, label=torch.tensor([0, 1, 2]), noise=Generated(0))
    assert not torch.equal(x, model.sample(3, label=torch.tensor([1, 2, 0]), noise=Generated(0)))


def test_the_generative_side_is_not_told_the_data():
    """p(x|z, y) and p(z|y) of a batch that holds other x's are the same."""
    model, batch = model_of(learned_prior=True)
    z = torch.randn(1, B, 4)
    for hidden in (batch.given, replace(batch, x=1 - batch.x).given):
        assert hidden.x is None
        torch.testing.assert_close(model.likelihood(z, hidden).logits, model.likelihood(z, batch.given).logits)


def test_samples_come_from_the_learned_prior():
    model, _ = model_of(learned_prior=True)
    with torch.no_grad():                                   # label 1 lives far away, in a point
        model.labels.weight[1] = torch.cat([torch.full((4,), 9.0), torch.full((4,), -40.0)])
    expected = model.decode(torch.full((5, 4), 9.0), label=torch.ones(5, dtype=torch.int64))
    torch.testing.assert_close(model.sample(5, label=torch.ones(5, dtype=torch.int64)), expected)


def test_the_learned_prior_begins_as_a_standard_normal():
    assert (small("cvae", "binary", learned_prior=True).labels.weight == 0).all()


def test_labels_are_drawn_uniformly_where_none_are_given():
    model, _ = model_of()
    label = model.conditions(6000, None, None, Generated(0)).label
    frequency = torch.bincount(label, minlength=3) / 6000
    assert ((frequency - 1 / 3).abs() < 5 * math.sqrt(2 / 9 / 6000)).all()


def test_the_prior_learns_from_the_kl_alone():
    model, batch = model_of(learned_prior=True)
    terms = model(batch)
    assert torch.autograd.grad(terms.nll.sum(), [model.labels.weight], allow_unused=True, retain_graph=True)[0] is None
    assert (torch.autograd.grad(terms.kl.sum(), [model.labels.weight])[0] != 0).all()
