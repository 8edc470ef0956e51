"""Triton kernels of `kernels.total_correlation`: rows of z against Gaussians, in tiles (ROWS, OTHERS, D) that are not kept.

One program owns ROWS of z and walks over all Gaussians with running log-sum-exps; backward, one kernel owns rows of z, another
one Gaussians. Every sum has one owner and a fixed order. float32 arithmetic. D is padded to a power of 2 in registers: padded
columns have l = 0 and no weight.
"""

# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

from .shared import OPTIONS, exp, load_rows, log, store_tile

# ROWS and OTHERS of a tile by its COLS, some 2048 elements: what leaves nothing on the stack on sm_80, sm_90 and sm_100
TILES = {1: (32, 32), 2: (16, 32), 4: (16, 32), 8: (8, 32), 16: (8, 16), 32: (8, 8), 64: (4, 8), 128: (2, 8), 256: (2, 2)}


@triton.jit
def _pairs(z, mu, logvar, cols, D):
    """l, u and the distance z - mu, (ROWS, OTHERS, D); l is 0 in padded columns."""
    distance = z[:, None, :] - mu[None, :, :]
    u = distance * exp(-logvar)[None, :, :]
    each = -0.5 * (1.8378770664093453 + logvar[None, :, :] + distance * u)
    return tl.where((cols < D)[None, None, :], each, 0.0), u, distance


