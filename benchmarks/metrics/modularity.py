"""Does each code tell of one factor only?"""

import numpy as np

from ..context import Context
from ..factors import STUDY, Array, discretise, mutual_information, repeated, some
from . import Measured, metric

BINS = 20
LEAST = 0.01                                                # nats: codes that tell less of every factor are left out


@metric("modularity", unit="share", better="higher", group="disentanglement", needs=["factors"])
def modularity(context: Context) -> Measured:
    """How exclusively a code tells of one factor; whether all factors are told, it does not say.

        mean over codes d of 1 - sum_{f != best} m_df^2 / (m_d,best^2 (F - 1)),   m = max(I(z_d; v_f) - bias, 0) in nats

    with 20 bins of equal width, on 10,000 examples or all there are; mean over `factor_seeds` samples. Two departures: the
    bias of I is taken off (see `mutual_information`), and codes whose best m is at most 0.01 nats do not count; 0 where none
    does. Without them pure noise scores 0.67, and dead codes count as modular.
    Source: Ridgeway & Mozer 2018, section 3, in the form of Locatello et al. 2019.
    """
    def score(codes: Array, factors: Array, seed: int) -> float:
        rows = some(len(codes), STUDY, seed)
        return corrected(codes[rows], factors[rows])

    return Measured.mean(*repeated(context, context.evaluation.factor_seeds, score))


def corrected(codes: Array, factors: Array) -> float:
    information, bias = mutual_information(discretise(codes, BINS), factors)
    m = (information - bias).clip(min=0)
    m = m[m.max(1) > LEAST]
    return exclusive(m) if len(m) else 0.0


def exclusive(m: Array) -> float:
    """Of informations (D,F), each code's best above 0."""
    squares, best = np.square(m), np.square(m).max(1)
    return float((1 - (squares.sum(1) - best) / ((m.shape[1] - 1) * best)).mean())
