"""Pictures of a trained model: samples, reconstructions, its latent space; and of a suite: training curves. Small PNGs.

Latent space: `latents`, `latents3d` maps of the codes; `traversals`, a row for each of the latents that carry most, moved from
-3 to 3 standard deviations of the aggregate posterior; `interpolations`, from one test example to the next; `manifold`, the
decoded plane of models with two latents.
"""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

import zoo
from zoo import latent
from zoo.pictures import WIDTH, grid, latent_map, limits, pairs

from .context import SHOWN, Context
from .record import safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("samples", "reconstructions", "latents", "latents3d", "traversals", "interpolations", "manifold")
SHADES = 64                                                 # of a picture: a third of the bytes of a full palette
MAP_POINTS = 1500


def stem(suite: Path, dataset: str, variant: str) -> Path:
    """SUITE/figures/DATASET-VARIANT, to which `path_of` adds the kind."""
    return suite / "figures" / f"{safe(dataset)}-{variant}"


def path_of(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}-{kind}.png")


def draw(context: Context, stem: Path) -> None:
    """Write a trial's pictures: those of `KINDS` that apply to it, and no other is left."""
    spec, samples = context.data.spec, context.samples
    for kind in KINDS:
        path_of(stem, kind).unlink(missing_ok=True)
    n, columns = _layout(spec)
    batch = context.test.head(n // 2).batch(slice(None), context.noise(SHOWN))
    assert batch.x is not None and samples.x is not None
    again = context.model.reconstruct(batch)
    _write(pairs(batch.x, again, spec, columns, batch.lengths), path_of(stem, "reconstructions"))
    lengths = None if samples.lengths is None else samples.lengths[:n]
    _write(grid(samples.x[:n], spec, columns, lengths, limits(batch.x, spec)), path_of(stem, "samples"))
    if not context.model.latent_dim:
        return
    label = context.data.test.label
    if label is not None and not context.one_code:          # a frame has its sequence's label
        label = label.repeat_interleave(context.steps.long())
    every = math.ceil(len(context.codes) / MAP_POINTS)
    codes, label = context.codes[::every], None if label is None else label[::every]
    _write(latent_map(codes, label), path_of(stem, "latents"))
    if codes.shape[1] > 2:
        _write(latent_map(codes, label, dims=3), path_of(stem, "latents3d"))
    if context.one_code:
        for kind, z, told, wide in _walks(context, batch):
            x = context.model.decode(z.to(context.device), told)
            _write(grid(x, spec, wide, scale=limits(batch.x, spec)), path_of(stem, kind))


def _walks(context: Context, batch: zoo.Batch) -> Iterator[tuple[str, Tensor, Tensor | None, int]]:
    """-> kind, codes (N,D) to decode row by row, labels (N,) if there are any, columns. The walks begin at these examples, and
    keep the labels of those where they begin: conditional models are told them."""
    height, width = _tile(context.data.spec)
    columns, rows = (max(2, min(most, WIDTH // (size + 1))) for most, size in ((9, width), (8, height)))
    z, first = context.model.encode(batch).cpu()[:rows], None if batch.label is None else batch.label[:rows]

    def told(starts: Tensor | None, n: int) -> Tensor | None:
        return None if starts is None else starts.repeat_interleave(n // len(starts))

    mean, sd = context.draws.mean(0), context.draws.std(0)
    carried = context.group_kl if len(context.group_kl) == len(mean) else context.codes.var(0)
    order = carried.argsort(descending=True)[:rows]
    values = mean[order, None] + sd[order, None] * torch.linspace(-3, 3, columns)
    only = None if first is None else first[:1]
    yield "traversals", latent.traversal(z[0], order, values), told(only, values.numel()), columns
    yield "interpolations", latent.interpolation(z, columns), told(first, len(z) * columns), columns
    if len(mean) == 2:
        side = max(2, min(15, WIDTH // (max(height, width) + 1)))
        yield "manifold", latent.plane(mean, sd, side), told(only, side**2), side


def _image(spec: zoo.DataSpec) -> bool:
    return not spec.sequence and len(spec.shape) == 3 and spec.shape[0] in (1, 3)


def _tile(spec: zoo.DataSpec) -> tuple[int, int]:
    """Height and width of an example in a picture."""
    if spec.sequence:
        return spec.size, spec.max_length or 1
    return (spec.shape[1], spec.shape[2]) if _image(spec) else (1, spec.size)


def _layout(spec: zoo.DataSpec) -> tuple[int, int]:
    """How many examples make a picture, and how many of them a row: about a square, and even, so that pairs stay together."""
    height, width = _tile(spec)
    n = (64 if width <= 32 else 36) if _image(spec) else 16
    return n, max(2, 2 * round(math.sqrt(n * (height + 1) / (width + 1)) / 2))


def curves(path: Path, title: str, lines: dict[str, list[tuple[float, float]]]) -> None:
    """Validation ELBO over steps, (step, nats), by variant. The first quarter does not set the scale."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6.2, 3.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker=".", markersize=4, linewidth=1.2, label=name)
    late = [value for points in lines.values() for _, value in points[len(points) // 4:]]
    margin = 0.08 * (max(late) - min(late)) + 1e-3
    axes.set_ylim(min(late) - margin, max(late) + margin)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel("validation ELBO, nats", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.legend(fontsize=7, frameon=False)
    _write(figure, path)


def _write(picture: "Image.Image | Figure", path: Path) -> None:
    method = Image.Quantize.MEDIANCUT                       # for shades of grey
    if not isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png")
        picture, method = Image.open(buffer).convert("RGB"), Image.Quantize.FASTOCTREE      # keeps rare colours apart
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(SHADES, method, dither=Image.Dither.NONE).save(path, optimize=True)
