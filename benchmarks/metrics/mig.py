"""Mutual information gap."""

import numpy as np

from ..context import Context
from ..factors import STUDY, Array, discretise, entropies, mutual_information, repeated, some
from . import Measured, metric

BINS = (20, 64)


@metric("mig", unit="share", better="higher", group="disentanglement", needs=["factors"])
def mig(context: Context) -> dict[str, Measured]:
    """How much more the best code tells of a factor than the second best, as a share of what there is to tell.

        1/F sum_f (I(z_(1); v_f) - I(z_(2); v_f)) / H(v_f)        in nats; z_(1), z_(2) the codes that tell most of v_f

    `mig_20` cuts codes into 20 bins of equal width, as most published numbers do, and so cannot reach 1 where a factor has more
    values: perfect codes of five factors with 3, 6, 40, 32 and 32 values score 0.902. `mig_64` has no such cap there. One
    outlier widens all bins and lowers both. On 10,000 examples or all there are; fewer raise I by chance, the second best more
    than the best: compare equal numbers. Mean over `factor_seeds` samples.
    Source: Chen et al. 2018, eq. 5, on posterior means and all factors, as in Locatello et al. 2019; Chen's own I is that of
    samples of q, so that numbers in that paper are others.
    """
    def score(codes: Array, factors: Array, seed: int) -> list[float]:
        rows = some(len(codes), STUDY, seed)
        return [gap(codes[rows], factors[rows], bins) for bins in BINS]

    values, n = repeated(context, context.evaluation.factor_seeds, score)
    return {f"mig_{bins}": Measured.mean(one, n) for bins, one in zip(BINS, values.T, strict=True)}


def gap(codes: Array, factors: Array, bins: int) -> float:
    """Of one code alone, all it tells."""
    information, _ = mutual_information(discretise(codes, bins), factors)
    ranked = np.sort(np.pad(information, ((1, 0), (0, 0))), 0)
    return float(((ranked[-1] - ranked[-2]) / entropies(factors)).mean())
