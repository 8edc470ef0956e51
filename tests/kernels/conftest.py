"""The oracle of the kernels' tests: float64 autograd through torch.distributions, for the same noise; and poisoned outputs."""

from collections.abc import Callable

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from kernels import philox


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def poisoned_memory():
    """torch.empty gives NaN: an output that no program writes is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def agrees() -> Callable[..., None]:
    """Assert that values and gradients of `call(mu, logvar, k, prior, seed, row0, per_dim)` are the true ones.

    weight: "full" or "path", where the call gives log-weights too, and by which derivative.
    mu and logvar are halves of a chunk, the gradients from above are random, and rows do not begin at 0.
    """

    def check(call, k, b, d, prior, per_dim, *, dtype, device="cpu", tolerance, weight=None):
        seed = torch.tensor([-(2**40) - 77, 5], device=device)
        inputs = [*(0.7 * torch.randn(b, 2 * d)).to(device, dtype).chunk(2, -1)]
        if prior:
            inputs += [(0.5 * torch.randn(b, d)).to(device, dtype) for _ in range(2)]
        inputs = [t.detach().requires_grad_() for t in inputs]
        outputs = call(*inputs[:2], k, tuple(inputs[2:]) or None, seed, 3, per_dim)
        above = [torch.randn_like(o) for o in outputs]
        got = (*outputs, *torch.autograd.grad(outputs, inputs, above))

        exact = [t.detach().double().requires_grad_() for t in inputs]
        q = Normal(exact[0], (exact[1] / 2).exp())
        p = Normal(exact[2], (exact[3] / 2).exp()) if prior else Normal(0 * q.loc, 1 + 0 * q.scale)
        z = q.loc + q.scale * philox.normal(seed, (k, b, d), row0=3).double()
        kl = kl_divergence(q, p) if per_dim else kl_divergence(q, p).sum(-1)
        outputs = [z, kl]
        if weight:
            density = Normal(q.loc.detach(), q.scale.detach()) if weight == "path" else q
            outputs.append((p.log_prob(z) - density.log_prob(z)).sum(-1))
        want = (*outputs, *torch.autograd.grad(outputs, exact, [g.double() for g in above]))

        names = ("z", "kl", *["log-weight"] * bool(weight), "grad mu", "grad logvar", "grad p_mu", "grad p_logvar")
        for name, one, other in zip(names, got, want, strict=False):
            summed = name in ("kl", "log-weight")
            assert one.dtype == (dtype if not summed or dtype == torch.float64 else torch.float32), name
            near = min(tolerance, 1e-5) if summed and dtype != torch.float32 else tolerance
            assert_close(one.double(), other, rtol=near, atol=near, msg=lambda text, name=name: f"{name}: {text}")

    return check
