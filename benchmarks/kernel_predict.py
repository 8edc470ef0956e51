"""`zoo-bench kernels --predict`: the same cases without a GPU, by arithmetic. Nothing here is measured, and every row says so.

For each pass of an operation, from the Triton kernels that it launches, compiled for the chip (`kernel_code.py`):

    memory      the bytes that a pass cannot do without, and those of torch operations around the kernels, over the chip's
                attainable rate
    issue       the warps of the busiest scheduler, ceil(ceil(programs / processors) x warps / schedulers), x a warp's
                instructions / clock
    special     the same for exponentials, logarithms, sines and reciprocals / (a scheduler's share of their rate x clock)
    tensor      ceil(programs / processors) x a program's operations of tensor cores / (a processor's share of their rate)
    seconds     the largest of these, which binds, + a fixed time for each kernel launched, of torch's too

This is how fast the compiled code could be. It leaves out waiting for results (a processor that holds few warps waits most of
the time), the caches (what fits into them is faster than memory; what is read from them again costs something), and the host.

Eager torch and torch.compile: bytes over the same rate, and the same time for each kernel, no arithmetic: their least. Where
there is no kernel, the row is the least that one could take.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from . import kernel_table
from .device_record import Record, said, write
from .environment import environment
from .kernel_cases import Call, Case, cases
from .kernel_code import WARP, Executed, Launch, executed
from .kernel_traffic import Traffic, scheduled, watched
from .kernels import matching, row_of, steps, unavoidable_bytes

SCHEMA = "vae-zoo.kernels-predicted/1"
PASSES = ("forward", "backward")


@dataclass(frozen=True)
class Chip:
    """Rates, per second; `special`: results of special functions per processor and cycle."""

    name: str
    arch: int
    bandwidth: float
    attainable: float
    processors: int
    schedulers: int
    clock: float
    special: int
    tensor: dict[str, float]
    launch: float
    source: str

    def seconds(self, size: int, kernels: int, launched: Sequence[tuple[Launch, Executed]]) -> dict[str, float]:
        """By what could bind."""
        cycles = {"issue": 0.0, "special": 0.0, "tensor": 0.0}
        for launch, code in launched:
            waves = -(-launch.programs // self.processors)
            warps = -(-waves * code.warps // self.schedulers)
            cycles["issue"] += warps * code.instructions
            cycles["special"] += warps * (code.special / code.warps) / (self.special / self.schedulers)
            for kind, operations in code.tensor.items():
                cycles["tensor"] += waves * operations / (self.tensor[kind] / self.processors / self.clock)
        times = {name: n / self.clock for name, n in cycles.items()}
        return {"memory": size / self.attainable, **times, "launch": kernels * self.launch}


CHIPS = {"h200": Chip(
    "NVIDIA H200 SXM", arch=90, bandwidth=4.8e12, attainable=4.3e12, processors=132, schedulers=4, clock=1.98e9, special=16,
    tensor={"TF32": 494.7e12, "BF16": 989.4e12, "F16": 989.4e12}, launch=2e-6,
    source="NVIDIA H200 datasheet: bandwidth, dense tensor rates (half of those with sparsity), and 67 TFLOP/s of float32, "
           "which is 132 x 128 x 2 x 1.98 GHz; NVIDIA H100 whitepaper: processors, schedulers; CUDA C++ Programming Guide, "
           "throughput of arithmetic instructions, 9.0: special functions. Assumed: nine tenths of the bandwidth can be had, "
           "and a kernel takes 2 µs to start and end",
)}


def run(chip: str = "h200", patterns: Sequence[str] = ("*",), out: Path = Path("results")) -> Record:
    """Predict all cases whose operation matches a pattern; write RESULTS/kernels/predicted-<chip>.json and the tables.

    Raises: ValueError for another chip, or where no operation matches; OSError.
    """
    if chip not in CHIPS:
        raise ValueError(f"chip {chip!r}: the rates of {', '.join(CHIPS)} are known; others go to benchmarks/kernel_predict.py")
    env = environment(torch.device("cpu"))
    record: Record = {"schema": SCHEMA, "predicted": True, "chip": asdict(CHIPS[chip]), "rows": [],
                      "env": {name: env[name] for name in ("torch", "triton", "python", "commit", "dirty")}}
    with FakeTensorMode():
        chosen = matching(cases(torch.device("cpu"), "cuda"), patterns)
        for i, case in enumerate(chosen):
            began = time.perf_counter()
            try:
                record["rows"] += rows_of(case, CHIPS[chip])
            except Exception as error:                      # of one kernel; the others are predicted all the same
                record["rows"].append(row_of(case, "all", error=said(error)))
            print(f"{i + 1}/{len(chosen)} {case.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    write(out / "kernels" / f"predicted-{chip}.json", record, kernel_table.page)
    return record


def rows_of(case: Case, chip: Chip) -> list[Record]:
    """A row for each pass, and their sum. Under fake tensors."""
    inputs = [t.detach().requires_grad_(case.differentiable) for t in case.inputs()]
    sizes = unavoidable_bytes(case, inputs)
    eager = passes(case.textbook, inputs)
    ours = passes(case.fused, inputs) if case.fused else {name: Traffic(kernels=1) for name in eager}
    try:
        compiled: dict[str, Traffic] | str = by_inductor(case, inputs)
    except Exception as error:                              # of the compiler; of many kinds
        compiled = said(error)
    rows = []
    for name, done in ours.items():
        launched = [(launch, executed(launch, chip.arch)) for launch in done.launches]
        row = row_of(case, name, elements=case.count, kernel=case.fused is not None,
                     **_predicted(chip, sizes[name] + done.bytes, done.kernels + len(launched), launched))
        row["launches"] = [{"kernel": launch.name, "programs": launch.programs, "constants": launch.constants,
                            "loops": launch.trips(), **asdict(code)} for launch, code in launched]
        row["against"] = {"eager": _predicted(chip, eager[name].bytes, eager[name].kernels)}
        row["against"]["compile"] = {"error": compiled} if isinstance(compiled, str) else _predicted(
            chip, compiled[name].bytes, compiled[name].kernels)
        rows.append(row)
    return rows if len(rows) == 1 else [*rows, _both(*rows)]


def _predicted(chip: Chip, size: int, kernels: int, launched: Sequence[tuple[Launch, Executed]] = ()) -> Record:
    times = chip.seconds(size, kernels, launched)
    longest = max(t for name, t in times.items() if name != "launch")
    return {"bytes": size, "kernels": kernels,
            "instructions": sum(launch.programs * code.warps * WARP * code.instructions for launch, code in launched),
            "bounds": times, "bound": max(times, key=times.__getitem__), "seconds": longest + times["launch"]}


def _both(forward: Record, backward: Record) -> Record:
    """One after the other."""
    against = {name: _added(forward["against"][name], backward["against"][name]) for name in forward["against"]}
    row = {name: value for name, value in forward.items() if name != "launches"}
    return {**row, "pass": "both", **_added(forward, backward), "against": against}


def _added(one: Record, other: Record) -> Record:
    if "error" in one:
        return one
    bounds = {name: t + other["bounds"][name] for name, t in one["bounds"].items()}
    return {**{name: one[name] + other[name] for name in ("bytes", "kernels", "instructions", "seconds")},
            "bounds": bounds, "bound": max(bounds, key=bounds.__getitem__)}


def passes(call: Call, inputs: list[Tensor]) -> dict[str, Traffic]:
    """What each pass does."""
    with watched():
        made, found = steps(call, inputs), {}
    for name in (name for name in PASSES if name in made):
        with watched() as found[name]:
            made[name]()
    return found


def by_inductor(case: Case, inputs: list[Tensor]) -> dict[str, Traffic]:
    """What each pass of the textbook's lines does at least under torch.compile."""
    with scheduled(case.textbook) as (call, graphs):
        made = steps(call, inputs)                          # compiles the forward pass
        if "backward" in made:
            made["backward"]()                              # and this the other
    return dict(zip(PASSES, graphs, strict=False))
