"""The training loop: AdamW on `objective`, for every variant the same.

A run is a function of (model, data, recipe, seed): noise and data order depend on (seed, step) and on nothing else, so that a
resumed run gives the uninterrupted one's numbers, bit for bit on a CPU. A step reads nothing on the host; the log does, once
in LOG_ROWS steps.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from .checkpoint import read_checkpoint, write_checkpoint
from .data import Dataset, Split
from .log import COLUMNS, Log
from .noise import Noise, fold, keyed
from .ranks import Ranks
from .store import save
from .variant import Batch, Contract

LOG_ROWS = 100                                              # steps kept on the device between two reads of the host
VALID, ORDER = 1, 2                                         # streams of a seed besides the training noise's


class DivergenceError(FloatingPointError):
    """NaN or Inf in the loss: says the step, the terms and the last good checkpoint."""


@dataclass(frozen=True)
class Recipe:
    """What a run's result depends on besides model, data and seed. Rates are per step; the KL's weight and lr are schedules."""

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

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch_size", 1), ("warmup", 0), ("evaluate_every", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must be in [0, 1), 0 for none")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}; it must be 'float32' or 'bf16'")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise ValueError(f"early_stopping is {self.early_stopping}; it is how many evaluations without gain to bear, "
                             "at least 1")

    def rate(self, step: int) -> float:
        """The learning rate of a step: a cosine from lr to final_lr."""
        return self.final_lr + 0.5 * (self.lr - self.final_lr) * (1 + math.cos(math.pi * step / self.steps))


@dataclass
class Result:
    """What `fit` returns: log rows (dictionaries with `step`, nats as in `elbo`), the best validation ELBO, why it ended."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_elbo: float = -math.inf
    best_step: int = 0
    steps: int = 0
    seconds: float = 0.0
    stopped_early: bool = False


def fit(model: Contract, data: Dataset, *, steps: int | None = None, epochs: float | None = None, batch_size: int = 128,
        lr: float = 1e-3, final_lr: float | None = None, weight_decay: float = 0.0, warmup: int = 0, clip: float = 1000.0,
        ema: float = 0.0, seed: int = 0, device: torch.device | str = "auto", precision: str = "float32",
        evaluate_every: int | None = None, early_stopping: int | None = None, out: str | Path | None = None,
        checkpoint_every: int = 1000, resume: bool = False, on_log: Callable[[dict[str, float]], None] | None = None,
        progress: bool = True, tensorboard: bool = True) -> Result:
    """Train a model in place.

    steps | epochs    how long (20 epochs where neither is given)
    lr, final_lr      AdamW's rate, on a cosine to final_lr (default: constant)
    warmup            steps over which the KL's weight rises from 0 to 1; no metric sees it
    clip              largest norm of the gradient
    ema               decay of an average of the weights, which is then what is evaluated, saved and left in the model
    precision         "float32", or "bf16": nets in bfloat16, densities and optimiser in float32
    evaluate_every    steps between validation ELBOs (default: an epoch, at least 100 steps)
    early_stopping    evaluations without a better validation ELBO to bear; the best weights are left in the model
    out               folder for checkpoint.safetensors, model.safetensors, log.jsonl and, where installed, TensorBoard's files
    resume            continue from out's checkpoint, if there is one
    on_log            called with every row of the log

    Where torch.distributed's process group stands, its ranks share every batch out (see `zoo.ranks`); the first one writes.

    Raises: ValueError where data and model do not fit, or for a setting out of range; DivergenceError for NaN or Inf in the
    loss; OSError where `out` cannot be written.
    """
    if steps is not None and epochs is not None:
        raise ValueError(f"give steps or epochs, not both; got steps={steps} and epochs={epochs}")
    if data.spec != model.spec:
        raise ValueError(f"the model was built for {model.spec}, but {data.name} is {data.spec}; create it with data.spec")
    if resume and out is None:
        raise ValueError("resume=True needs `out`, the folder of the run to continue")
    batch_size = min(batch_size, len(data.train))
    per_epoch = len(data.train) // max(batch_size, 1)
    total = steps if steps is not None else math.ceil((20 if epochs is None else epochs) * per_epoch)
    recipe = Recipe(total, batch_size, lr, lr if final_lr is None else final_lr, weight_decay, warmup, clip, ema, precision,
                    evaluate_every or max(per_epoch, 100), early_stopping)
    data.check()
    run = Run(model.to(choose_device(device)), data, recipe, seed, None if out is None else Path(out))
    if resume:
        run.restore()
    first = run.ranks.first
    run.ranks.agree(run.result.steps, run.device)
    with Log(run.out if first else None, run.result.steps, total, run.result.history, on_log if first else None,
             progress and first, tensorboard) as log, closing(run):
        run.fit(checkpoint_every, log)
    return run.finish()


