"""The noise contract of `kernels.philox` inside a kernel: normal numbers made from a seed, where they are needed."""

# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def philox4x32(key, c0, c1, c2, c3):
    """Philox4x32-10 of a 64-bit key and four counter words, uint32. Both halves of a product are one instruction here, where
    `tl.philox` takes one for each."""
    k0 = key.to(tl.uint32)
    k1 = (key >> 32).to(tl.uint32)
    for _ in tl.static_range(10):
        a = c0.to(tl.uint64) * 0xD2511F53
        b = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (b >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (a >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = b.to(tl.uint32)
        c3 = a.to(tl.uint32)
        k0 += 0x9E3779B9
        k1 += 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def radius(word, FAST: tl.constexpr):
    """sqrt(-2 ln u) of a uniform u = (word + 1/2) / 2^32 in (0, 1]. FAST: by a GPU's approximate logarithm, wrong by 2^-22."""
    u = word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10
    return radius_of(u, libdevice.fast_log2f(u) if FAST else tl.log2(u))


@triton.jit
def radius_of(u, log2):
    """Near u = 1 by a series in 1 - u: under the root an error of 2^-22 would become 5e-4 there, and stays below 1.4e-6 so."""
    t = 1.0 - u
    series = t * (2.0 + t * (1.0 + t * 0.6666667))
    return tl.sqrt(tl.where(t < 0.0078125, series, -1.3862943611198906 * log2))


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
    w0, w1, w2, w3 = philox4x32(key, c0, c1, c2, c3)
    r0 = radius(w0, FAST)
    r1 = radius(w2, FAST)
    x0, y0 = cos_sin(w1, FAST)
    x1, y1 = cos_sin(w3, FAST)
    return r0 * x0, r0 * y0, r1 * x1, r1 * y1


@triton.jit
def noise(seed_p, k, row, col0, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr, FAST: tl.constexpr):
    """eps (ROWS, COLS) of sample k by the contract of `kernels.philox`.

    WIDE, 4 or 8: the elements of a row that a thread reads and stores at a time, and so had best make, too: one or two calls.
    """
    zero = tl.zeros([ROWS, COLS // WIDE], tl.uint32)
    quad = zero + (col0 // 4 + WIDE // 4 * tl.arange(0, COLS // WIDE)).to(tl.uint32)[None, :]
    row = zero + row.to(tl.uint32)[:, None]
    sample = zero + k.to(tl.uint32)
    key = tl.load(seed_p)
    offset = zero + tl.load(seed_p + 1).to(tl.uint32)
    a, b, c, d = _normal4(key, quad, row, sample, offset, FAST)
    if WIDE == 8:
        e, f, g, h = _normal4(key, quad + 1, row, sample, offset, FAST)
        a = tl.join(a, e)
        b = tl.join(b, f)
        c = tl.join(c, g)
        d = tl.join(d, h)
    eps = tl.join(tl.join(a, c), tl.join(b, d))  # the outer join is the fastest axis: a, b, c, d in turn
    return tl.reshape(eps, [ROWS, COLS])
