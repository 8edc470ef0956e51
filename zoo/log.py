"""The log of a training run: JSON lines, TensorBoard where it is installed, and a progress bar that reads nothing itself."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

COLUMNS = ("loss", "nll", "kl", "elbo", "grad_norm")        # of a step, on the device


class Log:
    """Context of one run, which begins after `done` steps. `history` is given the rows up to there; later ones are dropped."""

    def __init__(self, out: Path | None, done: int, total: int, history: list[dict[str, float]],
                 on_log: Callable[[dict[str, float]], None] | None, progress: bool, tensorboard: bool) -> None:
        self.path, self.history, self.on_log = None if out is None else out / "log.jsonl", history, on_log
        self.bar = tqdm(total=total, initial=done, disable=not progress, unit="step", mininterval=0.5)
        self.writer: Any = None
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        old = self.path.read_text().splitlines() if done and self.path.is_file() else []
        self.history += [row for row in map(_row, old) if row and row["step"] <= done]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.history))
        if tensorboard and importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
            self.writer = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=done)

    def write(self, row: dict[str, float]) -> None:
        self.history.append(row)
        shown = {"elbo": f"{row['elbo']:.2f}"} | ({"valid": f"{row['valid_elbo']:.2f}"} if "valid_elbo" in row else {})
        self.bar.set_postfix(shown, refresh=False)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        if self.writer is not None:
            for key, value in row.items():
                if key not in ("step", "epoch"):
                    self.writer.add_scalar(key, value, int(row["step"]))
        if self.on_log is not None:
            self.on_log(row)

    def say(self, text: str) -> None:
        """To who watches; the bar stays below."""
        if not self.bar.disable:
            self.bar.write(text, file=sys.stderr)

    def advance(self, done: int) -> None:
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()
        if self.writer is not None:
            self.writer.close()


def _row(line: str) -> dict[str, float] | None:
    """A line of the log; None for one that a crash cut short."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
