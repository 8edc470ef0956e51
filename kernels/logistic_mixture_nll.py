"""-log p(x) of colour images under a mixture of discretised logistics with coupled channels, a sum for each example.

For each pixel, M components with weights softmax(logits); in each the channels are one after the other

    p(r, g, b) = P(r; m_r, s_r) P(g; m_g + tanh(c_0) r, s_g) P(b; m_b + tanh(c_1) r + tanh(c_2) g, s_b)

and P is the logistic's mass on the value's bin, x on [-1, 1] and h half a bin:

    P(x; m, s) = sigma(u) - sigma(v),    u = (x + h - m) / s,  v = (x - h - m) / s,  d = u - v = 2h / s
    log P      = log sigma(u) + log sigma(-v) + log(1 - exp(-d))
    lowest value: log sigma(u);    highest value: log sigma(-v)

The product form needs no threshold below which a density stands in for the mass, because nothing cancels in it.

Source: Salimans et al. 2017 (PixelCNN++), section 2.  Departs from the paper's code: the exact mass everywhere, as above.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .device import fusable, loop_under_vmap

LEAST_LOG_SCALE = -7.0


def logistic_mixture_nll(x: Tensor, params: Tensor, levels: int = 256) -> Tensor:
    """Nats for each example, (B,), summed over pixels; float32, or float64 if an input is.

    x: (B, 3, *pixels) in [0, 1], values v / (levels - 1); gets no gradient.
    params: (B, 10 M, *pixels): M logits; then for each channel M means, M log-scales (at least -7) and M couplings c, on the
        scale where x is 2x - 1.
    On a GPU one kernel forward and one backward; of what they compute only the sums are kept.

    Raises: ValueError, TypeError, naming the argument.
    """
    _check(x, params, levels)
    x, params = x.detach().flatten(2), params.flatten(2)
    if fusable(x, params):
        return fused(x, params, levels)
    return reference(x, params, levels)


def reference(x: Tensor, params: Tensor, levels: int) -> Tensor:
    """`logistic_mixture_nll` of x (B,3,P), in plain torch: what runs on a CPU, and what the kernels are held to."""
    dtype = torch.float64 if torch.float64 in (x.dtype, params.dtype) else torch.float32
    x, params = x.to(dtype), params.to(dtype)
    components = params.shape[1] // 10
    logits, rest = params.split([components, 9 * components], 1)
    means, log_scales, couplings = rest.unflatten(1, (3, 3, components)).unbind(2)      # each (B, 3, M, P)
    c, values = couplings.tanh(), (2 * x - 1).unsqueeze(2)
    shift = torch.stack([torch.zeros_like(c[:, 0]), c[:, 0] * values[:, 0], c[:, 1] * values[:, 0] + c[:, 2] * values[:, 1]], 1)
    log_scales, half = log_scales.clamp(min=LEAST_LOG_SCALE), 1 / (levels - 1)
    centred, narrow = values - means - shift, (-log_scales).exp()
    upper = F.logsigmoid((centred + half) * narrow)
    lower = F.logsigmoid((half - centred) * narrow)
    between = upper + lower + (-torch.expm1(-2 * half * narrow)).log()
    step = (x * (levels - 1)).round().unsqueeze(2)
    log_p = torch.where(step == 0, upper, torch.where(step == levels - 1, lower, between)).sum(1)
    return -(log_p + logits.log_softmax(1)).logsumexp(1).sum(1)


def fused(x: Tensor, params: Tensor, levels: int) -> Tensor:
    """`logistic_mixture_nll` of x (B,3,P) by the Triton kernels, on any device where they run."""
    return _Forward.apply(x.contiguous(), params.contiguous(), levels)


class _Forward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, params: Tensor, levels: int) -> Tensor:
        return _forward(x, params, levels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.levels = inputs[2]

    @staticmethod
    def backward(ctx: Any, gnll: Tensor) -> tuple[None, Tensor, None]:
        return None, _Backward.apply(gnll, *ctx.saved_tensors, ctx.levels), None


class _Backward(torch.autograd.Function):
    """(gnll, x, params, levels) to the gradient of params. Its own gradients go through `reference`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gnll: Tensor, x: Tensor, params: Tensor, levels: int) -> Tensor:
        return _backward(gnll, x, params, levels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.levels = inputs[3]

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, Tensor, None]:
        gnll, x, params = ctx.saved_tensors

        def gradient(gnll: Tensor, params: Tensor) -> Tensor:
            return torch.func.vjp(lambda p: reference(x, p, ctx.levels), params)[1](gnll)[0]

        first, second = torch.func.vjp(gradient, gnll, params)[1](cotangent)
        return first, None, second, None


@torch.library.custom_op("vae_zoo::logistic_mixture_nll", mutates_args=())
def _forward(x: Tensor, params: Tensor, levels: int) -> Tensor:
    from ._triton.logistic_mixture_nll import forward

    return forward(x, params, levels)


@_forward.register_fake
def _(x: Tensor, params: Tensor, levels: int) -> Tensor:
    return x.new_empty(len(x), dtype=torch.float32)


@torch.library.custom_op("vae_zoo::logistic_mixture_nll_backward", mutates_args=())
def _backward(gnll: Tensor, x: Tensor, params: Tensor, levels: int) -> Tensor:
    from ._triton.logistic_mixture_nll import backward

    return backward(gnll, x, params, levels)


@_backward.register_fake
def _(gnll: Tensor, x: Tensor, params: Tensor, levels: int) -> Tensor:
    return torch.empty_like(params)


loop_under_vmap(_forward)
loop_under_vmap(_backward)


def _check(x: Tensor, params: Tensor, levels: int) -> None:
    for name, t in (("x", x), ("params", params)):
        if not t.is_floating_point():
            raise TypeError(f"{name} is {t.dtype}; a floating point dtype is needed")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x is {x.dtype}, which cannot tell {levels} values apart; give float32")
    if levels < 2:
        raise ValueError(f"levels is {levels}; at least 2 are needed")
    if x.ndim < 3 or x.shape[1] != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}; (B, 3, *pixels) is needed")
    if (len(params), *params.shape[2:]) != (len(x), *x.shape[2:]) or params.shape[1] % 10 or params.shape[1] == 0:
        raise ValueError(f"params has shape {tuple(params.shape)}; it must be (B, 10 M, *pixels) for x of {tuple(x.shape)}")
    if params.device != x.device:
        raise ValueError(f"params is on {params.device} and x on {x.device}; move it with .to(x.device)")
