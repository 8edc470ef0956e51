"""What torch does to functions, done to every differentiable operation: compiled, exported, checkpointed, mapped,
differentiated twice and forwards, given no rows.

In plain torch on a CPU, on a GPU where there is one, and once more by test_triton.py with the kernels in Triton's interpreter.
"""

import os

import pytest
import torch
from operations import logistic_mixture, reparam, total_correlation, with_gradients
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from kernels import philox, reparam_kl
from kernels.reparam_kl import fused

pytestmark = [pytest.mark.usefixtures("poisoned_memory")]
if os.environ.get("TRITON_INTERPRET") == "1":
    from interpreter import needs_loops

    pytestmark.append(needs_loops)
    WAYS = ["interpreted"]
else:
    absent = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    WAYS = ["plain", pytest.param("cuda", marks=[pytest.mark.gpu, absent])]

OPERATIONS = {
    "reparam_kl": lambda b: reparam(2, b, 6, prior=False, per_dim=True),
    "reparam_kl with a prior": lambda b: reparam(3, b, 5, prior=True),
    "reparam_log_weight": lambda b: reparam(2, b, 6, prior=False, per_dim=True, weight="full"),
    "reparam_log_weight with a prior": lambda b: reparam(3, b, 5, prior=True, weight="full"),
    "reparam_log_weight along the path": lambda b: reparam(2, b, 6, prior=False, weight="path"),
    "total_correlation": lambda b: total_correlation(b, 7, 3),
    "logistic_mixture_nll": lambda b: logistic_mixture(b, (3, 2), 3, 5),
}
TWICE = [name for name in OPERATIONS if "path" not in name]


class Case:
    """An operation as it runs one way, and its inputs (B = 4, or none)."""

    def __init__(self, way, name, b=4):
        self.example = OPERATIONS[name](b)
        self.call = self.example.fused if way == "interpreted" else self.example.public
        self.inputs = self.example.to("cuda" if way == "cuda" else "cpu", torch.float32)

    def number(self, *inputs):
        return number_of(self.call(*inputs))


def number_of(outputs):
    """One number, which depends on all outputs and not linearly."""
    return sum(o.sin().sum() for o in (outputs if isinstance(outputs, tuple) else (outputs,)))


def compiled(function, way):
    torch.compiler.reset()                                  # else the recompile limit is met after a few operations
    return torch.compile(function, fullgraph=True, backend="inductor" if way == "cuda" else "aot_eager_decomp_partition")


ways = pytest.mark.parametrize("way", WAYS)
operations = pytest.mark.parametrize("name", OPERATIONS)


@ways
@operations
def test_compiled_whole(way, name):
    case = Case(way, name)
    assert_close(with_gradients(compiled(case.call, way), case.inputs), with_gradients(case.call, case.inputs))


@ways
@operations
def test_exported(way, name):
    case = Case(way, name)
    inputs = tuple(t.detach() for t in case.inputs)

    class Module(nn.Module):
        def forward(self, *inputs):
            return case.call(*inputs)

    assert_close(torch.export.export(Module(), inputs).module()(*inputs), case.call(*inputs))


@ways
@operations
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed(way, name, reentrant):
    case = Case(way, name)
    want = with_gradients(case.call, case.inputs)
    got = with_gradients(lambda *inputs: checkpoint(case.call, *inputs, use_reentrant=reentrant), case.inputs)
    assert all(map(torch.equal, got, want))


@ways
@operations
def test_grad_and_vmap(way, name):
    case = Case(way, name)
    gradient = torch.func.grad(case.number, argnums=tuple(range(len(case.inputs))))
    assert_close(gradient(*case.inputs), torch.autograd.grad(case.number(*case.inputs), case.inputs))
    half = [0.5 * t.detach() for t in case.inputs]
    mapped = torch.func.vmap(gradient)(*(torch.stack([t.detach(), h]) for t, h in zip(case.inputs, half, strict=True)))
    assert_close([g[1] for g in mapped], list(gradient(*half)))


@ways
@pytest.mark.parametrize("name", TWICE)
def test_differentiated_twice(way, name):
    """Of the whole: sharp components leave small elements few digits."""
    case = Case(way, name)

    def second(number, inputs):
        first = torch.autograd.grad(number(*inputs), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    exact = [t.detach().cpu().double().requires_grad_() for t in case.inputs]
    want = second(lambda *inputs: number_of(case.example.reference(*inputs)), exact)
    for one, other in zip(second(case.number, case.inputs), want, strict=True):
        assert (one.cpu() - other).norm() < 5e-4 * other.norm()


@ways
@operations
def test_forward_mode_works_or_refuses_and_never_gives_silent_zeros(way, name):
    case = Case(way, name)
    inputs = tuple(t.detach() for t in case.inputs)
    direction = tuple(torch.randn_like(t) for t in inputs)
    if way != "plain":
        with pytest.raises(RuntimeError, match="jvp|forward mode"):
            torch.func.jvp(case.number, inputs, direction)
        with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp|forward mode"):
            case.number(*map(torch.autograd.forward_ad.make_dual, inputs, direction))
        return
    along = torch.func.jvp(case.number, inputs, direction)[1]
    gradients = torch.autograd.grad(case.number(*case.inputs), case.inputs)
    assert_close(along, sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)))


@ways
@operations
def test_no_rows(way, name):
    some, none = (with_gradients(case.call, case.inputs) for case in (Case(way, name), Case(way, name, b=0)))
    for one, other in zip(some, none, strict=True):
        assert other.shape == tuple(0 if n == 4 else n for n in one.shape) and other.dtype == one.dtype
        assert (other == 0).all()                           # of Gaussians that no row of z has met


def draw(way, mu, logvar):
    """z with fresh noise."""
    if way == "interpreted":
        return fused(mu, logvar, 2, None, philox.fresh_seed(mu), 0, False)[0]
    return reparam_kl(mu, logvar, 2)[0]


@ways
@pytest.mark.parametrize("reentrant", [None, False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_the_backward_pass_has_the_noise_of_the_forward_pass(way, whole, reentrant):
    """dz/dlogvar = (z - mu) / 2, whoever makes the noise again: the kernel, a checkpoint, the compiler."""
    mu, logvar = (torch.randn(4, 6, device="cuda" if way == "cuda" else "cpu", requires_grad=True) for _ in range(2))

    def z(mu, logvar):
        if reentrant is None:
            return draw(way, mu, logvar)
        return checkpoint(draw, way, mu, logvar, use_reentrant=reentrant)

    drawn = (compiled(z, way) if whole else z)(mu, logvar)
    drawn.sum().backward()
    assert_close(logvar.grad, (0.5 * (drawn - mu)).sum(0).detach())


@ways
def test_a_compiled_graph_draws_twice_and_what_is_drawn_without_it(way):
    mu = torch.zeros(4, 6, device="cuda" if way == "cuda" else "cpu")

    def two(mu):
        return draw(way, mu, mu), draw(way, mu, mu)

    torch.manual_seed(1)
    eager = two(mu)
    call = compiled(two, way)
    torch.manual_seed(1)
    one, other = call(mu)
    assert not torch.isclose(one, other).any() and not torch.isclose(call(mu)[0], one).any()
    assert_close((one, other), eager)
