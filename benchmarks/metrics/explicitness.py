"""Can factors be read off the codes linearly?"""

from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..context import Context
from ..factors import Array, divided, repeated
from . import Measured, metric


@metric("explicitness", unit="share", better="higher", group="disentanglement", needs=["factors"])
def explicitness(context: Context) -> Measured:
    """Area under the ROC curve of a logistic regression from all codes, standardised, to a factor's values.

    One value against the rest: mean over values (that occur in both samples), then over factors. Chance is 0.5; a rotation of
    perfect codes scores as they do. Learnt from `factor_points` examples, tested on half as many; mean over `factor_seeds`
    samples.
    Source: Ridgeway & Mozer 2018, section 3, in the form of Locatello et al. 2019.
    """
    sizes = context.evaluation
    return Measured.mean(*repeated(context, sizes.factor_seeds, partial(area, points=sizes.factor_points)))


def area(codes: Array, factors: Array, seed: int, points: int) -> float:
    train, test = divided(len(codes), points, seed)

    def one(factor: Array) -> float:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(codes[train], factor[train])
        tested = np.isin(classifier.classes_, factor[test])
        truth = factor[test, None] == classifier.classes_[tested]
        return float(roc_auc_score(truth, classifier.predict_proba(codes[test])[:, tested]))

    return float(np.mean([one(factor) for factor in factors.T]))
