"""The Fréchet distance between samples and training data."""

import torch

from .. import extractors, frechet
from ..context import Context
from . import Measured, metric


@metric("fcd", unit="distance", better="lower", group="distribution", label="fcd_{extractor}")
def fcd(context: Context) -> Measured:
    """Fréchet distance between features of samples and of the training split. Not FID: the feature space is in the name.

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)        of the features' means and covariances, in float64

    Scored are `samples` means of p(x|z), z from the prior, rounded to 256 levels where data lie in [0, 1], because what one
    looks at are bytes; sequences are drawn. The reference is the whole training split as stored: grey, where the model's own
    data are drawn from it. Biased upwards by about 1/n: compare equal n, and distances of one extractor, only.
    Source: Heusel et al. 2017, eq. 6.
    """
    features = extractors.load(context.evaluation.extractor)
    unit = context.data.spec.kind in ("binary", "unit", "byte")
    drawn, train = context.samples, context.reference
    assert drawn.x is not None and train.x is not None
    scored = features(torch.round(drawn.x.clamp(0, 1) * 255) / 255 if unit else drawn.x, drawn.lengths)
    real = features(train.x, train.lengths)
    return Measured(frechet.distance(scored, real), n=len(scored))
