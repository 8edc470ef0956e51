"""beta-VAE: weigh the KL by a constant.

    objective = nll + beta * sum_g kl_g          nats per example, minimised

beta > 1 asks for codes closer to the prior, often better disentangled, at the price of reconstruction; the ELBO that the
harness reports is the one at beta = 1.

Source: Higgins et al. 2017, eq. 4.  Departs from the paper: nothing.
"""

from typing import Any

from torch import Tensor

from ..registry import register
from ..variant import Terms, Variant


@register("beta_vae", paper="Higgins et al., beta-VAE, ICLR 2017", url="https://openreview.net/forum?id=Sy2fzU9gl",
          equation="eq. 4", plain_at={"beta": 1.0})
class BetaVAE(Variant):
    """`beta`: the weight of the KL."""

    def __init__(self, *, beta: float = 4.0, **common: Any) -> None:
        super().__init__(**common)
        self.beta = beta

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return (terms.nll + self.beta * terms.kl.sum(-1)).mean(0)
