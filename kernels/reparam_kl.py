"""Draw from a diagonal Gaussian and know its KL divergence and importance log-weights, in one operation.

    z  = mu + exp(logvar / 2) eps,    eps ~ N(0, 1)
    kl = KL(N(mu, exp logvar) || N(p_mu, exp p_logvar))
       = 1/2 [ (mu - p_mu)^2 exp(-p_logvar) + exp(r) - 1 - r ],    r = logvar - p_logvar        nats, per dimension

and, where no prior is named, p = N(0, I). With the gradients g_z of z[k] and g of kl from above, the gradients are

    mu        sum_k g_z + g (mu - p_mu) exp(-p_logvar)
    logvar    1/2 exp(logvar / 2) sum_k g_z eps + g/2 (exp(r) - 1)
    p_mu      -g (mu - p_mu) exp(-p_logvar)
    p_logvar  g/2 [ 1 - (mu - p_mu)^2 exp(-p_logvar) - exp(r) ]

The log-weight of a sample is, summed over dimensions,

    w_k = log p(z_k) - log q(z_k) = 1/2 [ r + eps^2 - (z - p_mu)^2 exp(-p_logvar) ]                              nats

and with its gradient h from above and s = (z - p_mu) exp(-p_logvar), it adds -h s to g_z, h/2 to the gradient of logvar, h s
to that of p_mu and h/2 [s (z - p_mu) - 1] to that of p_logvar. Along the path, that is with q's own parameters held still and
only z moving with them, it adds h [eps exp(-logvar / 2) - s] to g_z and nothing to logvar: for h constant the same in the mean,
and without noise where q is the true posterior.

All of them need eps but not z: kernels that make their noise from a seed make it again in the backward pass and keep nothing.

On a CPU this is plain torch code, which torch.compile fuses and every transform of torch.func understands. On a GPU it
is two Triton kernels (`_triton/reparam_kl.py`) behind raw custom operators. Those sit inside an autograd.Function whose
backward is a Function too: operators with registered autograd fail under torch.func.grad, and under torch.func.jvp they
give zeros without a word.

Source: Kingma and Welling 2014, eq. 10 and appendix B; Roeder et al. 2017 (sticking the landing), eq. 9; Tucker et al. 2019
(doubly reparameterized gradients), eq. 8.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from . import philox
from .device import fusable, loop_under_vmap

Prior = tuple[Tensor, Tensor]
Weight = Literal["full", "path"] | None                     # which derivative of the log-weight, if there is one


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
    z, kl = _compute(mu, logvar, k, prior, eps, seed, row0, per_dim)
    return z, kl


def reparam_log_weight(
    mu: Tensor,
    logvar: Tensor,
    k: int = 1,
    *,
    prior: Prior | None = None,
    eps: Tensor | None = None,
    seed: Tensor | None = None,
    row0: int = 0,
    per_dim: bool = False,
    path: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`reparam_kl`, and the importance log-weight log p(z) - log q(z) of each sample, in the same pass.

    path: the log-weight's gradient reaches mu and logvar through z alone ("sticking the landing"). Doubly reparameterised
        gradients of the importance-weighted bound (DReG) are those with squared normalised weights from above. Second
        derivatives of these gradients are not defined on a GPU.

    Returns z and kl as reparam_kl, and log_weight (k, B), in general (k, *mu.shape[:-1]), nats, in kl's dtype.
    Raises: ValueError, TypeError, as reparam_kl.
    """
    z, kl, log_weight = _compute(mu, logvar, k, prior, eps, seed, row0, per_dim, "path" if path else "full")
    return z, kl, log_weight


def _compute(
    mu: Tensor, logvar: Tensor, k: int, prior: Prior | None, eps: Tensor | None, seed: Tensor | None, row0: int,
    per_dim: bool, weight: Weight = None,
) -> tuple[Tensor, ...]:
    """By the kernels, or by plain torch."""
    _check(mu, logvar, k, prior, eps, seed, row0)
    inputs = (mu, logvar, *(prior or ()))
    if eps is None and fusable(*inputs):
        return fused(mu, logvar, k, prior, philox.fresh_seed(mu) if seed is None else seed, row0, per_dim, weight)
    shape = (k, *mu.shape)
    if seed is not None:
        eps = philox.normal(seed, (k, math.prod(mu.shape[:-1]), mu.shape[-1]), row0).reshape(shape)
    elif eps is None:
        eps = torch.randn(shape, dtype=_arithmetic(*inputs), device=mu.device)
    return reference(mu, logvar, eps, prior, per_dim, weight)


def reference(
    mu: Tensor, logvar: Tensor, eps: Tensor, prior: Prior | None = None, per_dim: bool = False, weight: Weight = None
) -> tuple[Tensor, ...]:
    """(z, kl) or (z, kl, log_weight) for given noise, in plain torch: what runs on a CPU, and what the kernels are held to."""
    dtype = _arithmetic(mu, logvar, *(prior or ()))
    m, v, noise = mu.to(dtype), logvar.to(dtype), eps.to(dtype)
    z = m + (0.5 * v).exp() * noise
    if prior is None:
        distance, ratio = m.square(), v
    else:
        p_mu, p_logvar = (t.to(dtype) for t in prior)
        distance, ratio = (m - p_mu).square() * (-p_logvar).exp(), v - p_logvar
    kl = 0.5 * (distance + ratio.expm1() - ratio)
    outputs = z.to(mu.dtype), kl if per_dim else kl.sum(-1)
    if weight is None:
        return outputs
    if weight == "path":
        m, v = m.detach(), v.detach()
        noise = (z - m) * (-0.5 * v).exp()
    distance, ratio = z.square(), v
    if prior is not None:
        distance, ratio = (z - p_mu).square() * (-p_logvar).exp(), v - p_logvar
    return *outputs, 0.5 * (ratio + noise.square() - distance).sum(-1)


