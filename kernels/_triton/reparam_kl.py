"""Triton kernels of `kernels.reparam_kl`: noise, sample and KL in one pass forward, all gradients in one pass backward.

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
from triton.language.extra import libdevice

from .shared import OPTIONS, exp


@triton.jit
def _radius(word):
    """sqrt(-2 ln u) of a uniform u = (word + 1/2) / 2^32 in (0, 1]; the logarithm's relative error is below 2e-7.

    A polynomial everywhere: a GPU's fast logarithm is wrong by 2^-22 near u = 1, which under the root becomes 5e-4.
    """
    u = word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F2AAAAB) & -0x800000  # u = 2^e (1 + t), |t| <= 1/3
    t = (bits - exponent).to(tl.float32, bitcast=True) - 1.0
    p = 0.1422719806432724 * t - 0.1512460559606552  # (ln(1 + t) - t + t^2 / 2) / t^3, a minimax fit
    p = p * t + 0.13958021998405457
    p = p * t - 0.16471906006336212
    p = p * t + 0.2001308798789978
    p = p * t - 0.25004255771636963
    p = p * t + 0.33333179354667664
    log = exponent.to(tl.float32) * 8.262958405176314e-08 + (t + t * t * (p * t - 0.5))  # ln 2 / 2^23 per exponent bit
    return tl.sqrt(-2.0 * log)


@triton.jit
def _cos_sin(word, FAST: tl.constexpr):
    """Cosine and sine of the angle 2 pi word / 2^32. FAST: a GPU's approximate instructions, wrong by up to 5e-7."""
    if FAST:
        angle = word.to(tl.int32, bitcast=True).to(tl.float32) * 1.4629180792671596e-09
        return libdevice.fast_cosf(angle), libdevice.fast_sinf(angle)
    turned = word + 0x20000000  # the nearest quarter turn, and what is left of the angle: a in [-pi/4, pi/4)
    quarter = turned >> 30
    a = ((turned & 0x3FFFFFFF).to(tl.int32) - 0x20000000).to(tl.float32) * 1.4629180792671596e-09
    s = a * a
    sin = a + a * s * ((-1.9517297914717346e-4 * s + 8.332177996635437e-3) * s - 0.16666655242443085)
    cos = 1.0 - 0.5 * s + s * s * ((2.443845005473122e-5 * s - 1.388736767694354e-3) * s + 0.04166664555668831)
    odd = (quarter & 1) != 0
    x = tl.where(odd, sin, cos)
    y = tl.where(odd, cos, sin)
    return tl.where((quarter == 1) | (quarter == 2), -x, x), tl.where(quarter >= 2, -y, y)


@triton.jit
def _normal4(key, c0, c1, c2, c3, FAST: tl.constexpr):
    w0, w1, w2, w3 = tl.philox(key, c0, c1, c2, c3)
    r0 = _radius(w0)
    r1 = _radius(w2)
    x0, y0 = _cos_sin(w1, FAST)
    x1, y1 = _cos_sin(w3, FAST)
    return r0 * x0, r0 * y0, r1 * x1, r1 * y1


