"""Which factor is fixed, told from how far codes move."""

from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression

from ..context import Context
from ..factors import Array, repeated, sharing
from . import Measured, metric

PAIRS = 64
AT_ONCE = 500                                               # groups of pairs: bounds the memory


@metric("beta_vae_score", unit="share", better="higher", group="disentanglement", needs=["factors"])
def beta_vae_score(context: Context) -> Measured:
    """Accuracy of a linear classifier that is told how far codes move while one factor is fixed, and guesses the factor.

        features 1/64 sum_l |z(a_l) - z(b_l)|,   a_l, b_l two examples with the same value of the factor

    Logistic regression, learnt from `factor_points` such features, tested on half as many; mean over `factor_seeds` samples.
    Saturates: a rotation of perfect codes scores 0.94. Chance is 1/F.
    Source: Higgins et al. 2017, section 3, in the form of Locatello et al. 2019.
    """
    sizes = context.evaluation
    return Measured.mean(*repeated(context, sizes.factor_seeds, partial(accuracy, points=sizes.factor_points)))


def accuracy(codes: Array, factors: Array, seed: int, points: int) -> float:
    rng = np.random.default_rng(seed)
    x, y = moves(codes, factors, points, rng)
    classifier = LogisticRegression(max_iter=1000).fit(x, y)
    return float(classifier.score(*moves(codes, factors, points // 2, rng)))


def moves(codes: Array, factors: Array, points: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Features (points,D) and the factor that was fixed (points,)."""
    factor = rng.integers(factors.shape[1], size=points)
    one = rng.integers(len(codes), size=(points, PAIRS))
    other = sharing(factors, factor, one, rng)
    found = [abs(codes[one[i:i + AT_ONCE]] - codes[other[i:i + AT_ONCE]]).mean(1) for i in range(0, points, AT_ONCE)]
    return np.concatenate(found), factor
