"""Classifiers of the codes: what of the class can be read off them."""

from typing import Any

import torch
from torch import Tensor

from ..context import Context, mean_and_error
from . import Measured, metric

FEW = 100                                                   # labels, in REPEATS random subsets
REPEATS = 5
SUBSET = 63                                                 # a branch of the suite's seed
NEIGHBOURS = 5
NEEDS = ["labels", "code", "unconditional"]


@metric("probe", unit="accuracy", better="higher", group="latent space", needs=NEEDS)
def probe(context: Context) -> dict[str, Measured]:
    """Test accuracy of a logistic regression on the posterior means, standardised, learned from so many labels.

        probe_100    mean over 5 random subsets of 100; `mc` is the standard error over the subsets
        probe_<n>    all n = `labelled` training examples, or as many as there are

    The standard error is over test examples. Conditional models are passed over, because their encoder is told the label, and
    so are those with a latent a step.
    Source: Alain & Bengio 2017 (linear probes); scikit-learn's LogisticRegression, C = 1.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def hits(rows: Tensor) -> Tensor:
        return _hits(context, make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), rows)

    n = len(context.train_codes)
    found = {f"probe_{n}": _accuracy(hits(torch.arange(n)))}
    if n > FEW:
        noise = context.noise(SUBSET)
        each = torch.stack([hits(noise.permutation(n)[:FEW].cpu()) for _ in range(REPEATS)])
        found = {f"probe_{FEW}": _accuracy(each.mean(0), float(each.mean(1).std() / REPEATS**0.5)), **found}
    return found


@metric("knn_5", unit="accuracy", better="higher", group="latent space", needs=NEEDS)
def knn_5(context: Context) -> Measured:
    """Test accuracy of the 5 nearest posterior means of `labelled` training examples, by Euclidean distance; ties to the
    smallest label.

    Source: Cover & Hart 1967; scikit-learn's KNeighborsClassifier. Models as in `probe`.
    """
    from sklearn.neighbors import KNeighborsClassifier
    return _accuracy(_hits(context, KNeighborsClassifier(NEIGHBOURS), torch.arange(len(context.train_codes))))


def _hits(context: Context, classifier: Any, rows: Tensor) -> Tensor:
    """(N,) 1 or 0: which test examples a classifier gets right that was fit on these of the labelled training examples."""
    label, known = context.data.test.label, context.data.train.label
    assert label is not None and known is not None
    classifier.fit(context.train_codes[rows].double().numpy(), known[rows].numpy())
    return torch.from_numpy(classifier.predict(context.codes.double().numpy()) == label.numpy()).double()


def _accuracy(hits: Tensor, mc: float | None = None) -> Measured:
    value, stderr = mean_and_error(hits)
    return Measured(value, stderr, len(hits), mc=mc, items=hits)
