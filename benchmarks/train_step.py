"""The step of `zoo.fit`, for timing. The one place that reaches below zoo's public face: what is timed is what trains."""

from collections.abc import Callable

import zoo
from zoo.training import Recipe, Run

ENGINES = ("eager",)
NEVER = 1 << 30


def train_step(model: zoo.Contract, data: zoo.Dataset, *, batch_size: int, lr: float = 1e-4, ema: float = 0.0,
               precision: str = "float32", engine: str = "eager") -> Callable[[], None]:
    """A function that trains `model`, in place, by one step of AdamW at a constant rate; evaluates and logs nothing.

    Raises: ValueError for an engine that there is not.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
    recipe = Recipe(steps=NEVER, batch_size=min(batch_size, len(data.train)), lr=lr, final_lr=lr, weight_decay=0.0,
                    warmup=0, clip=1000.0, ema=ema, precision=precision, evaluate_every=NEVER, early_stopping=None)
    return Run(model.train(), data, recipe, 0, None).step
