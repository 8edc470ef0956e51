"""The nearest of K codes for each of N vectors, without the N x K matrix of distances.

    index_n = argmin_k |x_n - c_k|^2 = argmin_k ( |c_k|^2 - 2 x_n . c_k ),        the smallest k where several are nearest

The square of x_n moves no minimum. The kernel keeps the best value and index of each vector while it walks over the codes;
plain torch takes the vectors in blocks.

Source: van den Oord et al. 2017, eq. 1.
"""

import torch
from torch import Tensor

from .device import fusable, loop_under_vmap, row_major

NUMBERS = 1 << 24                                           # of distances that plain torch holds at once


def nearest_code(x: Tensor, codes: Tensor) -> Tensor:
    """The row of `codes` (K, d) that is nearest to each row of x (N, d), in squared Euclidean distance: int64 (N,).

    No gradient passes: an index has none. Distances are float32 (float64 where an input is); on a GPU products run on the
    tensor cores, float32 in two scaled float16 parts, so that codes whose distances agree to rounding may be told apart
    otherwise than on a CPU. Distances take no memory on a GPU, float32 parts that of the inputs; on a CPU it is bounded.

    Raises: ValueError, TypeError, naming the argument.
    """
    _check(x, codes)
    x, codes = x.detach(), codes.detach()
    if min(x.shape) > 0 and x.dtype == codes.dtype and fusable(x, codes):
        return _search(row_major(x), row_major(codes))
    return reference(x, codes)


def reference(x: Tensor, codes: Tensor) -> Tensor:
    """`nearest_code` in plain torch: what runs on a CPU, and what the kernel is held to."""
    dtype = torch.float64 if torch.float64 in (x.dtype, codes.dtype) else torch.float32
    codes = codes.to(dtype)
    squares = codes.square().sum(1)
    rows = max(1, NUMBERS // len(codes))
    with torch.autocast(x.device.type, enabled=False):      # which would round distances to bfloat16
        blocks = [torch.addmm(squares, part.to(dtype), codes.T, alpha=-2).argmin(1) for part in x.split(rows)]
    return torch.cat(blocks)


@torch.library.custom_op("vae_zoo::nearest_code", mutates_args=())
def _search(x: Tensor, codes: Tensor) -> Tensor:
    from ._triton.nearest_code import search

    return search(x, codes)


@_search.register_fake
def _(x: Tensor, codes: Tensor) -> Tensor:
    return x.new_empty(len(x), dtype=torch.int64)


loop_under_vmap(_search)


def _check(x: Tensor, codes: Tensor) -> None:
    for name, t in (("x", x), ("codes", codes)):
        if not t.is_floating_point():
            raise TypeError(f"{name} is {t.dtype}; a floating point dtype is needed")
        if t.ndim != 2:
            raise ValueError(f"{name} has shape {tuple(t.shape)}; (rows, d) is needed")
    if codes.shape[1] != x.shape[1]:
        raise ValueError(f"x {tuple(x.shape)} and codes {tuple(codes.shape)} must agree in d")
    if codes.device != x.device:
        raise ValueError(f"codes is on {codes.device} and x on {x.device}; move it with .to(x.device)")
    if len(codes) == 0:
        raise ValueError("codes has no rows; there is nothing to be nearest")
