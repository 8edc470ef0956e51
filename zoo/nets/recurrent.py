"""Nets over sequences, time first: (T,B,.)."""

import torch
from torch import Tensor, nn

from ..spec import DataSpec
from .mlp import one_hot


class Frames(nn.Module):
    """Frames as a net reads them: flattened, tokens one-hot, in the net's dtype. (..., *frame) -> (..., width)."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec
        self.width = spec.size if spec.vocabulary is None else spec.vocabulary

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """`like` has the dtype: a parameter of the net, for instance."""
        if self.spec.kind == "tokens":
            return one_hot(x, self.width).to(like.dtype)
        return x.flatten(x.dim() - len(self.spec.shape)).to(like.dtype)


def shift(x: Tensor) -> Tensor:
    """x_t -> x_{t-1}, with a frame of zeros first. (T,B,.)"""
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


def reverse(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Each row's own frames backwards; padding stays where it is. (T,B,.)"""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(len(x), device=x.device)[:, None]
    i = torch.where(t < lengths, lengths - 1 - t, t)                                    # (T,B)
    return x.gather(0, i.view(*i.shape, *[1] * (x.dim() - 2)).expand_as(x))


def backwards(rnn: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """h_t from x_t, ..., x_T. (T,B,.)"""
    return reverse(rnn(reverse(x, lengths))[0], lengths)
