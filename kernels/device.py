"""What the operations share: which inputs their kernels take, and what vmap does to them."""

import importlib.util
from typing import Any

import torch
from torch import Tensor

KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
HAS_TRITON = importlib.util.find_spec("triton") is not None  # looked for, not imported


def fusable(*inputs: Tensor) -> bool:
    """Are all on a GPU, in a precision that the kernels read?"""
    return HAS_TRITON and all(t.is_cuda and t.dtype in KERNEL_DTYPES for t in inputs)


def row_major(t: Tensor) -> Tensor:
    """(N, D) with neighbours side by side; rows may lie apart, as those of a chunk do."""
    return t if t.stride(1) == 1 else t.contiguous()


def loop_under_vmap(operator: torch.library.CustomOpDef) -> None:
    """Let vmap be a loop of launches: folding its axis into the rows would renumber them, and change their noise."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        def call(i: int) -> Any:
            return operator(*(a if dim is None else a.select(dim, i) for a, dim in zip(args, in_dims, strict=True)))

        calls = [call(i) for i in range(info.batch_size)]
        if isinstance(calls[0], Tensor):
            return torch.stack(calls), 0
        results = [torch.stack(parts) for parts in zip(*calls, strict=True)]
        return results, [0] * len(results)

    operator.register_vmap(rule)
