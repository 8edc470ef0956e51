"""Two sets of results -> what differs between them, and whether that is more than noise.

Trials are paired by data set, variant, device and seed. What cannot be compared is not: it is listed with the reason.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from . import record, statistics
from .record import Record
from .sources import Result
from .statistics import Difference
from .suite import expand

ALPHA = 0.05
PORTABLE = ("numbers", "ratio")                             # units of cost that do not depend on the machine
Pair = tuple[Result, Result]


@dataclass(frozen=True)
class Comparison:
    """One metric of one variant: means over the seeds that both sides have. `p` is Holm's, over the data set's table.

    verdict    better, worse (B than A), differs (a metric without direction), noise; unknown: no error to judge it by
    """

    variant: str
    metric: str
    unit: str
    better: str
    seeds: int
    a: float
    b: float
    difference: Difference | None
    busy: bool
    p: float | None = None

    @property
    def verdict(self) -> str:
        if self.p is None:
            return "unknown"
        if self.p >= ALPHA:
            return "noise"
        return "differs" if self.better == "none" else "better" if (self.b > self.a) == (self.better == "higher") else "worse"


@dataclass
class Table:
    """What was compared on one data set. `refused` and `notes`: reason -> what it is about."""

    dataset: str
    rows: list[Comparison] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


def compare(a: Sequence[Result], b: Sequence[Result], metrics: Iterable[str] = ("*",)) -> list[Table]:
    """A table for each data set.

    Where each side has one variant only, or one device only, they are compared whatever their names.
    Raises: LookupError where no trial is on both sides, or no metric matches `metrics`.
    """
    by_a, by_b = _by_trial(a, b), _by_trial(b, a)
    shared = [key for key in by_a if key in by_b]
    if not shared:
        raise LookupError(f"no trial is on both sides: A has {_trials(a)}; B has {_trials(b)}")
    known = {label for r in (*a, *b) for label in r.record["metrics"]}
    wanted = set(expand(metrics, known, "metric of these records")) if known else set()
    tables = {r.record["dataset"]: Table(r.record["dataset"]) for r in (*a, *b)}
    groups: dict[tuple[str, str], list[Pair]] = {}
    for key in shared:
        pair = by_a[key], by_b[key]
        variants = list(dict.fromkeys(r.record["variant"] for r in pair))
        label = " -> ".join(variants) + (f" ({key[2]})" if key[2] else "")
        if reason := _incomparable(*(r.record for r in pair)):
            tables[key[0]].refused.setdefault(reason, []).append(f"{label} seed {key[3]}")
        else:
            groups.setdefault((key[0], label), []).append(pair)
    for (dataset, label), pairs in groups.items():
        _add(tables[dataset], label, pairs, wanted)
    for side, here, there in (("A", by_a, by_b), ("B", by_b, by_a)):
        for r in (here[key].record for key in here if key not in there):
            tables[r["dataset"]].notes.setdefault(f"only in {side}", []).append(f"{r['variant']} seed {r['seed']}")
    return [_judged(t) for t in tables.values()]


def _by_trial(results: Sequence[Result], others: Sequence[Result]) -> dict[tuple[str, str, str, int], Result]:
    """Results by (data set, variant, device, seed); "" for what is one thing on each side."""
    def names(of: Callable[[Record], str]) -> Callable[[Record], str]:
        sole = all(len({of(r.record) for r in side}) == 1 for side in (results, others))
        return (lambda r: "") if sole else of

    variant, device = names(lambda r: r["variant"]), names(lambda r: r["env"]["device"])
    return {(r.record["dataset"], variant(r.record), device(r.record), r.record["seed"]): r for r in results}


def _trials(results: Sequence[Result]) -> str:
    """What a side holds, in short: `digits (vae, ae; seeds 0, 1)`"""
    said = []
    for dataset in dict.fromkeys(r.record["dataset"] for r in results):
        here = [r.record for r in results if r.record["dataset"] == dataset]
        seeds = ", ".join(map(str, sorted({r["seed"] for r in here})))
        said.append(f"{dataset} ({', '.join(dict.fromkeys(r['variant'] for r in here))}; seeds {seeds})")
    return ", ".join(said) or "nothing"


def _incomparable(a: Record, b: Record) -> str | None:
    for side, r in (("A", a), ("B", b)):
        if r["status"] != "ok":
            return f"failed in {side}"
    if a["data_sha256"] != b["data_sha256"]:
        return f"the data differ: sha256 {a['data_sha256'][:12]} in A, {b['data_sha256'][:12]} in B"
    return None


def _changes(a: Record, b: Record) -> list[str]:
    """Where the protocols differ. Of two variants' settings: those that both have."""
    return [f"{key} is {x!r} in A, {y!r} in B" for key, x, y in record.changed(a, b) if key != "evaluation.metrics"
            and not (a["variant"] != b["variant"] and key.startswith("settings.") and None in (x, y))]


