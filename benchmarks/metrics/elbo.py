"""The evidence lower bound."""

from ..context import Context, mean_and_error
from . import Measured, metric


@metric("elbo", unit="nats", better="higher", group="likelihood", needs=["bound"])
def elbo(context: Context) -> Measured:
    """Evidence lower bound of the test split, nats per example.

        1/N sum_x E_q(z|x) log p(x|z) - KL(q(z|x) || p(z))        of all test examples, `elbo_samples` draws of z each

    Read from `Terms`: no beta, capacity or warm-up of a training objective is in it. The standard error is over examples.
    Source: Kingma & Welling 2014, eq. 3.
    """
    value, stderr = mean_and_error(context.elbo)
    return Measured(value, stderr, len(context.elbo), items=context.elbo)


@metric("elbo_per_step", unit="nats/step", better="higher", group="likelihood", needs=["bound", "steps"])
def elbo_per_step(context: Context) -> Measured:
    """Evidence lower bound of the test split, nats per frame: total nats / total frames, not a mean of means.

    The standard error is that of a ratio, linearised, over sequences; n counts sequences.
    Source: Boulanger-Lewandowski et al. 2012, section 6, for the normalisation.
    """
    value, stderr = mean_and_error(context.elbo, context.steps)
    return Measured(value, stderr, len(context.elbo))
