"""The report as one self-contained page: templates/ with what it shows as one block of JSON, and pictures as data in it."""

import base64
import html
import json
from pathlib import Path
from string import Template
from typing import Any

from . import baselines
from .contents import CAPTION, Report, Section
from .metrics import METRICS
from .record import safe
from .table import Cell

TEMPLATES = Path(__file__).parent / "templates"
PLOTLY = TEMPLATES / "vendor" / "plotly-basic.min.js"
SCRIPTS = ("elements.js", "leaderboard.js", "charts.js", "variants.js", "page.js")


def of(report: Report) -> str:
    """The whole page."""
    scripts = [PLOTLY, *(TEMPLATES / name for name in SCRIPTS)]
    data = json.dumps(_data(report), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Template((TEMPLATES / "index.html").read_text()).substitute(
        title=html.escape(report.title), style=(TEMPLATES / "style.css").read_text(),
        data=data.replace("<", "\\u003c"),                  # no text of a record can end the block
        scripts="\n".join(f"<script>\n{path.read_text()}</script>" for path in scripts))


def _data(report: Report) -> dict[str, Any]:
    variants = dict.fromkeys(row.variant for s in report.sections for row in s.table.rows)
    return {"title": report.title, "command": report.command, "caption": CAPTION, "failures": report.failures,
            "environments": report.environments, "variants": {name: _described(name) for name in variants},
            "sections": [_section(s) for s in report.sections]}


def _section(s: Section) -> dict[str, Any]:
    t = s.table
    columns = [{"name": c.name, "title": c.title, "unit": c.unit, "better": c.better, "group": c.group,
                "leading": c.name in t.leading, "about": _about(c.name)} for c in t.columns]
    rows = [{"label": row.label, "variant": row.variant, "baseline": row.baseline,
             "cells": [_cell(cell, best) for cell, best in zip(row.cells, t.bests, strict=True)]} for row in t.rows]
    return {"dataset": s.dataset, "id": safe(s.dataset), "facts": s.facts, "notes": s.notes, "columns": columns, "rows": rows,
            "curves": {variant: [(p.step, p.train, p.valid) for p in points] for variant, points in s.curves.items()},
            "kinds": s.kinds,
            "pictures": {variant: {kind: _inlined(path) for kind, path in there.items()}
                         for variant, there in s.pictures.items()}}


def _cell(cell: Cell | None, best: float | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {"value": cell.value, "error": cell.error, "text": str(cell), "best": cell.value == best}


def _about(column: str) -> str:
    """The first line of its metric's documentation; nothing where this installation has no such metric."""
    names = [name for name in METRICS if column.startswith(name)]
    return METRICS.get(max(names, key=len)).documentation.split("\n")[0] if names else ""


def _described(name: str) -> dict[str, Any]:
    """What the zoo knows of a variant; a name it does not know has no formula to show."""
    try:
        entry = baselines.entry(name)
    except LookupError:
        unknown = "This installation knows no variant of this name: no formula to show."
        return {"summary": "", "tags": [], "documentation": unknown}
    return {"summary": entry.summary, "documentation": entry.documentation, "paper": entry.paper, "url": entry.url,
            "equation": entry.equation, "tags": sorted(entry.tags)}


def _inlined(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
