"""What every file run by Triton's interpreter is marked with: `needs_loops` skips it where the interpreter cannot."""

import numpy
import pytest
import torch
import triton
import triton.language as tl


@triton.jit
def _loop_kernel(out_p, n):
    total = 0
    for _ in range(n):
        total += 1
    tl.store(out_p, total)


def _why_not() -> str:
    try:
        _loop_kernel[(1,)](torch.zeros(1, dtype=torch.int32), 3)
    except triton.runtime.errors.InterpreterError as error:
        return f"the interpreter of triton {triton.__version__} cannot loop with numpy {numpy.__version__}: {error}"
    return ""


needs_loops = pytest.mark.skipif(bool(_why_not()), reason=_why_not())
