"""AE: an auto-encoder, the yardstick without a latent distribution.

    objective = nll = -log p(x | z = f(x))          nats per example, minimised; no bound on log p(x)

It has no prior: `sample` decodes N(0, I), which its codes do not follow; its Fréchet distance shows what a prior is for.

Source: Hinton & Salakhutdinov 2006, p. 504 (cross-entropy of the reconstruction).
Departs from the paper: no layer-wise pre-training; the likelihood follows the kind of data.
"""

from typing import Any

from torch import Tensor

from ..distributions import Point
from ..registry import register
from ..variant import Batch, Terms, Variant


@register("ae", paper="Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 2006",
          url="https://doi.org/10.1126/science.1127647", equation="p. 504", bound="none", tags=["deterministic"])
class AE(Variant):
    """The code is the encoder's output."""

    def __init__(self, *, latent_dim: int = 16, **common: Any) -> None:
        super().__init__(0, latent_dim, latent_dim=latent_dim, **common)

    def posterior(self, batch: Batch) -> Point:
        return Point(self.encoder(batch.x))

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return terms.nll.mean(0)
