"""What becomes of trials that run in processes which may be lost: once more from the last checkpoint, then a failed record.

Shared by the engines: `workers`, processes of this machine, and `on_ray`, those of a cluster.
"""

from collections import Counter, deque
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from .harness import Plan
    from .protocol import Trial
    from .record import Record

TRIES = 2


class Tries:
    """The trials of a run: `todo`, and what was `made` of the others, by name, as `Runner.trial` returns it."""

    def __init__(self, plan: "Plan", trials: "list[Trial]", rerun: bool, bar: tqdm) -> None:
        self.plan, self.rerun, self.bar, self.total = plan, rerun, bar, len(trials)
        self.todo, self.begun = deque(trials), Counter[str]()
        self.made: dict[str, Record | None] = {}

    @property
    def open(self) -> bool:
        return len(self.made) < self.total

    def begin(self) -> "Trial":
        """The next one, to be run now."""
        trial = self.todo.popleft()
        if self.rerun and not self.begun[str(trial)]:
            self.plan.forget(trial)
        self.begun[str(trial)] += 1
        return trial

    def done(self, trial: "Trial", made: "Record | None") -> None:
        self.made[str(trial)] = made
        self.bar.update()

    def lost(self, trial: "Trial", end: str) -> None:
        """Its process ended so: "was killed by SIGKILL"."""
        if self.begun[str(trial)] < TRIES:
            self.bar.write(f"{trial}: its process {end}; once more, from its last checkpoint")
            self.todo.appendleft(trial)
            return
        said = (f"its process {end}, in each of {TRIES} tries. If memory ran out: fewer --jobs, or a smaller batch_size in its "
                "budget. The next run goes on from its last checkpoint")
        made = self.plan.begun(trial) | {"status": "failed", "traceback": said}
        self.bar.write(f"failed {trial}: {said}")
        self.plan.write(trial, made, {})
        self.done(trial, made)
