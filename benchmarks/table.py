"""Records -> leaderboards: one table for each data set, a row for each variant, seeds averaged."""

import math
import shutil
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from .record import Record

DASH = "–"
ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    better: str

    @property
    def title(self) -> str:
        return self.name + ARROWS[self.better]


@dataclass(frozen=True)
class Cell:
    """Mean over seeds and its standard error; of a single seed, the error over test examples, where the metric has one. busy:
    the machine had other work while it was timed, which a dagger says."""

    value: float
    error: float | None
    unit: str
    busy: bool = False

    def __str__(self) -> str:
        return self._number + "†" * self.busy

    @property
    def _number(self) -> str:
        if self.unit in ("bytes", "numbers", "examples/s"):
            return prefixed(self.value) + ("B" if self.unit == "bytes" else "")
        if not self.error:
            return f"{self.value:.0f}" if self.value == round(self.value) else f"{self.value:.4g}"
        digits = min(4, max(0, 1 - math.floor(math.log10(self.error))))
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


Row = tuple[str, list[Cell | None]]


@dataclass(frozen=True)
class Table:
    """Rows are sorted by the first column that has a direction, best first; variants without it last."""

    dataset: str
    columns: list[Column]
    rows: list[Row]

    @property
    def bests(self) -> list[float | None]:
        """The best value of each column; None where there is no direction or nothing to compare."""
        found: list[float | None] = []
        for i, column in enumerate(self.columns):
            values = [cell.value for _, row in self.rows if (cell := row[i]) is not None]
            comparable = column.better != "none" and len(values) > 1
            found.append((max if column.better == "higher" else min)(values) if comparable else None)
        return found


def build(records: Iterable[Record]) -> list[Table]:
    """Tables of the records whose status is ok, in the order of the records."""
    ok: dict[str, list[Record]] = {}
    for r in records:
        if r["status"] == "ok":
            ok.setdefault(r["dataset"], []).append(r)
    return [_table(dataset, here) for dataset, here in ok.items()]


def _table(dataset: str, records: list[Record]) -> Table:
    place: dict[Column, int] = {}                           # a metric that some variants lack stands where the others have it
    for r in records:
        for i, (name, m) in enumerate(r["metrics"].items()):
            column = Column(name, m["unit"], m["better"])
            place[column] = max(place.get(column, 0), i)
    columns = sorted(place, key=lambda column: place[column])
    devices = {r["env"]["device"] for r in records}
    groups: dict[str, list[Record]] = {}
    for r in records:
        groups.setdefault(r["variant"] + (f" ({r['env']['device']})" if len(devices) > 1 else ""), []).append(r)
    rows = [(label, [_cell(group, column) for column in columns]) for label, group in groups.items()]
    ruling = next((i for i, c in enumerate(columns) if c.better != "none"), None)
    if ruling is not None:
        sign = -1 if columns[ruling].better == "higher" else 1
        rows.sort(key=lambda row: math.inf if (cell := row[1][ruling]) is None else sign * cell.value)
    return Table(dataset, columns, rows)


def _cell(records: list[Record], column: Column) -> Cell | None:
    found = [r["metrics"][column.name] for r in records if column.name in r["metrics"]]
    if not found:
        return None
    values = [m["value"] for m in found]
    error = found[0]["stderr"] if len(values) == 1 else statistics.stdev(values) / len(values) ** 0.5
    return Cell(statistics.fmean(values), error, column.unit, any(m.get("busy") for m in found))


def prefixed(value: float) -> str:
    """1234567 -> 1.23M"""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def terminal(table: Table, width: int | None = None) -> str:
    """A table as text, folded into blocks of columns that fit the terminal."""
    width = width or shutil.get_terminal_size((120, 24)).columns
    head = [table.dataset, *(label for label, _ in table.rows)]
    first, blocks, used = max(map(len, head)), [head], 0
    for i, column in enumerate(table.columns):
        cells = [column.title, *(DASH if row[i] is None else str(row[i]) for _, row in table.rows)]
        wide = max(map(len, cells)) + 2
        if used and first + used + wide > width:
            blocks.append(head)
            used = 0
        blocks[-1] = [line.ljust(first) + cell.rjust(wide) for line, cell in zip(blocks[-1], cells, strict=True)]
        used += wide
    return "\n\n".join("\n".join(block) for block in blocks)


def markdown(table: Table) -> str:
    """A table for a README, the best of each column in bold."""
    def text(cell: Cell | None, best: float | None) -> str:
        return DASH if cell is None else f"**{cell}**" if cell.value == best else str(cell)

    lines = [["variant", *(f"{c.title}<br>{c.unit}" for c in table.columns)], ["---", *["---:"] * len(table.columns)],
             *([label, *map(text, row, table.bests)] for label, row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