def fused(
    mu: Tensor, logvar: Tensor, k: int, prior: Prior | None, seed: Tensor, row0: int, per_dim: bool, weight: Weight = None
) -> tuple[Tensor, ...]:
    """`reference` by the Triton kernels, noise made from a seed, on any device where they run."""
    rows = (math.prod(mu.shape[:-1]), mu.shape[-1])
    p_mu, p_logvar = prior or (None, None)
    flat = [None if t is None else t.reshape(rows) for t in (mu, logvar, p_mu, p_logvar)]
    z, kl, *log_weight = _Forward.apply(*flat, seed, k, row0, per_dim, weight)
    shape = mu.shape[:-1]
    return (z.reshape(k, *mu.shape), kl.reshape(mu.shape if per_dim else shape), *(w.reshape(k, *shape) for w in log_weight))


class _Forward(torch.autograd.Function):
    """(mu, logvar, p_mu, p_logvar, seed, k, row0, per_dim, weight) to (z, kl) or (z, kl, log_weight).

    Has no jvp: torch then refuses forward mode by itself, and Dynamo would refuse a Function that defines one.
    """

    generate_vmap_rule = True

    @staticmethod                                           # named one by one: torch 2.11's Dynamo takes *inputs for a ctx
    def forward(
        mu: Tensor, logvar: Tensor, p_mu: Tensor | None, p_logvar: Tensor | None, seed: Tensor, k: int, row0: int,
        per_dim: bool, weight: Weight,
    ) -> tuple[Tensor, ...]:
        return tuple(_forward(mu, logvar, p_mu, p_logvar, seed, k, row0, per_dim, weight is not None))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:5])
        ctx.row0, ctx.path = inputs[6], inputs[8] == "path"

    @staticmethod
    def backward(ctx: Any, gz: Tensor, gkl: Tensor, gweight: Tensor | None = None) -> tuple[Tensor | None, ...]:
        gradients = _Backward.apply(gz, gkl, gweight, *ctx.saved_tensors, ctx.row0, ctx.path)
        return *gradients, *[None] * (9 - len(gradients))


class _Backward(torch.autograd.Function):
    """(gz, gkl, gweight, mu, logvar, p_mu, p_logvar, seed, row0, path) to the gradients of mu, logvar and, if given, the prior.

    Its own gradients, for second derivatives, go through `reference` with the same noise.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gz: Tensor, gkl: Tensor, gweight: Tensor | None, mu: Tensor, logvar: Tensor, p_mu: Tensor | None,
        p_logvar: Tensor | None, seed: Tensor, row0: int, path: bool,
    ) -> tuple[Tensor, ...]:
        return tuple(_backward(gz, gkl, gweight, mu, logvar, p_mu, p_logvar, seed, row0, path))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:8])
        ctx.row0, ctx.path = inputs[8:]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.path:
            raise NotImplementedError("second derivatives of a log-weight's path derivative; take them with path=False")
        *above, mu, logvar, p_mu, p_logvar, seed = ctx.saved_tensors
        eps = philox.normal(seed, tuple(above[0].shape), ctx.row0)
        differentiated = [t for t in (*above, mu, logvar, p_mu, p_logvar) if t is not None]
        count = 2 if above[2] is None else 3

        def outputs(mu: Tensor, logvar: Tensor, *prior: Tensor) -> tuple[Tensor, ...]:
            weight: Weight = None if count == 2 else "full"
            return reference(mu, logvar, eps, (prior[0], prior[1]) if prior else None, above[1].ndim == 2, weight)

        def gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
            return torch.func.vjp(outputs, *tensors[count:])[1](tensors[:count])

        second = list(torch.func.vjp(gradients, *differentiated)[1](cotangents))
        if count == 2:
            second.insert(2, None)
        return *second, *[None] * (10 - len(second))


@torch.library.custom_op("vae_zoo::reparam_kl", mutates_args=())
def _forward(
    mu: Tensor, logvar: Tensor, p_mu: Tensor | None, p_logvar: Tensor | None, seed: Tensor, k: int, row0: int, per_dim: bool,
    weight: bool,
) -> list[Tensor]:
    from ._triton.reparam_kl import forward

    return forward(mu, logvar, p_mu, p_logvar, seed, k, row0, per_dim, weight)


@_forward.register_fake
def _(
    mu: Tensor, logvar: Tensor, p_mu: Any, p_logvar: Any, seed: Tensor, k: int, row0: int, per_dim: bool, weight: bool
) -> list[Tensor]:
    shapes = [mu.shape if per_dim else mu.shape[:1], *([(k, mu.shape[0])] if weight else [])]
    return [mu.new_empty(k, *mu.shape), *(mu.new_empty(shape, dtype=torch.float32) for shape in shapes)]


@torch.library.custom_op("vae_zoo::reparam_kl_backward", mutates_args=())
def _backward(
    gz: Tensor, gkl: Tensor, gweight: Tensor | None, mu: Tensor, logvar: Tensor, p_mu: Tensor | None,
    p_logvar: Tensor | None, seed: Tensor, row0: int, path: bool,
) -> list[Tensor]:
    from ._triton.reparam_kl import backward

    return backward(gz, gkl, gweight, mu, logvar, p_mu, p_logvar, seed, row0, path)


@_backward.register_fake
def _(gz: Tensor, gkl: Tensor, gweight: Any, *inputs: Any) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in inputs[:4] if t is not None]


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
