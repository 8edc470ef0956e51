"""p(x|z): log-probabilities in nats per example, summed over the data's dimensions, never averaged.

A family is built from a decoder's last layer, which has `params(spec)` numbers for each number of x. Shapes: x (B,*shape),
parameters (K,B,*shape) -> log_prob (K,B); inside a rollout (T,N,*frame) -> (T,N). `mask` is False where x does not count.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .distributions import full, gaussian_log_prob
from .noise import Noise
from .registry import nearest
from .spec import DataSpec


class Likelihood(Protocol):
    """p(x|z) for K samples of z: what an assembly asks of it."""

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor: ...
    @property
    def mean(self) -> Tensor:
        """What to look at: the expectation of x (tokens: the most likely one)."""
    def draw(self, noise: Noise) -> Tensor: ...


class Family(ABC):
    """A likelihood whose numbers are independent given z. Subclasses give `element`, log p of each number."""

    kinds: ClassVar[tuple[str, ...]] = ()                   # of data it is a likelihood of

    @classmethod
    def params(cls, spec: DataSpec) -> int:
        return 1

    @classmethod
    @abstractmethod
    def of(cls, h: Tensor, spec: DataSpec) -> "Family":
        """From a decoder's output (..., params, *shape)."""

    @classmethod
    def of_flat(cls, h: Tensor, spec: DataSpec) -> "Family":
        """From a last layer that was not given its shape (..., params * size)."""
        return cls.of(h.unflatten(-1, (cls.params(spec), *spec.shape)), spec)

    @abstractmethod
    def element(self, x: Tensor) -> Tensor: ...

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        log_p = self.element(x)
        if mask is not None:
            log_p = torch.where(mask, log_p, 0.0)
        return log_p.flatten(2).sum(-1) if log_p.dim() > 2 else log_p

    @property
    @abstractmethod
    def mean(self) -> Tensor: ...

    @property
    def mode(self) -> Tensor:
        """A value x can take, for greedy free running."""
        return self.mean

    @abstractmethod
    def draw(self, noise: Noise) -> Tensor: ...


@dataclass(frozen=True)
class Bernoulli(Family):
    """x in {0, 1}. Not a likelihood of grey values: cross-entropy there lacks a normaliser and is no bound."""

    kinds = ("binary",)
    logits: Tensor

    @classmethod
    def of(cls, h: Tensor, spec: DataSpec) -> "Bernoulli":
        return cls(_unbind(h, spec)[0])

    def element(self, x: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(self.logits, x.to(self.logits.dtype).expand_as(self.logits),
                                                   reduction="none")

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    def draw(self, noise: Noise) -> Tensor:
        return (noise.uniform(tuple(self.logits.shape)) < self.mean).to(self.logits.dtype)


@dataclass(frozen=True)
class ContinuousBernoulli(Family):
    """A density on [0, 1]: p(x) = C(l) l^x (1 - l)^(1 - x), l = sigmoid(logits).

    Source: Loaiza-Ganem & Cunningham 2019, eq. 6-8.
    """

    kinds = ("unit",)
    logits: Tensor

    @classmethod
    def of(cls, h: Tensor, spec: DataSpec) -> "ContinuousBernoulli":
        return cls(_unbind(h, spec)[0])

    def element(self, x: Tensor) -> Tensor:
        """log p(x) = l x - log((e^l - 1) / l), l the logits. Not torch's class: its normaliser stops where it clamps probs."""
        size = self.logits.abs()
        a = size.clamp_min(1e-2)
        small, log_ratio = size.square() / 24 - size / 2, torch.log(-torch.expm1(-a) / a)      # log((1 - e^-a) / a)
        return self.logits * x - self.logits.clamp_min(0) - torch.where(size < 1e-2, small, log_ratio)

    @property
    def mean(self) -> Tensor:
        away = torch.where(self.logits.abs() < 1e-1, 1.0, self.logits)
        return torch.where(self.logits.abs() < 1e-1, 0.5 + self.logits / 12 - self.logits**3 / 720,
                           -1 / torch.expm1(-away) - 1 / away)

    def draw(self, noise: Noise) -> Tensor:
        """By the inverse of the distribution function, for the half where it cannot overflow, and its mirror image."""
        u = noise.uniform(tuple(self.logits.shape)).to(self.logits.dtype)
        up, a = self.logits > 0, -self.logits.abs().clamp_min(1e-4)                            # 1e-4: uniform, to 1e-5
        x = torch.log1p(torch.where(up, 1 - u, u) * torch.expm1(a)) / a
        return torch.where(up, 1 - x, x).clamp(0, 1)


@dataclass(frozen=True)
class Gaussian(Family):
    """A density on the reals, mean and scale of each number from the decoder; the scale is at least 0.01."""

    kinds = ("real", "unit")
    mu: Tensor
    scale: Tensor

    @classmethod
    def params(cls, spec: DataSpec) -> int:
        return 2

    @classmethod
    def of(cls, h: Tensor, spec: DataSpec) -> "Gaussian":
        mu, raw = _unbind(h, spec)
        return cls(mu, F.softplus(raw) + 0.01)              # without a floor a constant pixel has infinite density

    def element(self, x: Tensor) -> Tensor:
        return gaussian_log_prob(x, self.mu, 2 * self.scale.log())

    @property
    def mean(self) -> Tensor:
        return self.mu

    def draw(self, noise: Noise) -> Tensor:
        return self.mu + self.scale * noise.normal(tuple(self.mu.shape)).to(self.mu.dtype)


@dataclass(frozen=True)
class DiscretisedLogistic(Family):
    """Probability of the level v of x = v / (levels - 1): the logistic's mass within half a step of x, the end bins open.

        p(v) = sigmoid(b) - sigmoid(a),  a, b = (x -+ 1 / (2 (levels - 1)) - mu) / s;   a = -inf at v = 0, b = inf at the top

    `mean` is the location mu, which lies in [0, 1].
    Source: Salimans et al. 2017, eq. 2, for one component.  Departs from the paper: s >= exp(-7) as in its code.
    """

    kinds = ("byte",)
    mu: Tensor
    log_scale: Tensor
    levels: int

    @classmethod
    def params(cls, spec: DataSpec) -> int:
        return 2

    @classmethod
    def of(cls, h: Tensor, spec: DataSpec) -> "DiscretisedLogistic":
        mu, raw = _unbind(h, spec)
        return cls(mu.sigmoid(), (raw - 2).clamp_min(-7.0), spec.levels)

    def element(self, x: Tensor) -> Tensor:
        half, inv = 0.5 / (self.levels - 1), (-self.log_scale).exp()
        a, b = (x - half - self.mu) * inv, (x + half - self.mu) * inv
        below, above = F.logsigmoid(b), F.logsigmoid(-a)    # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - e^(a-b))
        log_gap = math.log(2 * half) - self.log_scale       # below e^-80 log(1 - e^-gap) is log gap
        gap = torch.log(-torch.expm1(-log_gap.clamp_min(-80).exp())) + (log_gap + 80).clamp_max(0)
        inside = below + above + gap
        return torch.where(x <= half, below, torch.where(x >= 1 - half, above, inside))

    @property
    def mean(self) -> Tensor:
        return self.mu

    @property
    def mode(self) -> Tensor:
        return self._level(self.mu)

    def draw(self, noise: Noise) -> Tensor:
        u = noise.uniform(tuple(self.mu.shape)).to(self.mu.dtype).clamp(1e-6, 1 - 1e-6)
        return self._level(self.mu + self.log_scale.exp() * torch.logit(u))

    def _level(self, x: Tensor) -> Tensor:
        return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)


