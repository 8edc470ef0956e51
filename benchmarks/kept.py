"""What of an evaluation is done, in one file beside the model: one that is killed goes on from there.

Only if nothing has changed that numbers depend on, the project's own code among it: else all is measured anew.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.store import read_tensors, write_tensors

from .environment import ROOT

SCHEMA = "vae-zoo.evaluation/1"
EVERY = 10.0                                                # seconds between two writes: what may be lost


class Kept:
    """Results by name: what JSON can hold, and tensors. `of`: what they depend on. Without a path nothing is written."""

    def __init__(self, path: Path | None = None, of: Mapping[str, Any] | None = None) -> None:
        self.path, self.of = path, json.loads(json.dumps(of))
        self.values: dict[str, Any] = {}
        self.tensors: dict[str, dict[str, Tensor]] = {}
        self.before, self.began = 0.0, time.monotonic()
        self.written = self.began
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            tensors, header = read_tensors(path, SCHEMA)
        except ValueError:                                  # of another version, or no file of ours: it saves time, no more
            return
        if header["of"] == self.of:
            self.values, self.before = header["values"], header["seconds"]
            self.tensors = {name: {} for name in self.values}
            for key, tensor in tensors.items():
                name, _, label = key.partition("/")
                self.tensors[name][label] = tensor

    @property
    def seconds(self) -> float:
        """Of the evaluation so far, in all processes that were at it."""
        return self.before + time.monotonic() - self.began

    @property
    def due(self) -> bool:
        """Whether the next `put` writes."""
        return time.monotonic() - self.written >= EVERY

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> tuple[Any, dict[str, Tensor]]:
        return self.values[name], self.tensors[name]

    def put(self, name: str, value: Any, tensors: Mapping[str, Tensor]) -> None:
        """Raises: OSError where a write is due and fails."""
        self.values[name], self.tensors[name] = value, dict(tensors)
        if self.path is not None and self.due:
            flat = {f"{name}/{label}": t for name, its in self.tensors.items() for label, t in its.items()}
            write_tensors(self.path, flat, {"schema": SCHEMA, "of": self.of, "values": self.values, "seconds": self.seconds})
            self.written = time.monotonic()

    def forget(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@cache
def code() -> str:
    """A digest of the project's Python files."""
    digest = hashlib.sha256()
    for folder in ("kernels", "zoo", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
