"""The model of a trial: kept from an earlier run, resumed, or trained now; on a GPU the seeds that wait for it at once."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Protocol

import torch

import zoo
from zoo.store import write_atomically

from . import baselines, record, timing
from .protocol import Trial
from .record import Record

if TYPE_CHECKING:
    from .harness import Plan

CURVE_ROWS = 200
AT_ONCE = {"cuda"}                                          # where seeds cost little more than one; a CPU gains nothing
Trained = tuple[zoo.Contract, Record, list[dict[str, float]]]           # a model, what its training took, its curve


class Told(Protocol):
    """Who is told how it goes: a progress bar, or the line to one."""

    def set_postfix_str(self, s: str) -> None: ...
    def write(self, s: str) -> None: ...


class Trainer:
    """Trains models of the plan's trials. `wanted`: trials that no other process works on."""

    def __init__(self, plan: "Plan", bar: Told, wanted: Sequence[Trial]) -> None:
        self.plan, self.bar, self.wanted = plan, bar, wanted
        self.together: dict[str, Record] = {}               # what training several seeds took, by trial

    def within_memory(self, trial: Trial, data: zoo.Dataset) -> tuple[Trial, Trained]:
        """-> the trial as it was trained: with --auto-batch at the first of its batch size, half, a quarter .. that fits into
        memory."""
        while True:
            try:
                return trial, self.trained(trial, data)
            except Exception as error:
                size = trial.budget.batch_size
                if not (self.plan.auto_batch and size > 1 and out_of_memory(error)):
                    raise
            self.plan.forget(trial)                         # here the error is gone, and with it the tensors that it held
            trial = replace(trial, budget=replace(trial.budget, batch_size=size // 2))
            self.bar.write(f"{trial}: out of memory at a batch size of {size}; once more, at {size // 2}")

    def trained(self, trial: Trial, data: zoo.Dataset) -> Trained:
        """As they were kept, or made now, or resumed."""
        place = self.plan.place(trial)
        done = place / "trained.json"
        if done.is_file():
            kept = json.loads(done.read_text())
            return zoo.load(place / "model.safetensors", device=self.plan.device), kept["training"], kept["curve"]

        def on_log(row: dict[str, float]) -> None:
            self.bar.set_postfix_str(f"{trial}, step {row['step']:.0f}/{trial.budget.steps}, elbo {row['elbo']:.1f}")

        self._seeds_at_once(trial, data)
        model = zoo.create(trial.variant, data.spec, seed=trial.seed, **trial.settings)
        cost = Cost(self.plan.device)
        result = zoo.fit(model, data, **asdict(trial.budget), seed=trial.seed, device=self.plan.device, out=place, resume=True,
                         engine=self._engine, on_log=on_log, checkpoint_every=_checkpoints(trial), progress=False,
                         tensorboard=False)
        training = self.together.pop(str(trial), None) or cost.record(result.seconds)
        training["engine"] = result.engine
        curve = thinned(result.history)
        write_atomically(done, json.dumps({"training": training, "curve": curve}, indent=1).encode())
        (place / "checkpoint.safetensors").unlink()
        return model, training, curve

    @property
    def _engine(self) -> str:
        """On a CPU records can be made again bit for bit; a GPU's are not worth the wait."""
        return "auto" if self.plan.device.type == "cuda" else "eager"

    def _seeds_at_once(self, trial: Trial, data: zoo.Dataset) -> None:
        """Train this trial and all that differ from it by their seed, if none has begun, up to their last checkpoints."""
        seeds = [t for t in self.wanted if replace(t, seed=trial.seed) == trial and not self.plan.place(t).exists()]
        if self.plan.device.type not in AT_ONCE or trial not in seeds or len(seeds) < 2:
            return
        self.bar.set_postfix_str(f"{trial}, with {len(seeds) - 1} other seeds")
        cost = Cost(self.plan.device)
        try:
            found = zoo.fit_many(trial.variant, data, seeds=[t.seed for t in seeds], settings=dict(trial.settings),
                                 out=[self.plan.place(t) for t in seeds], device=self.plan.device, engine=self._engine,
                                 checkpoint_every=_checkpoints(trial), progress=False, tensorboard=False,
                                 **asdict(trial.budget))
        except Exception as error:                          # one diverged, or they are too many: each from its checkpoint
            self.bar.write(f"{trial}, with {len(seeds) - 1} other seeds: {type(error).__name__}: {error}; one after the other")
            return
        training = cost.record(found[0][1].seconds) | {"seeds_at_once": len(seeds)}
        self.together = {str(t): dict(training) for t in seeds}


class Cost:
    """What training takes, from now on."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.environment = device, record.environment(device)
        timing.forget_peak(device)

    def record(self, seconds: float) -> Record:
        self.environment["load_after"] = record.load()
        return {"seconds": round(seconds, 2), "peak_bytes": timing.peak_bytes(self.device), "env": self.environment}


def _checkpoints(trial: Trial) -> int:
    """Steps between two of them."""
    return max(100, trial.budget.steps // 10)


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def fitted(trial: Trial, data: zoo.Dataset) -> Trained:
    """As `Trainer.trained`, of a baseline: fitted anew at every measurement, since that takes seconds."""
    cost, began = Cost(torch.device("cpu")), time.perf_counter()
    model = baselines.fit(trial.variant, data, trial.seed, **trial.settings)
    return model, cost.record(time.perf_counter() - began), []


def thinned(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """At most CURVE_ROWS rows, evenly spread, the last among them; six digits are enough to plot."""
    every = max(1, -(-len(history) // CURVE_ROWS))
    return [{k: float(f"{v:.6g}") for k, v in row.items()} for row in history[::-1][::every][::-1]]
