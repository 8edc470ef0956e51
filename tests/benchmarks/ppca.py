"""Probabilistic PCA as a model of the zoo: 50 numbers, 5 latents, noise variance 1/2; log p(x) and the posterior are known.

    z ~ N(0, I),  x | z ~ N(W z, s2 I),  p(x) = N(0, W W' + s2 I),  p(z|x) = N(P^-1 W' x / s2, P^-1),  P = W' W / s2 + I

The best diagonal posterior is `GAP` nats below log p(x): 1/2 (sum_d log P_dd - log det P).
"""

import math

import numpy as np
import torch
from support import LOCAL, Correlated
from torch.distributions import MultivariateNormal

import zoo
from zoo.distributions import DiagonalGaussian
from zoo.likelihoods import Gaussian

S2, D, SIZE = 0.5, 5, 50
W = 1.3 * torch.from_numpy(np.random.default_rng(1).standard_normal((SIZE, D)))
PRECISION = W.T @ W / S2 + torch.eye(D, dtype=torch.float64)
GAP = float(PRECISION.diagonal().log().sum() - PRECISION.logdet()) / 2


class PPCA(zoo.Variant):
    """`exact`: q is the posterior; else the best diagonal one, `shift` of its deviations away and `spread` times as wide."""

    entry = LOCAL

    def __init__(self, exact=False, shift=0.0, spread=1.0):
        super().__init__(spec=zoo.DataSpec((SIZE,), "real"), latent_dim=D, hidden=1)
        self.exact, self.shift, self.spread = exact, shift, spread

    def posterior(self, batch):
        w, precision = W.to(batch.x.dtype), PRECISION.to(batch.x.dtype)
        mu = batch.x @ w @ precision.inverse() / S2
        if self.exact:
            return Correlated(mu, precision.inverse().expand(len(mu), D, D))
        logvar = -precision.diagonal().log() + 2 * math.log(self.spread)
        return DiagonalGaussian(mu + self.shift * precision.diagonal().rsqrt(), logvar.expand_as(mu))

    def likelihood(self, z, given):
        mu = z @ W.T.to(z.dtype)
        return Gaussian(mu, torch.full_like(mu, math.sqrt(S2)))

    def objective(self, terms, step):
        return -terms.elbo


def drawn(n, dtype=torch.float64, seed=1):
    """A data set of n examples from the model, all splits alike; log p of each (n,)."""
    p = MultivariateNormal(torch.zeros(SIZE, dtype=torch.float64), W @ W.T + S2 * torch.eye(SIZE, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, D, generator=generator, dtype=torch.float64) @ W.T
    x = (x + math.sqrt(S2) * torch.randn(n, SIZE, generator=generator, dtype=torch.float64)).to(dtype)
    return zoo.Dataset("line", zoo.DataSpec((SIZE,), "real"), *[zoo.Split(x)] * 3, note=""), p.log_prob(x.double())
