"""The kernels of total_correlation, logistic_mixture_nll and nearest_code, run by Triton's interpreter on a CPU. Started by
test_triton.py in a process of its own."""

import pytest
import torch
from interpreter import needs_loops
from operations import logistic_mixture, total_correlation, with_gradients
from torch.library import opcheck
from torch.testing import assert_close

from kernels.logistic_mixture_nll import _backward as mixture_backward
from kernels.logistic_mixture_nll import _forward as mixture_forward
from kernels.nearest_code import _search, reference
from kernels.total_correlation import _backward as correlation_backward
from kernels.total_correlation import _forward as correlation_forward

pytestmark = [needs_loops, pytest.mark.usefixtures("poisoned_memory")]
SMALL = [lambda: total_correlation(5, 7, 3), lambda: logistic_mixture(2, (3, 2), 3, 5)]
SHAPES = [*SMALL, lambda: total_correlation(1, 1, 1), lambda: total_correlation(33, 20, 10),
          lambda: total_correlation(3, 70, 37), lambda: total_correlation(4, 9, 130),
          lambda: logistic_mixture(1, (1,), 1, 2), lambda: logistic_mixture(3, (70,), 10, 256)]


@pytest.mark.parametrize("make", SHAPES)
def test_values_and_gradients(make):
    example = make()
    got = with_gradients(example.fused, example.to("cpu", torch.float32))
    want = with_gradients(example.reference, example.to("cpu", torch.float64))
    for one, other in zip(got, want, strict=True):
        assert_close(one.double(), other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_and_gradients_are_of_it(make, dtype):
    """Against float64 of the rounded inputs: arithmetic is float32, only what is stored is rounded."""
    example = make()
    rounded = example.to("cpu", dtype)
    got = with_gradients(example.fused, rounded)
    want = with_gradients(example.reference, [t.detach().double().requires_grad_() for t in rounded])
    for i, (one, other) in enumerate(zip(got, want, strict=True)):
        assert one.dtype == (torch.float32 if i < len(got) - len(rounded) else dtype)
        assert_close(one.double(), other, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_operators_are_well_formed():
    z, mu, logvar = total_correlation(5, 7, 3).inputs
    opcheck(correlation_forward, (z, mu, logvar))
    joint, marginal = correlation_forward(z, mu, logvar)
    opcheck(correlation_backward, (torch.randn(5), torch.randn(5, 3), z, mu, logvar, joint, marginal))
    x, params = torch.randint(0, 5, (2, 3, 6)) / 4, torch.randn(2, 20, 6)
    opcheck(mixture_forward, (x, params, 5))
    opcheck(mixture_backward, (torch.randn(2), x, params, 5))
    opcheck(_search, (torch.randn(5, 3), torch.randn(4, 3)))


@pytest.mark.parametrize(("n", "k", "d"), [(5, 3, 2), (70, 130, 40), (1, 1, 1), (64, 64, 32), (3, 200, 65)])
def test_nearest_code(n, k, d):
    x, codes = torch.randn(n, d + 3)[:, 3:], torch.randn(d, k).T
    want = torch.cdist(x.double(), codes.double()).argmin(1)
    assert torch.equal(_search(x, codes.contiguous()), want) and torch.equal(reference(x, codes), want)
    assert torch.equal(_search(x.half(), codes.half().contiguous()), reference(x.half(), codes.half()))


def test_the_first_of_equal_codes_is_taken():
    assert _search(torch.zeros(3, 4), torch.ones(200, 4)).tolist() == [0, 0, 0]
    far = torch.cat([torch.full((150, 4), 9.0), torch.ones(2, 4)])
    assert _search(torch.zeros(3, 4), far).tolist() == [150, 150, 150]


def test_float32_keeps_its_digits_at_any_scale():
    """Each vector lies near a code of its own scale: nearer than float16 could tell, halves or not scaled."""
    scale = 2.0 ** torch.randint(-40, 40, (90, 1))
    codes = scale * torch.randn(90, 33)
    order = torch.randperm(90)
    x = (codes * (1 + 1e-3 * torch.randn(90, 33)))[order]
    close = codes * (1 + 1e-2)                              # and far from none
    assert torch.equal(_search(x, torch.cat([codes, close])), order)
