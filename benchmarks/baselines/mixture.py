"""A mixture of distributions whose form is plain: Bernoullis for binary data, Gaussians for the rest.

    log p(x) = log sum_c pi_c p(x|c)                nats; exact: the component is summed out

binary: p(x|c) = prod_d Bernoulli(x_d; p_cd), by EM from random examples, with the pseudo-counts of `marginal` (which is the
case of one component). EM climbs log p(X) + sum_c log pi_c + sum_cd log p_cd (1 - p_cd), to within 1e-4 nats an example or 100
steps.
real, unit, byte: Gaussians with full covariance in the space of the first `latent_dim` principal components, N(0, s2) in every
direction outside it: `ppca` is the case of one component. Full covariances in all of x have more numbers than there are
examples; diagonal ones make pixels that are constant within a component all but impossible elsewhere (-5,000 nats each). Bytes:
the bound of `ppca` within each component, log sum_c pi_c exp E_u log p(x + u|c), which the convexity of log sum exp allows.

100 components, fewer where that leaves less than 50 examples each; fixed beforehand, not chosen by a score. Fitted to the first
20,000 training examples at most, and of large ones to as many as have 16 million numbers in all. The component is no latent
here: there are no codes. Reconstructions are components' means, weighed by p(c|x). Samples: a component's mean (Bernoullis), or
a draw within its principal space (Gaussians).

Source: Bishop 2006, section 9.3.3 (Bernoullis), 9.2.2 (Gaussians, by scikit-learn).  Departs from it: the above.
"""

import math
import warnings
from abc import abstractmethod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo.distributions import LOG_2PI
from zoo.noise import Default, Noise
from zoo.variant import check_sizes

from . import FLOOR, Baseline, baseline, cell, clipped, matrix
from .ppca import components as principal
from .ppca import log_cell

EXAMPLES, NUMBERS, EACH = 20_000, 16_000_000, 50            # to fit to at most, twice; examples for each component at least
STEPS, ENOUGH = 100, 1e-4                                   # of EM, and the gain in nats an example below which it ends


class Components(nn.Module):
    """p(x|c) of C components, x (B,D)."""

    @property
    @abstractmethod
    def means(self) -> Tensor:
        """(C,D)"""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """(B,C) nats"""

    @abstractmethod
    def draw(self, c: Tensor, noise: Noise, observe: bool) -> Tensor:
        """c (n,) -> x (n,D)"""


@baseline("mixture", takes="examples", paper="Bishop, Pattern Recognition and Machine Learning, 2006",
          url="https://www.microsoft.com/en-us/research/people/cmbishop/prml-book/", equation="sections 9.2.2, 9.3.3")
