"""How near reconstructions come to the test examples: means of p(x|z) at the posterior's mean.

Read them beside the rate: the fewer nats a code holds, the less can be put back. A model whose p(x_t|...) sees x_<t is
handed the data, so that its reconstructions are one-step predictions that know z.
"""

from dataclasses import replace

from torch import Tensor

from ..context import Context, mean_and_error
from ..ssim import ssim as similarity
from . import Measured, metric

LEAST_MSE = 1 / (12 * 255**2)                               # the error of rounding to bytes


def per_example(values: Tensor) -> Measured:
    return Measured(*mean_and_error(values), len(values), items=values)


def pairs(context: Context) -> tuple[Tensor, Tensor]:
    """Test examples and their reconstructions, both zero where an example is missing or past its end."""
    originals = context.originals
    x, y = originals.visible.x, replace(originals, x=context.reconstructions).visible.x
    assert x is not None and y is not None
    return x.double(), y.double()


def squared_error(context: Context) -> Tensor:
    """(N,): summed over the numbers of a test example that were seen."""
    x, y = pairs(context)
    return (x - y).square().flatten(1).sum(1)


@metric("mse", unit="squared error", better="lower", group="reconstruction", needs=["numbers"])
def mse(context: Context) -> Measured:
    """Squared error of reconstructions per number: per pixel, or per number of a frame; in the data's units, squared.

        sum_x |x - E[p(.|z)]|^2 / numbers seen,    z = E[q(z|x)]        over the test split

    Of binarised data the original is binary and the reconstruction a probability. What is missing or past the end does not
    count. The standard error is that of a ratio, over examples.
    Source: Kingma & Welling 2014, eq. 10, whose Gaussian reconstruction term it is, up to scale and constant.
    """
    errors, numbers = squared_error(context), context.dimensions
    return Measured(*mean_and_error(errors, numbers), len(errors), items=errors / numbers)


@metric("psnr", unit="dB", better="higher", group="reconstruction", needs=["images"])
def psnr(context: Context) -> Measured:
    """Peak signal-to-noise ratio of reconstructions, averaged over images: a mean of logarithms, not one of a mean error.

        mean_x -10 log10 mse(x)        data range 1, mse(x) over the pixels of one image seen

    An error below that of rounding to bytes counts as it (58.9 dB), so that a perfect image is finite.
    Source: Huynh-Thu & Ghanbari 2008.
    """
    errors = (squared_error(context) / context.dimensions).clamp_min(LEAST_MSE)
    return per_example(-10 * errors.log10())


@metric("ssim", unit="similarity", better="higher", group="reconstruction", needs=["images"])
def ssim(context: Context) -> Measured:
    """Structural similarity of reconstructions and originals, averaged over images; 1 for equal ones.

        window 11x11, Gaussian of sigma 1.5, constants 0.01 and 0.03, data range 1; see benchmarks/ssim.py

    Images smaller than 11 pixels have the largest odd window that fits: compare within one data set only.
    Source: Wang et al. 2004, eq. 13.
    """
    return per_example(similarity(*pairs(context)))


@metric("reconstruction_accuracy", unit="share", better="higher", group="reconstruction",
        needs=["still", "classifier", "labels"])
def reconstruction_accuracy(context: Context) -> Measured:
    """Share of reconstructions in which the extractor's classifier sees the original's label; beside it `original_accuracy`.

    Reconstructions are rounded to 256 levels. The classifier was trained on real images of this data set, and on no
    reconstruction.
    Source: Ravuri & Vinyals 2019, whose classification accuracy score turns it round.
    """
    return accuracy(context, context.reconstructions)


@metric("original_accuracy", unit="share", better="none", group="reconstruction", needs=["still", "classifier", "labels"])
def original_accuracy(context: Context) -> Measured:
    """Share of test examples, as models saw them, in which the extractor's classifier sees the label.

    What `reconstruction_accuracy` is to be read against: a property of the data, lower where they are binarised.
    Source: the extractor's card, benchmarks/extractors/.
    """
    x = context.originals.x
    assert x is not None
    return accuracy(context, x)


def accuracy(context: Context, x: Tensor) -> Measured:
    features, label = context.features, context.originals.label
    assert label is not None
    return per_example((features.probabilities(features.of(x)).argmax(1) == label).double())


@metric("token_accuracy", unit="share", better="higher", group="reconstruction", needs=["tokens"])
def token_accuracy(context: Context) -> Measured:
    """Share of tokens whose most likely value, at the posterior's mean, is the right one.

        number of right tokens / number of tokens        over the test split

    The standard error is that of a ratio, over sequences.
    Source: Bowman et al. 2016, for the task of putting text back from its code.
    """
    x, mask = context.originals.x, context.originals.mask
    assert x is not None
    right = context.reconstructions == x
    counts = (right if mask is None else right & mask).sum(1).double()
    return Measured(*mean_and_error(counts, context.steps), len(counts), items=counts / context.steps)
