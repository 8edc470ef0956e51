"""What the kernels share."""

# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl

OPTIONS = {"enable_fp_fusion": True}                        # said aloud, because Triton's default differs between versions


@triton.jit
def exp(x):
    return tl.exp2(1.4426950408889634 * x)


@triton.jit
def log(x):
    return 0.6931471805599453 * tl.log2(x)


@triton.jit
def load_rows(pointer, stride, rows, n, cols, width):
    """(len(rows), len(cols)) float32 of a matrix (n, width), zero outside."""
    mask = (rows < n)[:, None] & (cols < width)[None, :]
    return tl.load(pointer + rows.to(tl.int64)[:, None] * stride + cols[None, :], mask=mask, other=0.0).to(tl.float32)
