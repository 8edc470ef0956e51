"""Seconds until something is reached: the first training step, a given ELBO."""

import copy
import time

from .. import timing
from ..context import Context
from ..train_step import train_step
from . import Measured, metric


@metric("time_to_first_step", unit="s", better="lower", group="cost", needs=["trained"])
def time_to_first_step(context: Context) -> Measured:
    """Seconds from a model that is built to the end of its first training step: the data moved, the optimiser made, and
    whatever is allocated or compiled for this model; imports and what this process has compiled before are not in it.

    One measurement. Source: benchmarks/timing.py.
    """
    model, b, waiting = copy.deepcopy(context.model), context.budget, timing.Waiting()
    timing.synchronise(context.device)
    began = time.perf_counter()
    train_step(model, context.data, batch_size=b.batch_size, ema=b.ema, precision=b.precision)()
    timing.synchronise(context.device)
    return Measured(time.perf_counter() - began, busy=waiting.busy)


@metric("seconds_to_elbo", unit="s", better="lower", group="cost", needs=["bound", "trained"])
def seconds_to_elbo(context: Context) -> dict[str, Measured]:
    """Seconds of training until the validation ELBO was first at least each of the suite's `elbo_targets`, nats per example.

    Read from the training curve: evaluations included, and as fine as `evaluate_every`. Absent where a target was not
    reached: a model that is slow and one that cannot are told apart by the ELBO. Source: the MLPerf training rules' time to
    quality.
    """
    found = {}
    for target in context.evaluation.elbo_targets:
        reached = next((row["seconds"] for row in context.curve if row.get("valid_elbo", -float("inf")) >= target), None)
        if reached is not None:
            found[f"seconds_to_elbo_{target:g}"] = Measured(reached)
    return found
