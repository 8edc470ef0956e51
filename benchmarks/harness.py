"""Suite -> trials -> one record each. A finished trial is never run again, a killed one resumed, a failing one survived."""

import hashlib
import json
import shutil
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import torch
from tqdm.auto import tqdm

import zoo
from zoo.training import choose_device

from . import pictures, record, timing
from .context import Context
from .metrics import measure
from .protocol import Trial
from .record import Record
from .suite import Suite

CURVE_ROWS = 200


class ProtocolError(ValueError):
    """Records exist that were made with other settings, budget or evaluation than the suite's of now."""


def run(suite: Suite, *, device: str = "auto", data_root: str | None = None, out: Path = Path("results"), rerun: bool = False,
        progress: bool = True) -> list[Record]:
    """Run what has not been run, and return the records of all trials, in the suite's order.

    A trial that raises is recorded as failed, with its traceback, and tried again by the next run.
    Raises: ProtocolError; ValueError for a results folder of another schema.
    """
    place, trials = choose_device(device), list(suite.trials)
    record.read_all(out / suite.name)                       # another schema anywhere: refused before anything is written
    finished = {} if rerun else _finished(trials, out, place)
    with tqdm(total=len(trials), initial=len(finished), unit="trial", disable=not progress, dynamic_ncols=True) as bar:
        runner, records = _Runner(suite, place, data_root, out, rerun, bar), []
        for trial in trials:
            if str(trial) in finished:
                records.append(finished[str(trial)])
                continue
            made = runner.trial(trial)
            records += [] if made is None else [made]
            bar.update()
    return records


def _finished(trials: list[Trial], out: Path, device: torch.device) -> dict[str, Record]:
    """Records of trials that need not run.  Raises: ProtocolError."""
    finished, conflicts = {}, []
    for trial in trials:
        path = record.path_of(out, trial, device)
        if path.is_file() and (old := record.read(path))["status"] == "ok":
            finished[str(trial)] = old
            if changed := record.differences(old, trial):
                conflicts.append(f"  {path}: {'; '.join(changed)}")
    if conflicts:
        raise ProtocolError("these records were made by another protocol than the suite's of now:\n" + "\n".join(conflicts)
                            + "\n--rerun replaces them; --out FOLDER leaves them and writes elsewhere")
    return finished


class _Runner:
    """Runs one trial after the other; keeps the last data set."""

    def __init__(self, suite: Suite, device: torch.device, data_root: str | None, out: Path, rerun: bool, bar: tqdm) -> None:
        self.suite, self.device, self.out, self.rerun, self.bar = suite, device, out, rerun, bar
        self.load_dataset = lru_cache(maxsize=1)(lambda name: zoo.load_dataset(name, data_root))

    def trial(self, trial: Trial) -> Record | None:
        """Run a trial and write its record; None where the variant does not take such data."""
        self.bar.set_postfix_str(str(trial))
        work, began = self._work(trial), time.perf_counter()
        if self.rerun:
            shutil.rmtree(work, ignore_errors=True)
        made: Record = {
            "schema": record.SCHEMA, "suite": trial.suite, "dataset": trial.dataset, "variant": trial.variant,
            "seed": trial.seed, **record.protocol(trial), "status": "ok", "traceback": None, "metrics": {},
            "env": record.environment(self.device), "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": 0.0, "curve": [], "data_sha256": None,
        }
        try:
            data = self.load_dataset(trial.dataset)
            if reason := zoo.entry(trial.variant).why_not(data.spec):
                self.bar.write(f"skipped {trial}: {reason}")
                return None
            made["data_sha256"] = data.sha256
            context = self._train(trial, data, work, made)
            self.bar.set_postfix_str(f"{trial}, evaluation")
            made["metrics"] = measure(context)
            if trial.seed == self.suite.first_seed:
                pictures.draw(context, pictures.stem(self.out / trial.suite, trial.dataset, trial.variant))
        except Exception:                                   # whatever a model, a data set or a metric does: the others go on
            said = traceback.format_exc().replace(f"{record.ROOT}/", "")
            made |= {"status": "failed", "traceback": said, "metrics": {}}
            self.bar.write(f"failed {trial}: {said.strip().splitlines()[-1]}")
        made["seconds"] = round(made["seconds"] + time.perf_counter() - began, 2)
        made["env"]["load_after"] = record.load()
        record.write(record.path_of(self.out, trial, self.device), made)
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):                             # not empty: another trial's, to be resumed
            work.parent.rmdir()
        return made

    def _train(self, trial: Trial, data: zoo.Dataset, work: Path, made: Record) -> Context:
        """-> the trained model with what metrics need. Adds the curve, and the seconds of earlier, killed runs."""
        def on_log(row: dict[str, float]) -> None:
            self.bar.set_postfix_str(f"{trial}, step {row['step']:.0f}/{trial.budget.steps}, elbo {row['elbo']:.1f}")

        model = zoo.create(trial.variant, data.spec, seed=trial.seed, **trial.settings)
        timing.forget_peak(self.device)
        began = time.perf_counter()
        result = zoo.fit(model, data, **asdict(trial.budget), seed=trial.seed, device=self.device, out=work, resume=True,
                         on_log=on_log, checkpoint_every=max(100, trial.budget.steps // 10), progress=False, tensorboard=False)
        made["seconds"] = max(0.0, result.seconds - (time.perf_counter() - began))
        made["curve"] = _thinned(result.history)
        return Context(model, data, trial.budget, trial.evaluation, trial.seed, timing.peak_bytes(self.device))

    def _work(self, trial: Trial) -> Path:
        """Where an unfinished trial's checkpoint is kept: under its protocol's digest, so that no other one is resumed."""
        digest = hashlib.sha256(json.dumps(record.protocol(trial), sort_keys=True).encode()).hexdigest()[:8]
        name = f"{record.safe(trial.dataset)}-{trial.variant}-{trial.seed}-{self.device.type}-{digest}"
        return self.out / trial.suite / ".work" / name


def _thinned(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """At most CURVE_ROWS rows, evenly spread, the last among them; six digits are enough to plot."""
    every = max(1, -(-len(history) // CURVE_ROWS))
    return [{k: float(f"{v:.6g}") for k, v in row.items()} for row in history[::-1][::every][::-1]]
