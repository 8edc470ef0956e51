"""What scores of samples see: features of samples, of real data and of the aggregate posterior, computed once.

Scored are means of p(x|z), rounded to 256 levels where data lie in [0, 1], because what one looks at are bytes; sequences
are drawn. Real data are taken as stored: grey, where a model's own data are drawn from them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

import zoo

from . import extractors, frechet, manifolds

if TYPE_CHECKING:
    from .context import Context

SUBSET = 20                                                 # a branch of the evaluation's noise; a context's own are below
_REAL: WeakKeyDictionary[zoo.Dataset, dict[str, "Real"]] = WeakKeyDictionary()      # the models of a run share it


@dataclass(frozen=True)
class Real:
    """Features (N,d) of a training split, their mean and covariance."""

    features: Tensor
    moments: frechet.Moments


class FeatureSets:
    """Of one model, in one feature space: (n,d) each."""

    def __init__(self, context: "Context", name: str, extract: extractors.Features) -> None:
        self.context, self.name, self.extract = context, name, extract

    def of(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Of what a model made."""
        unit = self.context.data.spec.kind in ("binary", "unit", "byte")
        return self.extract(torch.round(x.clamp(0, 1) * 255) / 255 if unit else x, lengths)

    @cached_property
    def samples(self) -> Tensor:
        """Of the context's samples, z from the prior."""
        drawn = self.context.samples
        assert drawn.x is not None
        return self.of(drawn.x, drawn.lengths)

    @cached_property
    @torch.no_grad()
    def aggregate(self) -> Tensor:
        """Of decoder means at z ~ q(z|x) of the first `samples` test examples, told their labels; no sequences."""
        n, rows, label = self.context.evaluation.samples, self.context.rows, self.context.test.label
        z = self.context.draws[:n].to(self.context.device)
        labels = [None] * len(z.split(rows)) if label is None else label[:n].split(rows)
        return torch.cat([self.of(self.context.model.decode(part, label=told).cpu())
                          for part, told in zip(z.split(rows), labels, strict=True)])

    @property
    def real(self) -> Real:
        """Of the whole training split, the reference of every score."""
        known = _REAL.setdefault(self.context.data, {})
        if self.name not in known:
            train = self.context.reference
            assert train.x is not None
            features = self.extract(train.x, train.lengths)
            known[self.name] = Real(features, frechet.moments(features))
        return known[self.name]

    def shuffled(self, i: int = 0) -> Tensor:
        """Of the training split in the seed's i-th random order, the same for all models."""
        return self.real.features[self.context.noise(SUBSET, i).permutation(len(self.real.features)).cpu()]

    @cached_property
    def as_many(self) -> Tensor:
        """Of as many random training examples as there are samples, if there are as many."""
        return self.shuffled()[:len(self.samples)]

    @cached_property
    def neighbourhoods(self) -> manifolds.Neighbourhoods:
        return manifolds.compare(self.as_many, self.samples)

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        """(n,classes), where the extractor is a classifier."""
        return extractors.classifier(self.name)[-1](features).softmax(-1)
