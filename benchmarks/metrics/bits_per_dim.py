"""The ELBO as a code length."""

from zoo import likelihoods

from ..context import Context, mean_and_error
from . import Measured, metric


@metric("bits_per_dim", unit="bits/dim", better="lower", group="likelihood", needs=["bound", "discrete"])
def bits_per_dim(context: Context) -> Measured:
    """The ELBO as bits for each number of x: -ELBO / (D ln 2), D summed over what was observed in the test split.

    Only of discrete data, where p(x|z) is a probability: a density has no such unit.
    Source: Theis et al. 2016, section 3.1.
    """
    value, stderr = (likelihoods.bits_per_dim(nats, 1) for nats in mean_and_error(-context.elbo, context.dimensions))
    return Measured(value, stderr, len(context.elbo))
