"""The canonical FID and KID, for who has the Inception weights."""

from .. import frechet
from ..context import Context
from . import Measured, kcd, metric


@metric("fid", unit="distance", better="lower", group="distribution", needs=["inception"])
def fid(context: Context) -> Measured:
    """Fréchet inception distance. Only with $ZOO_INCEPTION, the path of pt_inception-2015-12-05-6726825d.pth; extra `fid`.

        as `fcd`, in the 2048 features (pool3) of the Inception network of 2015-12-05, after TensorFlow's resizing to 299 pixels

    The weight file is not shipped: benchmarks/extractors/inception.py has its address, and refuses any other file.
    Against the whole training split; papers take 50,000 samples, the record says how many these are. Grey images are shown
    as three equal channels. About 10 images a second on two cores: the training split's features are computed once in a run.
    Source: Heusel et al. 2017, eq. 6; network and weights of Obukhov et al. 2020 (torch-fidelity).
    """
    real, samples = context.inception.real, context.inception.samples
    return Measured(frechet.distance(samples, real.features, real.moments), frechet.standard_error(samples, real.moments),
                    len(samples))


@metric("kid", unit="distance", better="lower", group="distribution", needs=["inception"])
def kid(context: Context) -> Measured:
    """Kernel inception distance, over all pairs. Only with $ZOO_INCEPTION, as `fid`.

        as `kcd`, in the features of `fid`

    Its expected value is that of the usual mean over subsets of 1000; the standard error is of another kind, see `kcd`.
    Source: Bińkowski et al. 2018, section 4.
    """
    value, stderr = kcd.distance(context.inception.samples, context.inception.as_many)
    return Measured(value, stderr, len(context.inception.samples))
