"""Records -> results/<suite>/README.md, training curves, and one self-contained results/<suite>/index.html."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path
from string import Template

from . import pictures, record, suite, table
from .record import Record
from .table import DASH, Cell, Table

TEMPLATES = Path(__file__).parent / "templates"
CAPTION = """Mean ± standard error over seeds; where there is one seed, ± is over test examples. A dash: the metric does not
apply to the variant. Bold: the best value of a column, whether or not the gap is larger than its error. Conditional variants
are told the label: their ELBO and NLL are those of x given it. Throughput and memory compare within one machine
only; a dagger (†): the machine had other work while it was timed.""".replace("\n", " ")


@dataclass(frozen=True)
class Section:
    """What is shown of one data set. `pictures`: variant -> kind -> file."""

    table: Table
    facts: str
    curves: Path | None
    pictures: dict[str, dict[str, Path]]

    @property
    def dataset(self) -> str:
        return self.table.dataset


def build(name: str, out: Path) -> Path:
    """Write the report of a suite from its records; returns the page's path.

    Raises: FileNotFoundError where there are no records; ValueError for records of another schema.
    """
    folder = out / name
    records = record.read_all(folder)
    if not records:
        raise FileNotFoundError(f"there are no records under {folder}: `zoo-bench run {name}` makes them")
    title = suite.title(name)
    sections = [_section(folder, t, [r for r in records if r["dataset"] == t.dataset and r["status"] == "ok"])
                for t in table.build(records)]
    (folder / "README.md").write_text(_readme(name, title, records, sections, folder))
    page = folder / "index.html"
    page.write_text(_page(name, title, records, sections))
    return page


def _section(folder: Path, t: Table, records: list[Record]) -> Section:
    found = {}
    for variant in dict.fromkeys(r["variant"] for r in records):
        stem = pictures.stem(folder, t.dataset, variant)
        there = {kind: path for kind in pictures.KINDS if (path := pictures.path_of(stem, kind)).is_file()}
        if there:
            found[variant] = there
    return Section(t, _facts(records), _curves(folder, t.dataset, records), found)


def _curves(folder: Path, dataset: str, records: list[Record]) -> Path | None:
    """A figure of every variant's validation ELBO, of its first seed; None where no variant has one."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for r in records:
        if "elbo" in r["metrics"]:
            lines.setdefault(r["variant"], [(row["step"], row["valid_elbo"]) for row in r["curve"] if "valid_elbo" in row])
    if not lines:
        return None
    path = folder / "figures" / f"{record.safe(dataset)}-curves.png"
    pictures.curves(path, dataset, lines)
    return path


def _facts(records: list[Record]) -> str:
    """The protocol behind a table."""
    seeds = ", ".join(str(seed) for seed in sorted({r["seed"] for r in records}))
    steps = sorted({r["budget"]["steps"] for r in records})
    span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    e, seconds = records[0]["evaluation"], sum(r["seconds"] + r["training"]["seconds"] for r in records)
    took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return (f"Seeds: {seeds}. {span} steps of training. IWAE: {e['iwae_k']} samples, {e['iwae_examples']:,} test examples at "
            f"most. Fréchet distance: {e['samples']:,} samples. {took} in all. Data SHA-256 {records[0]['data_sha256'][:12]}.")


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
    """(trial, the last line of its traceback)"""
    return [(f"{r['dataset']} {r['variant']} seed {r['seed']} on {r['env']['device']}", r["traceback"].strip().splitlines()[-1])
            for r in records if r["status"] == "failed"]


# -- README.md --------------------------------------------------------------------------------------------------------
def _readme(name: str, title: str, records: list[Record], sections: list[Section], folder: Path) -> str:
    def image(path: Path | None, what: str) -> str:
        return DASH if path is None else f"![{what}]({path.relative_to(folder).as_posix()})"

    parts = [f"# {title}",
             f"Made by `zoo-bench run {name}` from the records beside this file (`zoo-bench report {name}` makes it again). "
             "`index.html` is the same as one page whose tables sort.", CAPTION]
    for s in sections:
        parts += [f"## {s.dataset}", s.facts, table.markdown(s.table)]
        if s.curves:
            parts.append(image(s.curves, "training curves"))
        if s.pictures:
            rows = ["", *pictures.KINDS], ["---"] * (1 + len(pictures.KINDS)), *(
                [variant, *(image(there.get(kind), kind) for kind in pictures.KINDS)] for variant, there in s.pictures.items())
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if failed := _failures(records):
        parts += ["## Failed trials", "\n".join(f"- {what}: `{why}`" for what, why in failed)]
    parts += ["## Where it ran", "\n".join(f"- {line}" for line in _environments(records))]
    return "\n\n".join(parts) + "\n"


# -- index.html -------------------------------------------------------------------------------------------------------
def _page(name: str, title: str, records: list[Record], sections: list[Section]) -> str:
    bodies = [_html_section(s) for s in sections]
    if failed := _failures(records):
        items = "".join(f"<li>{html.escape(what)}: <code>{html.escape(why)}</code></li>" for what, why in failed)
        bodies.append(f"<section><h2>Failed trials</h2><ul>{items}</ul></section>")
    return Template((TEMPLATES / "index.html").read_text()).substitute(
        title=html.escape(title), command=html.escape(f"zoo-bench run {name}"), caption=CAPTION,
        links=" ".join(f'<a href="#{record.safe(s.dataset)}">{html.escape(s.dataset)}</a>' for s in sections),
        sections="\n".join(bodies), environments="".join(f"<li>{html.escape(line)}</li>" for line in _environments(records)))


def _html_section(s: Section) -> str:
    heads = "".join(f"<th>{kind}</th>" for kind in pictures.KINDS)
    rows = "".join(_html_row(variant, "".join(f"<td>{_image(there.get(kind), kind)}</td>" for kind in pictures.KINDS))
                   for variant, there in s.pictures.items())
    drawn = f'<table class="pictures"><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>' if rows else ""
    curves = f"<p>{_image(s.curves, 'training curves')}</p>" if s.curves else ""
    return (f'<section id="{record.safe(s.dataset)}"><h2>{html.escape(s.dataset)}</h2><p>{html.escape(s.facts)}</p>'
            f"{_html_table(s.table)}{curves}{drawn}</section>")


def _html_table(t: Table) -> str:
    heads = "".join(f'<th aria-sort="none"><button>{html.escape(what)}</button><br><small>{html.escape(unit)}</small></th>'
                    for what, unit in [("variant", ""), *((c.title, c.unit) for c in t.columns)])
    rows = "".join(_html_row(label, "".join(map(_html_cell, row, t.bests))) for label, row in t.rows)
    return (f'<div class="wide"><table class="sortable"><thead><tr>{heads}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>")


def _html_row(label: str, cells: str) -> str:
    return f'<tr><th scope="row">{html.escape(label)}</th>{cells}</tr>'


def _html_cell(cell: Cell | None, best: float | None) -> str:
    if cell is None:
        return f"<td>{DASH}</td>"
    text = f"<b>{cell}</b>" if cell.value == best else str(cell)
    return f'<td data-value="{cell.value!r}">{text}</td>'


def _image(path: Path | None, what: str) -> str:
    """An image whose bytes are in the page: the page needs no other file."""
    if path is None:
        return DASH
    return f'<img alt="{what}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
