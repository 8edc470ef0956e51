"""What a GPU would execute: a Triton kernel, compiled for a GPU that need not be there, and its machine code's instructions.

Straight-line code executes once. A loop of the source, `for i in range(...)`, executes as often as the launch's arguments say,
and its body is what lies between a backward branch and its target. So loops must nest in the machine code as in the source, and
none may be unrolled: special functions and matrix products, of which every loop has some, must be as many as in the assembler's
input. Otherwise this refuses. Forward branches count as not taken: what is skipped counts, too.
"""

import ast
import math
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
WARP = 32                                                   # threads that execute an instruction together
GROUP = 4                                                   # warps that share one instruction of the tensor cores (HGMMA)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.int64: "*i64"}
MARKS = {"ptx": r"^\s+(?:@\S+ )?(?:ex2|lg2|sin|cos|r?sqrt)\.approx|wgmma\.mma_async",
         "sass": r"MUFU\.(?:EX2|LG2|SIN|COS|SQRT|RSQ)|HGMMA"}     # translated one to one
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)")


@dataclass(frozen=True)
class Launch:
    """A kernel as its launcher calls it. arguments: by their names, constants too."""

    kernel: Any
    programs: int
    arguments: dict[str, Any]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.kernel.fn.__module__.rpartition('.')[2]}.{self.kernel.fn.__name__}"

    @property
    def constants(self) -> dict[str, Any]:
        """Of the source, and what a launch makes one: integers that are 1."""
        return {p.name: v for p in self.kernel.params for v in [self.arguments[p.name]]
                if p.is_constexpr or (type(v) is int and v == 1 and not p.do_not_specialize)}

    def compile(self, arch: int) -> Any:
        """As a launch on that architecture would: specialised to what is 1, and what is divisible by 16."""
        constants, types = self.constants, {}
        whole: dict[tuple[int], list[list[Any]]] = {}
        for i, p in enumerate(self.kernel.params):
            value = self.arguments[p.name]
            if p.name in constants:
                types[p.name] = "constexpr"
            elif isinstance(value, Tensor):                 # memory is allocated in larger units than 16 bytes
                types[p.name], divisible = POINTERS[value.dtype], value.storage_offset() * value.element_size() % 16 == 0
                whole |= {(i,): [["tt.divisibility", 16]]} if divisible else {}
            elif isinstance(value, float):
                types[p.name] = "fp32"
            else:
                types[p.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
                whole |= {(i,): [["tt.divisibility", 16]]} if value % 16 == 0 and not p.do_not_specialize else {}
        source = ASTSource(self.kernel, types, constexprs=constants, attrs=whole)
        return triton.compile(source, target=GPUTarget("cuda", arch, WARP), options=self.options)

    def trips(self) -> list[tuple[int, int]]:
        """The source's loops from top to bottom: how deep each lies in others, and how often its body runs.

        Not those that run once by constants alone: the compiler has dissolved them.
        """
        return list(self._loops(ast.parse(self.kernel.src), 0))

    def _loops(self, node: ast.AST, depth: int) -> Any:
        for child in ast.iter_child_nodes(node):
            inside = depth
            if isinstance(child, ast.For) and isinstance(child.iter, ast.Call) and ast.unparse(child.iter.func) == "range":
                times = len(range(*(eval(ast.unparse(a), {}, self.arguments) for a in child.iter.args)))
                names = {n.id for a in child.iter.args for n in ast.walk(a) if isinstance(n, ast.Name)}
                if times > 1 or not names <= self.constants.keys():
                    yield depth, times
                    inside += 1
            yield from self._loops(child, inside)


@dataclass(frozen=True)
class Executed:
    """By one warp: instructions; by one program: results of special functions, and operations of tensor cores by their type."""

    warps: int
    instructions: int
    special: int
    tensor: dict[str, int]
    registers: int
    shared: int


def executed(launch: Launch, arch: int) -> Executed:
    """Raises: ValueError where the machine code cannot be counted; FileNotFoundError where triton came without its tools."""
    built = launch.compile(arch)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(built.asm["cubin"])
        assembly, usage = _output("nvdisasm", "-c", cubin), _output("cuobjdump", "-res-usage", cubin)
    warps, counts = built.metadata.num_warps, count(assembly, launch.trips(), built.asm["ptx"])
    tensor: dict[str, int] = {}
    for name, times in counts.items():
        if name.startswith("HGMMA."):
            m, n, k, kind = re.fullmatch(r"HGMMA\.(\d+)x(\d+)x(\d+)\.F32(?:\.(\w+))?", name).groups("F16")  # type: ignore[union-attr]
            tensor[kind] = tensor.get(kind, 0) + 2 * int(m) * int(n) * int(k) * times * warps // GROUP
        elif re.match(r"([A-Z]MMA|[A-Z]GMMA|UTC)", name):   # HFMA2.MMA is none: it moves a constant
            raise ValueError(f"{launch.name}: {name}, whose operations are not known here")
    special = sum(times for name, times in counts.items() if name.startswith("MUFU")) * warps * WARP
    registers = int(re.search(r"REG:(\d+)", usage)[1])      # type: ignore[index]
    return Executed(warps, sum(counts.values()), special, tensor, registers, built.metadata.shared)


def count(assembly: str, trips: list[tuple[int, int]], ptx: str) -> dict[str, int]:
    """How often each instruction is executed, given the loops from top to bottom, (depth, times), and the assembler's input.

    Raises: ValueError where loops are not those of the source.
    """
    code, loops = _listing(assembly)
    depths = [sum(first <= a and b <= last for first, last in loops) - 1 for a, b in loops]
    if depths != [depth for depth, _ in trips]:
        raise ValueError(f"loops are {depths} deep in the machine code and {[depth for depth, _ in trips]} in the source: one "
                         "was unrolled or split, and cannot be counted")
    marked = [i for i, name in enumerate(code) if re.match(MARKS["sass"], name)]
    if loops and (len(marked) != len(re.findall(MARKS["ptx"], ptx, re.M))
                  or not all(any(first <= i <= last for i in marked) for first, last in loops)):
        raise ValueError("a loop was unrolled, or has nothing by which to see that it was not: it cannot be counted")
    counts: dict[str, int] = {}
    for i, name in enumerate(code):
        times = math.prod(runs for (first, last), (_, runs) in zip(loops, trips, strict=True) if first <= i <= last)
        counts[name] = counts.get(name, 0) + times
    return counts


def _listing(assembly: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Instructions up to the trap that ends a kernel, a branch to itself; and loops, (first, last), from top to bottom."""
    code: list[str] = []
    labels: dict[str, int] = {}
    loops: list[tuple[int, int]] = []
    for line in assembly.splitlines():
        if label := re.match(r"(\.L_\w+):", line):
            labels[label[1]] = len(code)
        elif found := INSTRUCTION.match(line):
            target = re.search(r"\.L_\w+", found[3]) if found[2].startswith("BRA") else None
            if target and target[0] in labels:              # seen before: backwards
                if labels[target[0]] == len(code):
                    break
                loops.append((labels[target[0]], len(code)))
            code.append(found[2])
    return code, sorted(loops, key=lambda loop: (loop[0], -loop[1]))


def _output(tool: str, *arguments: Any) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout
