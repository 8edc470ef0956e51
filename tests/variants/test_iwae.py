"""IWAE, Burda et al. 2016, eq. 8: -log of the mean weight; and the gradient's weights, eq. 14."""

import math

import pytest
import torch
from support import SPECS, B, examples, perturbed, small

import zoo


def test_by_hand():
    log_w = torch.tensor([[-3.0, -700.0], [-1.0, -701.0]])
    terms = zoo.Terms(zoo.Batch(), log_w, None, -log_w, torch.zeros(2, 2, 1), log_w)
    loss = small("iwae", "binary").objective(terms, torch.tensor(0.0))
    second = 700 - math.log((1 + math.exp(-1)) / 2)         # in float32 exp(-700) is 0: no mean of plain weights
    torch.testing.assert_close(loss, torch.tensor([-math.log((math.exp(-3) + math.exp(-1)) / 2), second]))


def test_the_gradient_of_a_sample_is_its_normalised_weight():
    log_w = torch.randn(5, 3, requires_grad=True)
    terms = zoo.Terms(zoo.Batch(), log_w, None, -log_w, torch.zeros(5, 3, 1), log_w)
    (g,) = torch.autograd.grad(small("iwae", "binary").objective(terms, torch.tensor(0.0)).sum(), [log_w])
    torch.testing.assert_close(g, -log_w.softmax(0))


def test_k_is_the_number_of_training_samples():
    terms = zoo.create("iwae", SPECS["binary"], k=7)(examples("binary"))
    assert terms.nll.shape == (7, B)


def test_with_one_sample_it_is_a_vae_with_a_sampled_kl():
    model = perturbed(small("iwae", "binary", k=1))
    terms = model(examples("binary"))
    log_q, log_p = terms.q.log_prob(terms.z), model.prior(terms.batch.given).log_prob(terms.z)
    torch.testing.assert_close(model.objective(terms, torch.tensor(0.0)), (terms.nll + log_q - log_p)[0])


def test_k_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        zoo.create("iwae", SPECS["binary"], k=0)
