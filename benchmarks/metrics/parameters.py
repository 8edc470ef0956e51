"""The size of a model."""

from ..context import Context
from . import Measured, metric


@metric("parameters", unit="numbers", better="lower", group="cost")
def parameters(context: Context) -> Measured:
    """Numbers that training changes by gradient, a critic's included; that a baseline is fitted with. Source: the model's
    `parameters()`."""
    return Measured(sum(p.numel() for p in context.model.parameters()))
