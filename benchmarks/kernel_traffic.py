"""What a call would do on a GPU, seen without one: the kernels that it launches, and the bytes that its torch operations move.

The call is made with tensors that have shapes and no memory, so that no size is too large. Kernels are caught where they would
be launched; of a torch operation what it reads and writes is counted, each as one kernel, whatever it needs inside.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch._functorch.config as functorch
import torch._inductor.config as inductor
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._inductor import compile_fx
from torch._inductor.scheduler import Scheduler
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.jit import JITFunction

from .kernel_code import Launch

FREE = ("empty", "new_empty", "detach", "alias", "_unsafe_view", "lift_fresh")         # move nothing; views neither
SHAPES_ONLY = ("_like", "fresh_seed")                       # read of a tensor how large it is, or where


@dataclass
class Traffic:
    """Kernels and bytes of torch operations, and the launches of Triton kernels."""

    kernels: int = 0
    bytes: int = 0
    launches: list[Launch] = field(default_factory=list)


class _Watch(TorchDispatchMode):
    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if not (function.is_view or function.namespace == "prim" or name.startswith(FREE)):
            self.traffic.kernels += 1
            self.traffic.bytes += _bytes(outputs) + (0 if name.endswith(SHAPES_ONLY) else _bytes((args, kwargs)))
        return outputs


def _bytes(tree: Any) -> int:
    """Of all tensors in it, each once, and of an expanded one what is there."""
    tensors = {id(t): t for t in tree_leaves(tree) if isinstance(t, Tensor)}.values()
    return sum(math.prod(n for n, stride in zip(t.shape, t.stride(), strict=True) if stride or n == 0) * t.element_size()
               for t in tensors)


@contextlib.contextmanager
def watched() -> Iterator[Traffic]:
    """What is done meanwhile, on fake tensors on the CPU, as on a GPU: through the kernels."""
    found = Traffic()

    def caught(kernel: Any, *args: Any, grid: tuple[int, ...], warmup: bool, **kwargs: Any) -> None:
        named = dict(zip(kernel.arg_names, args, strict=False)) | kwargs
        arguments = {name: named.pop(name) for name in kernel.arg_names}
        if "FAST" in arguments:                             # a launcher asks the tensors, which are on no GPU here
            arguments["FAST"] = True
        found.launches.append(Launch(kernel, math.prod(grid), arguments, named))

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(JITFunction, "run", caught))
        for module, name, value in _choices():
            stack.enter_context(mock.patch.object(module, name, value))
        stack.enter_context(_Watch(found))
        yield found


def _choices() -> Iterator[tuple[Any, str, Any]]:
    """Where an operation chooses between kernels and plain torch; and operators, whose bodies are what launches."""
    for module in [m for name, m in sys.modules.items() if name.startswith("kernels.") and hasattr(m, "fusable")]:
        yield module, "fusable", lambda *inputs: True
        for name, value in vars(module).items():
            if isinstance(value, torch.library.CustomOpDef):
                yield module, name, value._init_fn


class _Enough(BaseException):
    """Inductor has scheduled; the rest would be written, compiled and run. No Exception, which Inductor would wrap."""


@contextlib.contextmanager
def scheduled(function: Callable[..., Any]) -> Iterator[tuple[Callable[..., Any], list[Traffic]]]:
    """The function under torch.compile, and what Inductor's kernels read and write, a graph after the other as it is called.

    By Inductor's own account after fusion, of each kernel the buffers it touches, each once: at least what it moves. There is
    no GPU: its scheduler for Triton takes the graph as one for a CPU, which splits no sum. Patches what torch keeps private.
    """
    graphs: list[Traffic] = []

    def counted(schedule: Any) -> None:
        sizes = [node.get_read_write_buffers_sizes() for node in schedule.nodes]
        graphs.append(Traffic(sum(size > 0 for size in sizes), sum(sizes)))
        raise _Enough

    def inner(graph: Any, inputs: Any, **options: Any) -> Any:
        with contextlib.suppress(_Enough):
            compile_fx.compile_fx_inner(graph, inputs, **options)
        return make_boxed_func(graph.forward)

    def backend(graph: Any, inputs: Any) -> Any:
        return compile_fx.compile_fx(graph, inputs, inner_compile=inner)

    torch.compiler.reset()
    with (mock.patch.object(Scheduler, "codegen", counted), inductor.patch(fx_graph_cache=False, cpu_backend="triton"),
          functorch.patch(donated_buffer=False, enable_autograd_cache=False)):
        yield torch.compile(function, fullgraph=True, dynamic=False, backend=backend), graphs
