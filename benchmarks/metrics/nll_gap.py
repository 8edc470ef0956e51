"""The distance to the truth, where it is known."""

from ..context import SHOWN, Context, mean_and_error
from . import Measured, metric


@metric("nll_gap_per_step", unit="nats/step", better="lower", group="likelihood", needs=["bound", "steps", "oracle"])
def nll_gap_per_step(context: Context) -> Measured:
    """How far the ELBO is below the exact log-likelihood of the process that made the data, nats per frame.

        sum_x (log p*(x) - ELBO(x)) / sum_x T(x)        an estimate of (KL(p* || p) + E KL(q || p(z|x))) / mean T

    At least 0, up to the sampling error that `stderr` gives: p* is the best model there is.
    Source: the entropy bound, Cover & Thomas 2006, theorem 5.4.3.
    """
    exact = context.data.log_likelihood
    assert exact is not None
    gap = exact(context.data.test.batch(slice(None), context.noise(SHOWN))).cpu() - context.elbo
    value, stderr = mean_and_error(gap, context.steps)
    return Measured(value, stderr, len(gap))
