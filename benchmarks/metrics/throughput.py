"""Examples a second: training, encoding, sampling."""

import copy

import torch

from .. import timing
from ..context import SAMPLES, SHOWN, Context
from ..train_step import train_step
from . import Measured, metric


@metric("train_throughput", unit="examples/s", better="higher", group="cost", needs=["trained"])
def train_throughput(context: Context) -> Measured:
    """Training examples a second: `zoo.fit`'s own steps, at the suite's batch size, on a copy of the model; data resident.

    Median over blocks and interquartile range, after a warm-up; evaluation, checkpoints and logging are not in it.
    Source: benchmarks/timing.py.
    """
    b = context.budget
    step = train_step(copy.deepcopy(context.model), context.data, batch_size=b.batch_size, ema=b.ema, precision=b.precision)
    return _rate(timing.measure(step, context.device), min(b.batch_size, len(context.data.train)))


@metric("encode_throughput", unit="examples/s", better="higher", group="cost", needs=["latents"])
def encode_throughput(context: Context) -> Measured:
    """Test examples encoded to posterior means in a second, in batches of the training's size; the data's check included.

    Source: benchmarks/timing.py.
    """
    batch = context.test.batch(slice(0, context.budget.batch_size), context.noise(SHOWN))
    n = min(context.budget.batch_size, len(context.test))
    return _rate(timing.measure(lambda: context.model.encode(batch), context.device), n)


@metric("sample_throughput", unit="examples/s", better="higher", group="cost")
def sample_throughput(context: Context) -> Measured:
    """New examples in a second, in batches of the training's size; sequences of full length, free running.

    Source: benchmarks/timing.py.
    """
    n = context.budget.batch_size
    with torch.no_grad():
        return _rate(timing.measure(lambda: context.model.sample(n, noise=context.noise(SAMPLES)), context.device), n)


def _rate(seconds: timing.Timing, n: int) -> Measured:
    value, iqr = seconds.rate(n)
    return Measured(value, iqr=iqr)
