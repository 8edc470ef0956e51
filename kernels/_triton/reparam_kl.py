"""Triton kernels of `kernels.reparam_kl`: noise, sample, KL and log-weight in one pass forward, all gradients in one backward.

Arithmetic is float32 whatever the inputs. The noise is made anew in the backward pass from the seed, so nothing of the
size of z is kept. Sums run in a fixed order (no atomics): equal inputs give equal bits. mu and logvar are read where
they lie, chunk views included.

A program owns a tile of ROWS x COLS elements. Rows are on grid axis 0, because the other axes end at 65,535.
"""

# mypy: disallow-untyped-defs=False
# (the bodies of kernels are Triton's language, which has no types of Python's)

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..device import row_major
from .philox import noise
from .shared import OPTIONS, exp, load_tile, store_tile

# Widths and row strides reach the kernels in units of UNIT elements and are multiplied there: so the compiler knows
# that rows begin at multiples of UNIT, and reads 16 bytes at a time also where D is no multiple of 16.


@triton.jit(do_not_specialize=["row0"])
def forward_kernel(
    mu_p, logvar_p, p_mu_p, p_logvar_p, seed_p, z_p, kl_p, weight_p,
    K, B, width, mu_stride, logvar_stride, p_mu_stride, p_logvar_stride, row0,
    ROWS: tl.constexpr, COLS: tl.constexpr, UNIT: tl.constexpr,
    PRIOR: tl.constexpr, PER_DIM: tl.constexpr, FAST: tl.constexpr, WEIGHT: tl.constexpr,
):  # fmt: skip
    """z (K, B, D); kl (B, D) if PER_DIM, else sums (column tiles, B); if WEIGHT, sums of log-weights (column tiles, K, B).

    Grid (row tiles * K, column tiles).
    """
    k = tl.program_id(0) % K  # fastest, so that mu and logvar stay in the cache
    tile = tl.program_id(1)
    D = width * UNIT
    rows = (tl.program_id(0) // K) * ROWS + tl.arange(0, ROWS)
    cols = tile * COLS + tl.arange(0, COLS)
    mask = (rows < B)[:, None] & (cols < D)[None, :]

    mu = load_tile(mu_p, mu_stride * UNIT, rows, cols, mask)
    logvar = load_tile(logvar_p, logvar_stride * UNIT, rows, cols, mask)
    eps = noise(seed_p, k, rows + row0, tile * COLS, ROWS, COLS, FAST)
    z = mu + exp(0.5 * logvar) * eps
    store_tile(z_p + k.to(tl.int64) * B * D, D, rows, cols, z, mask)

    if WEIGHT:
        standard = z
        ratio = logvar
        if PRIOR:
            p_logvar = load_tile(p_logvar_p, p_logvar_stride * UNIT, rows, cols, mask)
            standard = (z - load_tile(p_mu_p, p_mu_stride * UNIT, rows, cols, mask)) * exp(-0.5 * p_logvar)
            ratio = logvar - p_logvar
        weight = tl.where(mask, 0.5 * (ratio + eps * eps - standard * standard), 0.0)  # masked lanes have noise, too
        tl.store(weight_p + (tile * K + k).to(tl.int64) * B + rows, tl.sum(weight, axis=1), mask=rows < B)

    if k == 0:
        if PRIOR:
            p_logvar = load_tile(p_logvar_p, p_logvar_stride * UNIT, rows, cols, mask)
            distance = mu - load_tile(p_mu_p, p_mu_stride * UNIT, rows, cols, mask)
            ratio = logvar - p_logvar
            kl = 0.5 * (distance * distance * exp(-p_logvar) + (exp(ratio) - 1.0) - ratio)
        else:
            kl = 0.5 * (mu * mu + (exp(logvar) - 1.0) - logvar)
        if PER_DIM:
            store_tile(kl_p, D, rows, cols, kl, mask)
        else:  # masked lanes hold exact zeros: they were loaded as mu = logvar = 0
            tl.store(kl_p + tile.to(tl.int64) * B + rows, tl.sum(kl, axis=1), mask=rows < B)


@triton.jit(do_not_specialize=["row0"])
def backward_kernel(
    gz_p, gkl_p, gweight_p, mu_p, logvar_p, p_mu_p, p_logvar_p, seed_p, gmu_p, glogvar_p, gp_mu_p, gp_logvar_p,
    K, B, width, mu_stride, logvar_stride, p_mu_stride, p_logvar_stride, row0,
    ROWS: tl.constexpr, COLS: tl.constexpr, UNIT: tl.constexpr,
    PRIOR: tl.constexpr, PER_DIM: tl.constexpr, FAST: tl.constexpr, WEIGHT: tl.constexpr, PATH: tl.constexpr,
):  # fmt: skip
    """Gradients (B, D) of mu, logvar and the prior from gz (K, B, D), gkl and, if WEIGHT, gweight (K, B), there along the PATH
    of z alone or in full. Grid (row tiles, column tiles)."""
    tile = tl.program_id(1)
    D = width * UNIT
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tile * COLS + tl.arange(0, COLS)
    mask = (rows < B)[:, None] & (cols < D)[None, :]
    mu = load_tile(mu_p, mu_stride * UNIT, rows, cols, mask)
    logvar = load_tile(logvar_p, logvar_stride * UNIT, rows, cols, mask)
    distance = mu
    if PRIOR:
        p_logvar = load_tile(p_logvar_p, p_logvar_stride * UNIT, rows, cols, mask)
        distance = mu - load_tile(p_mu_p, p_mu_stride * UNIT, rows, cols, mask)
        precision = exp(-p_logvar)
    std = exp(0.5 * logvar)

    path = tl.zeros([ROWS, COLS], tl.float32)  # sums over k: of what reaches z,
    scaled = tl.zeros([ROWS, COLS], tl.float32)  # that times eps,
    gp_mu = tl.zeros([ROWS, COLS], tl.float32)
    gp_logvar = tl.zeros([ROWS, COLS], tl.float32)
    direct = tl.zeros([ROWS, 1], tl.float32)  # and of gweight
    for k in range(K):
        sample = tl.cast(k, tl.int64)
        gz = load_tile(gz_p, D, sample * B + rows, cols, mask)
        eps = noise(seed_p, sample, rows + row0, tile * COLS, ROWS, COLS, FAST)
        if WEIGHT:
            gweight = tl.load(gweight_p + sample * B + rows, mask=rows < B, other=0.0)[:, None]
            beyond = distance + std * eps  # z - p_mu
            pull = gweight * beyond
            if PRIOR:
                pull *= precision
                gp_mu += pull
                gp_logvar += 0.5 * (pull * beyond - gweight)
            gz -= pull
            if PATH:
                gz += gweight * eps / std
            else:
                direct += gweight
        path += gz
        scaled += gz * eps

    if PER_DIM:
        gkl = load_tile(gkl_p, D, rows, cols, mask)
    else:
        gkl = tl.load(gkl_p + rows, mask=rows < B, other=0.0).to(tl.float32)[:, None]
    if PRIOR:
        pull = distance * precision
        excess = exp(logvar - p_logvar) - 1.0
        store_tile(gp_mu_p, D, rows, cols, gp_mu - gkl * pull, mask)
        store_tile(gp_logvar_p, D, rows, cols, gp_logvar - 0.5 * gkl * (distance * pull + excess), mask)
    else:
        pull = mu
        excess = exp(logvar) - 1.0
    store_tile(gmu_p, D, rows, cols, path + gkl * pull, mask)
    store_tile(glogvar_p, D, rows, cols, 0.5 * (std * scaled + gkl * excess + direct), mask)


def forward(
    mu: Tensor,
    logvar: Tensor,
    p_mu: Tensor | None,
    p_logvar: Tensor | None,
    seed: Tensor,
    k: int,
    row0: int,
    per_dim: bool,
    weight: bool,
) -> list[Tensor]:
    """z (k, B, D); kl (B, D) if per_dim, else (B,); if weight, log-weights (k, B), of inputs (B, D)."""
    b, d = mu.shape
    z = torch.empty(k, b, d, dtype=mu.dtype, device=mu.device)
    if z.numel() == 0:
        shapes = [(b, d) if per_dim else (b,), *([(k, b)] if weight else [])]
        return [z, *(torch.zeros(shape, dtype=torch.float32, device=mu.device) for shape in shapes)]
    inputs, strides, constants = _plan(mu, logvar, p_mu, p_logvar, per_dim)
    row_tiles, col_tiles = triton.cdiv(b, constants["ROWS"]), triton.cdiv(d, constants["COLS"])
    kl = torch.empty((b, d) if per_dim else (col_tiles, b), dtype=torch.float32, device=mu.device)
    log_weight = torch.empty(col_tiles, k, b, dtype=torch.float32, device=mu.device) if weight else kl
    with torch.cuda.device_of(mu):
        forward_kernel[(row_tiles * k, col_tiles)](
            *inputs, seed.contiguous(), z, kl, log_weight,
            k, b, d // constants["UNIT"], *strides, row0, **constants, WEIGHT=weight, **OPTIONS,
        )  # fmt: skip
    return [z, kl if per_dim else _over_tiles(kl), *([_over_tiles(log_weight)] if weight else [])]


def backward(
    gz: Tensor,
    gkl: Tensor,
    gweight: Tensor | None,
    mu: Tensor,
    logvar: Tensor,
    p_mu: Tensor | None,
    p_logvar: Tensor | None,
    seed: Tensor,
    row0: int,
    path: bool,
) -> list[Tensor]:
    """Gradients (B, D) of mu, logvar and, where there is a prior, p_mu and p_logvar, each in its input's dtype."""
    k, b, d = gz.shape
    gradients = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in _given(mu, logvar, p_mu, p_logvar)]
    if mu.numel() == 0:
        return gradients
    inputs, strides, constants = _plan(mu, logvar, p_mu, p_logvar, gkl.ndim == 2)
    grid = (triton.cdiv(b, constants["ROWS"]), triton.cdiv(d, constants["COLS"]))
    with torch.cuda.device_of(mu):
        backward_kernel[grid](
            gz.contiguous(), gkl.contiguous(), (gkl if gweight is None else gweight).contiguous(),
            *inputs, seed.contiguous(), *_four(gradients),
            k, b, d // constants["UNIT"], *strides, row0, **constants, WEIGHT=gweight is not None, PATH=path, **OPTIONS,
        )  # fmt: skip
    return gradients


