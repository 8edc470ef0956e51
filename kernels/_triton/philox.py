"""The noise contract of `kernels.philox` inside a kernel: normal numbers made from a seed, where they are needed."""

# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def radius(word):
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
def cos_sin(word, FAST: tl.constexpr):
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
    r0 = radius(w0)
    r1 = radius(w2)
    x0, y0 = cos_sin(w1, FAST)
    x1, y1 = cos_sin(w3, FAST)
    return r0 * x0, r0 * y0, r1 * x1, r1 * y1


@triton.jit
def noise(seed_p, k, row, col0, ROWS: tl.constexpr, COLS: tl.constexpr, FAST: tl.constexpr):
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
