"""The step of `zoo.fit`, for timing. The one place that reaches below zoo's public face: what is timed is what trains."""

import sys
from collections.abc import Callable
from functools import partial

import zoo
from zoo.engines import ENGINES as ENGINES
from zoo.engines import Engine
from zoo.program import AT_ONCE as AT_ONCE
from zoo.recipe import Recipe, arithmetic
from zoo.run import Run

NEVER = 1 << 30


def train_step(model: zoo.Contract, data: zoo.Dataset, *, batch_size: int, lr: float = 1e-4, ema: float = 0.0,
               precision: str = "float32", engine: str = "eager") -> Callable[..., None]:
    """steps(n=1), which trains `model`, in place, by so many steps of AdamW at a constant rate; evaluates and logs nothing.

    Raises: ValueError for an engine that cannot be used here. The function raises RuntimeError where it has failed.
    """
    recipe = Recipe(steps=NEVER, batch_size=min(batch_size, len(data.train)), lr=lr, final_lr=lr, weight_decay=0.0,
                    warmup=0, clip=1000.0, ema=ema, precision=precision, evaluate_every=NEVER, early_stopping=None)
    run = Run(model.train(), data, recipe, 0, None)
    stepper = Engine([run], engine, partial(print, file=sys.stderr))

    def steps(n: int = 1) -> None:
        last = run.result.steps + n
        with arithmetic(precision, run.device):
            while run.result.steps < last:
                stepper.step(last - run.result.steps)
        if engine not in ("auto", run.result.engine):
            raise RuntimeError(f"engine {engine!r} gave way to {run.result.engine!r}; what was timed is not what was asked for")
    return steps
