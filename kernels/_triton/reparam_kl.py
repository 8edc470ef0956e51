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
from .shared import OPTIONS, exp, exp_half, load_tile, store_tile

ONE_WARP = OPTIONS | {"num_warps": 1}                       # so that sums over a row need no barrier
FORWARD, BACKWARD = 512, 256                                # elements of a warp: wide rows, for sums over them; few registers
TOGETHER = 16                                               # samples that a program may take at a time
PROCESSORS = 128                                            # of a large GPU: as many programs, if need be by smaller tiles
WARPS = 4096                                                # that keep it busy; beyond them, a program loops over samples

# Widths and row strides reach the kernels in units of UNIT elements and are multiplied there: so the compiler knows
# that rows begin at multiples of UNIT, and reads 16 bytes at a time also where D is no multiple of 16.


@triton.jit(do_not_specialize=["row0"])
def forward_kernel(
    mu_p, logvar_p, p_mu_p, p_logvar_p, seed_p, z_p, kl_p, weight_p,
    K, B, width, mu_stride, logvar_stride, p_mu_stride, p_logvar_stride, row0, chunk,
    ROWS: tl.constexpr, COLS: tl.constexpr, UNIT: tl.constexpr, WIDE: tl.constexpr,
    PRIOR: tl.constexpr, PER_DIM: tl.constexpr, FAST: tl.constexpr, WEIGHT: tl.constexpr,
):  # fmt: skip
    """z (K, B, D); kl (B, D) if PER_DIM, else sums (column tiles, B); if WEIGHT, sums of log-weights (column tiles, K, B).

    Grid (row tiles * chunks of samples, column tiles).
    """
    chunks = (K + chunk - 1) // chunk
    first = (tl.program_id(0) % chunks) * chunk  # fastest, so that mu and logvar stay in the cache
    tile = tl.program_id(1)
    D = width * UNIT
    rows = (tl.program_id(0) // chunks) * ROWS + tl.arange(0, ROWS)
    cols = tile * COLS + tl.arange(0, COLS)
    mask = (rows < B)[:, None] & (cols < D)[None, :]
    mu = load_tile(mu_p, mu_stride * UNIT, rows, cols, mask)
    logvar = load_tile(logvar_p, logvar_stride * UNIT, rows, cols, mask)
    std = exp_half(logvar)
    centre = mu  # (z - p_mu) / p_std is centre + scale eps
    scale = std
    ratio = logvar
    if PRIOR:
        p_logvar = load_tile(p_logvar_p, p_logvar_stride * UNIT, rows, cols, mask)
        narrow = exp_half(-p_logvar)
        centre = (mu - load_tile(p_mu_p, p_mu_stride * UNIT, rows, cols, mask)) * narrow
        scale = std * narrow
        ratio = logvar - p_logvar

    if first == 0:
        excess = exp(ratio) - 1.0 if PRIOR else std * std - 1.0  # scale * scale would not be exactly 1 where q is the prior
        kl = centre * centre + (excess - ratio)
        if PER_DIM:
            store_tile(kl_p, D, rows, cols, 0.5 * kl, mask)
        else:  # masked lanes hold exact zeros: they were loaded as mu = logvar = 0
            tl.store(kl_p + tile.to(tl.int64) * B + rows, 0.5 * tl.sum(kl, axis=1), mask=rows < B)

    ratios = tl.sum(ratio, axis=1)
    for i in range(chunk):
        k = first + i
        real = rows < tl.where(k < K, B, 0)  # of samples past the end none
        eps = noise(seed_p, k, rows + row0, tile * COLS, ROWS, COLS, WIDE, FAST)
        store_tile(z_p + k.to(tl.int64) * B * D, D, rows, cols, mu + std * eps, real[:, None] & (cols < D)[None, :])
        if WEIGHT:  # eps^2 - standard^2 as a product, which is exactly 0 in masked lanes: they have noise, too
            standard = centre + scale * eps
            weight = 0.5 * (ratios + tl.sum((eps - standard) * (eps + standard), axis=1))
            tl.store(weight_p + (tile * K + k).to(tl.int64) * B + rows, weight, mask=real)


@triton.jit(do_not_specialize=["row0"])
def backward_kernel(
    gz_p, gkl_p, gweight_p, mu_p, logvar_p, p_mu_p, p_logvar_p, seed_p, gmu_p, glogvar_p, gp_mu_p, gp_logvar_p,
    K, B, width, mu_stride, logvar_stride, p_mu_stride, p_logvar_stride, row0,
    ROWS: tl.constexpr, COLS: tl.constexpr, UNIT: tl.constexpr, WIDE: tl.constexpr, SAMPLES: tl.constexpr,
    PRIOR: tl.constexpr, PER_DIM: tl.constexpr, FAST: tl.constexpr, WEIGHT: tl.constexpr, PATH: tl.constexpr,
):  # fmt: skip
    """Gradients (B, D) of mu, logvar and the prior from gz (K, B, D), gkl and, if WEIGHT, gweight (K, B), there along the PATH
    of z alone or in full. Grid (row tiles, column tiles).

    SAMPLES are taken at a time, side by side, each with all rows of the tile: for small batches, whose rows fill no GPU.
    """
    tile = tl.program_id(1)
    D = width * UNIT
    lines = tl.arange(0, SAMPLES * ROWS)
    rows = tl.program_id(0) * ROWS + lines % ROWS
    cols = tile * COLS + tl.arange(0, COLS)
    mask = (rows < B)[:, None] & (cols < D)[None, :]
    mu = load_tile(mu_p, mu_stride * UNIT, rows, cols, mask)
    logvar = load_tile(logvar_p, logvar_stride * UNIT, rows, cols, mask)
    distance = mu
    if PRIOR:
        p_logvar = load_tile(p_logvar_p, p_logvar_stride * UNIT, rows, cols, mask)
        distance = mu - load_tile(p_mu_p, p_mu_stride * UNIT, rows, cols, mask)
        precision = exp(-p_logvar)
    std = exp_half(logvar)
    inverse = exp_half(-logvar)

    path = tl.zeros([SAMPLES * ROWS, COLS], tl.float32)  # sums over k: of what reaches z,
    scaled = tl.zeros([SAMPLES * ROWS, COLS], tl.float32)  # that times eps,
    gp_mu = tl.zeros([SAMPLES * ROWS, COLS], tl.float32)
    gp_logvar = tl.zeros([SAMPLES * ROWS, COLS], tl.float32)
    direct = tl.zeros([SAMPLES * ROWS, 1], tl.float32)  # and of gweight
    own = (lines // ROWS).to(tl.int64)
    for start in range(0, K, SAMPLES):
        k = tl.cast(start, tl.int64)
        inside = k + own < K
        gz = load_tile(gz_p + k * B * D, D, own * B + rows, cols, mask & inside[:, None])
        eps = noise(seed_p, (k + own)[:, None], rows + row0, tile * COLS, SAMPLES * ROWS, COLS, WIDE, FAST)
        if WEIGHT:
            gweight = tl.load(gweight_p + (k + own) * B + rows, mask=(rows < B) & inside, other=0.0)[:, None]
            beyond = distance + std * eps  # z - p_mu
            pull = gweight * beyond
            if PRIOR:
                pull *= precision
                gp_mu += pull
                gp_logvar += 0.5 * (pull * beyond - gweight)
            gz -= pull
            if PATH:
                gz += gweight * eps * inverse
            else:
                direct += gweight
        path += gz
        scaled += gz * eps

    if PER_DIM:                                             # once, with the first sample
        gkl = load_tile(gkl_p, D, rows, cols, mask & (own == 0)[:, None])
    else:
        gkl = tl.load(gkl_p + rows, mask=(rows < B) & (own == 0), other=0.0).to(tl.float32)[:, None]
    if PRIOR:
        pull = distance * precision
        excess = exp(logvar - p_logvar) - 1.0
        _store_sum(gp_mu_p, D, B, cols, gp_mu - gkl * pull, SAMPLES, ROWS, COLS)
        _store_sum(gp_logvar_p, D, B, cols, gp_logvar - 0.5 * gkl * (distance * pull + excess), SAMPLES, ROWS, COLS)
    else:
        pull = mu
        excess = std * std - 1.0
    _store_sum(gmu_p, D, B, cols, path + gkl * pull, SAMPLES, ROWS, COLS)
    _store_sum(glogvar_p, D, B, cols, 0.5 * (std * scaled + gkl * excess + direct), SAMPLES, ROWS, COLS)


@triton.jit
def _store_sum(pointer, D, B, cols, value, SAMPLES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Of a program's rows, summed over samples."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if SAMPLES > 1:
        value = tl.sum(tl.reshape(value, [SAMPLES, ROWS, COLS]), axis=0)
    store_tile(pointer, D, rows, cols, value, (rows < B)[:, None] & (cols < D)[None, :])


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
    inputs, strides, constants = _plan(mu, logvar, p_mu, p_logvar, per_dim, FORWARD, 1)
    row_tiles, col_tiles = triton.cdiv(b, constants["ROWS"]), triton.cdiv(d, constants["COLS"])
    chunk = _chunk(k, row_tiles * col_tiles)
    kl = torch.empty((b, d) if per_dim else (col_tiles, b), dtype=torch.float32, device=mu.device)
    log_weight = torch.empty(col_tiles, k, b, dtype=torch.float32, device=mu.device) if weight else kl
    with torch.cuda.device_of(mu):
        forward_kernel[(row_tiles * triton.cdiv(k, chunk), col_tiles)](
            *inputs, seed.contiguous(), z, kl, log_weight,
            k, b, d // constants["UNIT"], *strides, row0, chunk, **constants, WEIGHT=weight, **ONE_WARP,
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
    inputs, strides, constants = _plan(mu, logvar, p_mu, p_logvar, gkl.ndim == 2, BACKWARD, min(k, TOGETHER))
    grid = (triton.cdiv(b, constants["ROWS"]), triton.cdiv(d, constants["COLS"]))
    samples = _side_by_side(k, math.prod(grid))
    with torch.cuda.device_of(mu):
        backward_kernel[grid](
            gz.contiguous(), gkl.contiguous(), (gkl if gweight is None else gweight).contiguous(),
            *inputs, seed.contiguous(), *_four(gradients),
            k, b, d // constants["UNIT"], *strides, row0, **constants, SAMPLES=samples, WEIGHT=gweight is not None, PATH=path,
            **OPTIONS | {"num_warps": max(1, samples * constants["ROWS"] * constants["COLS"] // BACKWARD)},
        )  # fmt: skip
    return gradients


def _chunk(k: int, tiles: int) -> int:
    """How many samples a program makes, one after the other: what it has read and computed serves them all. From 9 to 16, where
    programs are enough, the number that leaves the fewest of the last program idle."""
    most = min(k, 16, max(1, tiles * k // WARPS))
    return min(range(most // 2 + 1, most + 1), key=lambda n: -k % n)


def _side_by_side(k: int, tiles: int) -> int:
    """How many samples a program takes at a time: 1, where programs are enough."""
    samples = 1
    while 2 * samples <= min(k, TOGETHER) and samples * tiles < WARPS:
        samples *= 2
    return samples


def _over_tiles(sums: Tensor) -> Tensor:
    """Sums over tiles of columns; usually there is one, and no second launch."""
    return sums.sum(0) if len(sums) > 1 else sums[0]


def _plan(
    mu: Tensor, logvar: Tensor, p_mu: Tensor | None, p_logvar: Tensor | None, per_dim: bool, tile: int, together: int
) -> tuple[list[Tensor], list[int], dict[str, int | bool]]:
    """Four inputs with neighbours side by side, their row strides in units, and the constants of both kernels.

    tile: the elements of one, at most. A small batch has smaller ones, but with its samples that are `together` no smaller than
    what a warp reads at a time.
    """
    b, d = mu.shape
    given = [row_major(t) for t in _given(mu, logvar, p_mu, p_logvar)]
    unit = math.gcd(d, *(t.stride(0) for t in given), *(16 // t.element_size() for t in given))
    wide = 8 if mu.element_size() == 2 else 4
    cols = min(tile, max(wide, triton.next_power_of_2(d)))
    rows = min(tile // cols, triton.next_power_of_2(b))
    while rows > 1 and rows * cols * together > 32 * wide and triton.cdiv(b, rows) * triton.cdiv(d, cols) < PROCESSORS:
        rows //= 2
    constants: dict[str, int | bool] = {
        "ROWS": rows,
        "COLS": cols,
        "UNIT": unit,
        "WIDE": wide,
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
