"""Suite -> trials -> one record each. A finished trial is never run again, a killed one resumed, a failing one survived.

What a trial trains is kept under RESULTS/<suite>/models/, so that a new metric or another evaluation needs no training; and
until the record is written, what was measured of it.
"""

import errno
import hashlib
import json
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

import zoo
from zoo.training import choose_device

from . import baselines, on_ray, pictures, record, workers
from .context import Context
from .kept import Kept, code
from .metrics import measure
from .protocol import Trial
from .record import Record
from .suite import Suite
from .trained import Told, Trainer, fitted, out_of_memory

ENGINES = ("local", "ray")
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


class ProtocolError(ValueError):
    """Records exist that were made with other settings, budget or evaluation than the suite's of now."""


def run(suite: Suite, *, device: str = "auto", data_root: str | None = None, out: Path = Path("results"), rerun: bool = False,
        remeasure: bool = False, progress: bool = True, jobs: int | None = None, auto_batch: bool = False,
        engine: str = "local", address: str | None = None, gpus_per_trial: float | None = None) -> list[Record]:
    """Run what has not been run, and return the records of all trials, in the suite's order.

    rerun        train and measure finished trials again
    remeasure    measure finished trials again; train only those whose models were not kept
    jobs         processes that share the trials out, and this process's threads; all use the same device
    auto_batch   where memory runs out in training, halve the batch until it fits; the record says so
    engine       "local", or "ray": trials go to a Ray cluster, at `address` or made here (see `benchmarks.on_ray`)
    A trial that raises is recorded as failed, with its traceback, and tried again by the next run.
    Raises: ProtocolError; ValueError for a results folder of another schema, or jobs below 1; OSError where a record cannot
    be written.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
    if engine == "local" and (address or gpus_per_trial):
        raise ValueError("address and gpus_per_trial are of Ray: give --engine ray with them")
    if engine == "ray" and device == "auto" and gpus_per_trial:
        device = "cuda"                                     # of the cluster: this machine may have none
    place, trials = choose_device(device), list(suite.trials)
    record.read_all(out / suite.name)                       # another schema anywhere: refused before anything is written
    made: dict[str, Record | None] = {} if rerun or remeasure else {**_finished(trials, out, place, auto_batch)}
    wanted = [trial for trial in trials if str(trial) not in made]
    with tqdm(total=len(trials), initial=len(made), unit="trial", disable=not progress, dynamic_ncols=True) as bar:
        plan = Plan(suite, place, data_root, out, auto_batch)
        if engine == "ray":
            made |= on_ray.run(plan, wanted, rerun, bar, address, jobs, gpus_per_trial)
        elif jobs is not None and jobs > 1:
            made |= workers.run(plan, wanted, jobs, rerun, bar)
        else:
            runner = Runner(plan, bar, wanted)
            for trial in wanted:
                if rerun:
                    plan.forget(trial)
                made[str(trial)] = runner.trial(trial)
                bar.update()
    return [found for trial in trials if (found := made[str(trial)]) is not None]


def _finished(trials: list[Trial], out: Path, device: torch.device, auto_batch: bool) -> dict[str, Record]:
    """Records of trials that need not run.  Raises: ProtocolError."""
    finished, conflicts = {}, []
    for trial in trials:
        path = record.path_of(out, trial, _device(trial, device))
        if path.is_file() and (old := record.read(path))["status"] == "ok":
            finished[str(trial)] = old
            if changed := record.differences(old, trial, auto_batch):
                conflicts.append(f"  {path}: {'; '.join(changed)}")
    if conflicts:
        raise ProtocolError("these records were made by another protocol than the suite's of now:\n"
                            + "\n".join(conflicts) + "\n--rerun trains and measures them again; --remeasure keeps the models "
                            "of those whose training is the same; --out FOLDER leaves them and writes elsewhere")
    return finished


def _device(trial: Trial, chosen: torch.device) -> torch.device:
    """Baselines are fitted by libraries that know the CPU only, and measured where they are."""
    return torch.device("cpu") if trial.role == "baseline" else chosen


@dataclass(frozen=True)
class Plan:
    """What all trials of a run have in common."""

    suite: Suite
    device: torch.device
    data_root: str | None
    out: Path
    auto_batch: bool = False

    def begun(self, trial: Trial) -> Record:
        """The record of a trial of which nothing is known yet."""
        return {
            "schema": record.SCHEMA, "suite": trial.suite, "dataset": trial.dataset, "variant": trial.variant,
            "role": trial.role, "seed": trial.seed, **record.protocol(trial), "status": "ok", "traceback": None, "metrics": {},
            "env": record.environment(_device(trial, self.device)), "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": 0.0, "training": None, "curve": [], "data_sha256": None,
        }

    def write(self, trial: Trial, made: Record, items: dict[str, Tensor]) -> None:
        path = record.path_of(self.out, trial, _device(trial, self.device))
        record.write_items(path, items)
        record.write(path, made)

    def place(self, trial: Trial) -> Path:
        """Where a trial's model is kept: under a digest of what it depends on, so that no other one is taken for it."""
        settings = json.dumps({k: v for k, v in record.protocol(trial).items() if k != "evaluation"}, sort_keys=True)
        name = "-".join([record.safe(trial.dataset), trial.variant, str(trial.seed), self.device.type,
                         hashlib.sha256(settings.encode()).hexdigest()[:8]])
        return self.out / trial.suite / "models" / name

    def forget(self, trial: Trial) -> None:
        """Throw away what was trained for a trial."""
        shutil.rmtree(self.place(trial), ignore_errors=True)


