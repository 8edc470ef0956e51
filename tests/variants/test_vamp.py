"""VampPrior, Tomczak & Welling 2018, eq. 9: the prior is a mixture of posteriors."""

import math

import torch
from support import B, examples, perturbed, small

import zoo
from zoo.noise import Generated


def test_with_the_data_as_pseudo_inputs_the_prior_is_the_aggregate_posterior():
    model, batch = perturbed(small("vamp", "binary", components=B)), examples("binary")
    with torch.no_grad():
        model.pseudo_inputs.copy_(batch.x)
    z = torch.randn(5, 1, 4)
    each = model.posterior(batch).log_prob(z)                                   # (5,B): q(z|x_n)
    aggregate = each.logsumexp(-1, keepdim=True) - math.log(B)
    torch.testing.assert_close(model.prior(batch.given).log_prob(z), aggregate)


def test_objective_by_hand():
    model, batch = perturbed(small("vamp", "binary")), examples("binary")
    terms = model(batch, 3)
    cost = terms.q.log_prob(terms.z) - model.prior(batch.given).log_prob(terms.z)
    torch.testing.assert_close(model.objective(terms, torch.tensor(0.0)), (terms.nll + cost).mean(0))


def test_one_pseudo_input_is_one_gaussian():
    model = perturbed(small("vamp", "binary", components=1))
    u = model.pseudo_inputs.clamp(0, 1)
    z = torch.randn(5, 2, 4)
    torch.testing.assert_close(model.prior(zoo.Batch()).log_prob(z), model.posterior(zoo.Batch(u)).log_prob(z))


def test_the_cost_moves_encoder_and_pseudo_inputs_but_no_decoder():
    model, batch = perturbed(small("vamp", "binary"), 0.1), examples("binary")
    kl = model(batch).kl.sum()
    encoder = torch.autograd.grad(kl, [model.pseudo_inputs, *model.encoder.parameters()], retain_graph=True)
    assert all((g != 0).any() for g in encoder)
    assert all(g is None for g in torch.autograd.grad(kl, list(model.decoder.parameters()), allow_unused=True))


def test_pseudo_inputs_stay_in_the_datas_range():
    model = small("vamp", "binary")
    with torch.no_grad():
        model.pseudo_inputs.copy_(torch.where(torch.rand_like(model.pseudo_inputs) < 0.5, -7.0, 9.0))
    clamped = model.posterior(zoo.Batch(model.pseudo_inputs.clamp(0, 1)))
    torch.testing.assert_close(model.prior(zoo.Batch()).mu, clamped.mu)
    real = small("vamp", "real")
    assert (real.pseudo_inputs < 0).any()
    torch.testing.assert_close(real.prior(zoo.Batch()).mu, real.posterior(zoo.Batch(real.pseudo_inputs)).mu)


def test_samples_are_decoded_draws_of_the_mixture():
    model = perturbed(small("vamp", "binary", components=2))
    z = model.prior(zoo.Batch()).sample(4, Generated(0))
    torch.testing.assert_close(model.sample(4, noise=Generated(0)), model.decode(z))
