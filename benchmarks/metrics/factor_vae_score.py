"""Which factor is fixed, told from the code that varies least."""

from functools import partial

import numpy as np

from ..context import Context
from ..factors import Array, repeated, sharing
from . import Measured, metric

SAMPLE = 64
AT_ONCE = 500                                               # samples: bounds the memory
ALIVE = 0.05                                                # standard deviation of a code


@metric("factor_vae_score", unit="share", better="higher", group="disentanglement", needs=["factors"])
def factor_vae_score(context: Context) -> Measured:
    """Accuracy of a majority vote that is told which code varies least while one factor is fixed, and guesses the factor.

        argmin_d Var(z_d of 64 examples with one value of the factor) / Var(z_d of all examples)

    The vote is learnt from `factor_points` samples of 64 and tested on half as many; mean over `factor_seeds` repetitions.
    Codes whose standard deviation is below 0.05 are left out: noise would be the least. 0 where none is left; chance is 1/F.
    The threshold supposes codes on the scale of a standard normal prior.
    Source: Kim & Mnih 2018, section 4, in the form of Locatello et al. 2019 (there the threshold is 0 and leaves out nothing).
    """
    sizes = context.evaluation
    return Measured.mean(*repeated(context, sizes.factor_seeds, partial(accuracy, points=sizes.factor_points)))


def accuracy(codes: Array, factors: Array, seed: int, points: int) -> float:
    deviation = codes.std(0, ddof=1)
    alive = deviation >= ALIVE
    if not alive.any():
        return 0.0
    codes, rng = codes[:, alive] / deviation[alive], np.random.default_rng(seed)
    learnt = votes(codes, factors, points, rng).argmax(0)
    tested = votes(codes, factors, points // 2, rng)
    return float(tested[learnt, np.arange(len(learnt))].sum() / tested.sum())


def votes(codes: Array, factors: Array, points: int, rng: np.random.Generator) -> Array:
    """How often code d varied least while factor f was fixed: (F,D), summing to `points`."""
    factor = rng.integers(factors.shape[1], size=points)
    like = rng.integers(len(codes), size=(points, 1))
    sample = sharing(factors, factor, np.repeat(like, SAMPLE, 1), rng)
    least = np.concatenate([codes[sample[i:i + AT_ONCE]].var(1).argmin(1) for i in range(0, points, AT_ONCE)])
    count = np.zeros((factors.shape[1], codes.shape[1]), int)
    np.add.at(count, (factor, least), 1)
    return count