class Mixture(Baseline):
    """Settings: `components`, how many at most; `latent_dim`, principal components in which Gaussians have a covariance."""

    def __init__(self, data: zoo.Dataset, seed: int, *, components: int = 100, latent_dim: int = 16) -> None:
        super().__init__()
        check_sizes(components=components, latent_dim=latent_dim)
        spec, x = data.spec, matrix(data, seed, min(EXAMPLES * data.spec.size, NUMBERS))
        components = max(1, min(components, len(x) // EACH))
        parts: Components
        if spec.kind == "binary":
            log_pi, parts, _ = bernoullis(x, components, seed)
        else:
            log_pi, parts = gaussians(x, spec, components, latent_dim, seed)
        self.spec, self.log_pi, self.parts = spec, nn.Parameter(log_pi, requires_grad=False), parts
        self.register_buffer("mean", (log_pi.exp() @ parts.means).view(spec.shape))

    def log_prob(self, batch: zoo.Batch) -> Tensor:
        return self._joint(self.accepted(batch)).logsumexp(1)

    @torch.no_grad()
    def reconstruct(self, batch: zoo.Batch) -> Tensor:
        self.spec.check(batch)
        return self._data(self._joint(self.accepted(batch)).softmax(1) @ self.parts.means)

    @torch.no_grad()
    def sample(self, n: int, *, label: Tensor | None = None, lengths: Tensor | None = None, noise: Noise | None = None,
               observe: bool = False) -> Tensor:
        """With `observe` draws from p(x|c); of bytes not rounded."""
        noise = noise or Default(self.device)
        self.conditions(n, label, lengths, noise)
        c = (noise.uniform((n, 1)) > self.log_pi.exp().cumsum(0)[:-1]).sum(1)
        return self._data(self.parts.draw(c, noise, observe))

    def _joint(self, x: Tensor) -> Tensor:
        """log p(x, c) (B,C)"""
        return self.log_pi + self.parts.log_prob(x.flatten(1))

    def _data(self, x: Tensor) -> Tensor:
        return clipped(x.unflatten(-1, self.spec.shape), self.spec)


# -- binary data ------------------------------------------------------------------------------------------------------------
class Bernoullis(Components):
    """Logits (C,D)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits, requires_grad=False)

    @property
    def means(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob(self, x: Tensor) -> Tensor:
        return x @ self.logits.mT - F.softplus(self.logits).sum(1)

    def draw(self, c: Tensor, noise: Noise, observe: bool) -> Tensor:
        p = self.means[c]
        return (noise.uniform(tuple(p.shape)) < p).to(p.dtype) if observe else p


def bernoullis(x: Tensor, components: int, seed: int) -> tuple[Tensor, Bernoullis, list[float]]:
    """-> log pi (C,), the components, and what EM has climbed, nats an example, step by step. x (n,D) of 0 and 1."""
    n = len(x)
    chosen = torch.from_numpy(np.random.RandomState(seed % 2**32).permutation(n)[:components])
    log_pi, logits = torch.full((components,), -math.log(components)), ((1 + x[chosen] + x.mean(0)) / 4).logit()
    climbed: list[float] = []
    while len(climbed) < 2 or (climbed[-1] - climbed[-2] > ENOUGH and len(climbed) < STEPS):
        joint = log_pi + Bernoullis(logits).log_prob(x)
        prior = log_pi.sum() + (F.logsigmoid(logits) + F.logsigmoid(-logits)).sum()
        climbed.append(float((joint.logsumexp(1).double().sum() + prior) / n))
        weights = joint.softmax(1)
        share, on = weights.sum(0), weights.mT @ x
        log_pi = ((share + 1) / (n + components)).log()
        logits = (on + 1).log() - (share[:, None] - on).clamp_min(0).add(1).log()
    return log_pi, Bernoullis(logits), climbed


# -- continuous data --------------------------------------------------------------------------------------------------------
class Gaussians(Components):
    """Means (C,q), and factors P (C,q,q) of precisions P P', in a principal space (D,q) around `centre`; outside it `rest`, a
    variance."""

    def __init__(self, spec: zoo.DataSpec, centre: Tensor, space: Tensor, rest: Tensor, inner: Tensor, factors: Tensor) -> None:
        super().__init__()
        self.spec = spec
        self.centre, self.space, self.rest, self.inner, self.factors = (
            nn.Parameter(v, requires_grad=False) for v in (centre, space, rest, inner, factors))

    @property
    def means(self) -> Tensor:
        return self.centre + self.inner @ self.space.mT

    def log_prob(self, x: Tensor) -> Tensor:
        (d, q), blur, centred = self.space.shape, cell(self.spec), x - self.centre
        scores = centred @ self.space
        white = torch.einsum("bq,cqr->bcr", scores, self.factors) - torch.einsum("cq,cqr->cr", self.inner, self.factors)
        inside = white.square().sum(2) + blur * self.factors.square().sum((1, 2)) + q * LOG_2PI
        missed = (centred - scores @ self.space.mT).square().sum(1, keepdim=True)
        outside = (missed + (d - q) * blur) / self.rest + (d - q) * (LOG_2PI + self.rest.log())
        return self.factors.diagonal(dim1=1, dim2=2).log().sum(1) - (inside + outside) / 2 + log_cell(self.spec)

    def draw(self, c: Tensor, noise: Noise, observe: bool) -> Tensor:
        """Without `observe` nothing is added outside the principal space."""
        white = noise.normal((len(c), self.space.shape[1])).unsqueeze(-1)
        scores = self.inner[c] + torch.linalg.solve_triangular(self.factors.mT[c], white, upper=False).squeeze(-1)
        x = self.centre + scores @ self.space.mT
        if not observe:
            return x
        added = self.rest.sqrt() * noise.normal(tuple(x.shape))
        return x + added - added @ self.space @ self.space.mT


def gaussians(x: Tensor, spec: zoo.DataSpec, components: int, latent_dim: int, seed: int) -> tuple[Tensor, Gaussians]:
    """-> log pi (C,) and the components, for x (n,D)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    centre, space, _, rest = principal(x, spec, min(latent_dim, spec.size), seed)
    em = GaussianMixture(components, reg_covar=cell(spec) or FLOOR, max_iter=STEPS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it ends after STEPS at the latest: that is the protocol
        em.fit(((x - centre) @ space).numpy())
    log_pi, inner, factors = (torch.from_numpy(v).float() for v in (np.log(em.weights_), em.means_, em.precisions_cholesky_))
    return log_pi, Gaussians(spec, centre, space, rest, inner, factors)
