"""Interventional robustness."""

import numpy as np

from ..context import Context
from ..factors import STUDY, Array, discretise, repeated, some
from . import Measured, metric

QUANTILE = 0.99                                             # in place of the paper's maximum
BINS = 20                                                   # of factors


@metric("irs", unit="share", better="higher", group="disentanglement", needs=["factors"])
def irs(context: Context) -> Measured:
    """How still a code stands while the factor it stands for does, whatever the others do.

        R_df = 1 - mean over values v of Q99 |z_d - E[z_d | v_f = v]| / max |z_d - E z_d|
        sum_d w_d max_f R_df / sum_d w_d,   w_d = max |z_d - E z_d|

    Factors are cut into 20 bins of equal width, as codes are elsewhere; constant codes do not count, and 0 where all are. On
    10,000 examples or all there are; mean over `factor_seeds` samples. Noise scores about 0.4: the quantile is below the
    maximum. Duplicated codes lose nothing.
    Source: Suter et al. 2019, section 4, in the form of Locatello et al. 2019.
    """
    def score(codes: Array, factors: Array, seed: int) -> float:
        rows = some(len(codes), STUDY, seed)
        return robustness(codes[rows], factors[rows])

    return Measured.mean(*repeated(context, context.evaluation.factor_seeds, score))


def robustness(codes: Array, factors: Array) -> float:
    codes = codes[:, codes.var(0) > 0]
    if not codes.size:
        return 0.0
    furthest = abs(codes - codes.mean(0)).max(0)
    moved = [np.mean([deviation(codes[column == v]) for v in np.unique(column)], 0)
             for column in discretise(factors, BINS).T]
    return float(np.average((1 - np.array(moved) / furthest).max(0), weights=furthest))


def deviation(codes: Array) -> Array:
    return np.quantile(abs(codes - codes.mean(0)), QUANTILE, axis=0)
