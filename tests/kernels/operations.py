"""Examples of the differentiable operations: inputs that need gradients, the kernels' path, the plain and the public one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import logistic_mixture_nll as mixture
from kernels import philox, reparam_kl, reparam_log_weight
from kernels import total_correlation as correlation
from kernels.logistic_mixture_nll import fused as mixture_fused
from kernels.logistic_mixture_nll import reference as mixture_reference
from kernels.reparam_kl import Weight
from kernels.reparam_kl import fused as reparam_fused
from kernels.reparam_kl import reference as reparam_reference
from kernels.total_correlation import fused as correlation_fused
from kernels.total_correlation import reference as correlation_reference

SEED, ROW0 = torch.tensor([-(2**50) + 1, 2]), 3
Call = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Example:
    inputs: list[Tensor]
    fused: Call
    reference: Call
    public: Call

    def to(self, device: str, dtype: torch.dtype) -> list[Tensor]:
        return [t.detach().to(device, dtype).requires_grad_() for t in self.inputs]


def reparam(k: int, b: int, d: int, prior: bool, per_dim: bool = False, weight: Weight = None) -> Example:
    """mu and logvar are halves of a chunk."""
    inputs = [*(0.7 * torch.randn(b, 2 * d)).chunk(2, -1), *(0.5 * torch.randn(b, d) for _ in range(2 * prior))]

    def fused(mu: Tensor, logvar: Tensor, *prior: Tensor) -> tuple[Tensor, ...]:
        return reparam_fused(mu, logvar, k, prior or None, SEED.to(mu.device), ROW0, per_dim, weight)

    def reference(mu: Tensor, logvar: Tensor, *prior: Tensor) -> tuple[Tensor, ...]:
        eps = philox.normal(SEED, (k, *mu.shape), ROW0).to(mu)
        return reparam_reference(mu, logvar, eps, prior or None, per_dim, weight)

    def public(mu: Tensor, logvar: Tensor, *prior: Tensor) -> tuple[Tensor, ...]:
        given = {"prior": prior or None, "seed": SEED.to(mu.device), "row0": ROW0, "per_dim": per_dim}
        if weight is None:
            return reparam_kl(mu, logvar, k, **given)
        return reparam_log_weight(mu, logvar, k, **given, path=weight == "path")

    return Example(inputs, fused, reference, public)


def total_correlation(n: int, b: int, d: int) -> Example:
    """mu and logvar are halves of a chunk."""
    inputs = [torch.randn(n, d), *(0.7 * torch.randn(b, 2 * d)).chunk(2, -1)]
    return Example(inputs, correlation_fused, correlation_reference, correlation)


def logistic_mixture(b: int, pixels: tuple[int, ...], components: int, levels: int) -> Example:
    """Lowest and highest values and clamped scales are among the inputs."""
    x = torch.randint(0, levels, (b, 3, *pixels)) / (levels - 1)
    x.flatten(2)[:1, :, :1] = torch.tensor([0.0, 1.0, 0.0])[:, None]
    params = 1.5 * torch.randn(b, 10 * components, *pixels)
    params[:, 2 * components] -= 9
    return Example([params], lambda p: mixture_fused(x.flatten(2).to(p.device), p.flatten(2), levels),
                   lambda p: mixture_reference(x.flatten(2).to(p.device, p.dtype), p.flatten(2), levels),
                   lambda p: mixture(x.to(p.device), p, levels))


def with_gradients(call: Call, inputs: list[Tensor]) -> list[Tensor]:
    """Outputs, and the gradients of the inputs under random gradients from above. By .backward: reentrant checkpoints know no
    other."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    outputs = call(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    generator = torch.Generator().manual_seed(7)
    above = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in outputs]
    torch.autograd.backward(outputs, above)
    return [*outputs, *(leaf.grad for leaf in leaves)]
