"""The report of a suite: results/<suite>/README.md with its figures, and index.html, which is one file and needs no other."""

from pathlib import Path

from . import contents, page, pictures, table
from .contents import CAPTION, Report, Section
from .record import safe
from .table import DASH


def build(name: str, out: Path) -> Path:
    """Write the report of a suite from its records; returns the page's path.

    Raises: FileNotFoundError where there are no records; ValueError for records of another schema.
    """
    report = contents.read(name, out)
    (report.folder / "README.md").write_text(_readme(report))
    path = report.folder / "index.html"
    path.write_text(page.of(report))
    return path


def _readme(report: Report) -> str:
    parts = [f"# {report.title}",
             f"Made by `{report.command}` from the records beside this file (`zoo-bench report {report.suite}` makes it again)."
             " `index.html` is the same and more as one interactive page: open it from disk.", CAPTION]
    for s in report.sections:
        parts += [f"## {s.dataset}", s.facts, table.markdown(s.table.headline), *s.notes]
        parts += [_folded(f"{group} ({len(t.columns)})", table.markdown(t)) for group, t in s.table.groups.items()]
        parts += _curves(report.folder, s) + _pictures(report.folder, s)
    if report.failures:
        parts += ["## Failed trials", "\n".join(f"- {what}: `{why}`" for what, why in report.failures)]
    parts += ["## Where it ran", "\n".join(f"- {line}" for line in report.environments)]
    return "\n\n".join(parts) + "\n"


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _curves(folder: Path, s: Section) -> list[str]:
    """The figure of every variant's validation ELBO, which is drawn here; nothing where no variant has one."""
    if not s.curves:
        return []
    path = folder / "figures" / f"{safe(s.dataset)}-curves.png"
    pictures.curves(path, s.dataset, {variant: [(p.step, p.valid) for p in points] for variant, points in s.curves.items()})
    return [_image(path, folder, "training curves")]


def _pictures(folder: Path, s: Section) -> list[str]:
    if not s.pictures:
        return []
    rows = ["", *s.kinds], ["---"] * (1 + len(s.kinds)), *(
        [variant, *(_image(there[kind], folder, kind) if kind in there else DASH for kind in s.kinds)]
        for variant, there in s.pictures.items())
    return ["\n".join(f"| {' | '.join(row)} |" for row in rows)]


def _image(path: Path, folder: Path, what: str) -> str:
    return f"![{what}]({path.relative_to(folder).as_posix()})"
