"""One JSON file for each trial, results/<suite>/<dataset>/<variant>/<seed>-<device>.json; beside it, as .npz, the values of
single examples, for comparisons in pairs."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch
from torch import Tensor

from zoo.store import write_atomically

from .environment import ROOT as ROOT
from .environment import environment as environment
from .environment import load as load
from .protocol import Trial

SCHEMA = "vae-zoo.record/2"
Record = dict[str, Any]


def safe(name: str) -> str:
    """A data set's name as part of a path."""
    return re.sub(r"[^\w.+-]", "-", name)


def path_of(out: Path, trial: Trial, device: torch.device) -> Path:
    return out / trial.suite / safe(trial.dataset) / trial.variant / f"{trial.seed}-{device.type}.json"


def protocol(trial: Trial) -> Record:
    """What a trial's numbers depend on, as JSON has it."""
    budget = {"batch_size": trial.budget.batch_size} if trial.role == "baseline" else asdict(trial.budget)
    return json.loads(json.dumps({"settings": dict(trial.settings), "budget": budget, "evaluation": asdict(trial.evaluation)}))


def is_baseline(record: Record) -> bool:
    """Older records have no role: they are of variants."""
    return record.get("role") == "baseline"


def differences(record: Record, trial: Trial, auto_batch: bool = False) -> list[str]:
    """Where a record was made by another protocol than the suite's of now: `budget.steps was 100, is now 200`.

    A batch that was halved because memory ran out is a difference, but to those who ask for that again, of the same batch.
    """
    halved = record.get("auto_batch")
    found = changed(record, protocol(trial))
    if halved and auto_batch and halved["asked"] == trial.budget.batch_size:
        found = [change for change in found if change[0] != "budget.batch_size"]
    said = [f"{key} was {then!r}, is now {now!r}" for key, then, now in found]
    if halved and any(key == "budget.batch_size" for key, _, _ in found):
        said.append(f"it was halved from {halved['asked']} to fit into memory: --auto-batch takes that as finished")
    return said


def changed(a: Record, b: Record) -> list[tuple[str, Any, Any]]:
    """Where two records' protocols differ: (`budget.steps`, the one's value, the other's); None where it has none."""
    return [(f"{part}.{key}", a[part].get(key), b[part].get(key)) for part in ("settings", "budget", "evaluation")
            for key in sorted({*a[part], *b[part]}) if a[part].get(key) != b[part].get(key)]


def machine(record: Record) -> str:
    """What timings depend on: where it was measured and, if elsewhere, trained."""
    environments = (record["env"], (record["training"] or {}).get("env"))
    said = [f"{e['processor']}, {e['threads']} of {e['cores']} cores" for e in environments if e]
    return "; trained on ".join(dict.fromkeys(said))


def read(path: Path) -> Record:
    """Raises: ValueError for a file that is no record, of another schema version, or not as `schema.json` has it: names the
    key."""
    try:
        record = json.loads(path.read_text(), parse_constant=str)           # NaN and Infinity become strings: no numbers
    except ValueError as error:
        raise ValueError(f"{path} is no record ({error}); delete it, or name another results folder with --out") from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}; this version reads and writes {SCHEMA!r}. Name another results folder "
                         "with --out, or move the old one away")
    if wrong := jsonschema.exceptions.best_match(_validator().iter_errors(record)):
        where = "the record" if wrong.json_path == "$" else wrong.json_path.removeprefix("$.")
        raise ValueError(f"{path}: {where}: {wrong.message}. benchmarks/schema.json says what a record holds; the harness that "
                         "wrote it, or a hand since, did not follow it")
    return record


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((Path(__file__).parent / "schema.json").read_text()))


def read_all(folder: Path) -> list[Record]:
    """All records of a suite's folder, by data set, variant and seed.  Raises: as read."""
    return [read(path) for path in paths(folder)]


def paths(folder: Path) -> Iterator[Path]:
    yield from sorted(p for p in folder.glob("*/*/*.json") if p.relative_to(folder).parts[0] != "models")


def write(path: Path, record: Record) -> None:
    """Raises: OSError; ValueError for NaN or Inf."""
    write_atomically(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def write_items(path: Path, items: dict[str, Tensor]) -> None:
    """The values of single test examples, by metric, beside the record at `path`: float32, (N,) each. None: no file."""
    beside = path.with_suffix(".npz")
    if not items:
        beside.unlink(missing_ok=True)
        return
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: v.to(torch.float32).cpu().numpy() for name, v in items.items()})  # type: ignore[arg-type]
    write_atomically(beside, buffer.getvalue())


def read_items(path: Path) -> dict[str, np.ndarray]:
    """What `write_items` wrote beside the record at `path`; empty where there is none."""
    beside = path.with_suffix(".npz")
    if not beside.is_file():
        return {}
    with np.load(beside) as file:
        return dict(file)
