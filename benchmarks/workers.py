"""Trials in several processes of one machine: `zoo-bench run --jobs N`.

Every worker has a pipe of its own, over which the parent hands it one trial at a time: no two work on the same one, and one
that is killed holds no lock that others wait for (see `tries` for what becomes of its trial). What is heavy is imported in
the worker, once it knows how many threads it has.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .tries import Tries

if TYPE_CHECKING:
    from .harness import Plan
    from .protocol import Trial
    from .record import Record


def run(plan: "Plan", trials: "list[Trial]", jobs: int, rerun: bool, bar: tqdm) -> "dict[str, Record | None]":
    """What `Runner.trial` returns for each trial, by its name.  Raises: what a worker could not record, such as an OSError."""
    import torch
    threads = max(1, torch.get_num_threads() // jobs)
    tries = Tries(plan, trials, rerun, bar)
    pool: dict[Connection, _Worker] = {}
    try:
        while tries.open:
            for _ in range(min(jobs - len(pool), len(tries.todo))):
                worker = _Worker(plan, threads)
                pool[worker.pipe] = worker
            for worker in pool.values():
                if worker.trial is None and tries.todo:
                    worker.begin(tries.begin())
            for worker in [pool[pipe] for pipe in wait(list(pool))]:  # type: ignore[index]
                kind, said = worker.hear()
                at = worker.trial
                if kind == "raised":
                    raise said
                if kind == "lost":
                    del pool[worker.pipe]
                    if at is not None:
                        tries.lost(at, worker.end)
                elif kind == "done":
                    assert at is not None
                    tries.done(at, said)
                    worker.trial = None
                else:
                    getattr(bar, kind)(said)
    finally:
        for worker in pool.values():
            worker.process.terminate()
        for worker in pool.values():
            worker.process.join()
    return tries.made


class _Worker:
    """A process as its parent sees it, and the trial that it is at."""

    def __init__(self, plan: "Plan", threads: int) -> None:
        context = multiprocessing.get_context("spawn")      # not a fork: neither torch's threads nor CUDA survive one
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, threads), daemon=True)
        self.trial: Trial | None = None
        self.process.start()
        theirs.close()                                      # or its end would not close when the worker is killed
        self._send(plan)

    def begin(self, trial: "Trial") -> None:
        self.trial = trial
        self._send(trial)

    def _send(self, what: Any) -> None:
        with contextlib.suppress(OSError):                  # it is lost: `hear` says so
            self.pipe.send(what)

    def hear(self) -> tuple[str, Any]:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):                         # killed, perhaps in the middle of a message
            self.pipe.close()
            self.process.join()
            return "lost", None

    @property
    def end(self) -> str:
        code = self.process.exitcode or 0
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


# -- in the worker ------------------------------------------------------------------------------------------------------
class _Line:
    """To the parent's progress bar. Whoever has no parent left ends: another run may be at its trial."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def set_postfix_str(self, s: str) -> None:
        self.send("set_postfix_str", s)

    def write(self, s: str) -> None:
        self.send("write", s)

    def send(self, kind: str, said: Any) -> None:
        try:
            self.pipe.send((kind, said))
        except OSError:
            raise SystemExit(1) from None


def _work(pipe: Connection, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)            # Ctrl-C reaches all processes: the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)            # for BLAS and scikit-learn, which are not loaded yet
    import torch

    from . import timing
    from .harness import Runner
    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())                        # its own is shared by processes, and leaks with one that is killed
    timing.alone = False
    line = _Line(pipe)
    runner = Runner(pipe.recv(), line)
    while True:
        trial = pipe.recv()
        try:
            line.send("done", runner.trial(trial))
        except Exception as error:                          # a record that cannot be written: the parent stops the run
            line.send("raised", error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
