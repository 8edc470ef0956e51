"""Pictures of a trained model: samples, reconstructions, a map of its codes; and of a suite: training curves. Small PNGs."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import zoo
from zoo.pictures import grid, latent_map, limits, pairs

from .context import SHOWN, Context
from .record import safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("samples", "reconstructions", "latents")
SHADES = 64                                                 # of a picture: a third of the bytes of a full palette
MAP_POINTS = 1500


def stem(suite: Path, dataset: str, variant: str) -> Path:
    """SUITE/figures/DATASET-VARIANT, to which `path_of` adds the kind."""
    return suite / "figures" / f"{safe(dataset)}-{variant}"


def path_of(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}-{kind}.png")


def draw(context: Context, stem: Path) -> None:
    """Write a trial's pictures; of a model without latents no map."""
    spec, samples = context.data.spec, context.samples
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
    if label is not None and len(label) != len(context.codes):      # a latent a step: a frame has its sequence's label
        label = label.repeat_interleave(context.steps.long())
    every = math.ceil(len(context.codes) / MAP_POINTS)
    _write(latent_map(context.codes[::every], None if label is None else label[::every]), path_of(stem, "latents"))


def _layout(spec: zoo.DataSpec) -> tuple[int, int]:
    """How many examples make a picture, and how many of them a row: about a square, and even, so that pairs stay together."""
    if spec.sequence:
        n, height, width = 16, spec.size, spec.max_length or 1
    elif len(spec.shape) == 3:
        n, height, width = 64 if spec.shape[2] <= 32 else 36, *spec.shape[1:]
    else:
        n, height, width = 16, 1, spec.size
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
    if not isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png")
        picture = Image.open(buffer).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(SHADES, dither=Image.Dither.NONE).save(path, optimize=True)
