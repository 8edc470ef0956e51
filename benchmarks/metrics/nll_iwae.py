"""Estimates of -log p(x) from importance samples."""

from ..context import Context, mean_and_error
from . import Measured, metric


@metric("nll_iwae", unit="nats", better="lower", group="likelihood", needs=["bound"], label="nll_iwae_{iwae_k}")
def nll_iwae(context: Context) -> dict[str, Measured]:
    """Importance-weighted bounds on -log p(x), nats per example, of the first `iwae_examples` test examples.

        -1/n sum_x log 1/K sum_k p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)        K = 1, 10, 50, 100, 500, 1000, 5000 to `iwae_k`

    An upper bound that falls with K: compare equal K only. It rewards a good q as well as a good p. All K are read off one
    stream of samples, in float64 (`benchmarks.importance`). `stderr` is over examples, `mc` over the samples of z, from two
    halves of them. A conditional model is given the label; a sequence has one weight, whatever its latents.
    Source: Burda et al. 2016, eq. 8.
    """
    bounds, found = context.importance, {}
    for i, k in enumerate(bounds.ks):
        nll = -bounds.log_p[i]
        value, stderr = mean_and_error(nll)
        found[f"nll_iwae_{k}"] = Measured(value, stderr, len(nll), mc=bounds.mc(i), items=nll if k == bounds.ks[-1] else None)
    return found


@metric("nll_iwae_per_step", unit="nats/step", better="lower", group="likelihood", needs=["bound", "steps"],
        label="nll_iwae_{iwae_k}_per_step")
def nll_iwae_per_step(context: Context) -> Measured:
    """The bound at the largest K, one weight a whole sequence, as total nats / total frames.

    Source: Burda et al. 2016, eq. 8; the normalisation as in `elbo_per_step`.
    """
    value, stderr = mean_and_error(-context.log_p, context.steps[:len(context.log_p)])
    return Measured(value, stderr, len(context.log_p))


@metric("ess", unit="samples", better="higher", group="likelihood", needs=["bound"])
def ess(context: Context) -> dict[str, Measured]:
    """Effective sample size of the `iwae_k` importance samples, of 1 to K: the median and the 5% quantile over examples.

        (sum_k w_k)^2 / sum_k w_k^2

    Far below K the bound has not converged: a few samples carry it, and more of them would still lower `nll_iwae`.
    Source: Kong 1992; Owen 2013, section 9.3.
    """
    sizes = context.importance.ess
    return {label: Measured(float(sizes.quantile(q)), n=len(sizes)) for label, q in (("ess_median", 0.5), ("ess_q05", 0.05))}
