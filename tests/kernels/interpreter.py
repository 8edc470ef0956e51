"""What every file run by Triton's interpreter begins with: can it loop, and does every program write what it should?"""

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


try:
    _loop_kernel[(1,)](torch.zeros(1, dtype=torch.int32), 3)
except triton.runtime.errors.InterpreterError as error:
    reason = f"the interpreter of triton {triton.__version__} cannot loop with numpy {numpy.__version__}: {error}"
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(autouse=True)
def poisoned_memory():
    """torch.empty gives NaN: an output that no program writes is seen."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