def _over_tiles(sums: Tensor) -> Tensor:
    """Sums over tiles of columns; usually there is one, and no second launch."""
    return sums.sum(0) if len(sums) > 1 else sums[0]


def _plan(
    mu: Tensor, logvar: Tensor, p_mu: Tensor | None, p_logvar: Tensor | None, per_dim: bool
) -> tuple[list[Tensor], list[int], dict[str, int | bool]]:
    """Four inputs with neighbours side by side, their row strides in units, and the constants of both kernels."""
    b, d = mu.shape
    given = [row_major(t) for t in _given(mu, logvar, p_mu, p_logvar)]
    unit = math.gcd(d, *(t.stride(0) for t in given), *(16 // t.element_size() for t in given))
    cols = min(256, max(4, triton.next_power_of_2(d)))
    constants: dict[str, int | bool] = {
        "ROWS": min(1024 // cols, triton.next_power_of_2(b)),
        "COLS": cols,
        "UNIT": unit,
        "PRIOR": p_mu is not None,
        "PER_DIM": per_dim,
        "FAST": mu.is_cuda and torch.version.hip is None,
    }
    return _four(given), [t.stride(0) // unit for t in _four(given)], constants


def _given(*tensors: Tensor | None) -> list[Tensor]:
    return [t for t in tensors if t is not None]


def _four(tensors: list[Tensor]) -> list[Tensor]:
    """Without a prior, the kernels do not touch their third and fourth pointer: any tensor will do."""
    return tensors if len(tensors) == 4 else tensors * 2
