"""Records made on several machines, or by several people, into one results folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo.store import write_atomically

from . import record, sources
from .record import Record


def merge(origins: Sequence[Path], into: Path, prefer: str | None = None) -> list[Path]:
    """Copy into a suite's folder the records of others, with the values of single examples and the pictures beside them.

    prefer    whose record stays where both have the same trial and the records differ: "from" or "into"
    Everything is checked before anything is written. Returns the paths of the records written.
    Raises: LookupError for a folder without records; ValueError where records differ and nothing is preferred, or where one
    table would hold what does not compare: records of several suites, data sets or evaluations.
    """
    known = {p.relative_to(into): p for p in sources.files(into)} if into.is_dir() else {}
    plan, conflicts = dict(known), []
    for origin in origins:
        found = sources.files(origin) if origin.is_dir() else []
        if not found:
            raise LookupError(f"there are no records in {origin}; it must be a suite's results folder, such as results/mnist")
        for path in found:
            inner = path.relative_to(origin)
            there = plan.setdefault(inner, path)
            if there == path or _same(there, path):
                continue
            conflicts.append(f"  {path} and {there}")
            if prefer == "from":
                plan[inner] = path
    if conflicts and prefer is None:
        raise ValueError("these are records of the same trial, and differ:\n" + "\n".join(conflicts) + "\n--prefer from takes "
                         "those that come, the last folder's first; --prefer into keeps those that are there")
    _check_comparable({path: record.read(path) for path in plan.values()})
    new = {inner: path for inner, path in plan.items() if known.get(inner) != path}
    for inner, path in new.items():
        (into / inner).with_suffix(".npz").unlink(missing_ok=True)
        for part in (path.with_suffix(".npz"), path):       # the record last: where it is, all of it is
            if part.is_file():
                write_atomically((into / inner).with_name(part.name), part.read_bytes())
    for origin in origins:
        for picture in (origin / "figures").glob("*"):
            if prefer == "from" or not (into / "figures" / picture.name).exists():
                write_atomically(into / "figures" / picture.name, picture.read_bytes())
    return [into / inner for inner in new]


def _same(a: Path, b: Path) -> bool:
    mine, theirs = record.read_items(a), record.read_items(b)
    return record.read(a) == record.read(b) and mine.keys() == theirs.keys() and all(
        np.array_equal(mine[k], theirs[k]) for k in mine)


def _check_comparable(records: dict[Path, Record]) -> None:
    """Raises: ValueError naming two records that do not belong in one table, and why."""
    first: dict[str, tuple[Path, Record]] = {}
    if len(suites := sorted({r["suite"] for r in records.values()})) > 1:
        raise ValueError(f"these records are of the suites {', '.join(suites)}; merge one suite at a time")
    for path, r in records.items():
        if r["status"] != "ok":
            continue
        start, other = first.setdefault(r["dataset"], (path, r))
        if r["data_sha256"] != other["data_sha256"]:
            raise ValueError(f"{path} and {start} were made with different data named {r['dataset']!r}: sha256 "
                             f"{r['data_sha256'][:12]} and {other['data_sha256'][:12]}")
        if differs := [f"{key} is {x!r} and {y!r}" for key, x, y in record.changed(r, other) if key.startswith("evaluation.")]:
            raise ValueError(f"{path} and {start} were evaluated differently: {'; '.join(differs)}. Measure one of them again: "
                             "zoo-bench run SUITE --remeasure")