def choose_device(name: torch.device | str) -> torch.device:
    """The device of this name; `auto` is a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)


class Run:
    """One training run. What changes: the model, two optimisers' moments, the average, and the count of steps."""

    def __init__(self, model: Contract, data: Dataset, recipe: Recipe, seed: int, out: Path | None) -> None:
        self.model, self.recipe, self.seed, self.out = model, recipe, seed, out
        self.checkpoint = None if out is None else out / "checkpoint.safetensors"
        self.device = model.device
        self.train, self.valid = data.train.to(self.device), data.valid.to(self.device)
        self.ranks = Ranks()
        self.ranks.begin(model, self.train, recipe.batch_size)
        named = list(model.named_parameters())
        self.ours = [p for n, p in named if not n.startswith("adversary.")]
        self.theirs = [p for n, p in named if n.startswith("adversary.")]
        self.optimiser = torch.optim.AdamW(self.ours, recipe.lr, weight_decay=recipe.weight_decay, fused=True)
        self.critic = torch.optim.AdamW(self.theirs or [torch.empty(0, device=self.device)], recipe.lr, betas=(0.5, 0.9),
                                        weight_decay=0.0, fused=True)
        self.average = [p.detach().clone() for p in self.ours] if recipe.ema else []
        self.best: dict[str, Tensor] = {}
        self.per_epoch = len(self.train) // recipe.batch_size
        self.rows = torch.zeros(LOG_ROWS, len(COLUMNS), device=self.device)
        self.step_tensor = torch.zeros((), device=self.device)
        self.result = Result()
        self.since_best = 0
        self.permutation: Tensor | None = None              # of the epoch at hand: derived, never saved
        self.ahead: Generator[Split] | None = None          # batches of data on disk

    # -- one step -------------------------------------------------------------------------------------------------------
    def step(self) -> None:
        """Reads nothing on the host. The gradients of objective and critic are taken apart: neither leaks into the other."""
        r, done = self.recipe, self.result.steps
        noise = self.ranks.noise(keyed(self.seed, done, self.device))
        batch = self._batch(done, noise)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=r.precision == "bf16"):
            terms = self.model(batch, noise=noise)
            warmed = terms.tempered(((self.step_tensor + 1) / r.warmup).clamp(max=1)) if r.warmup else terms
            loss = self.model.objective(warmed, self.step_tensor).mean()
            critic = self.model.adversary_loss(terms, noise)
        norm = self._descend(self.optimiser, self.ours, loss, done, r.clip)
        if critic is not None:
            self._descend(self.critic, self.theirs, critic, done, r.clip)
        with torch.no_grad():
            for name, value in self.model.updated_buffers(terms).items():
                self.model.get_buffer(name).copy_(value)
            if self.average:
                decay = min(r.ema, (1 + done) / (10 + done))                # young averages forget the initial weights
                torch._foreach_lerp_(self.average, [p.detach() for p in self.ours], 1 - decay)
            seen = (loss, terms.nll.mean(), terms.kl.sum(-1).mean(), terms.elbo.mean(), norm)
            self.rows[done % LOG_ROWS] = torch.stack([v.detach().float() for v in seen])
            self.step_tensor += 1
        self.result.steps += 1

    def _descend(self, optimiser: torch.optim.AdamW, parameters: list[torch.nn.Parameter], loss: Tensor, done: int,
                 clip: float) -> Tensor:
        for group in optimiser.param_groups:
            group["lr"] = self.recipe.rate(done)
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            p.grad = None if g is None else g.contiguous()  # the fused optimiser misreads any other layout, silently
        self.ranks.average(p.grad for p in parameters if p.grad is not None)
        norm = clip_grad_norm_(parameters, clip)
        optimiser.step()
        return norm

    def _batch(self, done: int, noise: Noise) -> Batch:
        """This rank's examples of a step. Data on disk are read ahead, from the first step on that is taken."""
        if self.train.in_memory:
            return self.train.batch(self.ranks.rows(self._order(done)), noise)
        if self.ahead is None:
            self.ahead = self.train.ahead(self.ranks.rows(self._order(i)) for i in range(done, self.recipe.steps))
        return next(self.ahead).batch(noise=noise)

    def close(self) -> None:
        """End the processes that read ahead, whatever keeps this run."""
        if self.ahead is not None:
            self.ahead.close()

    def _order(self, done: int) -> Tensor:
        """Indices of this step's examples: a permutation of the epoch's, from (seed, epoch) alone."""
        epoch, i = divmod(done, self.per_epoch)
        if i == 0 or self.permutation is None:
            generator = torch.Generator().manual_seed(fold(self.seed, ORDER, epoch))
            self.permutation = torch.randperm(len(self.train), generator=generator)
            if self.train.in_memory:
                self.permutation = self.permutation.to(self.device)
        return self.permutation[i * self.recipe.batch_size:(i + 1) * self.recipe.batch_size]

    # -- the loop -------------------------------------------------------------------------------------------------------
    def fit(self, checkpoint_every: int, log: Log) -> None:
        r, result, began, seen = self.recipe, self.result, time.perf_counter(), self.result.steps
        before = result.seconds
        self.model.train()
        while result.steps < r.steps and not result.stopped_early:
            self.step()
            done = result.steps
            evaluate, last = done % r.evaluate_every == 0, done == r.steps
            keep = self.checkpoint is not None and (done % checkpoint_every == 0 or last)
            if done % LOG_ROWS == 0 or evaluate or last or keep:         # a checkpoint is read before it is kept: no NaN
                row = self._read(seen, done)
                if evaluate or last:
                    row["valid_elbo"] = self._evaluate(done)
                result.seconds = before + time.perf_counter() - began
                log.write({**row, "seconds": result.seconds})
                seen = done
            if self.checkpoint is not None and self.ranks.first and (keep or result.stopped_early):
                write_checkpoint(self, self.checkpoint)
            log.advance(done)

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
            elbo = mean_elbo(self.model, self.valid, self.seed, ranks=self.ranks)
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
def mean_elbo(model: Contract, split: Split, seed: int, batch_size: int = 1000, ranks: Ranks | None = None) -> float:
    """Mean ELBO in nats per example, one draw of z each, the same noise at every call. `ranks` take batches in turn."""
    training, total = model.training, torch.zeros((), dtype=torch.float64, device=model.device)
    model.eval()
    rank, size = (ranks.rank, ranks.size) if ranks else (0, 1)
    turns = range(rank, math.ceil(len(split) / batch_size), size)
    for i, part in zip(turns, split.ahead(slice(i * batch_size, (i + 1) * batch_size) for i in turns), strict=True):
        noise = keyed(fold(seed, VALID), i, model.device)
        total += model(part.batch(noise=noise), 1, noise).elbo.double().sum()
    model.train(training)
    if ranks:
        ranks.average([total])
    return size * float(total) / max(len(split), 1)

