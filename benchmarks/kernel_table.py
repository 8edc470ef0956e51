"""The tables of `zoo-bench kernels`, from its records."""

from typing import Any

Record = dict[str, Any]
COLUMNS = ("operation", "size", "dtype", "pass", "µs", "GB/s", "of a copy", "eager", "torch.compile", "memory", "eager's")
HEAD = """\
# Fused operations, timed

Written by `zoo-bench kernels` from the records beside it.

- µs: the operation's median; GB/s: the bytes that a pass cannot do without, over it.
- of a copy: the time in which the device copies as many bytes, over the operation's.
- eager, torch.compile: the textbook's time over the operation's, and its 95% interval, from interleaved pairs.
- memory: the most that tensors took, beyond what was there before.
- replayed: both passes from a CUDA graph, each way alike.
- A star: other work held the cores meanwhile, and the number is not to be trusted.
"""


def page(records: list[Record]) -> str:
    return "\n".join([HEAD, *(f"{section(record)}\n" for record in records)])


def section(record: Record) -> str:
    env = record["env"]
    said = f"torch {env['torch']}, triton {env['triton']}, {env['threads']} threads, commit {env['commit']}"
    path = "" if env["device"] == "cuda" else " On a CPU the operations are plain torch code, and no kernel runs."
    return f"## {env['processor']}\n{said}.{path}\n\n{table(record['rows'])}"


def table(rows: list[Record]) -> str:
    """Markdown whose columns are aligned, so that a terminal shows it, too."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = ["| " + " | ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _cells(row: Record) -> tuple[str, ...]:
    size = ", ".join(f"{name} {n}" for name, n in row["size"].items())
    first = row["operation"], size, row["dtype"], row["pass"]
    if "error" in row:
        return *first, row["error"].replace("|", "/"), *[""] * 6
    copy, eager, compiled = (row["against"][name] for name in ("copy", "eager", "compile"))
    return (*first, f"{1e6 * row['median']:.4g}{_star(row)}", f"{row['bytes'] / row['median'] / 1e9:.4g}",
            "failed" if "error" in copy else f"{copy['median']:.0%}{_star(copy)}", _times(eager), _times(compiled),
            _size(row), _size(eager))


def _times(other: Record) -> str:
    if "error" in other:
        return "out of memory" if "OutOfMemory" in other["error"] else "failed"
    return f"{other['median']:.2f} [{other['low']:.2f}, {other['high']:.2f}]{_star(other)}"


def _size(measured: Record) -> str:
    size = measured.get("peak_bytes")
    return "" if size is None else f"{size / 2**20:.4g} MiB"


def _star(timed: Record) -> str:
    return "*" if timed["busy"] else ""