class Runner:
    """Runs one trial after the other; keeps the last data set."""

    def __init__(self, plan: Plan, bar: Told, wanted: Sequence[Trial] = ()) -> None:
        """`wanted`: what this runner alone will run, so that seeds may be trained at once."""
        self.plan, self.bar, self.trainer = plan, bar, Trainer(plan, bar, wanted)
        self.load_dataset = lru_cache(maxsize=1)(lambda name: zoo.load_dataset(name, plan.data_root))

    def trial(self, trial: Trial) -> Record | None:
        """Run a trial and write its record; None where the variant does not take such data: every suite asks for baselines, so
        that of these nothing is said."""
        self.bar.set_postfix_str(str(trial))
        plan, began = self.plan, time.perf_counter()
        made, kept = plan.begun(trial), Kept()
        items: dict[str, Tensor] = {}
        try:
            data = self.load_dataset(trial.dataset)
            if trial.role == "baseline" and baselines.why_not(trial.variant, data):
                return None
            if trial.role == "variant" and (reason := zoo.entry(trial.variant).why_not(data.spec)):
                self.bar.write(f"skipped {trial}: {reason}")
                return None
            made["data_sha256"] = data.sha256
            if trial.role == "baseline":
                model, made["training"], made["curve"] = fitted(trial, data)
            else:
                asked = trial.budget.batch_size
                trial, (model, made["training"], made["curve"]) = self.trainer.within_memory(trial, data)
                kept = Kept(plan.place(trial) / "measured.safetensors", _decisive(trial, made))
                if (used := trial.budget.batch_size) != asked:
                    made |= {**record.protocol(trial), "auto_batch": {"asked": asked, "used": used}}
            began = time.perf_counter()
            context = Context(model, data, trial.budget, trial.evaluation, trial.seed, made["training"]["peak_bytes"],
                              made["curve"], lambda said: self.bar.set_postfix_str(f"{trial}, evaluation, {said}"))
            context.kept = kept
            made["metrics"], items = measure(context)
            if trial.seed == plan.suite.first_seed:
                pictures.draw(context, pictures.stem(plan.out / trial.suite, trial.dataset, trial.variant))
        except Exception as error:                          # whatever a model, a data set or a metric does: the others go on
            if _unwritten(error, plan.out):                 # ... but they would fail too, and what was trained so far is kept
                raise
            said = traceback.format_exc().replace(f"{record.ROOT}/", "")
            said += _advice(error, trial, made["training"] is not None, plan.auto_batch)
            made |= {"status": "failed", "traceback": said, "metrics": {}}
            self.bar.write(f"failed {trial}: {said.strip().splitlines()[-1]}")
            if made["training"] is None:
                plan.forget(trial)
        made["seconds"] = round(time.perf_counter() - began + kept.before, 2)
        made["env"]["load_after"] = record.load()
        plan.write(trial, made, items)
        if made["status"] == "ok":
            kept.forget()
        return made


def _decisive(trial: Trial, made: Record) -> Record:
    """What the numbers of an evaluation depend on; `training` is told apart from another one by its seconds."""
    return {"evaluation": asdict(trial.evaluation), "data": made["data_sha256"], "training": made["training"],
            "device": made["env"]["device"], "torch": made["env"]["torch"], "code": code()}


def _unwritten(error: Exception, out: Path) -> bool:
    """Whether it is the results folder that fails: full, read-only, or no folder at all."""
    if not isinstance(error, OSError):
        return False
    there = isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(out.absolute())
    return error.errno in UNWRITABLE or (there and not isinstance(error, FileNotFoundError))


def _advice(error: Exception, trial: Trial, trained: bool, auto_batch: bool) -> str:
    """A last line for the traceback where memory ran out: what to write into the suite."""
    if not out_of_memory(error):
        return ""
    if trained:
        return ("out of memory in evaluation: lower what [evaluation] asks for (iwae_k, refined_k, samples, batch_sizes); the "
                "model is kept, and the next run only measures it\n")
    if auto_batch and trial.role == "variant":
        return "out of memory in training, even at a batch size of 1: the model is too large; lower its settings (hidden)\n"
    where, size = f'[datasets."{trial.dataset}".variant.{trial.variant}]', trial.budget.batch_size
    return (f"out of memory in training: lower batch_size, {size} now: {where} budget = {{ batch_size = ... }}; or run with "
            "--auto-batch\n")
