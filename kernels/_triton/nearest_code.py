"""Triton kernels of `kernels.nearest_code`: a tile of vectors against all codes, tile by tile, on the tensor cores.

Tensor cores multiply float32 in 11 bits. So a float32 row is scaled by a power of 2, its largest number to [2^14, 2^15), and
split into two float16 of 11 bits each; of the four products of a vector's and a code's halves, low times low is below rounding
and left out. TF32 has as many bits in a half, and half the speed.
"""

# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

from .shared import OPTIONS, load_rows

ROWS, CODES = 128, 64                                       # vectors and codes of a tile
SEARCH = OPTIONS | {"num_warps": 8}


def width(d: int) -> int:
    """Dimensions of a tile: all, so that vectors are read once, or few, which leave registers on sm_80."""
    return max(16, triton.next_power_of_2(d)) if d <= 64 else 32


@triton.jit
def halves_kernel(
    x_p, halves_p, scale_p, square_p, N, D, stride, end, pitch, ROWS: tl.constexpr, COLS: tl.constexpr, SPLIT: tl.constexpr
):
    """Of rows x (N, D): x^2 / 2 (end,), infinity past N; if SPLIT, halves (2, end, pitch), zero outside, and the scale (end,)
    that undoes theirs. Grid (end / ROWS,).
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    x = load_rows(x_p, stride, rows, N, cols, D)
    tl.store(square_p + rows, tl.where(rows < N, 0.5 * tl.sum(x * x, axis=1), float("inf")))
    if SPLIT:
        exponent = tl.maximum(tl.max(tl.abs(x), axis=1).to(tl.int32, bitcast=True) >> 23, 15)
        tl.store(scale_p + rows, ((exponent - 14) << 23).to(tl.float32, bitcast=True))
        x *= ((268 - exponent) << 23).to(tl.float32, bitcast=True)[:, None]     # 2^(14 - (exponent - 127))
        high = x.to(tl.float16)
        place = halves_p + rows.to(tl.int64)[:, None] * pitch + cols[None, :]
        tl.store(place, high, mask=(cols < pitch)[None, :])
        tl.store(place + end.to(tl.int64) * pitch, (x - high.to(tl.float32)).to(tl.float16), mask=(cols < pitch)[None, :])


@triton.jit
def _part(p, stride, rows, n, cols, D):
    offsets = rows.to(tl.int64)[:, None] * stride + cols[None, :]
    return tl.load(p + offsets, mask=(rows < n)[:, None] & (cols < D)[None, :], other=0.0)


@triton.jit
def search_kernel(
    x_p, codes_p, x_scale_p, scale_p, square_p, index_p, N, K, x_stride, codes_stride, x_low, codes_low,
    D: tl.constexpr, ROWS: tl.constexpr, CODES: tl.constexpr, WIDTH: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """index (N,) int64. x and codes as they are, or if SPLIT their halves, low ones x_low and codes_low further on.

    Grid (row tiles,).
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    best = tl.full([ROWS, CODES], float("inf"), tl.float32)  # each column of a tile has its own: one comparison in the end
    found = tl.zeros([ROWS, CODES], tl.int32)
    if SPLIT:
        x_scale = tl.load(x_scale_p + rows)
    for start in range(0, K, CODES):
        others = start + tl.arange(0, CODES)
        products = tl.zeros([ROWS, CODES], tl.float32)
        for left in range(0, D, WIDTH):
            cols = left + tl.arange(0, WIDTH)
            x = _part(x_p, x_stride, rows, N, cols, D)
            code = _part(codes_p, codes_stride, others, K, cols, D).T
            if SPLIT:
                products = tl.dot(_part(x_p + x_low, x_stride, rows, N, cols, D), code, products)
                products = tl.dot(x, _part(codes_p + codes_low, codes_stride, others, K, cols, D).T, products)
            products = tl.dot(x, code, products)
        if SPLIT:
            products *= x_scale[:, None] * tl.load(scale_p + others)[None, :]
        distance = tl.load(square_p + others)[None, :] - products
        found = tl.where(distance < best, start, found)      # strictly: of equal ones the first stays
        best = tl.minimum(best, distance)                    # not tl.where: comparisons used twice are kept as packed bits
    nearest = best == tl.min(best, axis=1)[:, None]
    index = tl.min(tl.where(nearest, found + tl.arange(0, CODES)[None, :], K), axis=1)
    tl.store(index_p + rows, index.to(tl.int64), mask=rows < N)


def search(x: Tensor, codes: Tensor) -> Tensor:
    """index (N,) int64 of x (N, D) and codes (K, D) of one dtype, rows contiguous."""
    (n, d), k = x.shape, len(codes)
    split = x.dtype == torch.float32
    index = torch.empty(n, dtype=torch.int64, device=x.device)
    with torch.cuda.device_of(x):
        codes, square, codes_scale = _prepared(codes, CODES, split)
        x, _, x_scale = _prepared(x, ROWS, split) if split else (x[None], square, codes_scale)
        search_kernel[(triton.cdiv(n, ROWS),)](
            x, codes, x_scale, codes_scale, square, index, n, k, x.stride(1), codes.stride(1), x.stride(0), codes.stride(0),
            D=x.shape[2], ROWS=ROWS, CODES=CODES, WIDTH=width(d), SPLIT=split, **SEARCH,
        )  # fmt: skip
    return index


def _prepared(x: Tensor, rows: int, split: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Rows x (N, D), in two halves (2, N, D) of whole 32 bytes, or as they are (1, N, D); their squares / 2 and scales (N,)."""
    n, d = x.shape
    end, pitch, cols = triton.cdiv(n, rows) * rows, triton.cdiv(d, 16) * 16, max(16, triton.next_power_of_2(d))
    square = torch.empty(end, dtype=torch.float32, device=x.device)
    halves, scale = x[None], square
    if split:
        halves, scale = torch.empty(2, end, pitch, dtype=torch.float16, device=x.device), torch.empty_like(square)
    tile = {"ROWS": min(rows, max(1, 2048 // cols)), "COLS": cols, "SPLIT": split}
    halves_kernel[(end // tile["ROWS"],)](x, halves, scale, square, n, d, x.stride(0), end, pitch, **tile, **OPTIONS)
    return halves, square, scale
