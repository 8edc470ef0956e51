"""One training run: its state, its step, and what is done between steps.

A run is a function of (model, data, recipe, seed): noise and data order depend on (seed, step) and on nothing else, so that a
resumed run gives the uninterrupted one's numbers, bit for bit on a CPU. A step reads nothing on the host; the log does, once
in LOG_ROWS steps.
"""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .adamw import AdamW
from .checkpoint import read_checkpoint, write_checkpoint
from .convolution import as_products
from .data import Dataset, Split
from .log import COLUMNS, Log
from .noise import fold, keyed
from .ranks import Ranks
from .recipe import LOG_ROWS, Losses, Recipe
from .store import save
from .variant import Contract

VALID, ORDER = 1, 2                                         # streams of a seed besides the training noise's


class DivergenceError(FloatingPointError):
    """NaN or Inf in the loss: says the step, the terms and the last good checkpoint."""


@dataclass
class Result:
    """What `fit` returns: log rows (dictionaries with `step`, nats as in `elbo`), the best validation ELBO, why it ended."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_elbo: float = -math.inf
    best_step: int = 0
    steps: int = 0
    seconds: float = 0.0
    stopped_early: bool = False
    engine: str = "eager"                                   # who made the last step


class Run:
    """One training run. What changes: the model, two optimisers' moments, the average, and the count of steps."""

    def __init__(self, model: Contract, data: Dataset, recipe: Recipe, seed: int, out: Path | None) -> None:
        self.model, self.recipe, self.seed, self.out = model, recipe, seed, out
        self.checkpoint = None if out is None else out / "checkpoint.safetensors"
        self.device = model.device
        self.train, self.valid = data.train.to(self.device), data.valid.to(self.device)
        self.ranks = Ranks()
        self.ranks.begin(model, self.train, recipe.batch_size)
        self.losses = Losses(model, recipe)
        named = dict(self.losses.named_parameters())
        theirs = {n: p for n, p in named.items() if n.startswith("model.adversary.")}
        self.optimiser = AdamW({n: p for n, p in named.items() if n not in theirs}, decay=recipe.weight_decay)
        self.critic = AdamW(theirs, betas=(0.5, 0.9))
        self.ours = list(self.optimiser.weights.values())
        self.average = [p.detach().clone() for p in self.ours] if recipe.ema else []
        self.best: dict[str, Tensor] = {}
        self.per_epoch = len(self.train) // recipe.batch_size
        self.rows = torch.zeros(LOG_ROWS, len(COLUMNS), device=self.device)
        self.step_tensor = torch.zeros((), device=self.device)
        self.result = Result()
        self.since_best = 0
        self.permutation = (-1, torch.empty(0))             # of an epoch: derived, never saved
        self.ahead: Generator[Split] | None = None          # batches of data on disk
        self.until_closed = ExitStack()
        if self.device.type == "cpu":
            self.until_closed.enter_context(as_products(model))

    # -- one step -------------------------------------------------------------------------------------------------------
    def step(self) -> None:
        """Reads nothing on the host. The gradients of objective and critic are taken apart: neither leaks into the other."""
        r, done = self.recipe, self.result.steps
        noise = self.ranks.noise(keyed(self.seed, done, self.device, r.noise))
        batch = self.part(done).batch(noise=noise)
        loss, critic, seen, updated = self.losses(batch, noise, self.step_tensor)
        norm = self._descend(self.optimiser, loss)
        if critic is not None:
            self._descend(self.critic, critic)
        with torch.no_grad():
            for name, value in updated.items():
                self.model.get_buffer(name).copy_(value)
            if self.average:
                torch._foreach_lerp_(self.average, [p.detach() for p in self.ours], 1 - min(r.ema, r.remembered(done)))
            self.rows[done % LOG_ROWS] = torch.cat([seen, norm[None]])
            self.step_tensor += 1
        self.result.steps += 1

    def _descend(self, optimiser: AdamW, loss: Tensor) -> Tensor:
        """-> the norm of the gradient"""
        gradients = torch.autograd.grad(loss, list(optimiser.weights.values()), allow_unused=True)
        self.ranks.average(g for g in gradients if g is not None)
        return optimiser.step(gradients, self.recipe.rate(self.result.steps), self.recipe.clip)

    def count(self) -> None:
        """Let what counts on the device, and what reads ahead, go on after the steps made."""
        self.step_tensor.fill_(self.result.steps)
        self.optimiser.after(self.result.steps)
        self.critic.after(self.result.steps)
        self._leave_off()

    def part(self, done: int) -> Split:
        """This rank's rows of data of a step. Those on disk are read ahead, from the first step on that is taken."""
        if self.train.in_memory:
            return self.train.take(self.ranks.rows(self.order(done)))
        if self.ahead is None:
            self.ahead = self.train.ahead(self.ranks.rows(self.order(i)) for i in range(done, self.recipe.steps))
        return next(self.ahead)

    def close(self) -> None:
        """End the processes that read ahead, whatever keeps this run, and leave the model as it was made."""
        self.until_closed.close()
        self._leave_off()

    def _leave_off(self) -> None:
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None

    def order(self, done: int) -> Tensor:
        """Indices of this step's examples: a permutation of the epoch's, from (seed, epoch) alone."""
        epoch, i = divmod(done, self.per_epoch)
        if self.permutation[0] != epoch:
            generator = torch.Generator().manual_seed(fold(self.seed, ORDER, epoch))
            order = torch.randperm(len(self.train), generator=generator)
            self.permutation = epoch, order.to(self.device) if self.train.in_memory else order
        return self.permutation[1][i * self.recipe.batch_size:(i + 1) * self.recipe.batch_size]

    # -- the loop -------------------------------------------------------------------------------------------------------
    def begin(self, log: Log) -> None:
        self.model.train()
        self.log, self.read, self.began = log, self.result.steps, time.perf_counter() - self.result.seconds

    @property
    def going(self) -> bool:
        return self.result.steps < self.recipe.steps and not self.result.stopped_early

    def unnoted(self, checkpoint_every: int) -> int:
        """Steps to the next one after which something may be due."""
        done, r = self.result.steps, self.recipe
        marks = [LOG_ROWS, r.evaluate_every] if self.checkpoint is None else [LOG_ROWS, r.evaluate_every, checkpoint_every]
        return min(r.steps - done, *(every - done % every for every in marks))

    def note(self, checkpoint_every: int) -> None:
        """After a step, or several: log, evaluate and write what is due."""
        r, result, done = self.recipe, self.result, self.result.steps
        evaluate, last = done % r.evaluate_every == 0, done == r.steps
        keep = self.checkpoint is not None and (done % checkpoint_every == 0 or last)
        if done % LOG_ROWS == 0 or evaluate or last or keep:             # a checkpoint is read before it is kept: no NaN
            row = self._read(self.read, done)
            if evaluate or last:
                row["valid_elbo"] = self._evaluate(done)
            result.seconds, self.read = time.perf_counter() - self.began, done
            self.log.write({**row, "seconds": result.seconds})
        if self.checkpoint is not None and self.ranks.first and (keep or result.stopped_early):
            write_checkpoint(self, self.checkpoint)
        self.log.advance(done)

    def _read(self, since: int, done: int) -> dict[str, float]:
        """Means of the rows of steps since + 1 .. done.  Raises: DivergenceError."""
        rows = self.rows[[i % LOG_ROWS for i in range(since, done)]]
        self.ranks.average([rows])
        rows = rows.cpu()
        bad = (~torch.isfinite(rows)).any(1).nonzero().flatten().tolist()
        if bad:
            values = dict(zip(COLUMNS, rows[bad[0]].tolist(), strict=True))
            wrong = ", ".join(f"{k} = {v:g}" for k, v in values.items() if not math.isfinite(v))
            saved = self.checkpoint is not None and self.checkpoint.is_file()
            kept = f"the last good checkpoint is {self.checkpoint}" if saved else "no checkpoint was written before"
            raise DivergenceError(f"step {since + bad[0] + 1}: {wrong} (all terms: {values}); {kept}. "
                                  "Lower lr or clip, or look for outliers in the data.")
        return {"step": done, "epoch": done / self.per_epoch, "lr": self.recipe.rate(done),
                **dict(zip(COLUMNS, rows.mean(0).tolist(), strict=True))}

    def _evaluate(self, done: int) -> float:
        with self.averaged():
            elbo = mean_elbo(self.model, self.valid, self.seed, ranks=self.ranks, kind=self.recipe.noise)
            if elbo > self.result.best_elbo and done >= self.recipe.warmup:        # before that the bound is not trained for
                self.result.best_elbo, self.result.best_step, self.since_best = elbo, done, 0
                if self.recipe.early_stopping:
                    self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            elif done > self.recipe.warmup:
                self.since_best += 1
                self.result.stopped_early = bool(self.recipe.early_stopping and self.since_best >= self.recipe.early_stopping)
        return elbo

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in the model, for as long as the block lasts."""
        kept = [p.detach().clone() for p in self.ours] if self.average else []
        self._put(self.average)
        try:
            yield
        finally:
            self._put(kept)

    def finish(self) -> Result:
        """Leave in the model, and in `out`, the weights that count: averaged, and the best where training stops early."""
        self.model.eval()
        self._put(self.average)
        if self.best:
            self.model.load_state_dict(self.best)
        if self.out is not None and self.ranks.first:
            save(self.model, self.out / "model.safetensors")
        return self.result

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for p, value in zip(self.ours, values, strict=False):
            p.copy_(value)

    def restore(self) -> None:
        """Continue from the checkpoint in `out`, if there is one.  Raises: ValueError if it is of another run."""
        if self.checkpoint is not None and self.checkpoint.is_file():
            read_checkpoint(self, self.checkpoint)


@torch.no_grad()
def mean_elbo(model: Contract, split: Split, seed: int, batch_size: int = 1000, ranks: Ranks | None = None,
              kind: str = "auto") -> float:
    """Mean ELBO in nats per example, one draw of z each, the same noise, of this kind, at every call. `ranks` take batches in
    turn."""
    training, total = model.training, torch.zeros((), dtype=torch.float64, device=model.device)
    model.eval()
    rank, size = (ranks.rank, ranks.size) if ranks else (0, 1)
    turns = range(rank, math.ceil(len(split) / batch_size), size)
    for i, part in zip(turns, split.ahead(slice(i * batch_size, (i + 1) * batch_size) for i in turns), strict=True):
        noise = keyed(fold(seed, VALID), i, model.device, kind)
        total += model(part.batch(noise=noise), 1, noise).elbo.double().sum()
    model.train(training)
    if ranks:
        ranks.average([total])
    return size * float(total) / max(len(split), 1)

