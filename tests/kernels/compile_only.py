"""The Triton kernels, compiled for GPUs that need not be there. Started by test_triton.py in a process of its own.

Registers, stack, shared memory and the width of memory accesses are read from the machine code. Time is not: nothing runs here.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels._triton import logistic_mixture_nll, nearest_code, reparam_kl, total_correlation
from kernels._triton.shared import OPTIONS

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
FLOAT32 = {"kl_p", "gkl_p", "joint_p", "marginal_p", "gjoint_p", "gmarginal_p", "sums_p", "gnll_p", "weight_p", "gweight_p",
           "x_scale_p", "scale_p", "square_p"}
WHOLE = {"P", "x_stride", "codes_stride", "x_low", "codes_low"}        # divisible by 16, as all pointers are
SHARED = {80: 166_912, 90: 232_448, 100: 232_448}           # bytes that a program may have
REPARAM = {"ROWS": 1, "FAST": True}
PAIRS = (total_correlation.forward_kernel, total_correlation.rows_kernel, total_correlation.columns_kernel)
MIXTURE = {"PIXELS": 32, "COMPONENTS": 16}


@dataclass(frozen=True)
class Code:
    """A kernel as it is launched, and what its machine code may use."""

    kernel: Any
    constants: dict[str, Any]
    registers: int = 160
    wide: str = ""                                          # which of loads and stores must move 16 bytes at a time
    warps: int = 4


def reparam(kernel: Any, element: str, whole: bool, samples: int = 1) -> Code:
    """With nothing optional, or with everything."""
    wide = 4 if element == "fp32" else 8
    constants = REPARAM | {"UNIT": wide, "WIDE": wide} | dict.fromkeys(("PRIOR", "PER_DIM", "WEIGHT"), whole)
    if kernel is reparam_kl.forward_kernel:
        return Code(kernel, constants | {"COLS": 512}, 160 if whole else 104, "LDG STG", 1)
    constants |= {"COLS": 256, "PATH": whole, "SAMPLES": samples}
    return Code(kernel, constants, 128 if whole else 64, "LDG STG" if samples == 1 else "LDG", samples)


def pairs(kernel: Any, width: int) -> Code:
    rows, others = total_correlation.TILES[width]
    return Code(kernel, {"ROWS": rows, "OTHERS": others, "COLS": width})


def codes(element: str) -> dict[str, Code]:
    found = {f"reparam {kernel.fn.__name__} whole={whole}": reparam(kernel, element, whole)
             for kernel in (reparam_kl.forward_kernel, reparam_kl.backward_kernel) for whole in (False, True)}
    found["reparam samples side by side whole=True"] = reparam(reparam_kl.backward_kernel, element, True, 16)
    found |= {f"total_correlation {kernel.fn.__name__}": pairs(kernel, 32) for kernel in PAIRS}
    m = logistic_mixture_nll
    found |= {f"mixture {k.fn.__name__}": Code(k, MIXTURE, 184, wide="LDG" if element == "fp32" else "")
              for k in (m.forward_kernel, m.backward_kernel)}
    split = {"ROWS": 32, "COLS": 64, "SPLIT": element == "fp32"}
    return found | {f"nearest_code d={d}": nearest(element, d) for d in (64, 256)} | {
        "nearest_code halves": Code(nearest_code.halves_kernel, split)}


def nearest(element: str, d: int) -> Code:
    """float32 comes in halves."""
    n = nearest_code
    constants = {"D": d, "ROWS": n.ROWS, "CODES": n.CODES, "WIDTH": n.width(d), "SPLIT": element == "fp32"}
    return Code(n.search_kernel, constants, 255, warps=n.SEARCH["num_warps"])


ON_NVIDIA = [(name, element, arch) for element, arch in (("fp32", 90), ("bf16", 90), ("bf16", 80), ("fp32", 100))
             for name in codes(element) if arch == 90 or "whole=False" not in name]      # what is less, is less there, too


def build(kernel: Any, element: str, target: GPUTarget, warps: int = 4, **constants: Any) -> Any:
    types = {}
    for name in kernel.arg_names:
        grey = name == "x_p" and "half" in kernel.arg_names    # the mixture's x is float32 whatever its parameters are
        pointer = "*i64" if name in ("seed_p", "index_p") else "*fp32" if name in FLOAT32 or grey else "*" + element
        if name == "halves_p" or name in ("x_p", "codes_p") and "codes_p" in kernel.arg_names and constants["SPLIT"]:
            pointer = "*fp16"
        number = "fp32" if name == "half" else "i32"
        types[name] = "constexpr" if name in constants else pointer if name.endswith("_p") else number
    whole = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name.endswith("_p") or name in WHOLE}
    source = ASTSource(kernel, types, constexprs=constants, attrs=whole)
    return triton.compile(source, target=target, options=OPTIONS | {"num_warps": warps})


def output(tool: str, *arguments: Any) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


needs_tools = pytest.mark.skipif(
    not all((TOOLS / tool).exists() for tool in ("cuobjdump", "nvdisasm")),
    reason="this build of triton has no cuobjdump and nvdisasm",
)


@needs_tools
@pytest.mark.parametrize(("name", "element", "arch"), ON_NVIDIA)
def test_nvidia_code_neither_spills_nor_stacks(name, element, arch, tmp_path):
    uses_no_more(codes(element)[name], element, arch, tmp_path)


@needs_tools
@pytest.mark.parametrize("kernel", PAIRS)
@pytest.mark.parametrize("width", set(total_correlation.TILES) - {32})
def test_every_tile_of_pairs(kernel, width, tmp_path):
    uses_no_more(pairs(kernel, width), "fp32", 90, tmp_path)


def uses_no_more(code: Code, element: str, arch: int, tmp_path: Path) -> None:
    built = build(code.kernel, element, GPUTarget("cuda", arch, 32), code.warps, **code.constants)
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(built.asm["cubin"])
    usage = output("cuobjdump", "-res-usage", cubin)
    registers, stack, local = (int(n) for n in re.search(r"REG:(\d+) STACK:(\d+).*LOCAL:(\d+)", usage).groups())
    assert (stack, local) == (0, 0)                         # what spills goes to the stack
    assembly = output("nvdisasm", "-c", cubin) if code.wide else ""
    assert all(f"{access}.E.128" in assembly for access in code.wide.split())
    assert registers <= code.registers
    assert built.metadata.shared <= SHARED[arch]


@pytest.mark.parametrize("kernel", [reparam_kl.forward_kernel, reparam_kl.backward_kernel])
def test_sizes_of_one_compile(kernel):
    """A launch turns arguments equal to 1 into constants, which have no methods of tensors."""
    constants = {"ROWS": 1, "COLS": 4, "UNIT": 1, "WIDE": 4, "PRIOR": True, "PER_DIM": False, "FAST": True, "WEIGHT": True}
    if kernel is reparam_kl.backward_kernel:
        constants |= {"PATH": True, "SAMPLES": 1}
    ones = [name for name in kernel.arg_names if name in ("K", "B", "width", "chunk") or name.endswith("_stride")]
    assert build(kernel, "fp32", GPUTarget("cuda", 90, 32), **constants, **dict.fromkeys(ones, 1)).asm["ptx"]


@pytest.mark.skipif("amd" not in triton.backends.backends, reason="this build of triton has no AMD backend")
@pytest.mark.parametrize("name", codes("fp32"))
def test_portable_arithmetic_compiles_for_amd(name):
    code = codes("fp32")[name]
    portable = {k: False if k == "FAST" else "ieee" if k == "PRECISION" else v for k, v in code.constants.items()}
    assembly = build(code.kernel, "fp32", GPUTarget("hip", "gfx942", 64), code.warps, **portable).asm["amdgcn"]
    assert re.search(r"\.vgpr_spill_count:\s+0\b", assembly)
