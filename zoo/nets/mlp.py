"""Fully connected nets: two hidden layers of rectified units."""

import torch
from torch import Tensor, nn

from ..spec import DataSpec


def layers(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    net: list[nn.Module] = []
    for a, b in zip(widths[:-1], widths[1:], strict=True):
        net += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*net[:-1])


def one_hot(index: Tensor, classes: int) -> Tensor:
    """index (...) int64 -> bool (..., classes). Not F.one_hot, which reads the largest index on the host."""
    return index.unsqueeze(-1) == torch.arange(classes, device=index.device)


class Encoder(nn.Module):
    def __init__(self, spec: DataSpec, out: int, hidden: int, condition: int = 0) -> None:
        super().__init__()
        self.net = layers(spec.size + condition, hidden, hidden, out)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        h = x.flatten(1)
        return self.net(h if condition is None else torch.cat([h, condition.to(h.dtype)], -1))


class Decoder(nn.Module):
    def __init__(self, spec: DataSpec, latent: int, params: int, hidden: int) -> None:
        super().__init__()
        self.net, self.shape = layers(latent, hidden, hidden, params * spec.size), (params, *spec.shape)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z).unflatten(-1, self.shape)
