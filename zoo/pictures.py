"""Pictures of what a model does: samples, pairs, traversals, maps. Small PNGs, without a window or global state.

What is drawn follows the data: images as tiles, sequences as rolls (time to the right, the frame's first number at the
bottom), other examples as rows.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .latent import principal
from .spec import DataSpec

if TYPE_CHECKING:                                           # imported where they are used: `import zoo` must not wait
    from matplotlib.figure import Figure
    from PIL.Image import Image

WIDTH = 512                                                 # pixels, about
BACKGROUND = (70, 90, 130)                                  # between tiles and past the end: no shade of grey


def grid(x: Tensor, spec: DataSpec, columns: int = 8, lengths: Tensor | None = None,
         scale: tuple[float, float] | None = None) -> "Image":
    """Examples (N,*shape) in rows of `columns`, `scale` saying what is black and what is white."""
    from PIL import Image
    low, high = limits(x, spec) if scale is None else scale
    tiles = ((x.detach().float().cpu() - low) / max(high - low, 1e-12)).clamp(0, 1).mul(255).round().byte()
    if spec.sequence:
        tiles = tiles.flatten(2) if tiles.dim() > 2 else tiles.unsqueeze(-1)
        tiles = tiles.transpose(1, 2).flip(1).unsqueeze(1)
    elif not (len(spec.shape) == 3 and spec.shape[0] in (1, 3)):
        tiles = tiles.flatten(1)[:, None, None]
    n, _, h, w = tiles.shape
    ends = [w] * n if lengths is None else lengths.tolist()
    canvas = torch.tensor(BACKGROUND, dtype=torch.uint8).repeat(math.ceil(n / columns) * (h + 1) - 1, columns * (w + 1) - 1, 1)
    for i, (tile, end) in enumerate(zip(tiles, ends, strict=True)):
        top, left = i // columns * (h + 1), i % columns * (w + 1)
        canvas[top:top + h, left:left + end] = tile[..., :end].permute(1, 2, 0)
    image = Image.fromarray(canvas.numpy())
    factor = max(1, round(WIDTH / image.width))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def pairs(x: Tensor, other: Tensor, spec: DataSpec, columns: int = 12, lengths: Tensor | None = None) -> "Image":
    """Each example of x with its counterpart in `other` to the right: originals and reconstructions."""
    both = torch.stack([x.cpu(), other.cpu().to(x.dtype)], 1).flatten(0, 1)
    lengths = None if lengths is None else lengths.repeat_interleave(2)
    return grid(both, spec, columns, lengths, limits(x, spec))


def limits(x: Tensor, spec: DataSpec) -> tuple[float, float]:
    """What is black and what is white: the data's range where the spec knows it, else that of x."""
    if spec.kind == "tokens":
        return 0.0, float(spec.vocabulary or 1) - 1
    return (float(x.min()), float(x.max())) if spec.kind == "real" else (0.0, 1.0)


def latent_map(codes: Tensor, label: Tensor | None = None, dims: int = 2) -> "Figure":
    """Codes (N,D) in the plane, or with dims=3 in space, coloured by label: as they are where D <= dims, else their first
    principal components."""
    from matplotlib.figure import Figure
    codes, title = codes.detach().double().cpu(), "codes"
    if codes.shape[1] > dims:
        total = codes.shape[1]
        codes, share = principal(codes, dims)
        title = f"codes: first {dims} of {total} principal axes, {share:.0%} of the variance"
    points = torch.zeros(dims, len(codes))
    points[:codes.shape[1]] = codes.T
    figure = Figure(figsize=(4.2, 4.2), dpi=90, layout="constrained")
    axes: Any = figure.add_subplot(projection="3d" if dims == 3 else None)
    flat = {"depthshade": False} if dims == 3 else {}       # else depth mixes the labels' colours with the background
    if label is None:
        axes.scatter(*points, s=5, linewidths=0, alpha=0.7)
    else:
        few = int(label.max()) < 10
        dots = axes.scatter(*points, s=6, c=label.cpu(), cmap="tab10" if few else "turbo", linewidths=0, alpha=0.8,
                            **flat)
        if few:
            axes.legend(*dots.legend_elements(), fontsize=7, ncols=5, frameon=False, loc="upper center",
                        bbox_to_anchor=(0.5, -0.06), handletextpad=0)
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=7)
    return figure
