"""Triton kernels of `kernels.logistic_mixture_nll`: a tile of pixels with all components in registers, read once a pass.

With the responsibilities r_m = exp(log p_m - log sum exp log p) of the components, and g from above, the gradients are

    logits      g (softmax - r)                        means        -g r dlogP/dm
    log-scales  -g r dlogP/dlog s (0 where clamped)    couplings    -g r (1 - tanh^2) (value) dlogP/dm of the coupled channel

and those of log P = log sigma(u) + log sigma(-v) + log(1 - exp(-d)), each term where it is there,

    dlogP/dm      = [sigma(v) - sigma(-u)] / s
    dlogP/dlog s  = v sigma(v) - u sigma(-u) - d / (exp(d) - 1)
"""

# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

from .shared import OPTIONS, exp, log

TILE = 512                                                  # pixels x components that a program holds at once


@triton.jit
def _log_mass(x, mean, log_scale, half):
    """log P, dlogP/dmean and dlogP/dlog_scale, which is clamped, of values x on [-1, 1]; x (P,1), the rest (P,M).

    The three logarithms are one, of a quotient, and the sigmoids share its division: 1 / (1 + exp(-|u|)) (1 + exp(-|v|)).
    """
    narrow = exp(-tl.maximum(log_scale, -7.0))
    u = (x + half - mean) * narrow
    v = (x - half - mean) * narrow
    d = 2.0 * half * narrow
    fall = exp(-d)
    mass = tl.where(d < 0.03125, d * (1.0 - d * (0.5 - d * (0.16666667 - d * 0.041666667))), 1.0 - fall)   # 1 - exp(-d)
    low = x - half < -1.0
    high = x + half > 1.0
    small_u = exp(-tl.abs(u))
    small_v = exp(-tl.abs(v))
    above_u = tl.where(high, 1.0, 1.0 + small_u)
    above_v = tl.where(low, 1.0, 1.0 + small_v)
    inverse = 1.0 / (above_u * above_v)
    log_p = log(tl.where(low | high, inverse, inverse * mass))
    log_p += tl.where(high, 0.0, tl.minimum(u, 0.0)) - tl.where(low, 0.0, tl.maximum(v, 0.0))
    left = tl.where(low, 0.0, tl.where(v > 0.0, 1.0, small_v) * above_u * inverse)      # sigma(v)
    right = tl.where(high, 0.0, tl.where(u < 0.0, 1.0, small_u) * above_v * inverse)    # sigma(-u)
    dscale = v * left - u * right - tl.where(low | high, 0.0, d * fall / mass)
    return log_p, (left - right) * narrow, tl.where(log_scale < -7.0, 0.0, dscale)


