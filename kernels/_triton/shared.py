"""What the kernels share."""

# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl

OPTIONS = {"enable_fp_fusion": True}                        # said aloud, because Triton's default differs between versions


@triton.jit
def exp(x):
    return tl.exp2(1.4426950408889634 * x)


@triton.jit
def exp_half(x):
    return tl.exp2(0.7213475204444817 * x)


@triton.jit
def log(x):
    return 0.6931471805599453 * tl.log2(x)


@triton.jit
def load_tile(pointer, row_stride, rows, cols, mask):
    offsets = rows.to(tl.int64)[:, None] * row_stride + cols[None, :]
    return tl.load(pointer + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store_tile(pointer, row_stride, rows, cols, value, mask):
    offsets = rows.to(tl.int64)[:, None] * row_stride + cols[None, :]
    tl.store(pointer + offsets, value.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def load_rows(pointer, stride, rows, n, cols, width):
    """(len(rows), len(cols)) float32 of a matrix (n, width), zero outside."""
    return load_tile(pointer, stride, rows, cols, (rows < n)[:, None] & (cols < width)[None, :])
