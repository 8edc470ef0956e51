"""Energy of training, where the GPU counts it."""

import copy
import time
from collections.abc import Callable

import torch

from .. import timing
from ..context import Context
from ..train_step import train_step
from . import Measured, metric

SECONDS = 0.5                                               # of work, and of rest: NVML's counter moves every 20 to 100 ms


@metric("train_energy", unit="J/example", better="lower", group="cost", needs=["trained"])
def train_energy(context: Context) -> dict[str, Measured]:
    """Energy of training at the suite's batch size, J per example, what the GPU takes at rest subtracted; `_idle`: what it
    takes at rest in the same time.

    The difference of the GPU's counter over half a second of steps; at rest, over as long before. The host's energy is not in
    it. Absent without a GPU that counts and NVML's Python module (the extra `energy`).
    Source: NVML, nvmlDeviceGetTotalEnergyConsumption.
    """
    joules, b = counter(context.device), context.budget
    if joules is None:
        return {}
    step = train_step(copy.deepcopy(context.model), context.data, batch_size=b.batch_size, ema=b.ema, precision=b.precision)
    step()
    idle, _ = _power(lambda: time.sleep(SECONDS / 10), joules, context.device)
    working, steps = _power(step, joules, context.device)
    examples = min(b.batch_size, len(context.data.train)) * steps
    return {"train_energy": Measured((working - idle) / examples), "train_energy_idle": Measured(idle / examples)}


def counter(device: torch.device) -> Callable[[], float] | None:
    """A function that reads the energy, in J, that a GPU has taken since its driver was loaded; None where there is none."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:                                # no library of the driver's, or a device that does not count
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def _power(call: Callable[[], object], joules: Callable[[], float], device: torch.device) -> tuple[float, float]:
    """-> (W, calls a second) of a call repeated for SECONDS."""
    timing.synchronise(device)
    began, before, calls = time.perf_counter(), joules(), 0
    while time.perf_counter() - began < SECONDS:
        call()
        timing.synchronise(device)
        calls += 1
    seconds = time.perf_counter() - began
    return (joules() - before) / seconds, calls / seconds
