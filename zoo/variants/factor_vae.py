"""FactorVAE: penalise the total correlation of the codes, estimated by a critic.

    objective = -ELBO + gamma * log(D(z) / (1 - D(z))),  z ~ q(z|x)          nats per example, minimised
    critic    = -log D(z) - log(1 - D(z')),  z' permuted across examples in each dimension     nats per example, minimised

D(z) is the probability that z comes from q(z) rather than from the product of its marginals: the logit is the log-ratio whose
mean is the total correlation.

Source: Kim & Mnih 2018, eq. 2 and 3, algorithm 2.  Departs from the paper: the second batch, whose codes are permuted, is the
second half of the same one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..noise import Noise
from ..registry import register
from ..variant import Terms, Variant


@register("factor_vae", paper="Kim & Mnih, Disentangling by Factorising, ICML 2018", url="https://arxiv.org/abs/1802.05983",
          equation="eq. 2", plain_at={"gamma": 0.0}, tags=["adversarial"])
class FactorVAE(Variant):
    """`gamma`: the weight of the total correlation; `critic_width`, `critic_layers`: the critic's hidden layers."""

    def __init__(self, *, gamma: float = 10.0, critic_width: int = 1000, critic_layers: int = 5, **common: Any) -> None:
        super().__init__(**common)
        self.gamma = gamma
        widths = [self.latent_dim, *[critic_width] * critic_layers]
        hidden = [m for a, b in zip(widths[:-1], widths[1:], strict=True) for m in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.adversary = nn.Sequential(*hidden, nn.Linear(widths[-1], 1))

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo + self.gamma * self.adversary(terms.z).squeeze(-1).mean(0)

    def adversary_loss(self, terms: Terms, noise: Noise) -> Tensor:
        z = terms.z[0].detach()
        half = len(z) // 2
        if not half:
            raise ValueError("factor_vae's critic needs batches of at least 2 examples")
        joint, other = z[:half], z[half:]
        factored = torch.stack([c[noise.permutation(len(other))] for c in other.unbind(-1)], -1)
        return F.softplus(-self.adversary(joint)).mean() + F.softplus(self.adversary(factored)).mean()
