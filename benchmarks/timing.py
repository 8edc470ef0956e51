"""Timing and memory, measured so that the numbers mean something.

A call is repeated in blocks long enough for the clock, after a warm-up; what is reported is the median of the blocks and
their interquartile range. On a GPU every block ends when the device is done. The load average stands in every record: on a
machine that does other work the range is wide and the median is not to be trusted either.
"""

import contextlib
import ctypes
import gc
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

BLOCKS, BLOCK_SECONDS, WARM_UP_SECONDS = 9, 0.04, 0.08


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median over blocks and interquartile range."""

    median: float
    iqr: float

    def rate(self, n: int) -> tuple[float, float]:
        """Examples a second, and their interquartile range, where a call handles n."""
        return n / self.median, n * self.iqr / self.median**2


def measure(call: Callable[[], object], device: torch.device) -> Timing:
    """Time a call; it is made at least BLOCKS + 1 times."""
    calls, spent = 0, 0.0
    while calls == 0 or spent < WARM_UP_SECONDS:
        spent += _block(call, 1, device)
        calls += 1
    per_block = max(1, round(BLOCK_SECONDS * calls / spent))
    seconds = [_block(call, per_block, device) / per_block for _ in range(BLOCKS)]
    low, median, high = statistics.quantiles(seconds, n=4)
    return Timing(median, high - low)


def _block(call: Callable[[], object], times: int, device: torch.device) -> float:
    synchronise(device)
    began = time.perf_counter()
    for _ in range(times):
        call()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Begin a new measurement of peak memory. CPU: on Linux only; elsewhere the peak is that since the process began."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)                # what earlier trials freed goes back to the system
            Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """CUDA: the most memory allocated by tensors. CPU: the most memory the whole process held, libraries and data included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
