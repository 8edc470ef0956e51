"""Convolutional nets for images (C,H,W) of any size: 4x4 convolutions of stride 2 down to 4 pixels, and back.

The layout that disentanglement work has settled on (Locatello et al. 2019, table 1), with the number of halvings taken from
the image's size.
"""

import torch
from torch import Tensor, nn

from ..spec import DataSpec

WIDTHS = (32, 32, 64, 64)                                   # channels after each halving; the last one repeats


def sizes(spec: DataSpec) -> list[tuple[int, int]]:
    """Height and width at every level, the image first.  Raises: ValueError for anything but images of at least 8 pixels."""
    if len(spec.shape) != 3 or min(spec.shape[1:]) < 8:
        raise ValueError(f"conv nets take images (channels, height, width) of at least 8 x 8; these data have shape "
                         f"{spec.shape}; use net='mlp'")
    found = [(spec.shape[1], spec.shape[2])]
    while min(found[-1]) >= 8:
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    return found


def widths(spec: DataSpec) -> list[int]:
    """Channels at every level, the image first."""
    return [spec.shape[0], *(WIDTHS[min(i, len(WIDTHS) - 1)] for i in range(len(sizes(spec)) - 1))]


class Encoder(nn.Module):
    def __init__(self, spec: DataSpec, out: int, hidden: int, condition: int = 0) -> None:
        super().__init__()
        channels, (h, w) = widths(spec), sizes(spec)[-1]
        down: list[nn.Module] = []
        for a, b in zip(channels[:-1], channels[1:], strict=True):
            down += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU()]
        self.down = nn.Sequential(*down)
        self.head = nn.Sequential(nn.Linear(channels[-1] * h * w + condition, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        h = self.down(x).flatten(1)
        return self.head(h if condition is None else torch.cat([h, condition.to(h.dtype)], -1))


class Decoder(nn.Module):
    def __init__(self, spec: DataSpec, latent: int, params: int, hidden: int) -> None:
        super().__init__()
        levels, channels = sizes(spec)[::-1], widths(spec)[::-1]
        self.start, self.shape = (channels[0], *levels[0]), (params, *spec.shape)
        self.lift = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(),
                                  nn.Linear(hidden, channels[0] * levels[0][0] * levels[0][1]), nn.ReLU())
        channels[-1] *= params
        up: list[nn.Module] = []
        for i in range(len(levels) - 1):
            odd = (levels[i + 1][0] - 2 * levels[i][0], levels[i + 1][1] - 2 * levels[i][1])    # an odd size was halved
            up += [nn.ConvTranspose2d(channels[i], channels[i + 1], 4, stride=2, padding=1, output_padding=odd), nn.ReLU()]
        self.up = nn.Sequential(*up[:-1])

    def forward(self, z: Tensor) -> Tensor:
        return self.up(self.lift(z).unflatten(-1, self.start)).unflatten(1, self.shape[:2])
