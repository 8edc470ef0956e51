"""Examples of the operations on pairs and mixtures: inputs that need gradients, the kernels' path and the plain one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import logistic_mixture_nll as mixture
from kernels import total_correlation as correlation
from kernels.logistic_mixture_nll import fused as mixture_fused
from kernels.logistic_mixture_nll import reference as mixture_reference
from kernels.total_correlation import fused as correlation_fused
from kernels.total_correlation import reference as correlation_reference

Call = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Example:
    inputs: list[Tensor]
    fused: Call
    reference: Call
    public: Call

    def to(self, device: str, dtype: torch.dtype) -> list[Tensor]:
        return [t.detach().to(device, dtype).requires_grad_() for t in self.inputs]


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
    """Outputs, and the gradients of the inputs under random gradients from above."""
    outputs = call(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    generator = torch.Generator().manual_seed(7)
    above = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, above)]
