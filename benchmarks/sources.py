"""Where results are read from: a folder of records, one record, or either as a commit of git has it."""

import io
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import record
from .record import Record

GRAMMAR = "PATH, a results folder such as results/mnist or one record, or PATH@REVISION, as a commit of git has it"


@dataclass(frozen=True)
class Result:
    """A record, and the values of its single test examples, by metric."""

    record: Record
    items: dict[str, np.ndarray]


def load(source: str) -> list[Result]:
    """All results of a source, by path.

    Raises: LookupError where there is none, or git does not know the revision; ValueError for a file that is no record, or for
    records of several suites.
    """
    name, at, revision = source.partition("@")
    if Path(source).exists() or not at:
        found = _read(Path(source))
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = _read(_checked_out(Path(name), revision, Path(folder)))
    if not found:
        raise LookupError(f"there are no records in {source!r}; it must be {GRAMMAR}")
    if len(suites := sorted({r.record["suite"] for r in found})) > 1:
        raise ValueError(f"{source!r} holds the suites {', '.join(suites)}; name the folder of one of them")
    return found


def files(path: Path) -> list[Path]:
    """Paths of the records at or below `path`: their names are <seed>-<device>.json."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*.json") if re.fullmatch(r"\d+-\w+", p.stem))


def _read(path: Path) -> list[Result]:
    return [Result(record.read(p), record.read_items(p)) for p in files(path)]


def _checked_out(path: Path, revision: str, folder: Path) -> Path:
    """`path` as it is at a revision, written below `folder`."""
    above = next(p for p in path.absolute().parents if p.is_dir())      # what the commit has need not be there now
    inner = path.absolute().relative_to(above)
    done = subprocess.run(["git", "-C", str(above), "archive", "--format=tar", revision, "--", str(inner)], capture_output=True)
    if done.returncode:
        said = done.stderr.decode().strip().removeprefix("fatal: ")
        raise LookupError(f"git cannot give {path} at {revision!r}: {said}. `git log --oneline -- {path}` lists its commits")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / inner
