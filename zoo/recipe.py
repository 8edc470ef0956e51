"""What a run's result depends on besides model, data and seed; and the losses of a step, which every engine computes alike."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .noise import Noise
from .variant import Batch, Contract

LOG_ROWS = 100                                              # steps kept on the device between two reads of the host
PRECISIONS = ("float32", "tf32", "bf16")
NOISES = ("auto", "philox")


@dataclass(frozen=True)
class Recipe:
    """Rates are per step; the KL's weight and lr are schedules."""

    steps: int
    batch_size: int
    lr: float
    final_lr: float                                         # where the cosine from lr ends; lr itself: constant
    weight_decay: float
    warmup: int                                             # steps in which the KL's weight rises from 0 to 1
    clip: float
    ema: float
    precision: str
    evaluate_every: int
    early_stopping: int | None
    noise: str = "auto"

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch_size", 1), ("warmup", 0), ("evaluate_every", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must be in [0, 1), 0 for none")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; it must be one of {', '.join(PRECISIONS)}")
        if self.noise not in NOISES:
            raise ValueError(f"noise is {self.noise!r}; it must be one of {', '.join(NOISES)}")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise ValueError(f"early_stopping is {self.early_stopping}; it is how many evaluations without gain to bear, "
                             "at least 1")

    def rate(self, step: Any, cos: Callable[[Any], Any] = math.cos) -> Any:
        """The learning rate of a step, a number or (with torch.cos) a tensor: a cosine from lr to final_lr."""
        return self.final_lr + 0.5 * (self.lr - self.final_lr) * (1 + cos(math.pi * step / self.steps))

    @staticmethod
    def remembered(step: Any) -> Any:
        """The largest decay of the weights' average after a step: young averages forget the initial weights."""
        return (1 + step) / (10 + step)


def plan(examples: int, *, steps: int | None = None, epochs: float | None = None, batch_size: int = 128, lr: float = 1e-3,
         final_lr: float | None = None, weight_decay: float = 0.0, warmup: int = 0, clip: float = 1000.0, ema: float = 0.0,
         precision: str = "float32", evaluate_every: int | None = None, early_stopping: int | None = None,
         noise: str = "auto") -> Recipe:
    """The recipe for so many examples, its defaults filled in; the settings are those of `zoo.fit`.

    Raises: ValueError for a setting out of range.
    """
    if steps is not None and epochs is not None:
        raise ValueError(f"give steps or epochs, not both; got steps={steps} and epochs={epochs}")
    batch_size = min(batch_size, examples)
    per_epoch = examples // max(batch_size, 1)
    total = steps if steps is not None else math.ceil((20 if epochs is None else epochs) * per_epoch)
    return Recipe(total, batch_size, lr, lr if final_lr is None else final_lr, weight_decay, warmup, clip, ema, precision,
                  evaluate_every or max(per_epoch, 100), early_stopping, noise)


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Matrix products and convolutions in TF32, where the precision says so.  Raises: ValueError where there is none."""
    if precision != "tf32":
        yield
        return
    if device.type != "cuda":
        raise ValueError(f"precision is 'tf32', which {device.type} has not; give 'float32' or 'bf16', or train on a GPU")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.backends.cudnn.flags(allow_tf32=True):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class Losses(nn.Module):
    """One step's losses as a module's forward, so that torch.func can put parameters into it."""

    def __init__(self, model: Contract, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.warmup, self.bf16 = model, recipe.warmup, recipe.precision == "bf16"

    def forward(self, batch: Batch, noise: Noise, step: Tensor) -> tuple[Tensor, Tensor | None, Tensor, dict[str, Tensor]]:
        """-> loss, the critic's loss if there is one, what the log shows (log.COLUMNS but the last), buffers' next values."""
        with torch.autocast(step.device.type, torch.bfloat16, enabled=self.bf16):
            terms = self.model(batch, noise=noise)
            warmed = terms.tempered(((step + 1) / self.warmup).clamp(max=1)) if self.warmup else terms
            loss = self.model.objective(warmed, step).mean()
            critic = self.model.adversary_loss(terms, noise)
        with torch.no_grad():
            nll, kl = terms.nll.mean(), terms.kl.sum(-1).mean()
            seen = torch.stack([v.float() for v in (loss, nll, kl, -(nll + kl))])
            return loss, critic, seen, self.model.updated_buffers(terms)
