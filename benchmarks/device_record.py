"""One JSON record for each device, in a folder with a page of the tables of all of them. Needs nothing."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def path_of(folder: Path, processor: str) -> Path:
    return folder / (re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-") + ".json")


def read(path: Path) -> Record:
    """Empty where there is none."""
    return json.loads(path.read_text()) if path.is_file() else {}


def write(path: Path, record: Record, page: Callable[[list[Record]], str]) -> None:
    """The record, and README.md with the page of all records beside it.  Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    (path.parent / "README.md").write_text(page([read(other) for other in sorted(path.parent.glob("*.json"))]))


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Lines as a table in Markdown, the head first, whose columns are aligned: a terminal shows it, too."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["| " + " | ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def said(error: Exception) -> str:
    """One line of an error, for a record."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