@triton.jit
def _part(params_p, base, i, P, components, M, mask):
    """Part i of the params, (P,M): 0 the logits; of channel c, 1 + 3 c the means, 2 + 3 c log-scales, 3 + 3 c couplings."""
    return tl.load(params_p + base + ((i * M + components) * P)[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _value(x_p, b, channel, pixels, P):
    x = tl.load(x_p + (b * 3 + channel) * P + pixels, mask=pixels < P, other=0.0).to(tl.float32)
    return (2.0 * x - 1.0)[:, None]


@triton.jit
def _tanh(x):
    return 2.0 / (1.0 + exp(-2.0 * x)) - 1.0


@triton.jit
def forward_kernel(x_p, params_p, sums_p, P, M, tiles, half, PIXELS: tl.constexpr, COMPONENTS: tl.constexpr):
    """sums (B, tiles) of -log p over a tile's pixels. Grid (B * tiles,)."""
    b = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    pixels = tile * PIXELS + tl.arange(0, PIXELS)
    components = tl.arange(0, COMPONENTS)
    mask = (pixels < P)[:, None] & (components < M)[None, :]
    base = b * 10 * M * P + pixels[:, None]
    logits = tl.where(mask, _part(params_p, base, 0, P, components, M, mask), float("-inf"))
    logits = tl.where((pixels < P)[:, None], logits, 0.0)   # of pixels past the end: anything finite
    r = _value(x_p, b, 0, pixels, P)
    g = _value(x_p, b, 1, pixels, P)
    shift = tl.zeros([PIXELS, COMPONENTS], tl.float32)
    total = logits
    for channel in tl.static_range(3):
        mean = _part(params_p, base, 1 + 3 * channel, P, components, M, mask)
        log_scale = _part(params_p, base, 2 + 3 * channel, P, components, M, mask)
        if channel == 1:
            shift = _tanh(_part(params_p, base, 3, P, components, M, mask)) * r
        if channel == 2:
            shift = _tanh(_part(params_p, base, 6, P, components, M, mask)) * r
            shift += _tanh(_part(params_p, base, 9, P, components, M, mask)) * g
        log_p, _, _ = _log_mass(_value(x_p, b, channel, pixels, P), mean + shift, log_scale, half)
        total += log_p
    nll = _log_sum(logits) - _log_sum(total)
    tl.store(sums_p + b * tiles + tile, tl.sum(tl.where(pixels < P, nll, 0.0), axis=0))


@triton.jit
def _log_sum(x):
    peak = tl.max(x, axis=1)
    return peak + log(tl.sum(exp(x - peak[:, None]), axis=1))


@triton.jit
def backward_kernel(gnll_p, x_p, params_p, gparams_p, P, M, tiles, half, PIXELS: tl.constexpr, COMPONENTS: tl.constexpr):
    """The gradient of params. Grid (B * tiles,)."""
    b = (tl.program_id(0) // tiles).to(tl.int64)
    pixels = (tl.program_id(0) % tiles) * PIXELS + tl.arange(0, PIXELS)
    components = tl.arange(0, COMPONENTS)
    mask = (pixels < P)[:, None] & (components < M)[None, :]
    base = b * 10 * M * P + pixels[:, None]
    logits = tl.where(mask, _part(params_p, base, 0, P, components, M, mask), float("-inf"))
    logits = tl.where((pixels < P)[:, None], logits, 0.0)
    r = _value(x_p, b, 0, pixels, P)
    g = _value(x_p, b, 1, pixels, P)
    t0 = _tanh(_part(params_p, base, 3, P, components, M, mask))
    t1 = _tanh(_part(params_p, base, 6, P, components, M, mask))
    t2 = _tanh(_part(params_p, base, 9, P, components, M, mask))
    s0 = _part(params_p, base, 2, P, components, M, mask)
    s1 = _part(params_p, base, 5, P, components, M, mask)
    s2 = _part(params_p, base, 8, P, components, M, mask)
    mean0 = _part(params_p, base, 1, P, components, M, mask)
    mean1 = _part(params_p, base, 4, P, components, M, mask) + t0 * r
    mean2 = _part(params_p, base, 7, P, components, M, mask) + t1 * r + t2 * g
    p0, dmean0, ds0 = _log_mass(r, mean0, s0, half)
    p1, dmean1, ds1 = _log_mass(g, mean1, s1, half)
    p2, dmean2, ds2 = _log_mass(_value(x_p, b, 2, pixels, P), mean2, s2, half)
    total = logits + p0 + p1 + p2
    above = -tl.load(gnll_p + b).to(tl.float32)             # of log p
    softmax = exp(logits - _log_sum(logits)[:, None])
    share = above * exp(total - _log_sum(total)[:, None])
    out = gparams_p + base + (components * P)[None, :]
    step = M * P
    dtype = gparams_p.dtype.element_ty
    tl.store(out, (share - above * softmax).to(dtype), mask=mask)
    tl.store(out + step, (share * dmean0).to(dtype), mask=mask)
    tl.store(out + 2 * step, (share * ds0).to(dtype), mask=mask)
    tl.store(out + 3 * step, (share * dmean1 * r * (1.0 - t0 * t0)).to(dtype), mask=mask)
    tl.store(out + 4 * step, (share * dmean1).to(dtype), mask=mask)
    tl.store(out + 5 * step, (share * ds1).to(dtype), mask=mask)
    tl.store(out + 6 * step, (share * dmean2 * r * (1.0 - t1 * t1)).to(dtype), mask=mask)
    tl.store(out + 7 * step, (share * dmean2).to(dtype), mask=mask)
    tl.store(out + 8 * step, (share * ds2).to(dtype), mask=mask)
    tl.store(out + 9 * step, (share * dmean2 * g * (1.0 - t2 * t2)).to(dtype), mask=mask)


def forward(x: Tensor, params: Tensor, levels: int) -> Tensor:
    """nll (B,) of x (B,3,P) and params (B,10 M,P), both contiguous."""
    sizes, tile = _plan(params, levels)
    sums = torch.empty(len(x), sizes[2], dtype=torch.float32, device=x.device)
    if sums.numel():
        with torch.cuda.device_of(x):
            forward_kernel[(sums.numel(),)](x, params, sums, *sizes, **tile, **OPTIONS)
    return sums.sum(1)


def backward(gnll: Tensor, x: Tensor, params: Tensor, levels: int) -> Tensor:
    """The gradient of params, in its dtype."""
    sizes, tile = _plan(params, levels)
    gparams = torch.empty_like(params)
    if gparams.numel():
        with torch.cuda.device_of(x):
            backward_kernel[(len(x) * sizes[2],)](gnll.contiguous(), x, params, gparams, *sizes, **tile, **OPTIONS)
    return gparams


def _plan(params: Tensor, levels: int) -> tuple[tuple[int, int, int, float], dict[str, int]]:
    """(pixels, components, tiles of pixels, half a bin on [-1, 1]), and the tile."""
    pixels, components = params.shape[2], params.shape[1] // 10
    padded = triton.next_power_of_2(components)
    rows = max(1, min(TILE // padded, triton.next_power_of_2(pixels)))
    return (pixels, components, triton.cdiv(pixels, rows), 1 / (levels - 1)), {"PIXELS": rows, "COMPONENTS": padded}
