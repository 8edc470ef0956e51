"""Pictures of what a model does: samples, reconstructions, traversals, maps. matplotlib's Figure, no window, no global state.

What is drawn follows the data: images as tiles, sequences as rolls (time to the right, the frame's numbers upwards), other
examples as bars.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .spec import DataSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def grid(x: Tensor, spec: DataSpec, columns: int = 10, titles: Sequence[str] = ()) -> "Figure":
    """Examples (N,*shape) side by side, in rows of `columns`; `titles` for the first ones."""
    n_rows = max(1, math.ceil(len(x) / columns))
    wide, high = _cell(x, spec)
    figure = _figure(wide * columns, high * n_rows)
    for i in range(n_rows * columns):
        axes = figure.add_subplot(n_rows, columns, i + 1)
        axes.set_axis_off()
        if i < len(x):
            draw(axes, x[i], spec)
            if i < len(titles):
                axes.set_title(titles[i], fontsize=7, pad=2)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.95 if titles else 0.99, wspace=0.06, hspace=0.06)
    return figure


def beside(x: Tensor, other: Tensor, spec: DataSpec, columns: int = 10) -> "Figure":
    """Pairs: rows of x, each above its row of `other` (reconstructions, imputations)."""
    n = min(len(x), len(other)) // columns * columns or min(len(x), len(other))
    columns = min(columns, n)
    pairs = torch.stack([x[:n].float().unflatten(0, (-1, columns)), other[:n].float().unflatten(0, (-1, columns))], 1)
    return grid(pairs.flatten(0, 2), spec, columns)


def latent_map(codes: Tensor, label: Tensor | None = None, title: str = "") -> "Figure":
    """Codes (N,D) in the plane: as they are where D = 2, else on their first two principal components; coloured by label."""
    codes = codes.double().cpu()
    named = [f"z[{i}]" for i in range(codes.shape[1])]
    if codes.shape[1] == 1:
        codes, named = torch.cat([codes, torch.zeros_like(codes)], 1), [*named, ""]
    if codes.shape[1] > 2:
        centred = codes - codes.mean(0)
        _, s, v = torch.linalg.svd(centred, full_matrices=False)
        share = s.square() / s.square().sum().clamp_min(1e-12)
        codes = centred @ v[:2].T
        named = [f"principal component {i + 1} ({100 * float(share[i]):.0f} % of variance)" for i in range(2)]
    figure = _figure(5, 4.4)
    axes = figure.add_subplot()
    colour = None if label is None else label.cpu().numpy()
    points = axes.scatter(codes[:, 0], codes[:, 1], c=colour, cmap="tab10" if label is not None else None, s=5, linewidths=0)
    if label is not None:
        classes = sorted(set(label.tolist()))
        figure.colorbar(points, ax=axes, label="label", ticks=classes if len(classes) < 20 else None)
    axes.set(xlabel=named[0], ylabel=named[1], title=title)
    figure.tight_layout()
    return figure


def draw(axes: "Axes", x: Tensor, spec: DataSpec) -> None:
    """One example into one pair of axes."""
    a = x.detach().float().cpu().numpy()
    limits = (None, None) if spec.kind in ("real", "tokens") else (0, 1)
    if spec.sequence:
        axes.imshow(a.reshape(len(a), -1).T, origin="lower", aspect="auto", interpolation="nearest",
                    cmap="viridis" if limits[0] is None else "magma", vmin=limits[0], vmax=limits[1])
    elif len(spec.shape) == 3 and spec.shape[0] in (1, 3):
        colour = a.transpose(1, 2, 0) if spec.shape[0] == 3 else a[0]
        low, high = limits if limits[0] is not None else (a.min(), a.max() + 1e-9)
        axes.imshow(np.clip((colour - low) / (high - low), 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.bar(range(a.size), a.ravel(), width=1.0)


def write(figure: "Figure", path: Path, dpi: int = 100) -> Path:
    """As PNG; makes the folder.  Raises: OSError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # here, as `import zoo` must not wait for it
    return Figure(figsize=(width, height))


def _cell(x: Tensor, spec: DataSpec) -> tuple[float, float]:
    """Inches for one example."""
    if spec.sequence:
        return min(3.0, max(1.0, x.shape[1] / 25)), max(0.8, min(1.6, spec.size / 40))
    return 0.7, 0.7
