"""The evidence lower bound and its two terms."""

from torch import Tensor

from ..context import Context, mean_and_error
from . import Measured, metric


@metric("elbo", unit="nats", better="higher", group="likelihood", needs=["bound"])
def elbo(context: Context) -> Measured:
    """Evidence lower bound of the test split, nats per example.

        1/N sum_x E_q(z|x) log p(x|z) - KL(q(z|x) || p(z))        of all test examples, `elbo_samples` draws of z each

    Read from `Terms`: no beta, capacity or warm-up of a training objective is in it. The standard error is over examples.
    Source: Kingma & Welling 2014, eq. 3.
    """
    return _mean(context.elbo)


@metric("distortion", unit="nats", better="none", group="likelihood", needs=["bound"])
def distortion(context: Context) -> Measured:
    """How badly x is told from its code, nats per example: the ELBO is -(distortion + rate).

        D = 1/N sum_x E_q(z|x) [-log p(x|z)]        in the same pass as `elbo`

    Source: Alemi et al. 2018, section 2: H - D <= I(x;z) <= R.
    """
    return _mean(context.elbo_terms[0])


@metric("rate", unit="nats", better="none", group="likelihood", needs=["bound"])
def rate(context: Context) -> Measured:
    """What the code costs, nats per example: near 0 where it is ignored (posterior collapse).

        R = 1/N sum_x KL(q(z|x) || p(z))        in the same pass as `elbo`; closed form where there is one

    Source: Alemi et al. 2018, section 2, with the model's own prior for m(z).
    """
    return _mean(context.elbo_terms[1])


@metric("elbo_per_step", unit="nats/step", better="higher", group="likelihood", needs=["bound", "steps"])
def elbo_per_step(context: Context) -> Measured:
    """Evidence lower bound of the test split, nats per frame: total nats / total frames, not a mean of means.

    The standard error is that of a ratio, linearised, over sequences; n counts sequences.
    Source: Boulanger-Lewandowski et al. 2012, section 6, for the normalisation.
    """
    value, stderr = mean_and_error(context.elbo, context.steps)
    return Measured(value, stderr, len(context.elbo))


def _mean(items: Tensor) -> Measured:
    value, stderr = mean_and_error(items)
    return Measured(value, stderr, len(items), items=items)
