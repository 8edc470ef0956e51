"""What a variant may use as q(z|x) and p(z). The only Gaussian log-density and KL, and the only caller of fused operations.

Log-densities and KLs are in nats, summed over the latent dimensions unless a shape says otherwise, and float32 (or float64)
even under autocast. Shapes: z (K,B,D), parameters (B,D) or (K,B,D); inside a rollout (T,N,D).
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import nearest_code, reparam_kl, total_correlation

from .noise import Noise

LOG_2PI = math.log(2 * math.pi)
VARIANCE_FLOOR = 1e-4                                       # softplus heads: -inf log-variances end a run


class Prior(Protocol):
    """p(z), perhaps given a label or the past."""

    def log_prob(self, z: Tensor) -> Tensor: ...
    def sample(self, n: int, noise: Noise) -> Tensor: ...


class Posterior(Protocol):
    """q(z|x): draws, and says what the draws cost."""

    @property
    def mean(self) -> Tensor:
        """(B,D): where to put an example on a map."""
    def log_prob(self, z: Tensor) -> Tensor: ...
    def draw(self, prior: Any, k: int, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """-> z (K,B,D), kl (K,B,G) against the prior, log_q (K,B)."""


def full(h: Tensor) -> Tensor:
    """Half-precision activations to float32: densities are never computed in less."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


def gaussian_log_prob(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)) for each element, in nats."""
    return -0.5 * (LOG_2PI + logvar + (z - mu).square() * (-logvar).exp())


@dataclass(frozen=True)
class StandardNormal:
    """p(z) = N(0, I) of `dim` dimensions."""

    dim: int

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (LOG_2PI + z.square()).sum(-1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        return noise.normal((n, self.dim))

    def at(self, eps: Tensor) -> Tensor:
        return eps


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mu, diag(exp(logvar))): a posterior, or a learned prior."""

    mu: Tensor
    logvar: Tensor

    @classmethod
    def of(cls, h: Tensor) -> "DiagonalGaussian":
        """From a net's last layer (..., 2D): mean and log-variance."""
        return cls(*full(h).chunk(2, -1))

    @classmethod
    def softplus(cls, h: Tensor) -> "DiagonalGaussian":
        """From a net's last layer (..., 2D), variance softplus(h) + floor: in a recurrence exp(h) feeds back and overflows."""
        mu, spread = full(h).chunk(2, -1)
        return cls(mu, (F.softplus(spread) + VARIANCE_FLOOR).log())

    @property
    def mean(self) -> Tensor:
        return self.mu

    def log_prob(self, z: Tensor) -> Tensor:
        return gaussian_log_prob(z, self.mu, self.logvar).sum(-1)

    def at(self, eps: Tensor) -> Tensor:
        return self.mu + (0.5 * self.logvar).exp() * eps

    def sample(self, n: int, noise: Noise) -> Tensor:
        """One draw for each of n rows. Raises: ValueError if the distribution has another number of rows."""
        if len(self.mu) != n:
            raise ValueError(f"a prior given {len(self.mu)} conditions cannot draw {n} samples; give one condition each")
        return self.at(noise.normal(tuple(self.mu.shape)).to(self.mu.dtype))

    def pair(self, prior: Prior, eps: Tensor) -> tuple[Tensor, Tensor | None]:
        """z at this noise, and the KL of each dimension, None where there is no closed form. In one fused call."""
        if not isinstance(prior, StandardNormal | DiagonalGaussian):
            return self.at(eps), None
        z, kl = reparam_kl(self.mu, self.logvar, eps=eps.to(self.mu.dtype)[None], prior=_parameters(prior, self.mu),
                           per_dim=True)
        return z[0], kl

    def draw(self, prior: Prior, k: int, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """kl is closed form, one group a dimension, against a Gaussian; else log q - log p of the draw, one group."""
        eps, seed = noise.latent((k, *self.mu.shape))
        eps = None if eps is None else eps.to(self.mu.dtype)
        closed = isinstance(prior, StandardNormal | DiagonalGaussian)
        z, kl = reparam_kl(self.mu, self.logvar, k, prior=_parameters(prior, self.mu) if closed else None,
                           eps=eps, seed=seed, per_dim=True)
        log_q = self.log_prob(z)
        if not closed:
            return z, (log_q - prior.log_prob(z)).unsqueeze(-1), log_q
        return z, kl.expand(k, *kl.shape), log_q

    def total_correlation(self, z: Tensor) -> Tensor:
        """log [q(z) / prod_d q(z_d)] of z (K,B,D) -> (K,B), q the equally weighted mixture of these B posteriors.

        Its mean over z ~ q is the mixture's total correlation, which is at most (D - 1) log B.
        """
        joint, marginals = total_correlation(z.flatten(0, 1), self.mu, self.logvar)
        return (joint - marginals).unflatten(0, z.shape[:2]) + (z.shape[-1] - 1) * math.log(len(self.mu))


def _parameters(prior: Prior, like: Tensor) -> tuple[Tensor, Tensor] | None:
    if isinstance(prior, DiagonalGaussian):
        return prior.mu.expand_as(like), prior.logvar.expand_as(like)
    return None                                             # N(0, I): the kernel knows it


@dataclass(frozen=True)
class Mixture:
    """An equally weighted mixture of diagonal Gaussians: mu, logvar (C,D)."""

    mu: Tensor
    logvar: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        each = gaussian_log_prob(z.unsqueeze(-2), self.mu, self.logvar).sum(-1)         # (K,B,C)
        return each.logsumexp(-1) - math.log(len(self.mu))

    def sample(self, n: int, noise: Noise) -> Tensor:
        i = noise.integers(len(self.mu), (n,))
        return DiagonalGaussian(self.mu[i], self.logvar[i]).sample(n, noise)


@dataclass(frozen=True)
class Point:
    """A deterministic code: no density, no KL."""

    z: Tensor                                               # (B,D)

    @property
    def mean(self) -> Tensor:
        return self.z

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z[..., 0])

    def draw(self, prior: Prior, k: int, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        z = self.z.expand(k, *self.z.shape)
        return z, torch.zeros_like(z[..., :1]), self.log_prob(z)


@dataclass(frozen=True)
class UniformCodes:
    """p(z) under which each of z's groups takes every code (C,d) with the same probability."""

    codebook: Tensor
    groups: int

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.full_like(z[..., 0], -self.groups * math.log(len(self.codebook)))

    def sample(self, n: int, noise: Noise) -> Tensor:
        return self.codebook[noise.integers(len(self.codebook), (n, self.groups))].flatten(1)


@dataclass(frozen=True)
class NearestCode:
    """q(z|x): the nearest code of each group, with probability one."""

    encoded: Tensor                                         # (B,G,d)
    chosen: Tensor                                          # (B,G,d), no gradient
    index: Tensor                                           # (B,G)
    codes: int

    @classmethod
    def of(cls, encoded: Tensor, codebook: Tensor) -> "NearestCode":
        index = nearest_code(encoded.flatten(0, 1).to(codebook.dtype), codebook).unflatten(0, encoded.shape[:2])
        return cls(encoded, codebook[index], index, len(codebook))

    @property
    def mean(self) -> Tensor:
        return (self.encoded + (self.chosen - self.encoded).detach()).flatten(1)    # straight through

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z[..., 0])

    def draw(self, prior: UniformCodes, k: int, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        z = self.mean.expand(k, -1, -1)
        kl = torch.full_like(self.encoded[..., 0], math.log(self.codes)).expand(k, -1, -1)
        return z, kl, self.log_prob(z)
