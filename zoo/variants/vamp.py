"""VampPrior: the prior is a mixture of the posteriors of learned pseudo-inputs.

    p(z) = 1/C sum_c q(z|u_c)          objective = nll + log q(z|x) - log p(z), z ~ q(z|x): nats per example, minimised

The KL has no closed form and is that of the draw.

Source: Tomczak & Welling 2018, eq. 9.  Departs from the paper: pseudo-inputs start uniform in [0, 1], not near the data's mean,
and are kept there (for real-valued data they are free and start standard normal).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..distributions import DiagonalGaussian, Mixture
from ..registry import register
from ..variant import Batch, Terms, Variant, check_sizes


@register("vamp", paper="Tomczak & Welling, VAE with a VampPrior, AISTATS 2018", url="https://arxiv.org/abs/1705.07120",
          equation="eq. 9", plain_at={}, tags=["learned_prior"])
class Vamp(Variant):
    """`components`: the number of pseudo-inputs."""

    def __init__(self, *, components: int = 500, **common: Any) -> None:
        super().__init__(**common)
        check_sizes(components=components)
        self.pseudo_inputs = nn.Parameter(torch.empty(components, *self.spec.shape))
        if self.spec.kind == "real":
            nn.init.normal_(self.pseudo_inputs)
        else:
            nn.init.uniform_(self.pseudo_inputs)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        return DiagonalGaussian.of(self.encoder(batch.x))

    def prior(self, given: Batch) -> Mixture:
        u = self.pseudo_inputs if self.spec.kind == "real" else self.pseudo_inputs.clamp(0, 1)
        q = self.posterior(replace(given, x=u, label=None))
        return Mixture(q.mu, q.logvar)

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo
