"""The Fréchet distance between samples and training data, what it cannot go below, and where it comes from."""

import torch
from torch import Tensor

from .. import frechet
from ..context import Context
from . import Measured, metric

DIVISIONS = 10                                              # of the training split, for the floor


def measured(features: Tensor, context: Context) -> Measured:
    """From features to those of the training split."""
    real = context.features.real
    return Measured(frechet.distance(features, real.features, real.moments), frechet.standard_error(features, real.moments),
                    len(features))


@metric("fcd", unit="distance", better="lower", group="distribution", needs=["numbers"], label="fcd_{extractor}")
def fcd(context: Context) -> Measured:
    """Fréchet distance between features of samples and of the training split. Not FID: the feature space is in the name.

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)        of the features' means and covariances, in float64

    Scored are `samples` means of p(x|z), z from the prior, rounded to 256 levels where data lie in [0, 1], because what one
    looks at are bytes; sequences are drawn. The reference is the whole training split as stored: grey, where the model's own
    data are drawn from it. Biased upwards by about 1/n: compare equal n, and distances of one extractor, only. The standard
    error is over samples, by linearisation.
    Source: Heusel et al. 2017, eq. 6.
    """
    return measured(context.features.samples, context)


@metric("fcd_floor", unit="distance", better="none", group="distribution", needs=["numbers"], label="fcd_floor_{extractor}")
def fcd_floor(context: Context) -> Measured:
    """Fréchet distance of real examples in place of samples: the bias, and what a perfect model could be expected to reach.

        FCD(n random training examples, the other m) (1/samples + 1/(n+m)) / (1/n + 1/m),    n = samples, at most half of n+m

    Between sets of one distribution the distance is all bias, in proportion to 1/n + 1/m: hence the factor, to the sizes that
    `fcd` has. Mean over 10 random divisions, `mc` its error. Real examples are from the training split, because a test split
    may be stored otherwise: binarised, where the reference is grey. A property of data, extractor and n, not of the model.
    Source: Heusel et al. 2017, eq. 6; Chong & Forsyth 2020, for the bias.
    """
    features, samples = context.features, context.evaluation.samples
    total = len(features.real.features)
    n = min(samples, total // 2)
    factor = (1 / samples + 1 / total) / (1 / n + 1 / (total - n))
    found = torch.tensor([frechet.distance(x[:n], x[n:]) for x in map(features.shuffled, range(DIVISIONS))]) * factor
    return Measured(float(found.mean()), n=n, mc=float(found.std() / DIVISIONS**0.5))


@metric("fcd_aggregate", unit="distance", better="lower", group="distribution", needs=["still", "latents"],
        label="fcd_aggregate_{extractor}")
def fcd_aggregate(context: Context) -> Measured:
    """Fréchet distance of the decoder alone: of decoder means at z from the aggregate posterior, in place of the prior.

        z ~ q(z|x), one for each of the first `samples` test examples, whose labels a conditional decoder is told

    Otherwise as `fcd`; n is smaller where the test split is. A model whose prior were its aggregate posterior would have this.
    Source: Heusel et al. 2017, eq. 6; Tomczak & Welling 2018, section 2, for the aggregate posterior.
    """
    return measured(context.features.aggregate, context)


@metric("fcd_gap", unit="distance", better="none", group="distribution", needs=["still", "latents"],
        label="fcd_gap_{extractor}")
def fcd_gap(context: Context) -> Measured:
    """How much of the Fréchet distance the prior costs: FCD of samples less that of the aggregate posterior, at equal n.

        FCD(p(x|z), z ~ p(z)) - FCD(p(x|z), z ~ q(z))        both of n = min(samples, test examples), so that biases cancel

    Large: codes lie where the prior does not put them (holes), the decoder is not to blame. Small says nothing good by
    itself: decoder and prior may be bad alike.
    Source: Tomczak & Welling 2018, section 2, and Rosca et al. 2018, for the mismatch.
    """
    posterior = measured(context.features.aggregate, context)
    prior = measured(context.features.samples[:posterior.n], context)
    assert prior.stderr is not None and posterior.stderr is not None
    return Measured(prior.value - posterior.value, (prior.stderr**2 + posterior.stderr**2) ** 0.5, posterior.n)


@metric("fcd_inf", unit="distance", better="lower", group="distribution", needs=["still", "many samples"],
        label="fcd_inf_{extractor}")
def fcd_inf(context: Context) -> Measured:
    """Fréchet distance extrapolated to infinitely many samples, so that different n compare; it may be below 0.

        the value at 0 of a straight line in 1/n through the distances of up to 15 sizes; see `frechet.extrapolated`

    The reference stays finite, with its bias. The standard error joins that of `fcd`, which all sizes share, and the fit's.
    Source: Chong & Forsyth 2020.
    """
    features, real = context.features.samples, context.features.real
    value, of_fit = frechet.extrapolated(features, real.moments)
    return Measured(value, (frechet.standard_error(features, real.moments) ** 2 + of_fit**2) ** 0.5, len(features))
