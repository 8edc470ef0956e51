"""Separated attribute predictability."""

from functools import partial

import numpy as np
from sklearn.svm import LinearSVC

from ..context import Context
from ..factors import Array, divided, repeated
from . import Measured, metric


@metric("sap", unit="share", better="higher", group="disentanglement", needs=["factors"])
def sap(context: Context) -> Measured:
    """How much better the best single code predicts a factor's value than the second best: a difference of accuracies.

        1/F sum_f (A_(1)f - A_(2)f),   A_df = test accuracy of a linear support vector machine from z_d to v_f

    C = 0.01, classes balanced; learnt from `factor_points` examples, tested on half as many; mean over `factor_seeds` samples.
    One line cannot separate 40 values, so perfect codes of the sprites' factors score 0.245 only. The penalty includes the
    intercept, so the score changes with the scale of z.
    Source: Kumar et al. 2018, section 3, with the classifier of Locatello et al. 2019.
    """
    sizes = context.evaluation
    return Measured.mean(*repeated(context, sizes.factor_seeds, partial(separated, points=sizes.factor_points)))


def separated(codes: Array, factors: Array, seed: int, points: int) -> float:
    train, test = divided(len(codes), points, seed)

    def accuracy(code: Array, factor: Array) -> float:
        machine = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
        return machine.fit(code[train, None], factor[train]).score(code[test, None], factor[test])

    return gap(np.array([[accuracy(code, factor) for factor in factors.T] for code in codes.T]))


def gap(accuracies: Array) -> float:
    """Of (D,F); of one code alone, all it predicts."""
    ranked = np.sort(np.pad(accuracies, ((1, 0), (0, 0))), 0)
    return float((ranked[-1] - ranked[-2]).mean())
