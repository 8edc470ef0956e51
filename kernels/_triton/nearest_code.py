"""Triton kernel of `kernels.nearest_code`: a tile of vectors against all codes, tile by tile, on the tensor cores."""

# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

from .shared import OPTIONS


def tile(dtype: torch.dtype) -> dict[str, int | str]:
    """Vectors, codes and dimensions at once, and how float32 is multiplied: in TF32 parts, which fill the registers sooner."""
    return {"ROWS": 64, "CODES": 64, "WIDTH": 64 // dtype.itemsize, "PRECISION": "tf32x3" if dtype == torch.float32 else "tf32"}


@triton.jit
def search_kernel(
    x_p, codes_p, index_p, N, K, D, x_stride, codes_stride,
    ROWS: tl.constexpr, CODES: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """index (N,) int64. Grid (row tiles,)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    best = tl.full([ROWS], float("inf"), tl.float32)
    index = tl.zeros([ROWS], tl.int32)
    for start in range(0, K, CODES):
        others = start + tl.arange(0, CODES)
        products = tl.zeros([ROWS, CODES], tl.float32)
        squares = tl.zeros([CODES], tl.float32)
        for left in range(0, D, WIDTH):
            cols = left + tl.arange(0, WIDTH)
            x = tl.load(x_p + rows.to(tl.int64)[:, None] * x_stride + cols[None, :],
                        mask=(rows < N)[:, None] & (cols < D)[None, :], other=0.0)
            code = tl.load(codes_p + others.to(tl.int64)[None, :] * codes_stride + cols[:, None],
                           mask=(others < K)[None, :] & (cols < D)[:, None], other=0.0)
            products = tl.dot(x, code, products, input_precision=PRECISION)
            wide = code.to(tl.float32)
            squares += tl.sum(wide * wide, axis=0)
        distance = tl.where((others < K)[None, :], squares[None, :] - 2.0 * products, float("inf"))
        nearest = tl.min(distance, axis=1)
        closer = nearest < best                             # strictly: of equal ones the first stays
        index = tl.where(closer, start + tl.argmin(distance, axis=1), index)
        best = tl.where(closer, nearest, best)
    tl.store(index_p + rows, index.to(tl.int64), mask=rows < N)


def search(x: Tensor, codes: Tensor) -> Tensor:
    """index (N,) int64 of x (N, D) and codes (K, D) of one dtype, rows contiguous."""
    n, d = x.shape
    constants = tile(x.dtype)
    index = torch.empty(n, dtype=torch.int64, device=x.device)
    with torch.cuda.device_of(x):
        search_kernel[(triton.cdiv(n, constants["ROWS"]),)](
            x, codes, index, n, len(codes), d, x.stride(0), codes.stride(0), **constants, **OPTIONS,
        )
    return index
