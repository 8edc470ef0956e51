"""The aggregate posterior's log-density and that of its marginals, estimated from the batch that made it.

    l_ijd       = log N(z_id; mu_jd, exp logvar_jd)                                       nats
    joint_i     = log sum_j exp sum_d l_ijd          log of B q(z_i)
    marginals_i = sum_d log sum_j exp l_ijd          log of B^D prod_d q(z_id)

Their difference, up to constants, is the total correlation KL(q(z) || prod_d q(z_d)) that beta-TCVAE weighs. Written in torch
it holds several tensors of B x B x D; the kernels hold none. With P_ij = exp(sum_d l_ijd - joint_i), M_ijd = exp(l_ijd - m_id),
where m_id is the inner logarithm of the marginals, and gradients a of joint, b of marginals from above,

    W_ijd = a_i P_ij + b_i M_ijd,    u_ijd = (z_id - mu_jd) exp(-logvar_jd)
    z     -sum_j W u        mu     sum_i W u        logvar     1/2 sum_i W (u (z - mu) - 1)

Source: Chen et al. 2018, eq. 3 and appendix C; the constants of their minibatch weights are the caller's.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .device import fusable, loop_under_vmap, row_major

LOG_2PI = math.log(2 * math.pi)
WIDEST = 256                                                # latents that a kernel's tile holds; above, plain torch


def total_correlation(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """log sum_j prod_d q(z_id|x_j) and sum_d log sum_j q(z_id|x_j), nats, for each row i of z.

    z: (N, D); mu, logvar: (B, D), one Gaussian a row. Gradients reach all three.
    Returns joint (N,) and marginals (N,), float32, or float64 if any input is. log q(z_i) is joint - log B, and
    sum_d log q(z_id) is marginals - D log B, under equal weights.
    On a GPU nothing of the size N x B is kept, forward or backward, for up to 256 latents; sums run in a fixed order.

    Raises: ValueError, TypeError, naming the argument.
    """
    _check(z, mu, logvar)
    if 0 < z.shape[1] <= WIDEST and fusable(z, mu, logvar):
        return fused(z, mu, logvar)
    return reference(z, mu, logvar)


def reference(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """`total_correlation` in plain torch: what runs on a CPU, and what the kernels are held to."""
    dtype = torch.float64 if torch.float64 in (z.dtype, mu.dtype, logvar.dtype) else torch.float32
    z, mu, logvar = (t.to(dtype) for t in (z, mu, logvar))
    joint, marginal = _one_by_one(z, mu, logvar)
    return joint, marginal.sum(-1)


def _one_by_one(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """joint (N,), and the marginals of each latent (N, D)."""
    each = -0.5 * (LOG_2PI + logvar + (z.unsqueeze(1) - mu).square() * (-logvar).exp())
    return each.sum(-1).logsumexp(1), each.logsumexp(1)


def fused(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """`total_correlation` by the Triton kernels, on any device where they run."""
    joint, marginal = _Forward.apply(row_major(z), row_major(mu), row_major(logvar))
    return joint, marginal.sum(-1)


class _Forward(torch.autograd.Function):
    """(z, mu, logvar) to joint (N,) and the marginals of each latent (N, D)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        return _forward(z, mu, logvar)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, gjoint: Tensor, gmarginal: Tensor) -> tuple[Tensor, ...]:
        return _Backward.apply(gjoint, gmarginal, *ctx.saved_tensors)


class _Backward(torch.autograd.Function):
    """Its own gradients, for second derivatives, go through plain torch; joint and marginal are functions of the rest there."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gjoint: Tensor, gmarginal: Tensor, z: Tensor, mu: Tensor, logvar: Tensor, joint: Tensor, marginal: Tensor
    ) -> tuple[Tensor, ...]:
        return tuple(_backward(gjoint, gmarginal, z, mu, logvar, joint, marginal))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:5])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        gjoint, gmarginal, *inputs = ctx.saved_tensors

        def gradients(gjoint: Tensor, gmarginal: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
            return torch.func.vjp(_one_by_one, *inputs)[1]((gjoint, gmarginal))

        return *torch.func.vjp(gradients, gjoint, gmarginal, *inputs)[1](cotangents), None, None


@torch.library.custom_op("vae_zoo::total_correlation", mutates_args=())
def _forward(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    from ._triton.total_correlation import forward

    return forward(z, mu, logvar)


@_forward.register_fake
def _(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    return z.new_empty(z.shape[:1], dtype=torch.float32), z.new_empty(z.shape, dtype=torch.float32)


@torch.library.custom_op("vae_zoo::total_correlation_backward", mutates_args=())
def _backward(
    gjoint: Tensor, gmarginal: Tensor, z: Tensor, mu: Tensor, logvar: Tensor, joint: Tensor, marginal: Tensor
) -> list[Tensor]:
    from ._triton.total_correlation import backward

    return backward(gjoint, gmarginal, z, mu, logvar, joint, marginal)


@_backward.register_fake
def _(gjoint: Tensor, gmarginal: Tensor, z: Tensor, mu: Tensor, logvar: Tensor, *saved: Tensor) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in (z, mu, logvar)]


loop_under_vmap(_forward)
loop_under_vmap(_backward)


def _check(z: Tensor, mu: Tensor, logvar: Tensor) -> None:
    for name, t in (("z", z), ("mu", mu), ("logvar", logvar)):
        if not t.is_floating_point():
            raise TypeError(f"{name} is {t.dtype}; a floating point dtype is needed")
        if t.ndim != 2:
            raise ValueError(f"{name} has shape {tuple(t.shape)}; (rows, D) is needed")
        if t.device != z.device:
            raise ValueError(f"{name} is on {t.device} and z on {z.device}; move it with .to(z.device)")
    if mu.shape != logvar.shape or mu.shape[1] != z.shape[1]:
        raise ValueError(f"z {tuple(z.shape)}, mu {tuple(mu.shape)} and logvar {tuple(logvar.shape)} must agree in D, and "
                         "mu and logvar in all")
    if len(mu) == 0:
        raise ValueError("mu has no rows; the density needs at least one Gaussian")
