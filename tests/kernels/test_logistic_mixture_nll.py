"""logistic_mixture_nll: a distribution over colours, and the one of PixelCNN++."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from kernels import logistic_mixture_nll


@pytest.mark.parametrize("levels", [2, 5])
def test_probabilities_of_all_colours_sum_to_one(levels):
    colours = torch.tensor(list(itertools.product(range(levels), repeat=3))).double()[..., None] / (levels - 1)
    params = 2 * torch.randn(1, 30, 1).double()
    nll = logistic_mixture_nll(colours, params.expand(len(colours), 30, 1), levels)
    assert float((-nll).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_it_is_the_mass_between_the_logistic_s_values():
    """Written out for one pixel, in the order of the parameters that the docstring gives."""
    x, params, m = torch.tensor([0.0, 100.0, 255.0]).double() / 255, torch.randn(60).double(), 6
    logits, rest = params[:m], params[m:].view(3, 3, m)
    r, g, b = 2 * x - 1
    c = rest[:, 2].tanh()
    centres = rest[0, 0], rest[1, 0] + c[0] * r, rest[2, 0] + c[1] * r + c[2] * g
    total = logits.log_softmax(0)
    for value, centre, log_scale in zip((r, g, b), centres, rest[:, 1], strict=True):
        upper = 1.0 if value == 1 else ((value + 1 / 255 - centre) / log_scale.exp()).sigmoid()
        lower = 0.0 if value == -1 else ((value - 1 / 255 - centre) / log_scale.exp()).sigmoid()
        total = total + (upper - lower).log()
    assert_close(logistic_mixture_nll(x.view(1, 3, 1, 1), params.view(1, 60, 1, 1)), -total.logsumexp(0)[None])


def test_pixels_and_examples_add_up():
    x, params = torch.randint(0, 256, (2, 3, 4, 5)) / 255.0, torch.randn(2, 20, 4, 5)
    whole = logistic_mixture_nll(x, params)
    parts = sum(logistic_mixture_nll(x[..., i:i + 1], params[..., i:i + 1]) for i in range(5))
    assert whole.shape == (2,)
    assert_close(whole, parts)


def test_a_sharp_and_wrong_component_has_finite_gradients():
    params = torch.zeros(1, 10, 1)
    params[:, 2:9:3] = -20.0                                # clamped at -7
    params.requires_grad_()
    nll = logistic_mixture_nll(torch.tensor([1.0, 0.5019608, 0.0]).view(1, 3, 1), params)
    (gradient,) = torch.autograd.grad(nll.sum(), params)
    assert nll.isfinite().all() and gradient.isfinite().all() and (gradient[0, [2, 5, 8]] == 0).all()


@pytest.mark.parametrize(("x", "params", "error", "said"), [
    (torch.zeros(2, 1, 4), torch.zeros(2, 10, 4), ValueError, "x has shape"),
    (torch.zeros(2, 3, 4), torch.zeros(2, 11, 4), ValueError, "10 M"),
    (torch.zeros(2, 3, 4), torch.zeros(2, 10, 5), ValueError, "10 M"),
    (torch.zeros(2, 3, 4).bfloat16(), torch.zeros(2, 10, 4), TypeError, "cannot tell 256 values apart"),
])
def test_wrong_arguments_are_named(x, params, error, said):
    with pytest.raises(error, match=said):
        logistic_mixture_nll(x, params)
