"""The kernels of total_correlation, logistic_mixture_nll and nearest_code, run by Triton's interpreter on a CPU. Started by
test_triton.py in a process of its own."""

import pytest
import torch
from interpreter import poisoned_memory as poisoned_memory
from operations import logistic_mixture, total_correlation, with_gradients
from torch.library import opcheck
from torch.testing import assert_close

from kernels.logistic_mixture_nll import _backward as mixture_backward
from kernels.logistic_mixture_nll import _forward as mixture_forward
from kernels.nearest_code import _search, reference
from kernels.total_correlation import _backward as correlation_backward
from kernels.total_correlation import _forward as correlation_forward

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


@pytest.mark.parametrize("make", SMALL)
def test_transforms(make):
    """Compiled whole, under grad and vmap, and differentiated twice."""
    example = make()
    inputs = example.to("cpu", torch.float32)

    def number(*inputs):
        outputs = example.fused(*inputs)
        return sum(o.sin().sum() for o in (outputs if isinstance(outputs, tuple) else (outputs,)))

    want = torch.autograd.grad(number(*inputs), inputs)
    compiled = torch.compile(number, fullgraph=True, backend="aot_eager_decomp_partition")
    assert_close(torch.autograd.grad(compiled(*inputs), inputs), want)
    which = tuple(range(len(inputs)))
    gradient = torch.func.grad(number, argnums=which)
    assert_close(gradient(*inputs), want)
    twice = [torch.stack([t, 0.5 * t]).detach() for t in inputs]
    assert_close([g[1] for g in torch.func.vmap(gradient)(*twice)], list(gradient(*(0.5 * t.detach() for t in inputs))))

    def plain(*inputs):
        outputs = example.reference(*inputs)
        return sum(o.sin().sum() for o in (outputs if isinstance(outputs, tuple) else (outputs,)))

    def second(call, inputs):
        first = torch.autograd.grad(call(*inputs), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    for one, other in zip(second(number, inputs), second(plain, inputs), strict=True):
        assert (one - other).norm() < 1e-3 * other.norm()   # of the whole: sharp components leave small elements few digits


def test_forward_mode_refuses_and_does_not_lie():
    example = total_correlation(5, 7, 3)
    inputs = tuple(example.inputs)
    with pytest.raises(RuntimeError, match="forward mode|jvp"):
        torch.func.jvp(example.fused, inputs, inputs)


def test_operators_are_well_formed():
    z, mu, logvar = total_correlation(5, 7, 3).inputs
    opcheck(correlation_forward, (z, mu, logvar))
    joint, marginal = correlation_forward(z, mu, logvar)
    opcheck(correlation_backward, (torch.randn(5), torch.randn(5, 3), z, mu, logvar, joint, marginal))
    x, params = torch.randint(0, 5, (2, 3, 6)) / 4, torch.randn(2, 20, 6)
    opcheck(mixture_forward, (x, params, 5))
    opcheck(mixture_backward, (torch.randn(2), x, params, 5))
    opcheck(_search, (torch.randn(5, 3), torch.randn(4, 3)))


@pytest.mark.parametrize("make", [lambda: total_correlation(0, 7, 3)])
def test_no_rows(make):
    example = make()
    got = with_gradients(example.fused, example.to("cpu", torch.float32))
    assert [tuple(t.shape) for t in got] == [(0,), (0,), (0, 3), (7, 3), (7, 3)] and all((t == 0).all() for t in got)


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
