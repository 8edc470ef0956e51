"""Records -> what a report says of them, whichever its form."""

from dataclasses import dataclass
from pathlib import Path

from . import pictures, record, suite, table
from .record import Record, is_baseline
from .table import Table

CAPTION = """Mean ± standard error over seeds; where there is one seed, ± is over test examples. A dash: the metric does not
apply to the variant. Bold: the best value of a column, whether or not the gap is larger than its error; baselines, fitted once
by counting, in closed form or by EM, compete. Conditional variants are told the label: their ELBO and NLL are those of x given
it. Throughput and memory compare within one machine only; †: the machine had other work while it was timed.
""".replace("\n", " ").strip()


@dataclass(frozen=True)
class Point:
    """Of a training curve: the ELBO in nats, of training batches and of the validation split."""

    step: float
    train: float | None
    valid: float


@dataclass(frozen=True)
class Section:
    """What is shown of one data set. `notes` are footnotes to its table; `curves`: variant -> the curve of its first seed;
    `pictures`: variant -> kind -> file."""

    table: Table
    facts: str
    notes: list[str]
    curves: dict[str, list[Point]]
    pictures: dict[str, dict[str, Path]]

    @property
    def dataset(self) -> str:
        return self.table.dataset

    @property
    def kinds(self) -> list[str]:
        """The kinds of pictures that any variant has."""
        return [kind for kind in pictures.KINDS if any(kind in there for there in self.pictures.values())]


@dataclass(frozen=True)
class Report:
    """`failures`: (trial, the last line of its traceback)."""

    suite: str
    title: str
    folder: Path
    sections: list[Section]
    failures: list[tuple[str, str]]
    environments: list[str]

    @property
    def command(self) -> str:
        return f"zoo-bench run {self.suite}"


def read(name: str, out: Path) -> Report:
    """Raises: FileNotFoundError where there are no records; ValueError for records of another schema."""
    folder = out / name
    records = record.read_all(folder)
    if not records:
        raise FileNotFoundError(f"there are no records under {folder}: `zoo-bench run {name}` makes them")
    sections = [_section(folder, t, [r for r in records if r["dataset"] == t.dataset and r["status"] == "ok"])
                for t in table.build(records)]
    return Report(name, suite.title(name), folder, sections, _failures(records), _environments(records))


def _section(folder: Path, t: Table, records: list[Record]) -> Section:
    found: dict[str, dict[str, Path]] = {}
    curves: dict[str, list[Point]] = {}
    for r in records:
        variant = r["variant"]
        stem = pictures.stem(folder, t.dataset, variant)
        if there := {kind: path for kind in pictures.KINDS if (path := pictures.path_of(stem, kind)).is_file()}:
            found[variant] = there
        points = [Point(row["step"], row.get("elbo"), row["valid_elbo"]) for row in r["curve"] if "valid_elbo" in row]
        if points and "elbo" in r["metrics"]:               # without a bound the trainer's number is none
            curves.setdefault(variant, points)
    return Section(t, _facts(records), _notes(records), curves, found)


def _facts(records: list[Record]) -> str:
    """The protocol behind a table."""
    seeds = _listed({r["seed"] for r in records})
    steps = sorted({r["budget"]["steps"] for r in records if not is_baseline(r)}) or [0]
    span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    e = records[0]["evaluation"]
    seconds = sum(r["seconds"] + (r["training"] or {"seconds": 0})["seconds"] for r in records)
    took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return (f"Seeds: {seeds}. {span} steps of training. IWAE: {e['iwae_k']} samples, {e['iwae_examples']:,} test examples at "
            f"most. Fréchet distance: {e['samples']:,} samples. {took} in all. Data SHA-256 {records[0]['data_sha256'][:12]}.")


def _notes(records: list[Record]) -> list[str]:
    """What the reader of single rows must know. Baselines are no matter of seeds."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for r in records:
        if is_baseline(r):
            continue
        seeds.setdefault((r["variant"], r["env"]["device"]), set()).add(r["seed"])
    every = set().union(*seeds.values())
    fewer = [f"{variant} on {device}: of seeds {_listed(every)}, only {_listed(here)}."
             for (variant, device), here in seeds.items() if here != every]
    halved = [f"{r['variant']} seed {r['seed']} on {r['env']['device']}: trained at a batch size of {b['used']}, since "
              f"{b['asked']} did not fit into memory." for r in records if (b := r.get("auto_batch"))]
    return fewer + halved


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _environments(records: list[Record]) -> list[str]:
    """One line for each machine and code that took part."""
    loads: dict[str, list[float]] = {}
    for r in records:
        e = r["env"]
        commit = f"{e['commit'] or 'unknown'}{' with changes' if e['dirty'] else ''}"
        line = (f"{e['device']}: {e['processor']}, {e['cores']} cores, {e['threads']} threads; torch {e['torch']}, "
                f"Python {e['python']}; kernels: {e['kernel_path']}; commit {commit}")
        loads.setdefault(line, []).extend(v for v in (e["load_before"], e["load_after"]) if v is not None)
    return [f"{line}; load average {min(seen):.1f} to {max(seen):.1f}" for line, seen in loads.items()]


def _failures(records: list[Record]) -> list[tuple[str, str]]:
    return [(f"{r['dataset']} {r['variant']} seed {r['seed']} on {r['env']['device']}", r["traceback"].strip().splitlines()[-1])
            for r in records if r["status"] == "failed"]
