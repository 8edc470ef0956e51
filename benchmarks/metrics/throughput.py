"""Examples a second: training, encoding, decoding, sampling. At the suite's batch size, at its `batch_sizes`, and at best."""

import contextlib
import copy
from collections.abc import Callable
from functools import partial

import torch

import zoo

from .. import timing
from ..context import SAMPLES, SHOWN, Context
from ..train_step import train_step
from ..yardstick import yardstick_step
from . import Measured, metric

SECONDS = 0.06                                              # for each of two dozen timings of a model
PAYS = 1.05                                                 # what a batch twice as large must gain


@metric("train_throughput", unit="examples/s", better="higher", group="cost", needs=["trained"])
def train_throughput(context: Context) -> dict[str, Measured]:
    """Training examples a second: `zoo.fit`'s own steps on a copy of the model, data resident.

    At the suite's batch size; `_<B>`: at batch size B; `_best`: the highest of these and of what doubling the largest batch
    gains, until it does not pay (5%) or memory bounds it. Sizes above the training split's, and those that a model refuses, are
    left out. Median over blocks and interquartile range, after a warm-up; evaluation, checkpoints and logging are not in it.
    Source: benchmarks/timing.py.
    """
    return _rates("train_throughput", context, partial(training, context), len(context.data.train))


@metric("encode_throughput", unit="examples/s", better="higher", group="cost", needs=["latents"])
def encode_throughput(context: Context) -> dict[str, Measured]:
    """Test examples encoded to posterior means in a second, the data's check included; batch sizes as in `train_throughput`.

    Batches larger than the test split hold it several times. Source: benchmarks/timing.py.
    """
    return _rates("encode_throughput", context, partial(encoding, context))


@metric("decode_throughput", unit="examples/s", better="higher", group="cost", needs=["decoder"])
def decode_throughput(context: Context) -> dict[str, Measured]:
    """Codes of test examples decoded to means of p(x|z) in a second; batch sizes as in `train_throughput`.

    Source: benchmarks/timing.py.
    """
    def prepared(n: int) -> Callable[[], object]:
        batch = _examples(context, n)
        z = context.model.encode(batch)
        return lambda: context.model.decode(z, batch.label, batch.lengths)
    return _rates("decode_throughput", context, prepared)


@metric("sample_throughput", unit="examples/s", better="higher", group="cost")
def sample_throughput(context: Context) -> dict[str, Measured]:
    """New examples in a second, sequences of full length and free running; batch sizes as in `train_throughput`.

    Source: benchmarks/timing.py.
    """
    return _rates("sample_throughput", context, partial(sampling, context))


@metric("relative_train_speed", unit="ratio", better="higher", group="cost", needs=["trained"])
def relative_train_speed(context: Context) -> Measured:
    """Seconds of the yardstick's training step / seconds of the model's, at the suite's batch size: what may be compared
    across machines.

    Median over interleaved pairs of blocks, and their interquartile range. The yardstick is a plain auto-encoder,
    784-400-20-400-784, whatever the data. Source: benchmarks/yardstick.py, benchmarks/timing.py.
    """
    n = min(context.budget.batch_size, len(context.data.train))
    ratio = timing.in_pairs(yardstick_step(n, context.device), training(context, n), context.device)
    return Measured(ratio.median, iqr=ratio.iqr, busy=ratio.busy)


# -- what is timed, at batch size n -----------------------------------------------------------------------------------------
def training(context: Context, n: int, engine: str = "eager") -> Callable[..., None]:
    """Steps, by their number, on a copy of the model."""
    return train_step(copy.deepcopy(context.model), context.data, batch_size=n, ema=context.budget.ema,
                      precision=context.budget.precision, engine=engine)


def encoding(context: Context, n: int) -> Callable[[], object]:
    batch = _examples(context, n)
    return lambda: context.model.encode(batch)


def sampling(context: Context, n: int) -> Callable[[], object]:
    return lambda: context.model.sample(n, noise=context.noise(SAMPLES))


def _examples(context: Context, n: int) -> zoo.Batch:
    return context.test.batch(torch.arange(n, device=context.device) % len(context.test), context.noise(SHOWN))


# -- at which batch sizes ---------------------------------------------------------------------------------------------------
def rate(call: Callable[[], object], n: int, device: torch.device) -> Measured:
    """Examples a second, of a call that handles n."""
    seconds = timing.measure(call, device, SECONDS)
    value, iqr = seconds.rate(n)
    return Measured(value, iqr=iqr, busy=seconds.busy)


def grown(by_size: dict[int, Measured], rated: Callable[[int], Measured], most: int) -> dict[int, Measured]:
    """These rates and those that doubling the largest batch gives, until it does not pay (5%), or `most` or the device's
    memory ends it."""
    n = max(by_size)
    with contextlib.suppress(torch.OutOfMemoryError):
        while 2 * n <= most:
            by_size = {**by_size, 2 * n: rated(2 * n)}
            if by_size[2 * n].value < PAYS * by_size[n].value:
                break
            n *= 2
    return by_size


def best_of(by_size: dict[int, Measured]) -> int:
    """The batch size of the highest rate."""
    return max(by_size, key=lambda n: by_size[n].value)


def _rates(name: str, context: Context, prepared: Callable[[int], Callable[[], object]],
           limit: int | None = None) -> dict[str, Measured]:
    """Rates by label. `prepared(n)` is the call to time at batch size n; `limit`, the largest."""
    def rated(n: int) -> Measured:
        with torch.set_grad_enabled(name == "train_throughput"):
            return rate(prepared(n), n, context.device)

    own = min(context.budget.batch_size, limit or context.budget.batch_size)
    sizes = [n for n in context.evaluation.batch_sizes if limit is None or n <= limit]
    by_size = {own: rated(own)}
    for n in sizes:
        with contextlib.suppress(ValueError):               # too few for it: a critic that permutes a batch needs two examples
            by_size[n] = by_size.get(n) or rated(n)
    by_size = grown(by_size, rated, min(context.rows, limit or context.rows))
    return {name: by_size[own], **{f"{name}_{n}": by_size[n] for n in sizes if n in by_size},
            f"{name}_best": by_size[best_of(by_size)]}
