"""Memory that training took."""

from ..context import Context
from . import Measured, metric


@metric("peak_memory", unit="bytes", better="lower", group="cost", needs=["trained"])
def peak_memory(context: Context) -> Measured:
    """The most memory held while the model was trained.

    CUDA: bytes of tensors (`torch.cuda.max_memory_allocated`). CPU: resident bytes of the whole process, in which the
    libraries (some 300 MB) and whatever an earlier trial has left count too: a rough number, for orders of magnitude.
    Source: getrusage(2), after a reset through /proc/self/clear_refs where there is one.
    """
    return Measured(context.peak_bytes)
