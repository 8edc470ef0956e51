"""The step of `zoo.fit`, for timing. The one place that reaches below zoo's public face: what is timed is what trains."""

from collections.abc import Callable

import zoo
from zoo.training import Recipe, Run

NEVER = 1 << 30


def train_step(model: zoo.Contract, data: zoo.Dataset, *, batch_size: int, ema: float = 0.0,
               precision: str = "float32") -> Callable[[], None]:
    """A function that trains `model`, in place, by one step of AdamW at a small rate; evaluates and logs nothing."""
    recipe = Recipe(steps=NEVER, batch_size=min(batch_size, len(data.train)), lr=1e-4, final_lr=1e-4, weight_decay=0.0,
                    warmup=0, clip=1000.0, ema=ema, precision=precision, evaluate_every=NEVER, early_stopping=None)
    return Run(model.train(), data, recipe, 0, None).step
