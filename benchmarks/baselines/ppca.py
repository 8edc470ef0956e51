"""Probabilistic PCA: the linear VAE at its optimum, with the exact posterior.

    z ~ N(0, I),  x | z ~ N(W z + m, s2 I)          W = U (L - s2 I)^1/2,  s2 the mean of the other eigenvalues
    p(z|x) = N(L^-1 W'(x - m), s2 L^-1)             L the leading eigenvalues of the covariance, U their vectors

The posterior's covariance is diagonal in this basis, so that these are the terms of a VAE, in closed form, nats:

    nll = E_p(z|x) -log p(x|z) = (|x - m - W mu|^2 + tr W'W s2 L^-1) / 2 s2 + D/2 log 2 pi s2
    log p(x) = -nll - KL(p(z|x) || p(z))            exactly, for every z

Codes are posterior means. Reconstructions are projections, the mean of p(x|z) at z = (W'W)^-1 W'(x - m), and not at the
posterior's mean, which is shrunk; they and samples are clipped to the data's range. On `unit` data it is a density on the
reals: what lies outside [0, 1] is lost to it. On `byte` data it is a bound on log P(x), by noise u uniform in a byte's cell of
width w, integrated in closed form (|.|^2 and the covariance grow by w^2/12 a number): log P(x) >= D log w + E_u log p(x + u).
Binary data have no such density: there PCA reduces dimensions, and there is no likelihood (bound "none").

Source: Tipping & Bishop 1999, eq. 7, 8 and section 3.3; Lucas et al. 2019 (the linear VAE); Theis et al. 2016, section 3.1
(bytes).  Departs from it: FLOOR is added to the variances of data other than bytes, so that constant numbers have a density;
fitted to the first FITTED / D examples of the training split.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

import zoo
from zoo.distributions import LOG_2PI, DiagonalGaussian, StandardNormal
from zoo.noise import Default, Noise
from zoo.variant import check_sizes

from . import FLOOR, Baseline, baseline, cell, clipped, matrix


@baseline("ppca", takes="examples", paper="Tipping & Bishop, Probabilistic Principal Component Analysis, JRSS B 1999",
          url="https://doi.org/10.1111/1467-9868.00196", equation="eq. 7, 8")
class PPCA(Baseline):
    """Settings: `latent_dim`, the number of components; one less than numbers in x at most."""

    def __init__(self, data: zoo.Dataset, seed: int, *, latent_dim: int = 16) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        spec = self.spec = data.spec
        if spec.kind == "binary":
            self.entry = replace(self.entry, bound="none")  # type: ignore[misc]
        found = components(matrix(data, seed), spec, min(latent_dim, spec.size - 1), seed)
        self.centre, self.space, self.variances, self.rest = (nn.Parameter(v, requires_grad=False) for v in found)
        self.latent_dim = len(self.variances)

    @property
    def weight(self) -> Tensor:
        """W (D,q)"""
        return self.space * (self.variances - self.rest).sqrt()

    def forward(self, batch: zoo.Batch, k: int | None = None, noise: Noise | None = None) -> zoo.Terms:
        x, d = self.accepted(batch).flatten(1), self.spec.size
        q = self._posterior(x)
        z, kl, _ = q.draw(StandardNormal(self.latent_dim), k or 1, noise or Default(self.device))
        missed = (x - self.centre - q.mean @ self.weight.mT).square().sum(1)
        spread = d * cell(self.spec) + self.rest * ((self.variances - self.rest) / self.variances).sum()
        nll = (missed + spread) / (2 * self.rest) + d / 2 * (LOG_2PI + self.rest.log()) - log_cell(self.spec)
        nll = nll.expand(len(z), -1)
        return zoo.Terms(batch, z, q, nll, kl, -nll - kl.sum(-1))

    def log_prob(self, batch: zoo.Batch) -> Tensor:
        return self.forward(batch).elbo

    def encode(self, batch: zoo.Batch) -> Tensor:
        self.spec.check(batch)
        assert batch.x is not None
        return self._posterior(batch.x.flatten(1)).mean

    def decode(self, z: Tensor, label: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        return clipped(self._mean(z), self.spec)

    def reconstruct(self, batch: zoo.Batch) -> Tensor:
        """The projection on the principal space: PCA's, whose error is the least."""
        self.spec.check(batch)
        x = self.accepted(batch)
        projected = self.centre + (x.flatten(1) - self.centre) @ self.space @ self.space.mT
        return clipped(projected.view_as(x), self.spec)

    def sample(self, n: int, *, label: Tensor | None = None, lengths: Tensor | None = None, noise: Noise | None = None,
               observe: bool = False) -> Tensor:
        """Means of p(x|z); with `observe` draws from it, which are grey where the data are binary or bytes."""
        noise = noise or Default(self.device)
        self.conditions(n, label, lengths, noise)
        x = self._mean(noise.normal((n, self.latent_dim)))
        return clipped(x + self.rest.sqrt() * noise.normal(tuple(x.shape)) if observe else x, self.spec)

    def _posterior(self, x: Tensor) -> DiagonalGaussian:
        mu = (x - self.centre) @ self.weight / self.variances
        return DiagonalGaussian(mu, (self.rest / self.variances).log().expand_as(mu))

    def _mean(self, z: Tensor) -> Tensor:
        return (z @ self.weight.mT + self.centre).unflatten(-1, self.spec.shape)


def components(x: Tensor, spec: zoo.DataSpec, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of x (N,D): mean (D,), the n leading eigenvectors (D,n) of the covariance, their eigenvalues (n,), and the mean of the
    others; n is less than N. Bytes count with the noise in their cells."""
    from sklearn.decomposition import PCA
    n = min(n, len(x) - 1)
    pca = PCA(n, random_state=seed % 2**32).fit(x.numpy())
    variances = torch.from_numpy(pca.explained_variance_).float()
    rest = (x.var(0).sum() - variances.sum()).clamp_min(0) / max(x.shape[1] - n, 1)       # of all others, those that are 0 too
    added = cell(spec) or FLOOR
    mean, vectors = (torch.from_numpy(v).float() for v in (pca.mean_, pca.components_.T.copy()))
    return mean, vectors, variances + added, rest + added


def log_cell(spec: zoo.DataSpec) -> float:
    """The log-volume of a byte image's cell: what turns its density into a probability; 0 for data of other kinds."""
    return -spec.size * math.log(spec.levels - 1) if spec.kind == "byte" else 0.0
