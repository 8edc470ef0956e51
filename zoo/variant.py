"""The contract every variant keeps, and the assembly of those that draw their latents at once.

Letters: B batch, K samples, D latent dimensions, G groups of latents (dimensions, levels or time steps), T time, N = K * B.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from torch import Tensor, nn

from . import nets
from .distributions import DiagonalGaussian, Posterior, Prior, StandardNormal
from .likelihoods import Likelihood, family
from .noise import Default, Noise
from .spec import DataSpec

if TYPE_CHECKING:
    from .registry import Entry


@dataclass(frozen=True)
class Batch:
    """Examples and what is known about them. Padding and missing entries of x may hold anything."""

    x: Tensor | None = None                                 # (B,*shape); sequences (B,T,*frame); tokens int64
    label: Tensor | None = None                             # (B,) int64
    observed: Tensor | None = None                          # bool, shape of x; False: missing
    lengths: Tensor | None = None                           # (B,) int64; sequences only

    @property
    def given(self) -> "Batch":
        """What the generative side may see: everything but the data, so that no input can leak into generation."""
        return replace(self, x=None, observed=None)

    @property
    def visible(self) -> "Batch":
        """What the inference side may see: x is zero where missing or past the end."""
        mask, x = self.mask, self.x
        if mask is None or x is None:
            return self
        return replace(self, x=torch.where(mask, x, torch.zeros_like(x)))       # where, not *: NaN * 0 is NaN

    @property
    def mask(self) -> Tensor | None:
        """bool, broadcasts to x; None when everything counts."""
        if self.lengths is None or self.x is None:
            return self.observed
        inside = self.inside(self.x.shape[1])
        inside = inside.view(*inside.shape, *[1] * (self.x.dim() - 2))
        return inside if self.observed is None else inside & self.observed

    def inside(self, t_max: int) -> Tensor:
        """(B,T) bool: not past the end."""
        if self.lengths is None:
            assert self.x is not None
            return torch.ones(len(self.x), t_max, dtype=torch.bool, device=self.x.device)
        return torch.arange(t_max, device=self.lengths.device) < self.lengths[:, None]

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(*(None if v is None else v.to(device) for v in (self.x, self.label, self.observed, self.lengths)))


def within(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (B,T,*frame), zero past the end; as it is where there are no lengths."""
    visible = Batch(x=x, lengths=lengths).visible.x
    assert visible is not None
    return visible


def check_sizes(**sizes: int) -> None:
    """Raises: ValueError naming the setting that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


@dataclass(frozen=True)
class Terms:
    """One forward pass, in nats and per example. The harness reads these, never the loss."""

    batch: Batch
    z: Tensor                                               # (K,B,D); a latent a step: (K,B,T,D)
    q: Any
    nll: Tensor                                             # (K,B)    -log p(x|z)
    kl: Tensor                                              # (K,B,G)  of each group; closed form where there is one
    log_w: Tensor                                           # (K,B)    log p(x,z) - log q(z|x)

    @property
    def elbo(self) -> Tensor:
        """(B,): E_q log p(x|z) - KL(q || p) <= log p(x)."""
        return -(self.nll + self.kl.sum(-1)).mean(0)

    @property
    def iwae(self) -> Tensor:
        """(B,): log 1/K sum_k w_k, between the ELBO and log p(x).  Source: Burda et al. 2016, eq. 8."""
        return self.log_w.logsumexp(0) - math.log(len(self.log_w))

    def tempered(self, weight: Tensor | float) -> "Terms":
        """The same terms with the latents' cost weighed: what a warm-up hands to `objective`, and no metric sees."""
        return replace(self, kl=weight * self.kl, log_w=weight * (self.log_w + self.nll) - self.nll)


@dataclass(frozen=True)
class Joint:
    """p(x, z) of a batch, for inference by other means than the model's own q. Log-densities are (K,B), in nats."""

    batch: Batch                                            # x is zero where missing or past the end
    prior: Prior
    likelihood: Callable[[Tensor], Likelihood]              # of z (K,B,D)

    def log_likelihood(self, z: Tensor) -> Tensor:
        """log p(x|z)"""
        assert self.batch.x is not None
        return self.likelihood(z).log_prob(self.batch.x, self.batch.mask)


