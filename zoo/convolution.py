"""Convolutions to one pixel, or from one, as the matrix products that they are.

A CPU's kernels for images take two to five times as long for them, in both passes, and nets of the DCGAN kind end and begin so.

    to one pixel      y = sum over the kernel's elements (i, j) that meet x of w[:, :, i, j] x[:, :, i - p, j - p]
    from one pixel    y[:, :, i - p, j - p] = x w[:, :, i, j]
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def as_products(model: nn.Module) -> Iterator[None]:
    """Within the block the model's convolutions that are products are computed as such: equal, to rounding."""
    changed = [m for m in model.modules() if type(m) in FORWARDS and _plain(m)]
    for module in changed:
        module.__dict__["forward"] = partial(FORWARDS[type(module)], module)
    try:
        yield
    finally:
        for module in changed:
            del module.__dict__["forward"]


def _plain(module: Any) -> bool:
    if module.groups > 1 or module.dilation != (1, 1) or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return False
    return all(p < k for p, k in zip(module.padding, module.kernel_size, strict=True))


def _convolution(module: Any, x: Tensor) -> Tensor:
    (p, q), (rows, columns), (h, w) = module.padding, module.kernel_size, x.shape[-2:]
    if x.dim() != 4 or (h + 2 * p - rows) // module.stride[0] or (w + 2 * q - columns) // module.stride[1]:
        return nn.Conv2d.forward(module, x)
    h, w = min(h, rows - p), min(w, columns - q)            # of x, what the kernel meets
    y = F.linear(x[..., :h, :w].flatten(1), module.weight[..., p:p + h, q:q + w].flatten(1), module.bias)
    return y[..., None, None]


def _transposed(module: Any, x: Tensor, output_size: list[int] | None = None) -> Tensor:
    (p, q), (rows, columns) = module.padding, module.kernel_size
    if x.dim() != 4 or x.shape[-2:] != (1, 1) or output_size is not None or any(module.output_padding):
        return nn.ConvTranspose2d.forward(module, x, output_size)
    y = (x.flatten(1) @ module.weight.flatten(1)).view(len(x), -1, rows, columns)[..., p:rows - p, q:columns - q]
    return y if module.bias is None else y + module.bias[:, None, None]


FORWARDS: dict[type, Callable[..., Tensor]] = {nn.Conv2d: _convolution, nn.ConvTranspose2d: _transposed}
