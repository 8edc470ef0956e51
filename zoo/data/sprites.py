"""Sprites: binary 64x64 images of one shape with five known factors, made by formula; in the spirit of dSprites.

    (a, b): a pixel's centre relative to the sprite's, turned by 2 pi orientation / 41, in units of 0.139 * 64 * size,
    with size = 0.5, 0.6 .. 1
    square   max(|a|, |b|) <= 1
    ellipse  (a / 1.4)^2 + (b / 0.7)^2 <= 1
    heart    (a^2 + b^2 - 1)^3 <= a^2 b^3

A pixel is in or out: there is no grey. Positions are whole pixels: an image is a window on one of 720 canvases.
41, a prime, keeps most turned squares and ellipses apart: of the 240 sizes and orientations of a shape, 181 squares,
235 ellipses and 240 hearts differ. Where two agree no model can tell them apart.

Departs from dSprites: its rasteriser, heart and sizes are others, so numbers are not comparable; and its orientations 0
and 39 are the same, 0 and 2 pi.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from ..spec import DataSpec
from .core import Dataset, Split, divide, sizes
from .names import register_dataset

FACTORS = (("shape", 3), ("scale", 6), ("orientation", 40), ("x", 32), ("y", 32))
COUNTS = tuple(count for _, count in FACTORS)
SIDE = 64
CANVAS = SIDE + 32 - 1                                          # room for 32 windows each way
SEED, EXAMPLES, VALID, TEST = 0, 20_000, 2_000, 2_000


@register_dataset("sprites")
def sprites(root: Path) -> Dataset:
    """A random subset of the 737,280 images, all different in their factors; label: the shape."""
    chosen = np.random.RandomState(SEED).permutation(np.prod(COUNTS))[:EXAMPLES]
    factors = torch.from_numpy(np.stack(np.unravel_index(chosen, COUNTS), 1))
    splits = divide(Split(render(factors), label=factors[:, 0].clone(), factors=factors), VALID, TEST)
    note = f"""Procedural: 3 shapes x 6 scales x 40 orientations x 32 x positions x 32 y positions; made here.
Split: the first {EXAMPLES} of RandomState({SEED}).permutation(737280), {sizes(*splits)}."""
    spec = DataSpec((1, SIDE, SIDE), "binary", classes=3, factors=FACTORS)
    return Dataset("sprites", spec, *splits, note=note)


def render(factors: Tensor) -> Tensor:
    """Images (N, 1, 64, 64) bool of factors (N, 5): shape, scale, orientation, x (rightwards), y (downwards).

    Raises: ValueError for factors out of range.
    """
    if factors.dim() != 2 or factors.shape[1] != 5 or ((factors < 0) | (factors >= torch.tensor(COUNTS))).any():
        raise ValueError(f"factors must be (N, 5), each at least 0 and below {COUNTS}; got {tuple(factors.shape)}")
    shape, scale, orientation, x, y = factors.numpy().T
    windows = sliding_window_view(canvases(), (SIDE, SIDE), axis=(3, 4))    # a view: nothing is copied
    # the later a window starts, the further left or up the sprite lies in it
    return torch.from_numpy(windows[shape, scale, orientation, 31 - y, 31 - x])[:, None]


@cache
def canvases() -> np.ndarray:
    """Every sprite in the middle of a canvas with room for all positions: (3, 6, 40, 95, 95) bool."""
    centred = np.arange(CANVAS) - CANVAS // 2
    right, up = centred[None, :], -centred[:, None]
    size = 0.139 * SIDE * np.linspace(0.5, 1, 6)[:, None, None, None]
    angle = 2 * np.pi * np.arange(40)[:, None, None] / 41
    a = (right * np.cos(angle) + up * np.sin(angle)) / size
    b = (up * np.cos(angle) - right * np.sin(angle)) / size
    square = np.maximum(abs(a), abs(b)) <= 1
    ellipse = (a / 1.4) ** 2 + (b / 0.7) ** 2 <= 1
    heart = (a**2 + b**2 - 1) ** 3 <= a**2 * b**3
    return np.stack([square, ellipse, heart])
