"""Denoising: corrupted test images through a model of clean ones.

The noise is fixed by the suite's seed and is none that the model was trained on: what is measured is how its codes pull towards
clean images, not what a network trained to denoise can do. Models that are told the label are passed over.
"""

import torch
from scipy.ndimage import median_filter
from torch import Tensor

import zoo
from zoo.noise import Noise

from .. import extractors
from ..context import SHOWN, Context, mean_and_error
from . import Measured, metric

NEEDS = ["images", "complete", "unconditional"]
CORRUPTION = 72                                             # a branch of the noise that no other metric draws from
DEVIATION, REPLACED = 0.3, 0.25
WINDOW = 3                                                  # pixels, each way, of the median


@metric("denoise_psnr", unit="dB", better="higher", group="application", needs=NEEDS)
def denoise_psnr(context: Context) -> dict[str, Measured]:
    """Peak signal-to-noise ratio of denoised test images against the clean ones: the mean over images of

        -10 log10 mean (x - x')^2        decibels; x in [0, 1]; x' = E p(x|z) at q's mean of the corrupted image

    and of the corrupted images themselves (`_noisy`) and of their median over 3 x 3 pixels (`_median`). Corrupted: grey images
    by Gaussian noise of deviation 0.3, clipped to [0, 1] and, of byte data, rounded to a level; binary images by salt and
    pepper, a fair coin in place of a quarter of the pixels. Squared errors below 1e-10 count as 1e-10: 100 dB.
    Source: Vincent et al. 2008 (corruption); Huynh-Thu & Ghanbari 2008 (PSNR).
    """
    x = _clean(context)
    return {f"denoise_psnr{name}": _psnr(x, part) for name, part in _denoised(context).items()}


@metric("denoise_accuracy", unit="share", better="higher", group="application", needs=NEEDS)
def denoise_accuracy(context: Context) -> dict[str, Measured]:
    """The share of denoised test images that a classifier of clean ones recognises; names as in `denoise_psnr`.

    The classifier is the suite's `extractor`; absent where that is none, and for data without labels. What is shown to it is
    rounded to 256 levels.
    Source: the classifier's card, `extractors/NAME.json`.
    """
    label, name = context.data.test.label, context.evaluation.extractor
    if label is None or extractors.card(name).get("accuracy") is None:
        return {}
    net = extractors.classifier(name)

    @torch.no_grad()
    def right(x: Tensor) -> Tensor:
        shown = (x.clamp(0, 1) * 255).round() / 255
        return (torch.cat([net(part).argmax(1) for part in shown.split(extractors.AT_ONCE)]) == label).double()
    return {f"denoise_accuracy{what}": Measured(*mean_and_error(right(part)), n=len(label))
            for what, part in _denoised(context).items()}


def corrupt(x: Tensor, spec: zoo.DataSpec, noise: Noise) -> Tensor:
    """Images of the same kind, as `denoise_psnr` describes."""
    shape = tuple(x.shape)
    if spec.kind == "binary":
        replaced, coin = noise.uniform(shape) < REPLACED, noise.uniform(shape) < 0.5
        return torch.where(replaced, coin.to(x.dtype), x)
    noisy = (x + DEVIATION * noise.normal(shape)).clamp(0, 1)
    return (noisy * (spec.levels - 1)).round() / (spec.levels - 1) if spec.kind == "byte" else noisy


def _denoised(context: Context) -> dict[str, Tensor]:
    """End of the name -> (N,C,H,W), on the CPU."""
    noisy, again = [], []
    for i, (batch, _) in enumerate(context.blocks(context.test, context.rows, SHOWN)):
        assert batch.x is not None
        x = corrupt(batch.x, context.data.spec, context.noise(CORRUPTION, i))
        noisy.append(x.cpu())
        again.append(context.model.reconstruct(zoo.Batch(x)).cpu())
    corrupted = torch.cat(noisy)
    median = torch.from_numpy(median_filter(corrupted.numpy(), size=(1, 1, WINDOW, WINDOW), mode="nearest"))
    return {"": torch.cat(again), "_noisy": corrupted, "_median": median}


def _clean(context: Context) -> Tensor:
    x = context.data.test.batch(slice(None), context.noise(SHOWN)).x
    assert x is not None
    return x


def _psnr(x: Tensor, other: Tensor) -> Measured:
    mse = (x - other).double().square().flatten(1).mean(1)
    return Measured(*mean_and_error(-10 * mse.clamp_min(1e-10).log10()), n=len(x))
