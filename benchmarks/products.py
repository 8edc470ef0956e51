"""How fast a machine multiplies matrices, and how many operations a call takes: which share of the machine it reaches."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from .timing import measure

SIZE = {"cpu": 1024, "cuda": 8192}
SECONDS = 0.5


def products_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second, 2 n^3 for each product of square matrices."""
    n = SIZE[device.type]
    a, b = (torch.ones(n, n, device=device).to(dtype) / n for _ in range(2))
    return 2 * n**3 / measure(lambda: a @ b, device, SECONDS).median


def operations(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions of a call, by their shapes."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
