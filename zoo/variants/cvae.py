"""CVAE: everything given the label.

    objective = nll + sum_g KL(q(z|x,y) || p(z|y))          nats per example, minimised: a bound on -log p(x|y)

p(z|y) is N(0, I), or, with learned_prior, a Gaussian with a mean and a variance for every label.

Source: Sohn et al. 2015, eq. 4 (there the learned prior); Kingma et al. 2014, eq. 6 (there the fixed one).
Departs from the paper: y is a class label and x an image, not the other way round.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..distributions import DiagonalGaussian, Prior, StandardNormal
from ..likelihoods import Likelihood
from ..nets.mlp import one_hot
from ..registry import register
from ..spec import DataSpec
from ..variant import Batch, Terms, Variant


@register("cvae", paper="Sohn et al., Learning Structured Output Representation, NeurIPS 2015",
          url="https://papers.nips.cc/paper/5775-learning-structured-output-representation-using-deep-conditional-generative-models",
          equation="eq. 4", plain_at={}, tags=["conditional"])
class CVAE(Variant):
    """`learned_prior`: p(z|y) has parameters of its own for every label."""

    def __init__(self, *, spec: DataSpec, learned_prior: bool = False, **common: Any) -> None:
        super().__init__(spec.classes or 0, spec=spec, **common)
        self.classes = spec.classes or 0
        self.labels = nn.Embedding(self.classes, 2 * self.latent_dim) if learned_prior else None
        if self.labels is not None:
            nn.init.zeros_(self.labels.weight)              # begin at N(0, I)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        return DiagonalGaussian.of(self.encoder(batch.x, self._one_hot(batch)))

    def prior(self, given: Batch) -> Prior:
        if self.labels is None:
            return StandardNormal(self.latent_dim)
        return DiagonalGaussian.of(self.labels(self._label(given)))

    def likelihood(self, z: Tensor, given: Batch) -> Likelihood:
        y = self._one_hot(given).to(z.dtype)
        return self.emit(torch.cat([z, y.expand(*z.shape[:-1], -1)], -1))

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo

    def _one_hot(self, batch: Batch) -> Tensor:
        return one_hot(self._label(batch), self.classes)

    def _label(self, batch: Batch) -> Tensor:
        if batch.label is None:
            raise ValueError(f"cvae needs labels in 0 .. {self.classes - 1}: the batch has none")
        return batch.label
