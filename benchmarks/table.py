"""Records -> leaderboards: one table for each data set, a row for each variant, seeds averaged; its parts by metric group."""

import math
import shutil
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

from .metrics import GROUPS
from .protocol import Evaluation
from .record import Record, is_baseline

DASH = "–"
ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}
# A group that has none of these is led by its first metric with a direction.
HEADLINE = ("elbo", "nll_iwae_{iwae_k}", "nll_refined_{refined_k}", "fcd_{extractor}", "knn_5", "factor_vae_score", "mig_20",
            "dci_disentanglement", "train_throughput")


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    better: str
    group: str

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


@dataclass(frozen=True)
class Row:
    """`label` is the variant's name, and its device where there are several; `marked` says which is a baseline."""

    label: str
    variant: str
    baseline: bool
    cells: list[Cell | None]

    @property
    def marked(self) -> str:
        return self.label + " (baseline)" * self.baseline


@dataclass(frozen=True)
class Table:
    """Columns in the order of GROUPS, of each the headline's first. Rows are sorted by the first column of the headline, best
    first, those without it last; baselines are a block of their own below."""

    dataset: str
    columns: list[Column]
    rows: list[Row]
    leading: frozenset[str]                                 # names of the headline's columns

    @property
    def bests(self) -> list[float | None]:
        """The best value of each column, baselines among them; None where there is no direction or nothing to compare."""
        found: list[float | None] = []
        for i, column in enumerate(self.columns):
            values = [cell.value for row in self.rows if (cell := row.cells[i]) is not None]
            comparable = column.better != "none" and len(values) > 1
            found.append((max if column.better == "higher" else min)(values) if comparable else None)
        return found

    @property
    def headline(self) -> "Table":
        """The columns that matter first."""
        return self._part(lambda column: column.name in self.leading)

    @property
    def groups(self) -> dict[str, "Table"]:
        """Group -> its columns, without the rows that have none of them."""
        parts = {group: self._part(lambda column, group=group: column.group == group)      # type: ignore[misc]
                 for group in dict.fromkeys(column.group for column in self.columns)}
        return {group: replace(part, rows=[row for row in part.rows if any(row.cells)]) for group, part in parts.items()}

    def _part(self, wanted: Callable[[Column], bool]) -> "Table":
        kept = [i for i, column in enumerate(self.columns) if wanted(column)]
        return replace(self, columns=[self.columns[i] for i in kept],
                       rows=[replace(row, cells=[row.cells[i] for i in kept]) for row in self.rows])


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
            column = Column(name, m["unit"], m["better"], m["group"])
            place[column] = max(place.get(column, 0), i)
    columns = sorted(place, key=lambda column: place[column])
    leading = _leading(columns, records[0])
    columns.sort(key=lambda column: (GROUPS.index(column.group), column.name not in leading))
    devices = {r["env"]["device"] for r in records if not is_baseline(r)}
    of_row: dict[str, list[Record]] = {}
    for r in records:
        several = len(devices) > 1 and not is_baseline(r)
        of_row.setdefault(r["variant"] + (f" ({r['env']['device']})" if several else ""), []).append(r)
    rows = [Row(label, rs[0]["variant"], is_baseline(rs[0]), [_cell(rs, c) for c in columns]) for label, rs in of_row.items()]
    ruling = next((i for i, c in enumerate(columns) if c.name in leading), None)
    rows.sort(key=lambda row: (row.baseline, *((0, 0.0) if ruling is None else _place(row.cells[ruling], columns[ruling]))))
    return Table(dataset, columns, rows, leading)


def _leading(columns: list[Column], record: Record) -> frozenset[str]:
    numbers = asdict(Evaluation()) | record["evaluation"]
    named = {name.format(**numbers) for name in HEADLINE}
    found = set()
    for group in GROUPS:
        directed = [c.name for c in columns if c.group == group and c.better != "none"]
        found |= named.intersection(directed) or set(directed[:1])
    return frozenset(found)


def _place(cell: Cell | None, column: Column) -> tuple[int, float]:
    """A key that sorts the best first and what has no value last."""
    return (1, 0.0) if cell is None else (0, -cell.value if column.better == "higher" else cell.value)


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
    head = [table.dataset, *(row.marked for row in table.rows)]
    first, blocks, used = max(map(len, head)), [head], 0
    for i, column in enumerate(table.columns):
        cells = [column.title, *(DASH if row.cells[i] is None else str(row.cells[i]) for row in table.rows)]
        wide = max(map(len, cells)) + 2
        if used and first + used + wide > width:
            blocks.append(head)
            used = 0
        blocks[-1] = [line.ljust(first) + cell.rjust(wide) for line, cell in zip(blocks[-1], cells, strict=True)]
        used += wide
    return "\n\n".join("\n".join(block) for block in blocks)


def markdown(table: Table) -> str:
    """A table for a README: the best of each column in bold, baselines in italics."""
    def text(cell: Cell | None, best: float | None) -> str:
        return DASH if cell is None else f"**{cell}**" if cell.value == best else str(cell)

    lines = [["variant", *(f"{c.title}<br>{c.unit}" for c in table.columns)], ["---", *["---:"] * len(table.columns)],
             *([f"*{row.marked}*" if row.baseline else row.label, *map(text, row.cells, table.bests)] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
