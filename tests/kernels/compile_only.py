"""The Triton kernels, compiled for GPUs that need not be there. Started by test_triton.py in a process of its own.

Registers, stack and the width of memory accesses are read from the machine code. Time is not: nothing runs here.
"""

import re
import subprocess
from pathlib import Path

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels._triton.reparam_kl import OPTIONS, backward_kernel, forward_kernel

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
FLOAT32 = {"kl_p", "gkl_p"}


both = pytest.mark.parametrize("kernel", [forward_kernel, backward_kernel], ids=["forward", "backward"])


def build(kernel, element, target, **constants):
    types = {}
    for name in kernel.arg_names:
        pointer = "*i64" if name == "seed_p" else "*fp32" if name in FLOAT32 else "*" + element
        types[name] = "constexpr" if name in constants else pointer if name.endswith("_p") else "i32"
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name.endswith("_p")}
    return triton.compile(ASTSource(kernel, types, constexprs=constants, attrs=aligned), target=target, options=OPTIONS)


def output(tool, *arguments):
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(
    not all((TOOLS / tool).exists() for tool in ("cuobjdump", "nvdisasm")),
    reason="this build of triton has no cuobjdump and nvdisasm",
)
@pytest.mark.parametrize(
    ("arch", "element", "general"),
    [
        (90, "fp32", False),
        (90, "fp32", True),
        (90, "bf16", False),
        (90, "bf16", True),
        (80, "fp32", True),
        (80, "bf16", True),
    ],
)
@both
def test_nvidia_code_neither_spills_nor_stacks_and_reads_16_bytes(kernel, general, element, arch, tmp_path):
    unit = 4 if element == "fp32" else 8
    constants = {"ROWS": 4, "COLS": 256, "UNIT": unit, "PRIOR": general, "PER_DIM": general, "FAST": True}
    built = build(kernel, element, GPUTarget("cuda", arch, 32), **constants)
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(built.asm["cubin"])
    usage = output("cuobjdump", "-res-usage", cubin)
    registers, stack, local = (int(n) for n in re.search(r"REG:(\d+) STACK:(\d+).*LOCAL:(\d+)", usage).groups())
    code = output("nvdisasm", "-c", cubin)
    assert (stack, local) == (0, 0)
    assert not re.search(r"\b(LDL|STL)\b", code)
    assert "LDG.E.128" in code and "STG.E.128" in code
    assert registers <= 96
    assert built.metadata.shared <= 48 * 1024


@both
def test_sizes_of_one_compile(kernel):
    """A launch turns arguments equal to 1 into constants, which have no methods of tensors."""
    constants = {"ROWS": 1, "COLS": 4, "UNIT": 1, "PRIOR": True, "PER_DIM": False, "FAST": True}
    ones = [name for name in kernel.arg_names if name in ("K", "B", "width") or name.endswith("_stride")]
    assert build(kernel, "fp32", GPUTarget("cuda", 90, 32), **constants, **dict.fromkeys(ones, 1)).asm["ptx"]


@pytest.mark.skipif("amd" not in triton.backends.backends, reason="this build of triton has no AMD backend")
@both
def test_portable_arithmetic_compiles_for_amd(kernel):
    constants = {"ROWS": 4, "COLS": 256, "UNIT": 4, "PRIOR": True, "PER_DIM": False, "FAST": False}
    code = build(kernel, "fp32", GPUTarget("hip", "gfx942", 64), **constants).asm["amdgcn"]
    assert re.search(r"\.vgpr_spill_count:\s+0\b", code)
