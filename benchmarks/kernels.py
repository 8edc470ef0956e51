"""`zoo-bench kernels`: how fast the fused operations are on this machine, and what they keep, beside plain torch.

For each case, forward, backward and both passes of the operation are timed, and in interleaved pairs with it: the textbook's
lines in eager torch, the same under torch.compile, and a device-to-device copy that moves as many bytes as the pass cannot do
without (inputs and gradients from above read once, results written once): the ceiling. On a GPU both passes are also timed
replayed from a CUDA graph, each way alike, which leaves out the host.

One record for each device, RESULTS/kernels/<device>.json, rewritten after each case; README.md has the tables of all records.

Needs torch and triton, and nothing else of the project's dependencies. What fails, does not fit, or is not reached in the time
that is given, is recorded as such. `kernel_predict.py` is what can be said without a GPU.
"""

import fnmatch
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config as functorch
from torch import Tensor

from . import device_record, kernel_table
from .device_record import Record, said
from .environment import environment, load
from .kernel_cases import Call, Case, cases
from .timing import in_pairs, measure, synchronise

SCHEMA = "vae-zoo.kernels/1"
Step = Callable[[], object]


def run(device: str = "auto", patterns: Sequence[str] = ("*",), out: Path = Path("results"), minutes: float = 8.0) -> Record:
    """Time all cases whose operation matches a pattern; write the record and the tables.

    minutes: a case is begun only if as much time is left as the longest one took.

    Raises: ValueError where no operation matches, or torch sees no GPU where one is asked for; OSError.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: torch sees no GPU here; --device cpu times the plain path")
    start, longest = time.perf_counter(), 0.0
    chosen = matching(cases(place), patterns)
    record: Record = {"schema": SCHEMA, "env": environment(place), "rows": []}
    path = device_record.path_of(out / "kernels", record["env"]["processor"])
    functorch.donated_buffer = False                        # else a compiled backward pass cannot be made twice
    for i, case in enumerate(chosen):
        began = time.perf_counter()
        if began - start + longest > 60 * minutes:
            record["rows"].append(row_of(case, "all", error=f"not reached in {minutes:g} minutes"))
            continue
        try:
            for row in rows_of(case, place):
                record["rows"].append(row)
        except Exception as error:                          # of one kernel; the others are timed all the same
            record["rows"].append(row_of(case, "the rest", error=said(error)))
        record["env"]["load_after"] = load()
        device_record.write(path, record, kernel_table.page)
        took = time.perf_counter() - began
        longest = max(longest, took)
        print(f"{i + 1}/{len(chosen)} {case.name}: {took:.0f} s", file=sys.stderr)
    device_record.write(path, record, kernel_table.page)
    return record


def matching(known: Sequence[Case], patterns: Sequence[str]) -> list[Case]:
    """Those whose operation matches a pattern.  Raises: ValueError where none does."""
    chosen = [case for case in known if any(fnmatch.fnmatchcase(case.operation, p) for p in patterns)]
    if not chosen:
        names = ", ".join(dict.fromkeys(case.operation for case in known))
        raise ValueError(f"no operation matches {', '.join(patterns)}; there are {names}")
    return chosen


def rows_of(case: Case, device: torch.device) -> Iterator[Record]:
    """A row for each pass: seconds of the operation, and its speed and memory against the others'."""
    torch.compiler.reset()                                  # else sizes count as recompilations, and after eight it gives up
    inputs = [t.detach().requires_grad_(case.differentiable) for t in case.inputs()]
    compiled = torch.compile(case.textbook, dynamic=False)
    ours = steps(case.fused or compiled, inputs)
    others: dict[str, dict[str, Step] | str] = {}
    for name, call in (("eager", case.textbook), ("compile", compiled)):
        try:
            others[name] = steps(call, inputs)
        except Exception as error:                          # the compiler's are of many kinds
            others[name] = said(error)
    sizes = unavoidable_bytes(case, inputs)
    passes = [(name, name, _as_it_is) for name in ours]
    if device.type == "cuda":
        passes.append(("replayed", list(ours)[-1], captured))
    for name, what, prepare in passes:
        step = prepare(ours[what])
        row = row_of(case, name, bytes=sizes[what], **asdict(measure(step, device)), peak_bytes=peak(step, device))
        row["against"] = {"copy": _against(copying(sizes[what], device), prepare, step, device)}
        for other, made in others.items():
            row["against"][other] = {"error": made} if isinstance(made, str) else _against(made[what], prepare, step, device)
        yield row


def steps(call: Call, inputs: list[Tensor]) -> dict[str, Step]:
    """What is timed, by the name of the pass; the last is the whole."""
    outputs = tupled(call(*inputs))
    made: dict[str, Step] = {"forward": lambda: call(*inputs)}
    if outputs[0].requires_grad:
        above = [torch.randn_like(o) for o in outputs]
        made["backward"] = lambda: torch.autograd.grad(outputs, inputs, above, retain_graph=True)
        made["both"] = lambda: torch.autograd.grad(tupled(call(*inputs)), inputs, above)
    return made


def unavoidable_bytes(case: Case, inputs: list[Tensor]) -> dict[str, int]:
    """Forward: inputs and data read, outputs written. Backward: those and gradients from above read, gradients of inputs
    written."""
    read, written, data = bytes_of(inputs), bytes_of(tupled((case.fused or case.textbook)(*inputs))), bytes_of(case.data)
    forward, backward = read + data + written, 2 * read + data + written
    return {"forward": forward, "backward": backward, "both": forward + backward}


def _as_it_is(step: Step) -> Step:
    return step


def captured(step: Step) -> Step:
    """The step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def copying(size: int, device: torch.device) -> Step:
    """A copy that moves so many bytes: half of them read, half written."""
    source = torch.empty(max(1, size // 2), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def peak(step: Step, device: torch.device) -> int | None:
    """The most memory that tensors took beyond what there was before. CPU: not known."""
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device) - before


def _against(other: Step, prepare: Callable[[Step], Step], step: Step, device: torch.device) -> Record:
    """The other's seconds over the operation's, and its memory."""
    try:
        other = prepare(other)
        return {**asdict(in_pairs(other, step, device)), "peak_bytes": peak(other, device)}
    except RuntimeError as error:                           # out of memory is one
        return {"error": said(error)}


def row_of(case: Case, name: str, **what: Any) -> Record:
    dtype = str(case.dtype).removeprefix("torch.")
    return {"operation": case.operation, "size": case.size, "dtype": dtype, "pass": name, **what}


def tupled(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def bytes_of(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