@triton.jit
def forward_kernel(
    z_p, mu_p, logvar_p, joint_p, marginal_p, N, B, D, z_stride, mu_stride, logvar_stride,
    ROWS: tl.constexpr, OTHERS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """joint (N,) and marginal (N, D). Grid (row tiles,)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    z = load_rows(z_p, z_stride, rows, N, cols, D)
    joint_max = tl.full([ROWS], float("-inf"), tl.float32)
    joint_sum = tl.zeros([ROWS], tl.float32)
    marginal_max = tl.full([ROWS, COLS], float("-inf"), tl.float32)
    marginal_sum = tl.zeros([ROWS, COLS], tl.float32)
    for start in range(0, B, OTHERS):
        others = start + tl.arange(0, OTHERS)
        mu = load_rows(mu_p, mu_stride, others, B, cols, D)
        logvar = load_rows(logvar_p, logvar_stride, others, B, cols, D)
        each, _, _ = _pairs(z, mu, logvar, cols, D)
        real = others < B
        whole = tl.where(real[None, :], tl.sum(each, axis=2), float("-inf"))
        each = tl.where(real[None, :, None], each, float("-inf"))
        new = tl.maximum(joint_max, tl.max(whole, axis=1))
        joint_sum = joint_sum * exp(joint_max - new) + tl.sum(exp(whole - new[:, None]), axis=1)
        joint_max = new
        peak = tl.maximum(marginal_max, tl.max(each, axis=1))
        marginal_sum = marginal_sum * exp(marginal_max - peak) + tl.sum(exp(each - peak[:, None, :]), axis=1)
        marginal_max = peak
    tl.store(joint_p + rows, joint_max + log(joint_sum), mask=rows < N)
    mask = (rows < N)[:, None] & (cols < D)[None, :]
    store_tile(marginal_p, D, rows, cols, marginal_max + log(marginal_sum), mask)


@triton.jit
def _weights(each, joint, marginal, gjoint, gmarginal, inside):
    """W (ROWS, OTHERS, D), zero outside."""
    shared = gjoint[:, None] * exp(tl.sum(each, axis=2) - joint[:, None])
    weights = shared[:, :, None] + gmarginal[:, None, :] * exp(each - marginal[:, None, :])
    return tl.where(inside, weights, 0.0)


@triton.jit
def rows_kernel(
    gjoint_p, gmarginal_p, z_p, mu_p, logvar_p, joint_p, marginal_p, gz_p, N, B, D, z_stride, mu_stride, logvar_stride,
    ROWS: tl.constexpr, OTHERS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The gradient of z (N, D). Grid (row tiles,)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    z = load_rows(z_p, z_stride, rows, N, cols, D)
    gjoint = tl.load(gjoint_p + rows, mask=rows < N, other=0.0)
    joint = tl.load(joint_p + rows, mask=rows < N, other=0.0)
    gmarginal = load_rows(gmarginal_p, D, rows, N, cols, D)
    marginal = load_rows(marginal_p, D, rows, N, cols, D)
    total = tl.zeros([ROWS, COLS], tl.float32)
    for start in range(0, B, OTHERS):
        others = start + tl.arange(0, OTHERS)
        mu = load_rows(mu_p, mu_stride, others, B, cols, D)
        logvar = load_rows(logvar_p, logvar_stride, others, B, cols, D)
        each, u, _ = _pairs(z, mu, logvar, cols, D)
        inside = (rows < N)[:, None, None] & (others < B)[None, :, None] & (cols < D)[None, None, :]
        total -= tl.sum(_weights(each, joint, marginal, gjoint, gmarginal, inside) * u, axis=1)
    mask = (rows < N)[:, None] & (cols < D)[None, :]
    store_tile(gz_p, D, rows, cols, total, mask)


@triton.jit
def columns_kernel(
    gjoint_p, gmarginal_p, z_p, mu_p, logvar_p, joint_p, marginal_p, gmu_p, glogvar_p,
    N, B, D, z_stride, mu_stride, logvar_stride,
    ROWS: tl.constexpr, OTHERS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The gradients of mu and logvar (B, D). Grid (tiles of Gaussians,)."""
    others = tl.program_id(0) * OTHERS + tl.arange(0, OTHERS)
    cols = tl.arange(0, COLS)
    mu = load_rows(mu_p, mu_stride, others, B, cols, D)
    logvar = load_rows(logvar_p, logvar_stride, others, B, cols, D)
    gmu = tl.zeros([OTHERS, COLS], tl.float32)
    glogvar = tl.zeros([OTHERS, COLS], tl.float32)
    for start in range(0, N, ROWS):
        rows = start + tl.arange(0, ROWS)
        z = load_rows(z_p, z_stride, rows, N, cols, D)
        gjoint = tl.load(gjoint_p + rows, mask=rows < N, other=0.0)
        joint = tl.load(joint_p + rows, mask=rows < N, other=0.0)
        gmarginal = load_rows(gmarginal_p, D, rows, N, cols, D)
        marginal = load_rows(marginal_p, D, rows, N, cols, D)
        each, u, distance = _pairs(z, mu, logvar, cols, D)
        inside = (rows < N)[:, None, None] & (others < B)[None, :, None] & (cols < D)[None, None, :]
        weights = _weights(each, joint, marginal, gjoint, gmarginal, inside)
        gmu += tl.sum(weights * u, axis=0)
        glogvar += 0.5 * tl.sum(weights * (u * distance - 1.0), axis=0)
    mask = (others < B)[:, None] & (cols < D)[None, :]
    store_tile(gmu_p, D, others, cols, gmu, mask)
    store_tile(glogvar_p, D, others, cols, glogvar, mask)


def forward(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """joint (N,) and marginal (N, D)."""
    n, d = z.shape
    joint = torch.empty(n, dtype=torch.float32, device=z.device)
    marginal = torch.empty(n, d, dtype=torch.float32, device=z.device)
    sizes, tile = _plan(z, mu, logvar)
    if n:
        with torch.cuda.device_of(z):
            forward_kernel[(triton.cdiv(n, tile["ROWS"]),)](z, mu, logvar, joint, marginal, *sizes, **tile, **OPTIONS)
    return joint, marginal


def backward(
    gjoint: Tensor, gmarginal: Tensor, z: Tensor, mu: Tensor, logvar: Tensor, joint: Tensor, marginal: Tensor
) -> list[Tensor]:
    """The gradients of z, mu and logvar, each in its input's dtype."""
    make = torch.empty if z.numel() else torch.zeros        # without rows of z nothing is launched
    gz, gmu, glogvar = (make(t.shape, dtype=t.dtype, device=t.device) for t in (z, mu, logvar))
    sizes, tile = _plan(z, mu, logvar)
    inputs = (gjoint.contiguous(), gmarginal.contiguous(), z, mu, logvar, joint, marginal)
    if z.numel():
        with torch.cuda.device_of(z):
            rows_kernel[(triton.cdiv(len(z), tile["ROWS"]),)](*inputs, gz, *sizes, **tile, **OPTIONS)
            columns_kernel[(triton.cdiv(len(mu), tile["OTHERS"]),)](*inputs, gmu, glogvar, *sizes, **tile, **OPTIONS)
    return [gz, gmu, glogvar]


def _plan(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[tuple[int, ...], dict[str, int]]:
    """Sizes and row strides, and the tile."""
    cols = triton.next_power_of_2(z.shape[1])
    rows, others = TILES[cols]
    return (len(z), *mu.shape, z.stride(0), mu.stride(0), logvar.stride(0)), {"ROWS": rows, "OTHERS": others, "COLS": cols}
