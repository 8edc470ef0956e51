"""Comparisons as text for a terminal, and as JSON."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from .compare import ALPHA, Comparison, Table
from .statistics import LEVEL
from .table import ARROWS, DASH, prefixed

VERDICTS = {"better": "better", "worse": "WORSE", "differs": "differs", "noise": "≈", "unknown": "?"}
LEGEND = f"""\
B - A of the same trials: means over the seeds that both sides have, {LEVEL:.0%} intervals of each difference alone.
p: two-sided, after Holm's correction over the data set's table. ≈: noise (p >= {ALPHA:g}). ?: no error to judge it by.
from: examples within seeds   test examples resampled, seeds by Student's t, both paired
      seeds                   Student's t over seeds, paired; the records hold no values of single examples
      examples                test examples resampled, paired; ONE seed, so how much training varies is not in it
      unpaired                one seed and the records' own standard errors, as if the examples were not the same
Costs that were not timed in interleaved pairs are shown and not judged. †: the machine was busy while it was timed."""


def text(tables: Iterable[Table], a: str, b: str) -> str:
    return "\n\n".join([f"A = {a}\nB = {b}", *map(_table, tables), LEGEND])


def as_json(tables: Iterable[Table], a: str, b: str) -> dict[str, Any]:
    """Everything the text says, and the unadjusted p-values."""
    return {"a": a, "b": b, "level": LEVEL, "alpha": ALPHA, "tables": [
        {**asdict(t), "rows": [{**asdict(row), "verdict": row.verdict} for row in t.rows]} for t in tables]}


def _table(table: Table) -> str:
    lines: list[tuple[str, ...]] = [("", "unit", "A", "B", "B - A", f"{LEVEL:.0%} interval", "p", "", "from")]
    labels = list(dict.fromkeys(row.variant for row in table.rows))
    for label in labels:
        here = [row for row in table.rows if row.variant == label]
        seeds = sorted({row.seeds for row in here})
        lines.append((f"{label}, {'-'.join(map(str, seeds))} seed{'s' * (seeds != [1])}", *[""] * 8))
        lines += [_row(row) for row in here]
    widths = [max(map(len, column)) for column in zip(*(line for line in lines if line[1]), strict=True)]
    body = ["  ".join([line[0].ljust(widths[0]), line[1].ljust(widths[1]),
                       *(cell.rjust(w) for cell, w in zip(line[2:7], widths[2:7], strict=True)),
                       line[7].ljust(widths[7]), line[8]]).rstrip() for line in lines]
    said = [*(f"refused, {reason}: {', '.join(what)}" for reason, what in table.refused.items()),
            *(f"note, {reason}: {', '.join(what)}" for reason, what in table.notes.items())]
    return "\n".join([table.dataset, *(body if table.rows else []), *said])


def _row(row: Comparison) -> tuple[str, ...]:
    mark, name, d = "†" if row.busy else "", f"  {row.metric}{ARROWS[row.better]}", row.difference
    if d is None or row.p is None or d.low == d.high:
        return (name, row.unit, prefixed(row.a) + mark, prefixed(row.b) + mark, _signed(row.b - row.a), DASH, DASH,
                VERDICTS[row.verdict], "" if d is None else "the same for every seed")
    digits = min(4, max(0, 1 - math.floor(math.log10(max(d.high - d.value, d.value - d.low)))))
    return (name, row.unit, f"{row.a:.{digits}f}{mark}", f"{row.b:.{digits}f}{mark}", f"{d.value:+.{digits}f}",
            f"[{d.low:+.{digits}f}, {d.high:+.{digits}f}]", f"{row.p:.3f}" if row.p >= 0.001 else "<0.001",
            VERDICTS[row.verdict], d.method)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + prefixed(value)
