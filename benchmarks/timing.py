"""Timing and memory, measured so that the numbers mean something.

A call is repeated in blocks, after a warm-up; what is reported is the median of the blocks and their interquartile range. On a
CPU blocks are shorter than a scheduler's slice, so that on a machine that does other work most of them are undisturbed, and so
is their median. On a GPU they are longer, as each ends when the device is done. How long the process waited for a core
meanwhile is kept. Calls are compared in blocks that take turns: one after the other, a burst hits one of them.
"""

import contextlib
import ctypes
import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

SECONDS = 0.3                                               # of blocks altogether, and as many as
LEAST = 11
BLOCK_SECONDS = {"cpu": 0.002, "cuda": 0.01}
BEARABLE = 0.05                                             # share of the time in which other work may hold the cores
alone = True                                                # False in a worker: others share memory, caches and GPU with it


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median over blocks and interquartile range. busy: the machine had other work; None: unknown."""

    median: float
    iqr: float
    busy: bool | None

    def rate(self, n: int) -> tuple[float, float]:
        """Examples a second, and their interquartile range, where a call handles n."""
        return n / self.median, n * self.iqr / self.median**2


@dataclass(frozen=True)
class Ratio:
    """Seconds of one call over those of another: median over pairs of blocks, its 95% interval, the pairs' range."""

    median: float
    low: float
    high: float
    iqr: float
    busy: bool | None


@dataclass(frozen=True)
class Turns:
    """Seconds of one call by name, of every round."""

    rounds: Sequence[Mapping[str, float]]
    busy: bool | None

    def timing(self, name: str) -> Timing:
        low, median, high = statistics.quantiles([taken[name] for taken in self.rounds], n=4)
        return Timing(median, high - low, self.busy)

    def ratio(self, first: str, second: str) -> Ratio:
        """Seconds of `first` / seconds of `second`, in pairs of the same round.

        The interval is that of a median, by order statistics: no distribution is assumed.  Source: Conover 1999, section 3.2.
        """
        ratios = [taken[first] / taken[second] for taken in self.rounds]
        low, median, high = statistics.quantiles(ratios, n=4)
        return Ratio(median, *median_interval(ratios), high - low, self.busy)


class Waiting:
    """The time that this process stands ready to run and other work has the cores, from when this is made."""

    def __init__(self) -> None:
        self.began, self.waited = time.perf_counter(), _waited()

    @property
    def share(self) -> float | None:
        """Of the time since, summed over threads; None where the system does not say."""
        now = _waited()
        if self.waited is None or now is None:
            return None
        return (now - self.waited) / (time.perf_counter() - self.began)

    @property
    def busy(self) -> bool | None:
        """Whether what was timed meanwhile is not to be trusted."""
        if not alone:
            return True
        share = self.share
        return None if share is None else share > BEARABLE


def measure(call: Callable[[], object], device: torch.device, seconds: float = SECONDS) -> Timing:
    """Time a call for so many seconds; it is made at least LEAST + 1 times."""
    times, waiting = _calls(call, device), Waiting()
    blocks: list[float] = []
    while len(blocks) < LEAST or times * sum(blocks) < seconds:
        blocks.append(_block(call, times, device))
    low, median, high = statistics.quantiles(blocks, n=4)
    return Timing(median, high - low, waiting.busy)


def in_pairs(first: Callable[[], object], second: Callable[[], object], device: torch.device,
             seconds: float = SECONDS) -> Ratio:
    """Seconds of `first` / seconds of `second`, from blocks that take turns: what slows the machine down slows both down."""
    return in_turns({"first": first, "second": second}, device, seconds).ratio("first", "second")


def in_turns(calls: Mapping[str, Callable[[], object]], device: torch.device, seconds: float = SECONDS) -> Turns:
    """Time several calls, by name, for so many seconds altogether: a round has a block of each, every round another first."""
    names = list(calls)
    times, waiting = {name: _calls(call, device) for name, call in calls.items()}, Waiting()
    rounds: list[dict[str, float]] = []
    spent = 0.0
    while len(rounds) < LEAST or spent < seconds:
        first = (len(rounds) + 1) % len(names)
        taken = {name: _block(calls[name], times[name], device) for name in names[first:] + names[:first]}
        spent += sum(taken[name] * times[name] for name in names)
        rounds.append(taken)
    return Turns(rounds, waiting.busy)


def median_interval(values: list[float]) -> tuple[float, float]:
    """The r-th value from below and from above, for the largest r such that Binomial(n, 1/2) < r has at most 2.5%; n >= 6.

    scipy.stats.quantile_test has it too, but kernels are timed on machines that have torch and little else.
    """
    n, r, chances, below = len(values), 0, 1, 1
    while 40 * below <= 2**n:
        r += 1
        chances = chances * (n - r + 1) // r
        below += chances
    ordered = sorted(values)
    return ordered[r - 1], ordered[n - r]


def _calls(call: Callable[[], object], device: torch.device) -> int:
    """How many calls a block has, after a warm-up of ten blocks."""
    calls, spent, block = 0, 0.0, BLOCK_SECONDS[device.type]
    while calls == 0 or spent < 10 * block:
        spent += _block(call, 1, device)
        calls += 1
    return max(1, round(block * calls / spent))


def _block(call: Callable[[], object], times: int, device: torch.device) -> float:
    """Seconds of one call, the mean of so many."""
    synchronise(device)
    began = time.perf_counter()
    for _ in range(times):
        call()
    synchronise(device)
    return (time.perf_counter() - began) / times


def _waited() -> float | None:
    """Seconds that the threads of this process have waited for a core: the second number of schedstat, which Linux keeps."""
    try:
        return sum(int(path.read_text().split()[1]) for path in Path("/proc/self/task").glob("*/schedstat")) / 1e9 or None
    except (OSError, ValueError, IndexError):               # another system, or a thread that has just ended
        return None


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