@dataclass(frozen=True)
class Categorical(Family):
    """Tokens: logits (..., V)."""

    kinds = ("tokens",)
    logits: Tensor

    @classmethod
    def params(cls, spec: DataSpec) -> int:
        assert spec.vocabulary is not None
        return spec.vocabulary

    @classmethod
    def of(cls, h: Tensor, spec: DataSpec) -> "Categorical":
        return cls(full(h))

    def element(self, x: Tensor) -> Tensor:
        index = x.expand(self.logits.shape[:-1]).unsqueeze(-1)
        return self.logits.log_softmax(-1).gather(-1, index).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        return self.logits.argmax(-1)

    def draw(self, noise: Noise) -> Tensor:
        u = noise.uniform(tuple(self.logits.shape)).to(self.logits.dtype).clamp_min(1e-20)
        return (self.logits - (-u.log()).log()).argmax(-1)  # Gumbel's maximum


FAMILIES: dict[str, type[Family]] = {
    "bernoulli": Bernoulli, "continuous_bernoulli": ContinuousBernoulli, "gaussian": Gaussian,
    "discretised_logistic": DiscretisedLogistic, "categorical": Categorical,
}


def family(spec: DataSpec, name: str | None = None) -> type[Family]:
    """The likelihood of a kind of data, or the one named, if it is one of such data.

    Raises: LookupError for an unknown name; ValueError where it would not be normalised on such data.
    """
    if name is None:
        return next(f for f in FAMILIES.values() if spec.kind in f.kinds)
    if name not in FAMILIES:
        raise LookupError(f"unknown likelihood {name!r}{nearest(name, FAMILIES)}")
    chosen = FAMILIES[name]
    if spec.kind not in chosen.kinds:
        fitting = [n for n, f in FAMILIES.items() if spec.kind in f.kinds]
        raise ValueError(f"{name} is not a likelihood of {spec.kind} data (its values would be no bound on log p(x)); "
                         f"use {' or '.join(fitting)}")
    return chosen


def bits_per_dim(nats: float, dimensions: float) -> float:
    """nats for one example of so many dimensions -> bits per dimension."""
    return nats / (dimensions * math.log(2))


def _unbind(h: Tensor, spec: DataSpec) -> tuple[Tensor, ...]:
    return full(h).unbind(-1 - len(spec.shape))
