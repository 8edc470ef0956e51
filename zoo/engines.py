"""Who makes a run's steps: `engine="auto|eager|compile|cudagraph|compile+cudagraph"`.

    eager       as it is written, with torch's fused optimiser
    compile     the whole step by torch.compile
    cudagraph   the whole step captured and replayed, several at once: on a GPU small models wait for launches
    auto        what is fastest here for the steps to come, found by measuring the run's own first steps, and remembered

All give the same losses, to rounding. An engine that fails at its first steps gives way to eager, with a warning.
"""

import contextlib
import hashlib
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .program import WARM, Program
from .store import write_atomically

if TYPE_CHECKING:
    from .run import Run

HOW = {"eager": (False, False), "compile": (True, False), "cudagraph": (False, True), "compile+cudagraph": (True, True)}
ENGINES = ("auto", *HOW)
TIMED = 20                                                  # steps whose median counts
TRIED = {"cpu": ("compile",), "cuda": ("cudagraph", "compile+cudagraph")}               # by auto, in this order
HOPE = {"compile": 0.3, "cudagraph": 0.6, "compile+cudagraph": 0.5}     # share of the best time so far that one may save;
COST = {"compile": 25.0, "cudagraph": 1.0, "compile+cudagraph": 30.0}   # and the seconds it takes to begin; until measured


class Engine:
    """Makes the next step of one run, or of several in step with one another. `say` is told what `auto` chose.

    Raises: ValueError for a name that is none, or an engine that cannot be used here.
    """

    def __init__(self, runs: "Sequence[Run]", name: str, say: Callable[[str], None]) -> None:
        if name not in ENGINES:
            raise ValueError(f"engine is {name!r}; it must be one of {', '.join(ENGINES)}")
        if "cudagraph" in name and runs[0].device.type != "cuda":
            raise ValueError(f"engine {name!r} needs a GPU, and the model is on {runs[0].device}; 'compile' and 'eager' do not")
        ranks, result = runs[0].ranks.size, runs[0].result
        if ranks > 1 and (name not in ("auto", "eager") or len(runs) > 1):
            raise ValueError(f"engine {name!r} of {len(runs)} run(s) is for one process, and {ranks} ranks exchange gradients; "
                             "they train one model with 'eager'")
        self.runs, self.say, self.most = runs, say, 1
        self.program: Program | None = None
        if name == "auto" and result.steps and ("cudagraph" not in result.engine or runs[0].device.type == "cuda"):
            name = result.engine                            # what a checkpoint was made with: equal bits
        self.choosing: Iterator[None] | None = self._choose() if name == "auto" and ranks == 1 else None
        self._use("eager" if name == "auto" else name)

    def step(self, most: int = 1) -> None:
        """Make a step; or several, but no more than `most`, where a replay holds several."""
        self.most = most
        if self.choosing is None:
            self._step()
        elif next(self.choosing, "chosen") == "chosen":
            self.choosing = None
            self._step()

    def _use(self, name: str) -> None:
        """From the next step on."""
        if self.program is not None:
            self.program.release()
        self.program, self.calls = None, 0
        for run in self.runs:
            run.result.engine = name

    def _call(self) -> None:
        name = self.runs[0].result.engine
        if name == "eager" and len(self.runs) == 1:
            self.runs[0].step()
            return
        self.program = self.program or Program(self.runs, *HOW[name])
        self.program.step(self.most)

    def _step(self) -> None:
        self.calls += 1
        try:
            self._call()
        except Exception as error:                          # the compiler's are of many kinds; one of the model's comes again
            name = self.runs[0].result.engine
            if name == "eager" or self.calls > WARM + 1:
                raise
            said = str(error).strip().splitlines() or [""]
            warnings.warn(f"engine {name!r} failed ({type(error).__name__}: {said[0][:200]}); training goes on with 'eager'",
                          stacklevel=2)
            self._use("eager")
            self._call()

    # -- auto -----------------------------------------------------------------------------------------------------------
    def _choose(self) -> Iterator[None]:
        """Yields after every step it made. What was tried stays in use if it is the best for the steps to come."""
        run = self.runs[0]
        known = _remembered(self.runs)
        found = dict(known) if "eager" in known else {"eager": (yield from self._timed())}
        for name in TRIED.get(run.device.type, ()):
            best_time = min(found[n] for n in HOW if n in found)
            if name in found or self._left() * best_time * HOPE[name] <= COST[name]:
                continue
            began = time.perf_counter()
            self._use(name)
            self._step()
            yield
            found[f"{name} begins"] = time.perf_counter() - began
            took = yield from self._timed()
            if run.result.engine != name:                   # it failed
                break
            found[name] = took
        best = min((n for n in HOW if n in found),
                   key=lambda n: found[n] * self._left() + (found.get(f"{n} begins", 0.0) if n != run.result.engine else 0.0))
        if best != run.result.engine:
            self._use(best)
        if len(found) > 1:
            times = ", ".join(f"{n} {1e3 * found[n]:.3g} ms a step" for n in HOW if n in found)
            self.say(f"engine: {best} ({times}; remembered in {_memory()})")
        if found != known and len(found) > 1:
            _remember(self.runs, found)

    def _timed(self) -> Generator[None, None, float]:
        """Yields after each call; returns the median seconds of a step in the last TIMED."""
        times, run = [], self.runs[0]
        for _ in range(WARM + TIMED):
            began, done = time.perf_counter(), run.result.steps
            self._step()
            if run.device.type == "cuda":
                torch.cuda.synchronize(run.device)
            times.append((time.perf_counter() - began) / (run.result.steps - done))
            yield
        return statistics.median(times[WARM:])

    def _left(self) -> int:
        return max(run.recipe.steps - run.result.steps for run in self.runs)


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae-zoo" / "engines.json"


def _key(runs: "Sequence[Run]") -> str:
    run = runs[0]
    device = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else f"cpu {torch.get_num_threads()}"
    sizes = [list(p.shape) for p in run.model.parameters()]
    what = [type(run.model).__qualname__, run.model.spec, getattr(run.model, "settings", None), sizes, run.recipe.batch_size,
            run.recipe.precision, device, torch.__version__, len(runs), _code()]
    return hashlib.sha256(json.dumps(what, default=str).encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """A digest of this package's own files: another version takes other times."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


def _read() -> dict[str, dict[str, float]]:
    try:
        return json.loads(_memory().read_text())
    except (OSError, ValueError):                           # none yet, or damaged: measured anew
        return {}


def _remembered(runs: "Sequence[Run]") -> dict[str, float]:
    return _read().get(_key(runs), {})


def _remember(runs: "Sequence[Run]", found: dict[str, float]) -> None:
    with contextlib.suppress(OSError):                      # a home that cannot be written: measured again next time
        write_atomically(_memory(), json.dumps({**_read(), _key(runs): found}, indent=1).encode())