@triton.jit
def _noise(seed_p, k, row, col0, ROWS: tl.constexpr, COLS: tl.constexpr, FAST: tl.constexpr):
    """eps (ROWS, COLS) of sample k by the contract of `kernels.philox`."""
    zero = tl.zeros([ROWS, COLS // 4], tl.uint32)
    quad = zero + (col0 // 4 + tl.arange(0, COLS // 4)).to(tl.uint32)[None, :]
    row = zero + row.to(tl.uint32)[:, None]
    sample = zero + k.to(tl.uint32)
    key = tl.load(seed_p)
    offset = zero + tl.load(seed_p + 1).to(tl.uint32)
    a, b, c, d = _normal4(key, quad, row, sample, offset, FAST)
    eps = tl.join(tl.join(a, c), tl.join(b, d))  # the outer join is the fastest axis: a, b, c, d in turn
    return tl.reshape(eps, [ROWS, COLS])


@triton.jit
def _load(pointer, row_stride, rows, cols, mask):
    offsets = rows.to(tl.int64)[:, None] * row_stride + cols[None, :]
    return tl.load(pointer + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store(pointer, row_stride, rows, cols, value, mask):
    offsets = rows.to(tl.int64)[:, None] * row_stride + cols[None, :]
    tl.store(pointer + offsets, value.to(pointer.dtype.element_ty), mask=mask)


# Widths and row strides reach the kernels in units of UNIT elements and are multiplied there: so the compiler knows
# that rows begin at multiples of UNIT, and reads 16 bytes at a time also where D is no multiple of 16.


@triton.jit(do_not_specialize=["row0"])
def forward_kernel(
    mu_p, logvar_p, p_mu_p, p_logvar_p, seed_p, z_p, kl_p,
    K, B, width, mu_stride, logvar_stride, p_mu_stride, p_logvar_stride, row0,
    ROWS: tl.constexpr, COLS: tl.constexpr, UNIT: tl.constexpr,
    PRIOR: tl.constexpr, PER_DIM: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """z (K, B, D), and kl (B, D) if PER_DIM, else sums (column tiles, B). Grid (row tiles * K, column tiles)."""
    k = tl.program_id(0) % K  # fastest, so that mu and logvar stay in the cache
    tile = tl.program_id(1)
    D = width * UNIT
    rows = (tl.program_id(0) // K) * ROWS + tl.arange(0, ROWS)
    cols = tile * COLS + tl.arange(0, COLS)
    mask = (rows < B)[:, None] & (cols < D)[None, :]

    mu = _load(mu_p, mu_stride * UNIT, rows, cols, mask)
    logvar = _load(logvar_p, logvar_stride * UNIT, rows, cols, mask)
    eps = _noise(seed_p, k, rows + row0, tile * COLS, ROWS, COLS, FAST)
    z = mu + exp(0.5 * logvar) * eps
    _store(z_p + k.to(tl.int64) * B * D, D, rows, cols, z, mask)

    if k == 0:
        if PRIOR:
            p_logvar = _load(p_logvar_p, p_logvar_stride * UNIT, rows, cols, mask)
            distance = mu - _load(p_mu_p, p_mu_stride * UNIT, rows, cols, mask)
            ratio = logvar - p_logvar
            kl = 0.5 * (distance * distance * exp(-p_logvar) + (exp(ratio) - 1.0) - ratio)
        else:
            kl = 0.5 * (mu * mu + (exp(logvar) - 1.0) - logvar)
        if PER_DIM:
            _store(kl_p, D, rows, cols, kl, mask)
        else:  # masked lanes hold exact zeros: they were loaded as mu = logvar = 0
            tl.store(kl_p + tile.to(tl.int64) * B + rows, tl.sum(kl, axis=1), mask=rows < B)


@triton.jit(do_not_specialize=["row0"])
def backward_kernel(
    gz_p, gkl_p, mu_p, logvar_p, p_mu_p, p_logvar_p, seed_p, gmu_p, glogvar_p, gp_mu_p, gp_logvar_p,
    K, B, width, mu_stride, logvar_stride, p_mu_stride, p_logvar_stride, row0,
    ROWS: tl.constexpr, COLS: tl.constexpr, UNIT: tl.constexpr,
    PRIOR: tl.constexpr, PER_DIM: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Gradients (B, D) of mu, logvar and the prior from gz (K, B, D) and gkl. Grid (row tiles, column tiles)."""
    tile = tl.program_id(1)
    D = width * UNIT
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tile * COLS + tl.arange(0, COLS)
    mask = (rows < B)[:, None] & (cols < D)[None, :]

    path = tl.zeros([ROWS, COLS], tl.float32)  # sum over k of gz
    scaled = tl.zeros([ROWS, COLS], tl.float32)  # sum over k of gz * eps
    for k in range(K):
        sample = tl.cast(k, tl.int64)
        gz = _load(gz_p, D, sample * B + rows, cols, mask)
        eps = _noise(seed_p, sample, rows + row0, tile * COLS, ROWS, COLS, FAST)
        path += gz
        scaled += gz * eps

    mu = _load(mu_p, mu_stride * UNIT, rows, cols, mask)
    logvar = _load(logvar_p, logvar_stride * UNIT, rows, cols, mask)
    if PER_DIM:
        gkl = _load(gkl_p, D, rows, cols, mask)
    else:
        gkl = tl.load(gkl_p + rows, mask=rows < B, other=0.0).to(tl.float32)[:, None]
    scaled *= 0.5 * exp(0.5 * logvar)
    if PRIOR:
        p_logvar = _load(p_logvar_p, p_logvar_stride * UNIT, rows, cols, mask)
        distance = mu - _load(p_mu_p, p_mu_stride * UNIT, rows, cols, mask)
        pull = distance * exp(-p_logvar)
        excess = exp(logvar - p_logvar) - 1.0
        _store(gp_mu_p, D, rows, cols, -gkl * pull, mask)
        _store(gp_logvar_p, D, rows, cols, -0.5 * gkl * (distance * pull + excess), mask)
    else:
        pull = mu
        excess = exp(logvar) - 1.0
    _store(gmu_p, D, rows, cols, path + gkl * pull, mask)
    _store(glogvar_p, D, rows, cols, scaled + 0.5 * gkl * excess, mask)


def forward(
    mu: Tensor,
    logvar: Tensor,
    p_mu: Tensor | None,
    p_logvar: Tensor | None,
    seed: Tensor,
    k: int,
    row0: int,
    per_dim: bool,
) -> tuple[Tensor, Tensor]:
    """z (k, B, D), and kl (B, D) if per_dim, else (B,), of inputs (B, D)."""
    b, d = mu.shape
    z = torch.empty(k, b, d, dtype=mu.dtype, device=mu.device)
    if z.numel() == 0:
        return z, torch.zeros((b, d) if per_dim else (b,), dtype=torch.float32, device=mu.device)
    inputs, strides, constants = _plan(mu, logvar, p_mu, p_logvar, per_dim)
    row_tiles, col_tiles = triton.cdiv(b, constants["ROWS"]), triton.cdiv(d, constants["COLS"])
    kl = torch.empty((b, d) if per_dim else (col_tiles, b), dtype=torch.float32, device=mu.device)
    with torch.cuda.device_of(mu):
        forward_kernel[(row_tiles * k, col_tiles)](
            *inputs, seed.contiguous(), z, kl,
            k, b, d // constants["UNIT"], *strides, row0, **constants, **OPTIONS,
        )  # fmt: skip
    if not per_dim:
        kl = kl.sum(0) if col_tiles > 1 else kl[0]  # usually one tile: no second launch
    return z, kl


def backward(
    gz: Tensor,
    gkl: Tensor,
    mu: Tensor,
    logvar: Tensor,
    p_mu: Tensor | None,
    p_logvar: Tensor | None,
    seed: Tensor,
    row0: int,
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
            gz.contiguous(), gkl.contiguous(), *inputs, seed.contiguous(), *_four(gradients),
            k, b, d // constants["UNIT"], *strides, row0, **constants, **OPTIONS,
        )  # fmt: skip
    return gradients


def _plan(
    mu: Tensor, logvar: Tensor, p_mu: Tensor | None, p_logvar: Tensor | None, per_dim: bool
) -> tuple[list[Tensor], list[int], dict[str, int | bool]]:
    """Four inputs with neighbours side by side, their row strides in units, and the constants of both kernels."""
    b, d = mu.shape
    given = [t if t.stride(1) == 1 else t.contiguous() for t in _given(mu, logvar, p_mu, p_logvar)]
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
