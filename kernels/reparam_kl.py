"""Draw from a diagonal Gaussian and know its KL divergence, in one operation.

    z  = mu + exp(logvar / 2) eps,    eps ~ N(0, 1)
    kl = KL(N(mu, exp logvar) || N(p_mu, exp p_logvar))
       = 1/2 [ (mu - p_mu)^2 exp(-p_logvar) + exp(r) - 1 - r ],    r = logvar - p_logvar        nats, per dimension

and, where no prior is named, p = N(0, I). With the gradients g_z of z[k] and g of kl from above, the gradients are

    mu        sum_k g_z + g (mu - p_mu) exp(-p_logvar)
    logvar    1/2 exp(logvar / 2) sum_k g_z eps + g/2 (exp(r) - 1)
    p_mu      -g (mu - p_mu) exp(-p_logvar)
    p_logvar  g/2 [ 1 - (mu - p_mu)^2 exp(-p_logvar) - exp(r) ]

which need eps but not z: kernels that make their noise from a seed make it again in the backward pass and keep nothing.

On a CPU this is plain torch code, which torch.compile fuses and every transform of torch.func understands. On a GPU it
is two Triton kernels (`_triton/reparam_kl.py`) behind raw custom operators. Those sit inside an autograd.Function whose
backward is a Function too: operators with registered autograd fail under torch.func.grad, and under torch.func.jvp they
give zeros without a word.

Source: Kingma and Welling 2014, eq. 10 and appendix B.
"""

import math
from typing import Any

import torch
from torch import Tensor

from . import philox
from .device import fusable, loop_under_vmap

Prior = tuple[Tensor, Tensor]