class Contract(nn.Module, ABC):
    """What the trainer, the harness and the battery rely on, whichever assembly is below. Builds no nets."""

    entry: ClassVar["Entry"]                                # set by @register
    train_samples: int = 1                                  # K of a training step
    spec: DataSpec
    latent_dim: int
    settings: dict[str, Any]                                # set by create: what rebuilds this model

    @abstractmethod
    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        """(B,), minimised. `step` is a 0-dim tensor: schedules use clamp and where, never min or if."""

    @abstractmethod
    def forward(self, batch: Batch, k: int | None = None, noise: Noise | None = None) -> Terms: ...

    def joint(self, batch: Batch) -> Joint | None:
        """p(x, z) for any z (K,B,D); None where z is not drawn at once."""
        return None

    def adversary_loss(self, terms: Terms, noise: Noise) -> Tensor | None:
        """What a critic, kept in `self.adversary`, minimises; only its parameters follow it, and only they do not follow
        `objective`."""
        return None

    def updated_buffers(self, terms: Terms) -> dict[str, Tensor]:
        """Buffers' values after this training step (moving averages): returned, so that no forward pass changes state."""
        return {}

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """Posterior means (B,D); of models with a latent a step (B,T,D)."""

    @abstractmethod
    def decode(self, z: Tensor, label: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """z (N,D) -> mean of p(x|z), (N,*shape)."""

    @abstractmethod
    def sample(self, n: int, *, label: Tensor | None = None, lengths: Tensor | None = None, noise: Noise | None = None,
               observe: bool = False) -> Tensor: ...

    @abstractmethod
    def reconstruct(self, batch: Batch) -> Tensor:
        """Mean of p(x|z) at the posterior's mean, like batch.x."""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def conditions(self, n: int, label: Tensor | None, lengths: Tensor | None, noise: Noise) -> Batch:
        """What n new examples are given: labels drawn uniformly where the model wants some and none are named.

        Raises: ValueError for labels or lengths of another number or out of range.
        """
        if n < 1:
            raise ValueError(f"n is {n}; at least 1 sample must be asked for")
        if label is None and "conditional" in self.entry.tags:
            label = noise.integers(self.spec.classes or 1, (n,))
        longest = self.spec.max_length or 0
        for what, v, low, high in (("label", label, 0, (self.spec.classes or 1) - 1), ("lengths", lengths, 1, longest)):
            if v is not None and (v.shape != (n,) or bool(((v < low) | (v > high)).any())):
                raise ValueError(f"{what} is {v.tolist()}; expected {n} numbers in {low} .. {high}")
        return Batch(label=label, lengths=lengths)


class Variant(Contract):
    """z is drawn at once: q(z|x), p(z), p(x|z). Override the parts; the assembly is final.

    Settings every variant has: `latent_dim`; `hidden`, the width of its nets; `net`, "auto" or a name of zoo.nets; `encoder`,
    `decoder`, own modules in their place; `likelihood`, a name of zoo.likelihoods in place of the data kind's own.
    For subclasses: `condition`, how many numbers the nets are told besides x and z; `code`, how many the encoder gives.
    """

    def __init__(self, condition: int = 0, code: int | None = None, /, *, spec: DataSpec, latent_dim: int = 16,
                 hidden: int = 256, net: str = "auto", encoder: nn.Module | None = None, decoder: nn.Module | None = None,
                 likelihood: str | None = None) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, hidden=hidden)
        self.spec, self.latent_dim, self.family = spec, latent_dim, family(spec, likelihood)
        code = 2 * latent_dim if code is None else code
        self.encoder = encoder or nets.encoder(net, spec, code, hidden, condition)
        self.decoder = decoder or nets.decoder(net, spec, latent_dim + condition, self.family.params(spec), hidden)

    # -- the parts ------------------------------------------------------------------------------------------------------
    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x); batch.x is zero where missing or past the end."""
        return DiagonalGaussian.of(self.encoder(batch.x))

    def prior(self, given: Batch) -> Prior:
        """p(z), or p(z|label)."""
        return StandardNormal(self.latent_dim)

    def likelihood(self, z: Tensor, given: Batch) -> Likelihood:
        """p(x|z) for z (K,B,D)."""
        return self.emit(z)

    def emit(self, h: Tensor) -> Likelihood:
        """Decoder and likelihood for inputs (K,B,.)."""
        return self.family.of(self.decoder(h.flatten(0, 1)).unflatten(0, h.shape[:2]), self.spec)

    # -- the assembly ---------------------------------------------------------------------------------------------------
    @final  # type: ignore[misc]
    def forward(self, batch: Batch, k: int | None = None, noise: Noise | None = None) -> Terms:
        self.spec.check_form(batch)
        p = self.joint(batch)
        assert p.batch.x is not None
        q = self.posterior(p.batch)
        z, kl, log_q = q.draw(p.prior, self.train_samples if k is None else k, noise or Default(p.batch.x.device))
        log_px = p.log_likelihood(z)
        return Terms(batch, z, q, -log_px, kl, log_px + p.prior.log_prob(z) - log_q)

    @final
    def joint(self, batch: Batch) -> Joint:
        given = batch.given
        return Joint(batch.visible, self.prior(given), lambda z: self.likelihood(z, given))

    @final
    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        self.spec.check(batch)
        return self.posterior(batch.visible).mean

    @final
    @torch.no_grad()
    def decode(self, z: Tensor, label: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        given = self.conditions(len(z), label, lengths, Default(z.device))
        return within(self.likelihood(z.unsqueeze(0), given).mean[0], given.lengths)

    @final
    @torch.no_grad()
    def sample(self, n: int, *, label: Tensor | None = None, lengths: Tensor | None = None, noise: Noise | None = None,
               observe: bool = False) -> Tensor:
        """n new examples: the mean of p(x|z) at z ~ p(z); with `observe`, and for sequences always, a draw from p(x|z).

        Raises: ValueError for labels or lengths that do not fit.
        """
        noise = noise or Default(self.device)
        given = self.conditions(n, label, lengths, noise)
        p = self.likelihood(self.prior(given).sample(n, noise).unsqueeze(0), given)
        return within((p.draw(noise) if observe or self.spec.sequence else p.mean)[0], given.lengths)

    @final
    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        self.spec.check(batch)
        z = self.posterior(batch.visible).mean
        return within(self.likelihood(z.unsqueeze(0), batch.given).mean[0], batch.lengths)
