"""The tables of `zoo-bench kernels`, from its records: what was measured, and apart from it what was predicted."""

from .device_record import Record, aligned

COLUMNS = ("operation", "size", "dtype", "pass", "µs", "GB/s", "of a copy", "eager", "torch.compile", "memory", "eager's")
TITLE = """\
# Fused operations

Written by `zoo-bench kernels` from the records beside it.
"""
MEASURED = """\
What was measured:

- µs: the operation's median; GB/s: the bytes that a pass cannot do without, over it.
- of a copy: the time in which the device copies as many bytes, over the operation's.
- eager, torch.compile: the textbook's time over the operation's, and its 95% interval, from interleaved pairs.
- memory: the most that tensors took, beyond what was there before.
- replayed: both passes from a CUDA graph, each way alike.
- A star: other work held the cores meanwhile, and the number is not to be trusted.
- bernoulli_nll, gaussian_nll: there is no kernel; the operation is the textbook under torch.compile.
"""
PREDICTED = ("operation", "size", "dtype", "pass", "instructions", "bytes", "µs", "bound by", "of memory", "eager bytes",
             "eager µs", "eager", "compile bytes", "compile µs")


def page(records: list[Record]) -> str:
    """What was measured comes first, and what was predicted apart from it."""
    measured = not all(map(_is_predicted, records))
    return "\n".join([TITLE, MEASURED if measured else "No measurement is here yet.\n",
                      *(f"{section(record)}\n" for record in sorted(records, key=_is_predicted))])


def _is_predicted(record: Record) -> bool:
    return record.get("predicted", False)


def section(record: Record) -> str:
    return _predicted(record) if _is_predicted(record) else _measured(record)


def _measured(record: Record) -> str:
    env = record["env"]
    said = f"torch {env['torch']}, triton {env['triton']}, {env['threads']} threads, commit {env['commit']}"
    path = "" if env["device"] == "cuda" else " On a CPU the operations are plain torch code, and no kernel runs."
    return f"## {env['processor']}\n{said}.{path}\n\n{aligned([COLUMNS, *map(_cells, record['rows'])])}"


def _predicted(record: Record) -> str:
    env, chip = record["env"], record["chip"]
    return f"""\
## Predicted, not measured: {chip['name']}
torch {env['torch']}, triton {env['triton']}, commit {env['commit']}{' with changes' if env['dirty'] else ''}. Nothing below was
timed: it is instructions and bytes, counted in compiled code (`zoo-bench kernels --predict`), over the chip's rates.

- Rates: {chip['attainable'] / 1e12:g} TB/s of {chip['bandwidth'] / 1e12:g}; {chip['processors']} processors x \
{chip['schedulers']} schedulers x {chip['clock'] / 1e9:g} GHz; {1e6 * chip['launch']:g} µs a kernel. {chip['source']}.
- instructions, bytes: for each element, which is one of z; in total_correlation a pair and dimension; in nearest_code a pair;
  in the mixture a component of a pixel; in the likelihoods a number of x.
- µs: the largest of what could bind, and the launches: the least for the code as it is compiled. Waiting for results, caches
  and the host are left out.
- of memory: the share of it in which the memory must be busy.
- eager, compile: the bytes that the textbook's lines move in eager torch, and in the kernels that Inductor schedules under
  torch.compile; the time of those bytes and launches, which is the least they can take; and in eager torch that time over µs.
  Their arithmetic is left out, so that where a fused operation is bound by it, "compile µs" says little.
- no kernel: the row is the least that any kernel could take, and so "compile µs" over µs the most that one could gain.

{aligned([PREDICTED, *map(_predicted_cells, record['rows'])])}"""


def _predicted_cells(row: Record) -> tuple[str, ...]:
    first = _first(row)
    if "error" in row:
        return *first, row["error"].replace("|", "/"), *[""] * (len(PREDICTED) - 5)
    eager, compiled = row["against"]["eager"], row["against"]["compile"]
    return (*first, _short(row["instructions"] / row["elements"]) if row["kernel"] else "no kernel", *_least(row, row),
            row["bound"], f"{row['bounds']['memory'] / row['seconds']:.0%}", *_least(eager, row),
            f"{eager['seconds'] / row['seconds']:.1f}", *_least(compiled, row))


def _least(moving: Record, row: Record) -> tuple[str, str]:
    """Bytes for each element, and µs."""
    return ("failed", "") if "error" in moving else (_short(moving["bytes"] / row["elements"]), _short(1e6 * moving["seconds"]))


def _short(x: float) -> str:
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def _first(row: Record) -> tuple[str, ...]:
    return row["operation"], ", ".join(f"{name} {n}" for name, n in row["size"].items()), row["dtype"], row["pass"]


def _cells(row: Record) -> tuple[str, ...]:
    first = _first(row)
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
