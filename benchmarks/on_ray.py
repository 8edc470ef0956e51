"""Trials on a Ray cluster: `zoo-bench run SUITE --engine ray`; without an address, on one that is made on this machine.

Each trial is a task that reserves its share of the cluster: Ray places it, and this process hears how it goes and tries a lost
one again (see `tries`). Workers write records, models and checkpoints themselves, as a local run does: the results folder must
be one that every machine sees, at the same path, or no other machine could go on from a checkpoint. Every machine needs this
project, at the same version, and the data. Ray is the optional extra `ray`.
"""

import os
import re
import socket
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .environment import ROOT
from .kept import code
from .tries import Tries

if TYPE_CHECKING:
    from .harness import Plan
    from .protocol import Trial
    from .record import Record

POLL = 0.5                                                  # seconds between two looks at what workers say
PATIENCE = 10.0                                             # seconds for a cluster to answer


def run(plan: "Plan", trials: "list[Trial]", rerun: bool, bar: tqdm, address: str | None = None, jobs: int | None = None,
        gpus: float | None = None) -> "dict[str, Record | None]":
    """What `Runner.trial` returns for each trial, by its name.

    address    of a cluster: host:port, ray://host:port, or "auto" for the one that this machine is in
    jobs       trials at a time, which share the processors out; by default one for each
    gpus       of a trial: a fraction of one, or a whole number; by default 1 on CUDA
    Raises: ModuleNotFoundError without Ray; ValueError for a share that the cluster does not have, a worker that has another
    version of the project or does not see the results folder; ConnectionError where no cluster answers; and what a worker could
    not record, such as an OSError.
    """
    if not trials:
        return {}
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        share = _share(ray.cluster_resources(), plan.device.type, str(plan.device), jobs, gpus)
        return _run(ray, replace(plan, out=plan.out.absolute()), Tries(plan, trials, rerun, bar), share)
    finally:
        if ours:
            ray.shutdown()


@dataclass(frozen=True)
class Share:
    """What a trial reserves."""

    cpus: int
    gpus: float


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError("--engine ray needs the package ray, which is not installed: pip install -e '.[ray]'; --jobs "
                                  "shares trials out on this machine without it") from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    try:
        if found := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address or ""):
            socket.create_connection((found[1], int(found[2])), timeout=PATIENCE).close()      # Ray itself tries for minutes
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])                  # this checkout, where it is seen
        ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False,
                 logging_level="ERROR", runtime_env={"env_vars": {"PYTHONPATH": path}})
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(f"no Ray cluster answers at {address!r} ({_line(error)}); give the address that `ray start "
                              "--head` printed, or none to make a cluster of this machine") from None


def _share(there: dict[str, float], kind: str, device: str, jobs: int | None, gpus: float | None) -> Share:
    """Raises: ValueError where the cluster cannot give it."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device is {device}; Ray chooses which GPU a trial gets: give cpu or cuda")
    if kind == "cpu" and gpus:
        raise ValueError(f"gpus_per_trial is {gpus:g} and the device is cpu; give one or the other")
    gpus = 1.0 if kind == "cuda" and gpus is None else gpus or 0.0
    if gpus < 0 or gpus > 1 and gpus != int(gpus):
        raise ValueError(f"gpus_per_trial is {gpus:g}; it must be a fraction of one GPU, such as 0.25, or a whole number")
    if gpus > there.get("GPU", 0):
        raise ValueError(f"a trial asks for {gpus:g} GPUs, and the cluster has {there.get('GPU', 0):g}; lower "
                         "--gpus-per-trial, or give --device cpu")
    cpus = int(there.get("CPU", 1))
    return Share(max(1, cpus // jobs) if jobs else 1, gpus)


def _run(ray: Any, plan: "Plan", tries: Tries, share: Share) -> "dict[str, Record | None]":
    said, answered = ray.remote(num_cpus=0, max_restarts=-1)(_Said).remote(), False
    token = plan.out / plan.suite.name / f".seen-{uuid.uuid4().hex}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    begin = ray.remote(max_retries=0)(_work)
    at: dict[Any, Trial] = {}
    try:
        while tries.open:
            while tries.todo:
                trial = tries.begin()
                gpus = 0.0 if trial.role == "baseline" else share.gpus
                task = begin.options(num_cpus=share.cpus, num_gpus=gpus, name=str(trial))
                at[task.remote(plan, trial, said, str(token), os.getcwd(), code(), share.cpus)] = trial
            ended, _ = ray.wait(list(at), num_returns=1, timeout=POLL)
            try:
                lines, answered = ray.get(said.take.remote(), timeout=PATIENCE if answered else None), True
            except ray.exceptions.RayError as error:
                if not answered:
                    raise _unable(error) from None
                lines = []                                  # its machine was lost: Ray makes it anew on another
            for kind, line in lines:
                getattr(tries.bar, kind)(line)
            for task in ended:
                _end(ray, task, at.pop(task), tries)
    finally:
        for task in at:
            ray.cancel(task, force=True)
        token.unlink(missing_ok=True)
    return tries.made


def _end(ray: Any, task: Any, trial: "Trial", tries: Tries) -> None:
    try:
        kind, made = ray.get(task)
    except ray.exceptions.RayTaskError as error:            # before it came to the trial: a worker without the project
        raise _unable(error) from None
    except ray.exceptions.RayError as error:
        tries.lost(trial, f"was lost ({type(error).__name__}: {_line(error)})")
        return
    if kind == "raised":
        raise made
    tries.done(trial, made)


def _unable(error: Exception) -> ValueError:
    return ValueError(f"the cluster's workers cannot run trials ({_line(error, -1)}); every machine needs this project, "
                      "installed from the same checkout")


def _line(error: Exception, i: int = 0) -> str:
    """The first line of what Ray says at length, or another."""
    return (str(error).strip().splitlines() or [type(error).__name__])[i]


class _Said:
    """An actor: what workers say to the progress bar, until this process takes it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def add(self, kind: str, line: str) -> None:
        self.lines.append((kind, line))

    def take(self) -> list[tuple[str, str]]:
        taken, self.lines = self.lines, []
        return taken


# -- in the worker ------------------------------------------------------------------------------------------------------
class _Line:
    """To the driver's progress bar."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def set_postfix_str(self, s: str) -> None:
        self.said.add.remote("set_postfix_str", s)

    def write(self, s: str) -> None:
        self.said.add.remote("write", s)


def _work(plan: "Plan", trial: "Trial", said: Any, token: str, folder: str, version: str, threads: int) -> tuple[str, Any]:
    """-> ("done", its record), or ("raised", what ends the run)"""
    here = socket.gethostname()
    if code() != version:
        return "raised", ValueError(f"{here} has another version of this project than the machine that runs the suite; bring "
                                    "both to the same commit")
    if not Path(token).is_file():
        return "raised", ValueError(f"{here} does not see {plan.out}; give --out a folder that all machines of the cluster "
                                    "see, at the same path")
    if Path(folder).is_dir():
        os.chdir(folder)                                    # paths of data, as the user gave them
    import torch

    from . import timing
    from .harness import Runner
    torch.set_num_threads(threads)
    timing.alone = False
    try:
        return "done", Runner(plan, _Line(said)).trial(trial)
    except Exception as error:                              # a record that cannot be written: the driver stops the run
        return "raised", error
