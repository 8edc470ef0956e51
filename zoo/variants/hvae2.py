"""HVAE with two levels: the lower latents are drawn given the upper ones in both q and p.

    p: z2 ~ N(0, I);  z1 | z2;  x | z1, z2          q: z2 | x;  z1 | x, z2
    objective = nll + sum_g kl_g,  kl = KL(q(z2|x) || p(z2)) + KL(q(z1|x,z2) || p(z1|z2))          nats per example, minimised

The second KL is closed form at the z2 drawn.

Source: Tomczak & Welling 2018, section 4, eq. 12-14.  Departs from the paper: plain ReLU nets for gated ones; N(0, I) on top
(the paper's other choice is the VampPrior).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..distributions import DiagonalGaussian, StandardNormal
from ..nets.mlp import layers
from ..noise import Noise
from ..registry import register
from ..variant import Batch, Terms, Variant


@register("hvae2", paper="Tomczak & Welling, VAE with a VampPrior, AISTATS 2018", url="https://arxiv.org/abs/1705.07120",
          equation="eq. 12-14", plain_at={}, tags=["hierarchical", "learned_prior"])
class HVAE2(Variant):
    """`latent_dim` is shared out: the upper half, rounded up, is z2, the rest z1. It must be at least 2."""

    def __init__(self, *, latent_dim: int = 16, hidden: int = 256, **common: Any) -> None:
        if latent_dim < 2:
            raise ValueError(f"latent_dim is {latent_dim}; two levels need at least 2")
        super().__init__(0, hidden, latent_dim=latent_dim, hidden=hidden, **common)
        self.upper, lower = (latent_dim + 1) // 2, latent_dim // 2
        self.to_z2 = nn.Linear(hidden, 2 * self.upper)
        self.to_z1 = layers(hidden + self.upper, hidden, 2 * lower)
        self.prior_z1 = layers(self.upper, hidden, 2 * lower)

    def posterior(self, batch: Batch) -> "TwoLevels":
        return TwoLevels(self.encoder(batch.x).relu(), self.to_z2, self.to_z1)

    def prior(self, given: Batch) -> "TopDown":
        return TopDown(self.prior_z1, self.upper)

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo


@dataclass(frozen=True)
class TopDown:
    """p(z2) p(z1|z2), z = [z2, z1]."""

    net: nn.Module
    upper: int

    def lower(self, z2: Tensor) -> DiagonalGaussian:
        return DiagonalGaussian.of(self.net(z2))

    def log_prob(self, z: Tensor) -> Tensor:
        z2, z1 = z[..., :self.upper], z[..., self.upper:]
        return StandardNormal(self.upper).log_prob(z2) + self.lower(z2).log_prob(z1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        z2 = noise.normal((n, self.upper))
        return torch.cat([z2, self.lower(z2).sample(n, noise)], -1)


@dataclass(frozen=True)
class TwoLevels:
    """q(z2|x) q(z1|x,z2) from features h (B,H) of x."""

    h: Tensor
    to_z2: nn.Module
    to_z1: nn.Module

    def upper(self) -> DiagonalGaussian:
        return DiagonalGaussian.of(self.to_z2(self.h))

    def lower(self, z2: Tensor) -> DiagonalGaussian:
        return DiagonalGaussian.of(self.to_z1(torch.cat([self.h.expand(*z2.shape[:-1], -1), z2], -1)))

    @property
    def mean(self) -> Tensor:
        """The mean of z2, and of z1 there."""
        z2 = self.upper().mean
        return torch.cat([z2, self.lower(z2).mean], -1)

    def log_prob(self, z: Tensor) -> Tensor:
        upper = self.upper()
        z2, z1 = z[..., :upper.mu.shape[-1]], z[..., upper.mu.shape[-1]:]
        return upper.log_prob(z2) + self.lower(z2).log_prob(z1)

    def draw(self, prior: TopDown, k: int, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        z2, kl2, log_q2 = self.upper().draw(StandardNormal(prior.upper), k, noise)
        z1, kl1, log_q1 = (v[0] for v in self.lower(z2).draw(prior.lower(z2), 1, noise))
        return torch.cat([z2, z1], -1), torch.cat([kl2, kl1], -1), log_q2 + log_q1
