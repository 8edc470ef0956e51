"""Anomaly detection: does a score tell the class that was left out of training from the others?

On data `NAME+without=CLASS`, one class a data set: a mean over classes would hide that likelihoods may rank by ink. Scores are
of the first `iwae_examples` test examples, and high where a model finds an example strange. Models that are told the label are
passed over: it gives the answer away.
"""

import math
import zlib
from collections import defaultdict

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

import zoo

from ..context import SHOWN, Context
from . import Measured, metric

NEEDS = ["novel", "still", "unconditional"]
TERMS = 70                                                  # a branch of the noise that no other metric draws from


@metric("anomaly_auroc", unit="AUROC", better="higher", group="application", needs=NEEDS)
def anomaly_auroc(context: Context) -> dict[str, Measured]:
    """Area under the ROC curve: P(score of a novel example > score of another), ties one half; chance 0.5. By score:

        _nll             -log 1/K sum_k w_k, the importance-weighted bound with K = `iwae_k`
        _distortion      -E_q log p(x|z), over `elbo_samples` draws
        _rate            KL(q(z|x) || p(z))
        _reconstruction  squared error of the reconstruction, over what was observed
        _complexity      nll in bits, less the bits of the image compressed: high where it is stranger than it is intricate
        _ink             the sum of the pixels, more being stranger. No model: a score that does not beat it has learned to
                         measure ink, upwards or, far below 0.5, downwards

    The first three need a bound (distortion none), the last two values from 0 to 1. Compression is zlib's, at level 9, of one
    byte a number, one bit of binary data. The standard error is DeLong's, over examples of both kinds.
    Source: Hanley & McNeil 1982; DeLong et al. 1988; complexity: Serra et al. 2020 (with PNG, JPEG2000 and FLIF).
    """
    novel = _novel(context)
    return {f"anomaly_auroc_{name}": auroc(score, novel) for name, score in _scores(context).items()}


@metric("anomaly_aupr", unit="AUPR", better="higher", group="application", needs=["bound", *NEEDS], label="anomaly_aupr_nll")
def anomaly_aupr(context: Context) -> Measured:
    """Average precision of finding the novel examples by nll, as in `anomaly_auroc`; chance: their share of the test split.

        sum_i (recall_i - recall_i-1) precision_i        over the thresholds, from the strangest example on

    Source: Davis & Goadrich 2006; scikit-learn's `average_precision_score`.
    """
    novel = _novel(context)
    return Measured(float(average_precision_score(novel, -context.log_p)), n=len(novel))


@metric("anomaly_fpr95", unit="share", better="lower", group="application", needs=["bound", *NEEDS], label="anomaly_fpr95_nll")
def anomaly_fpr95(context: Context) -> Measured:
    """False alarms, as a share of the known examples, at the strictest threshold on nll that finds 95 % of the novel ones.

    Chance 0.95. Source: Liang et al. 2018; there the known examples are those to be found.
    """
    novel = _novel(context)
    false, true, _ = roc_curve(novel, -context.log_p, drop_intermediate=False)
    return Measured(float(false[np.argmax(true >= 0.95)]), n=len(novel))


def auroc(score: Tensor, novel: np.ndarray) -> Measured:
    """scikit-learn's value, with the standard error of DeLong et al. 1988, from ranks."""
    s = score.double().numpy()
    yes, no = s[novel], s[~novel]
    ranks = rankdata(s)
    above = (ranks[novel] - rankdata(yes)) / len(no)        # of each novel example: the share of the known that it exceeds
    below = 1 - (ranks[~novel] - rankdata(no)) / len(yes)   # of each known one: the share of the novel that exceed it
    variance = sum(float(v.var(ddof=1)) / len(v) for v in (above, below) if len(v) > 1)
    return Measured(float(roc_auc_score(novel, s)), math.sqrt(variance), len(s))


def _novel(context: Context) -> np.ndarray:
    """(n,) bool.  Raises: ValueError where there is nothing to tell apart."""
    label = context.data.test.head(context.evaluation.iwae_examples).label
    assert label is not None
    novel = label.numpy() == context.data.novel
    if not 0 < novel.sum() < len(novel):
        raise ValueError(f"of the first {len(novel)} test examples {novel.sum()} are of the class left out; some must be, and "
                         "some not: raise evaluation.iwae_examples")
    return novel


@torch.no_grad()
def _scores(context: Context) -> dict[str, Tensor]:
    """Score -> (n,) float64."""
    split, k = context.test.head(context.evaluation.iwae_examples), context.evaluation.elbo_samples
    bounded, grey = context.model.entry.bound != "none", context.data.spec.kind != "real"
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for batch, noise in context.blocks(split, context.rows // k, TERMS):
        terms = context.model(batch, k, noise)
        parts["distortion"].append(terms.nll.mean(0))
        if bounded:
            parts["rate"].append(terms.kl.sum(-1).mean(0))
    for batch, _ in context.blocks(split, context.rows, SHOWN):
        x, again, mask = batch.visible.x, context.model.reconstruct(batch), batch.mask
        assert x is not None
        off = (x - again).double().square().flatten(1)
        parts["reconstruction"].append((off if mask is None else torch.where(mask.flatten(1), off, 0.0)).sum(1))
        if grey:
            parts["ink"].append(x.double().flatten(1).sum(1))
            parts["bits"].append(complexity(x, context.data.spec))
    scores = {name: torch.cat(part).double().cpu() for name, part in parts.items()}
    bits = scores.pop("bits", None)
    if not bounded:
        return scores
    corrected = {} if bits is None else {"complexity": -context.log_p / math.log(2) - bits}
    return {"nll": -context.log_p, **corrected, **scores}


def complexity(x: Tensor, spec: zoo.DataSpec) -> Tensor:
    """(B,) float64: bits of each example compressed; values from 0 to 1."""
    levels = {"binary": 2, "byte": spec.levels}.get(spec.kind, 256)
    stored = (x.flatten(1).cpu() * (levels - 1)).round().to(torch.uint8).numpy()
    stored = np.packbits(stored, axis=1) if spec.kind == "binary" else stored
    return torch.tensor([8.0 * len(zlib.compress(row.tobytes(), 9)) for row in stored], dtype=torch.float64)