def reparam_kl(
    mu: Tensor,
    logvar: Tensor,
    k: int = 1,
    *,
    prior: Prior | None = None,
    eps: Tensor | None = None,
    seed: Tensor | None = None,
    row0: int = 0,
    per_dim: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw k samples z of N(mu, exp logvar) and give the KL divergence to the prior, in nats.

    mu, logvar: (B, D), strided as the halves of a chunk are or not. More leading dimensions, or none, are allowed; they
        count as rows in their usual order.
    prior: None for N(0, I), or (p_mu, p_logvar), each of mu's shape (`expand` a shared one); gradients reach both.
    eps: the noise itself, (k, *mu.shape); gradients reach it.
    seed: int64 (2,) = (key, offset) on mu's device; the noise is then that of `kernels.philox.normal`. Without eps and
        without seed it is fresh, from torch's default generator.
    row0: the number of the first row in the seed's noise, for batches split over devices.

    Returns z (k, *mu.shape) in mu's dtype, and kl (B,), or (B, D) if per_dim; in general mu.shape[:-1] or mu.shape.
    Arithmetic and kl are in float32, or in float64 if any input is.

    Raises: ValueError, TypeError, naming the argument.
    """
    _check(mu, logvar, k, prior, eps, seed, row0)
    inputs = (mu, logvar, *(prior or ()))
    if eps is None and fusable(*inputs):
        return fused(mu, logvar, k, prior, philox.fresh_seed(mu) if seed is None else seed, row0, per_dim)
    shape = (k, *mu.shape)
    if seed is not None:
        eps = philox.normal(seed, (k, math.prod(mu.shape[:-1]), mu.shape[-1]), row0).reshape(shape)
    elif eps is None:
        eps = torch.randn(shape, dtype=_arithmetic(*inputs), device=mu.device)
    return reference(mu, logvar, eps, prior, per_dim)


def reference(
    mu: Tensor, logvar: Tensor, eps: Tensor, prior: Prior | None = None, per_dim: bool = False
) -> tuple[Tensor, Tensor]:
    """`reparam_kl` for given noise, in plain torch: what runs on a CPU, and what the kernels are held to."""
    dtype = _arithmetic(mu, logvar, *(prior or ()))
    m, ratio = mu.to(dtype), logvar.to(dtype)
    z = m + (0.5 * ratio).exp() * eps.to(dtype)
    if prior is None:
        distance = m.square()
    else:
        p_mu, p_logvar = (t.to(dtype) for t in prior)
        distance, ratio = (m - p_mu).square() * (-p_logvar).exp(), ratio - p_logvar
    kl = 0.5 * (distance + ratio.expm1() - ratio)
    return z.to(mu.dtype), kl if per_dim else kl.sum(-1)


def fused(
    mu: Tensor, logvar: Tensor, k: int, prior: Prior | None, seed: Tensor, row0: int, per_dim: bool
) -> tuple[Tensor, Tensor]:
    """`reparam_kl` by the Triton kernels, on any device where they run."""
    rows = (math.prod(mu.shape[:-1]), mu.shape[-1])
    p_mu, p_logvar = prior or (None, None)
    flat = [None if t is None else t.reshape(rows) for t in (mu, logvar, p_mu, p_logvar)]
    z, kl = _Forward.apply(*flat, seed, k, row0, per_dim)
    return z.reshape(k, *mu.shape), kl.reshape(mu.shape if per_dim else mu.shape[:-1])


class _Forward(torch.autograd.Function):
    """(mu, logvar, p_mu, p_logvar, seed, k, row0, per_dim) to (z, kl).

    Has no jvp: torch then refuses forward mode by itself, and Dynamo would refuse a Function that defines one.
    """

    generate_vmap_rule = True

    @staticmethod                                           # named one by one: torch 2.11's Dynamo takes *inputs for a ctx
    def forward(
        mu: Tensor, logvar: Tensor, p_mu: Tensor | None, p_logvar: Tensor | None, seed: Tensor, k: int, row0: int,
        per_dim: bool,
    ) -> tuple[Tensor, Tensor]:
        return _forward(mu, logvar, p_mu, p_logvar, seed, k, row0, per_dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:5])
        ctx.row0 = inputs[6]

    @staticmethod
    def backward(ctx: Any, gz: Tensor, gkl: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _Backward.apply(gz, gkl, *ctx.saved_tensors, ctx.row0)
        return *gradients, *[None] * (8 - len(gradients))


class _Backward(torch.autograd.Function):
    """(gz, gkl, mu, logvar, p_mu, p_logvar, seed, row0) to the gradients of mu, logvar and, if given, the prior.

    Its own gradients, for second derivatives, go through `reference` with the same noise.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gz: Tensor, gkl: Tensor, mu: Tensor, logvar: Tensor, p_mu: Tensor | None, p_logvar: Tensor | None, seed: Tensor,
        row0: int,
    ) -> tuple[Tensor, ...]:
        return tuple(_backward(gz, gkl, mu, logvar, p_mu, p_logvar, seed, row0))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:7])
        ctx.row0 = inputs[7]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        gz, gkl, *inputs, seed = ctx.saved_tensors
        inputs = [t for t in inputs if t is not None]
        eps = philox.normal(seed, tuple(gz.shape), ctx.row0)

        def outputs(mu: Tensor, logvar: Tensor, *prior: Tensor) -> tuple[Tensor, Tensor]:
            return reference(mu, logvar, eps, (prior[0], prior[1]) if prior else None, per_dim=gkl.ndim == 2)

        def gradients(gz: Tensor, gkl: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
            return torch.func.vjp(outputs, *inputs)[1]((gz, gkl))

        second = torch.func.vjp(gradients, gz, gkl, *inputs)[1](cotangents)
        return *second, *[None] * (8 - len(second))


@torch.library.custom_op("vae_zoo::reparam_kl", mutates_args=())
def _forward(
    mu: Tensor,
    logvar: Tensor,
    p_mu: Tensor | None,
    p_logvar: Tensor | None,
    seed: Tensor,
    k: int,
    row0: int,
    per_dim: bool,
) -> tuple[Tensor, Tensor]:
    from ._triton.reparam_kl import forward

    return forward(mu, logvar, p_mu, p_logvar, seed, k, row0, per_dim)


@_forward.register_fake
def _(
    mu: Tensor, logvar: Tensor, p_mu: Any, p_logvar: Any, seed: Tensor, k: int, row0: int, per_dim: bool
) -> tuple[Tensor, Tensor]:
    kl = mu.new_empty(mu.shape if per_dim else mu.shape[:1], dtype=torch.float32)
    return mu.new_empty(k, *mu.shape), kl


@torch.library.custom_op("vae_zoo::reparam_kl_backward", mutates_args=())
def _backward(
    gz: Tensor,
    gkl: Tensor,
    mu: Tensor,
    logvar: Tensor,
    p_mu: Tensor | None,
    p_logvar: Tensor | None,
    seed: Tensor,
    row0: int,
) -> list[Tensor]:
    from ._triton.reparam_kl import backward

    return backward(gz, gkl, mu, logvar, p_mu, p_logvar, seed, row0)


@_backward.register_fake
def _(gz: Tensor, gkl: Tensor, *inputs: Any) -> list[Tensor]:
    mu, logvar, p_mu, p_logvar, _, _ = inputs
    return [t.new_empty(t.shape) for t in (mu, logvar, p_mu, p_logvar) if t is not None]


loop_under_vmap(_forward)
loop_under_vmap(_backward)


def _arithmetic(*inputs: Tensor) -> torch.dtype:
    return torch.float64 if any(t.dtype == torch.float64 for t in inputs) else torch.float32


def _check(
    mu: Tensor, logvar: Tensor, k: int, prior: Prior | None, eps: Tensor | None, seed: Tensor | None, row0: int
) -> None:
    if mu.ndim == 0:
        raise ValueError("mu has no dimensions; give (B, D), or at least (D,)")
    if k < 1:
        raise ValueError(f"k = {k} samples; at least 1 is needed")
    if row0 < 0:
        raise ValueError(f"row0 = {row0}; rows are numbered from 0")
    if eps is not None and seed is not None:
        raise ValueError("both eps and seed are given; the noise is either given or made from a seed: drop one")
    if prior is not None and len(prior) != 2:
        raise ValueError(f"prior has {len(prior)} parts; give the pair (p_mu, p_logvar), or None for N(0, I)")
    tensors = [("mu", mu, mu.shape), ("logvar", logvar, mu.shape)]
    if prior is not None:
        tensors += [("p_mu", prior[0], mu.shape), ("p_logvar", prior[1], mu.shape)]
    if eps is not None:
        tensors.append(("eps", eps, torch.Size((k, *mu.shape))))
    for name, tensor, shape in tensors:
        if not tensor.is_floating_point():
            raise TypeError(f"{name} is {tensor.dtype}; a floating point dtype is needed")
        if tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must be {tuple(shape)}, by mu and k = {k}")
    if seed is not None:
        tensors.append(("seed", seed, seed.shape))
        if seed.dtype != torch.int64 or seed.shape != (2,):
            raise ValueError(f"seed is {seed.dtype} {tuple(seed.shape)}; int64 (2,) = (key, offset) is needed")
    for name, tensor, _ in tensors:
        if tensor.device != mu.device:
            raise ValueError(f"{name} is on {tensor.device} and mu on {mu.device}; move it with .to(mu.device)")
