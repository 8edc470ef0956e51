"""An estimate of -log p(x) from importance samples."""

from ..context import Context, mean_and_error
from . import Measured, metric


@metric("nll_iwae", unit="nats", better="lower", group="likelihood", needs=["bound"], label="nll_iwae_{iwae_k}")
def nll_iwae(context: Context) -> Measured:
    """Importance-weighted bound on -log p(x), nats per example, of the first `iwae_examples` test examples.

        -1/n sum_x log 1/K sum_k p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)

    An upper bound that falls with K: compare equal K only. It rewards a good q as well as a good p. Summed in pieces, in
    float64 (`LogMeanExp`). The standard error is over examples.
    Source: Burda et al. 2016, eq. 8.
    """
    value, stderr = mean_and_error(-context.log_p)
    return Measured(value, stderr, len(context.log_p), items=-context.log_p)


@metric("nll_iwae_per_step", unit="nats/step", better="lower", group="likelihood", needs=["bound", "steps"],
        label="nll_iwae_{iwae_k}_per_step")
def nll_iwae_per_step(context: Context) -> Measured:
    """The same bound, one weight a whole sequence, as total nats / total frames.

    Source: Burda et al. 2016, eq. 8; the normalisation as in `elbo_per_step`.
    """
    value, stderr = mean_and_error(-context.log_p, context.steps[:len(context.log_p)])
    return Measured(value, stderr, len(context.log_p))
