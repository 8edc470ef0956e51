"""Clusters of the codes against the classes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..context import Context
from . import Measured, metric

SEEDS = 5
START = 62                                                  # a branch of the suite's seed
NEEDS = ["labels", "code", "unconditional"]


@metric("kmeans", unit="agreement", better="higher", group="latent space", needs=NEEDS)
def kmeans(context: Context) -> dict[str, Measured]:
    """k-means of the posterior means, one cluster a class: fit on `labelled` training examples, scored on the test split.

        kmeans_nmi    mutual information of cluster and class / mean of their entropies
        kmeans_ari    pairs of examples that both agree on, corrected for chance (adjusted Rand index)
        kmeans_acc    accuracy under the best one-to-one naming of clusters (Hungarian method)

    The mean over 5 seeds, each the best of 10 starts by inertia, never by label; `mc` is the standard error over the seeds.
    Conditional models are passed over, because their encoder is told the label, and so are those with a latent a step.
    Source: scikit-learn's KMeans; Hubert & Arabie 1985 (ARI); Xie et al. 2016 (accuracy).
    """
    from sklearn.cluster import KMeans
    return _clustered(context, "kmeans", lambda k, seed: KMeans(k, n_init=10, random_state=seed))


@metric("gmm", unit="agreement", better="higher", group="latent space", needs=NEEDS)
def gmm(context: Context) -> dict[str, Measured]:
    """The same of a mixture of Gaussians with full covariances, which need not be round: gmm_nmi, gmm_ari, gmm_acc.

    Each seed's fit starts from a k-means of its own.
    Source: scikit-learn's GaussianMixture; the scores as in `kmeans`.
    """
    from sklearn.mixture import GaussianMixture
    return _clustered(context, "gmm", lambda k, seed: GaussianMixture(k, max_iter=300, random_state=seed))


def _clustered(context: Context, name: str, model: Callable[[int, int], Any]) -> dict[str, Measured]:
    label, k = context.data.test.label, context.data.spec.classes
    assert label is not None and k is not None
    scale = context.train_codes.double().var(0).mean().sqrt().clamp_min(1e-12)      # the mixture's regulariser is absolute
    train, test = ((codes.double() / scale).numpy() for codes in (context.train_codes, context.codes))
    seeds = context.noise(START).integers(1 << 31, (SEEDS,)).tolist()
    found = np.array([agreement(label.numpy(), model(k, seed).fit(train).predict(test)) for seed in seeds])
    error = found.std(0, ddof=1) / SEEDS**0.5
    return {f"{name}_{what}": Measured(float(value), mc=float(mc), n=len(test))
            for what, value, mc in zip(("nmi", "ari", "acc"), found.mean(0), error, strict=True)}


def agreement(label: np.ndarray, cluster: np.ndarray) -> tuple[float, float, float]:
    """-> NMI, ARI and Hungarian accuracy of clusters (N,) against labels (N,)."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix
    table = contingency_matrix(label, cluster)
    named = table[linear_sum_assignment(table, maximize=True)].sum()
    return normalized_mutual_info_score(label, cluster), adjusted_rand_score(label, cluster), float(named / len(label))
