"""Imputation: the numbers that were hidden, given those that were observed.

On data `NAME+missing=...`, where the truth is known. Scored are the first `iwae_examples` test examples, with K = `iwae_k`
importance samples and data scaled as the model sees them; it was trained on other examples, with numbers missing as well.
Models that are told the label are passed over: the others are not told.
"""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import zoo

from ..context import Context, mean_and_error
from . import Measured, metric

NEEDS = ["hidden", "still", "unconditional"]
CONDITIONAL = 71                                            # a branch of the noise that no other metric draws from
NEIGHBOURS, DONORS = 10, 1000
REGRESSED = 128                                             # numbers in an example: more regressions take minutes


@metric("imputation_rmse", unit="data units", better="lower", group="application", needs=NEEDS)
def imputation_rmse(context: Context) -> dict[str, Measured]:
    """Root mean squared error of the hidden numbers, by the conditional mean of the model; and of those who know no model:

        E[x_h | x_o] ~ sum_k w_k E[x_h | z_k] / sum_k w_k,  w_k = p(x_o|z_k) p(z_k) / q(z_k|x_o),  z_k ~ q(z|x_o)
        _mean        the mean of each number where it was observed in training
        _knn         scikit-learn's KNNImputer, 10 neighbours among at most 1,000 training examples
        _iterative   its IterativeImputer, Bayesian ridge regressions in turns, kept in the range of the data; up to 128 numbers

    Single imputation. Self-normalised weights are biased by O(1/K), towards q's mean. Models without a bound have no weights:
    theirs is the reconstruction. Absent for binary data. The standard error is over examples.
    Source: Mattei & Frellsen 2019, single imputation, which is of the training data itself there and of new data here.
    """
    if context.data.spec.kind == "binary":
        return {}
    x, hidden = _truth(context)
    return {f"imputation_rmse{name}": _rmse(x, filled, hidden) for name, filled in _imputed(context).items()}


@metric("imputation_accuracy", unit="share", better="higher", group="application", needs=NEEDS)
def imputation_accuracy(context: Context) -> dict[str, Measured]:
    """Of binary data, in place of `imputation_rmse`: the share of hidden numbers that the same conditional means get right
    when they are rounded. Names as there.

    Source: Mattei & Frellsen 2019, single imputation.
    """
    if context.data.spec.kind != "binary":
        return {}
    x, hidden = _truth(context)
    return {f"imputation_accuracy{name}": _per_number(((filled > 0.5) == (x > 0.5)).double(), hidden)
            for name, filled in _imputed(context).items()}


@metric("imputation_nll", unit="nats/number", better="lower", group="application", needs=["bound", *NEEDS])
def imputation_nll(context: Context) -> Measured:
    """-log p(hidden | observed), nats per hidden number: total nats / total numbers.

        -log p(x_h|x_o) = log p(x_o) - log p(x_o, x_h)        each by its importance-weighted bound, with its own q

    The difference of two bounds is none: too high by the slack of the second, too low by that of the first; both vanish as K
    grows. Of continuous data it is a density's, and may be negative. The standard error is that of a ratio, over examples.
    Source: Mattei & Frellsen 2019, eq. 4, for each of the two.
    """
    whole = replace(context, data=replace(context.data, test=replace(context.data.test, observed=None)))
    _, hidden = _truth(context)
    return Measured(*mean_and_error(context.log_p - whole.log_p, _count(hidden)), n=len(hidden))


@torch.no_grad()
def conditional_mean(context: Context) -> Tensor:
    """(n,*shape) float64: E[x|x_o] of every number of the scored examples; sums over K in pieces, in float64."""
    k_all, model = context.evaluation.iwae_k, context.model
    k, split, found = min(k_all, 50, context.rows), context.test.head(context.evaluation.iwae_examples), []
    for batch, noise in context.blocks(split, context.rows // k, CONDITIONAL):
        if model.entry.bound == "none":
            found.append(model.reconstruct(batch).double().cpu())
            continue
        total = torch.full((len(batch.x),), -torch.inf, dtype=torch.float64, device=context.device)  # type: ignore[arg-type]
        mean = torch.zeros((), dtype=torch.float64, device=context.device)
        for done in range(0, k_all, k):
            terms = model(batch, min(k, k_all - done), noise)
            means = model.decode(terms.z.flatten(0, 1)).unflatten(0, terms.z.shape[:2]).double()
            log_w = terms.log_w.double()
            before, total = total, torch.logaddexp(total, log_w.logsumexp(0))
            mean = _times((before - total).exp(), mean.expand(means.shape[1:])) + _times((log_w - total).exp(), means).sum(0)
        found.append(mean.cpu())
    return torch.cat(found)


def _times(weights: Tensor, x: Tensor) -> Tensor:
    return weights.view(*weights.shape, *[1] * (x.dim() - weights.dim())) * x


def _truth(context: Context) -> tuple[Tensor, Tensor]:
    """(n,*shape): float64 numbers, and whether each was hidden."""
    batch = context.data.test.head(context.evaluation.iwae_examples).batch()
    assert batch.x is not None and batch.observed is not None
    return batch.x.double(), ~batch.observed


def _count(hidden: Tensor) -> Tensor:
    return hidden.double().flatten(1).sum(1)


def _per_number(values: Tensor, hidden: Tensor) -> Measured:
    return Measured(*mean_and_error(torch.where(hidden, values, 0.0).flatten(1).sum(1), _count(hidden)), n=len(hidden))


def _rmse(x: Tensor, filled: Tensor, hidden: Tensor) -> Measured:
    mse = _per_number((x - filled).square(), hidden)
    assert mse.stderr is not None
    rmse = mse.value**0.5
    return Measured(rmse, mse.stderr / (2 * rmse) if rmse else 0.0, mse.n)


# -- by whom ------------------------------------------------------------------------------------------------------------
def _imputed(context: Context) -> dict[str, Tensor]:
    """End of the name -> (n,*shape) float64. All but the model are scikit-learn's, fitted to what training examples show."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
    train, test = _with_gaps(context, context.data.train), _with_gaps(context, context.data.test)

    def filled(imputer: Any, donors: int = DONORS) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                 # the rounds end before the last digit settles
            x = imputer.fit(train[:donors]).transform(test[:context.evaluation.iwae_examples])
        return torch.from_numpy(x).unflatten(1, context.data.spec.shape)
    found = {"": conditional_mean(context), "_mean": filled(SimpleImputer(keep_empty_features=True), donors=len(train)),
             "_knn": filled(KNNImputer(n_neighbors=NEIGHBOURS, keep_empty_features=True))}
    if context.data.spec.size <= REGRESSED:
        low, high = np.nanmin(train), np.nanmax(train)      # unbounded, the rounds may diverge where whole parts are missing
        found["_iterative"] = filled(IterativeImputer(random_state=0, min_value=low, max_value=high, keep_empty_features=True))
    return found


def _with_gaps(context: Context, split: zoo.Split) -> np.ndarray:
    """(N,D) float64, NaN where missing; what is drawn at every visit is drawn once."""
    batch = split.batch(slice(None), context.noise(CONDITIONAL))
    assert batch.x is not None and batch.observed is not None
    return torch.where(batch.observed, batch.x.double(), torch.nan).flatten(1).numpy()