def _add(table: Table, label: str, pairs: list[Pair], wanted: set[str]) -> None:
    """Rows, refusals and notes of one variant's pairs."""
    for a, b in pairs:
        for said in _changes(a.record, b.record):
            if label not in (about := table.notes.setdefault(said, [])):
                about.append(label)
    for side, i in (("A", 0), ("B", 1)):
        alone = {m for p in pairs for m in p[i].record["metrics"].keys() - p[1 - i].record["metrics"].keys() if m in wanted}
        if alone:
            table.notes.setdefault(f"measured in {side} only: {', '.join(sorted(alone))}", []).append(label)
    for metric in dict.fromkeys(m for a, _ in pairs for m in a.record["metrics"] if m in wanted):
        both = [p for p in pairs if all(metric in r.record["metrics"] for r in p)]
        if not both:
            continue
        if reason := next(filter(None, (_refusal(a.record, b.record, metric) for a, b in both)), None):
            table.refused.setdefault(reason, []).append(f"{label} {metric}")
        else:
            table.rows.append(_comparison(label, metric, both))


def _refusal(a: Record, b: Record, metric: str) -> str | None:
    m, n = a["metrics"][metric], b["metrics"][metric]
    for key, what in (("version", "version"), ("unit", "unit"), ("better", "direction"), ("n", "number of examples")):
        if m[key] != n[key]:
            return f"{what} {m[key]} in A, {n[key]} in B"
    if m["group"] == "cost" and m["unit"] not in PORTABLE and record.machine(a) != record.machine(b):
        return f"not the same machine: {record.machine(a)} in A, {record.machine(b)} in B"
    return None


def _comparison(label: str, metric: str, pairs: list[Pair]) -> Comparison:
    entries = [[r.record["metrics"][metric] for r in p] for p in pairs]
    values = np.array([[m["value"] for m in p] for p in entries])
    m, (a, b) = entries[0][0], values.mean(0).tolist()
    return Comparison(label, metric, m["unit"], m["better"], len(pairs), a, b, _difference(metric, pairs, values),
                      any(e.get("busy") for p in entries for e in p))


def _difference(metric: str, pairs: list[Pair], values: np.ndarray) -> Difference | None:
    """By examples within seeds where the records have them, else by seeds, else by the records' own errors, else None."""
    first, second = (r.record["metrics"][metric] for r in pairs[0])
    if first["group"] == "cost" and first["unit"] not in PORTABLE:
        return None                                         # not timed in interleaved pairs: a neighbour's burst is no error
    items = [[r.items.get(metric, np.empty(0)).astype(float) for r in p] for p in pairs]
    means = all(_averages_to(x, v) for xs, vs in zip(items, values, strict=True) for x, v in zip(xs, vs, strict=True))
    if means and len({len(x) for p in items for x in p}) == 1:
        return statistics.over_examples(np.stack([b - a for a, b in items]))
    if len(pairs) > 1:
        return statistics.over_seeds(values[:, 1] - values[:, 0])
    if first["stderr"] is not None and second["stderr"] is not None:
        return statistics.unpaired(float(values[0, 1] - values[0, 0]), first["stderr"], second["stderr"])
    return None


def _averages_to(items: np.ndarray, value: float) -> bool:
    """Whether the metric is the mean of its items, as an error from resampling them must assume."""
    return len(items) > 1 and abs(float(items.mean()) - value) <= 1e-4 * (abs(value) + float(items.std()))


def _judged(table: Table) -> Table:
    """Holm's p over the table; what does not vary is certain, and no test."""
    tested = {i: d.p for i, row in enumerate(table.rows) if (d := row.difference) and d.low < d.high}
    adjusted = dict(zip(tested, statistics.holm(list(tested.values())), strict=True))
    table.rows = [replace(row, p=adjusted.get(i, row.difference.p)) if row.difference else row
                  for i, row in enumerate(table.rows)]
    return table


def chosen(results: Sequence[Result], patterns: Iterable[str]) -> list[Result]:
    """Results of these variants, names or patterns.  Raises: LookupError naming the nearest match."""
    variants = sorted({r.record["variant"] for r in results})
    found = expand(patterns, variants, "variant of these records")
    return [r for r in results if r.record["variant"] in found]
