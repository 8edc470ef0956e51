"""Disentanglement, completeness, informativeness."""

from functools import partial

import numpy as np
from scipy.stats import entropy
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance

from ..context import Context
from ..factors import Array, divided, repeated
from . import Measured, metric

NAMES = ("disentanglement", "completeness", "informativeness")
LEAVES, SHUFFLES, SHUFFLED = 8, 3, 2000                     # of a tree; times; test examples
TINY = 1e-11


@metric("dci", unit="share", better="higher", group="disentanglement", needs=["factors"])
def dci(context: Context) -> dict[str, Measured]:
    """Does each code matter for one factor (disentanglement), each factor depend on one code (completeness), and can factors be
    predicted from the codes (informativeness: mean test accuracy)?

        R_df >= 0        the importance of code d for factor f; P are its shares in a row or a column
        disentanglement  sum_d rho_d (1 - H_F(P_d.)),   rho_d = sum_f R_df / sum R,   H_F with logarithms to the base F
        completeness     sum_f rho_f (1 - H_D(P_.f)),   likewise over columns

    R is what permuting a code costs in accuracy, on up to 2000 test examples, 3 times, and at least 0. The learner is histogram
    gradient boosting, `dci_rounds` rounds of trees with 8 leaves, on `dci_points` examples, tested on half as many; mean over
    `dci_seeds` samples. Learner and importances decide the score: Locatello et al. 2019 take boosted trees and what their
    splits gain, in which dead codes share. Compare equal learners and equal sizes only.
    Source: Eastwood & Williams 2018, section 2; learner and importances depart from it.
    """
    sizes = context.evaluation
    score = partial(framework, points=sizes.dci_points, rounds=sizes.dci_rounds)
    values, n = repeated(context, sizes.dci_seeds, score)
    return {f"dci_{name}": Measured.mean(one, n) for name, one in zip(NAMES, values.T, strict=True)}


def framework(codes: Array, factors: Array, seed: int, points: int, rounds: int) -> tuple[float, float, float]:
    train, test = divided(len(codes), points, seed)
    shuffled = test[:SHUFFLED]
    importance, accuracies = np.zeros((codes.shape[1], factors.shape[1])), []
    for f, factor in enumerate(factors.T):
        learner = HistGradientBoostingClassifier(max_iter=rounds, max_leaf_nodes=LEAVES, early_stopping=False,
                                                 random_state=seed)
        learner.fit(codes[train], factor[train])
        accuracies.append(learner.score(codes[test], factor[test]))
        cost = permutation_importance(learner, codes[shuffled], factor[shuffled], n_repeats=SHUFFLES, random_state=seed)
        importance[:, f] = cost.importances_mean.clip(min=0)
    return concentration(importance), concentration(importance.T), float(np.mean(accuracies))


def concentration(importance: Array) -> float:
    """Mean over rows, weighed by their sums, of 1 - the entropy of a row's shares to the base of its length; 0 of nothing."""
    per_row = 1 - entropy(importance + TINY, base=max(importance.shape[1], 2), axis=1)      # a row of one has no entropy
    total = importance.sum()
    return float(per_row @ importance.sum(1) / total) if total > 0 else 0.0
