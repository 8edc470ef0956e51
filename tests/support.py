"""What tests share: data of every kind, small models of every variant, noise that can be held still.

Nothing here names a variant: which tests apply to which is read from `zoo.entry`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from zoo.noise import Default

SPECS = {
    "binary": zoo.DataSpec((1, 4, 4), "binary", classes=3),
    "byte": zoo.DataSpec((1, 4, 4), "byte", classes=3, levels=17),
    "unit": zoo.DataSpec((1, 4, 4), "unit", classes=3),
    "real": zoo.DataSpec((5,), "real", classes=3),
    "colour": zoo.DataSpec((2, 8, 8), "byte", classes=3),
    "binary-frames": zoo.DataSpec((5,), "binary", classes=3, max_length=6),
    "byte-frames": zoo.DataSpec((1, 2, 2), "byte", classes=3, max_length=6, levels=17),
    "real-frames": zoo.DataSpec((3,), "real", classes=3, max_length=6),
    "tokens": zoo.DataSpec((), "tokens", classes=3, max_length=6, vocabulary=5),
}
LOCAL = zoo.Entry("local", zoo.Variant, paper="a test", url="", equation="")                  # entry of a test's own variant
B, K = 7, 3                                                 # a prime that divides no other size here, and not K


@dataclass(frozen=True)
class Correlated:
    """N(mu, covariance), (..., D) and (..., D, D): a posterior, or a step's prior or posterior, as exact guides need."""

    mu: Tensor
    covariance: Tensor

    @property
    def mean(self) -> Tensor:
        return self.mu

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(self.mu, self.covariance).log_prob(z)

    def at(self, eps: Tensor) -> Tensor:
        return self.mu + (torch.linalg.cholesky(self.covariance) @ eps.unsqueeze(-1)).squeeze(-1)

    def pair(self, prior: Any, eps: Tensor) -> tuple[Tensor, None]:
        return self.at(eps), None

    def draw(self, prior: Any, k: int, noise: Any) -> tuple[Tensor, Tensor, Tensor]:
        z = self.at(noise.normal((k, *self.mu.shape)).to(self.mu.dtype))
        log_q = self.log_prob(z)
        return z, (log_q - prior.log_prob(z)).unsqueeze(-1), log_q


def kinds(name: str) -> list[str]:
    """The kinds of data that a variant takes."""
    return [kind for kind, spec in SPECS.items() if zoo.entry(name).why_not(spec) is None]


def forms(name: str) -> list[dict[str, Any]]:
    """Settings to test a variant at: its defaults, and each switch turned over."""
    switches = {key: value for key, value in zoo.entry(name).settings().items() if isinstance(value, bool)}
    return [{}, *({key: not value} for key, value in switches.items())]


def form_id(form: object) -> str:
    return ",".join(f"{k}={v}" for k, v in form.items()) if isinstance(form, dict) else str(form)


NAMES = zoo.list_variants()
CASES = [(name, kind) for name in NAMES for kind in kinds(name)]                                # every kind of data
FORMS = [(name, kinds(name)[0], form) for name in NAMES for form in forms(name)]               # every switch


def tagged(tag: str) -> list[str]:
    return [name for name in NAMES if tag in zoo.entry(name).tags]


def small(name: str, kind: "str | zoo.DataSpec", *, seed: int = 0, **settings: Any) -> Any:
    """A model of 4 latents and nets 16 wide; whatever else is counted by an integer is cut to 16, or to 4."""
    spec = SPECS[kind] if isinstance(kind, str) else kind
    settled = zoo.entry(name).settings().items()
    sizes = {key: 16 if value > 32 else 4 for key, value in settled if type(value) is int and value > 4}
    return zoo.create(name, spec, seed=seed, **{**sizes, "latent_dim": 4, "hidden": 16, **settings})


def perturbed(model: Any, scale: float = 0.4, seed: int = 0) -> Any:
    """Away from initialisation, where q is nearly the prior and a wrong KL looks right. In place; wide layers less."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            fan_in = p[0].numel() if p.dim() > 1 else 1
            p.add_(scale * min(1.0, 4 / math.sqrt(fan_in)) * torch.randn(p.shape, generator=generator))
    return model


def values(spec: zoo.DataSpec, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random numbers of a kind: (*shape, *spec.shape)."""
    u = torch.rand(*shape, *spec.shape, generator=generator)
    if spec.kind == "tokens":
        return (u * (spec.vocabulary or 0)).long()
    if spec.kind == "real":
        return 3 * u - 1
    if spec.kind == "unit":
        return u
    levels = 2 if spec.kind == "binary" else spec.levels
    return (u * levels).floor() / (levels - 1)


def examples(kind: "str | zoo.DataSpec", n: int = B, seed: int = 0, dtype: torch.dtype = torch.float32) -> zoo.Batch:
    """A batch with labels, and for sequences with lengths, the first of them full; 5 frames, one less than allowed."""
    spec = SPECS[kind] if isinstance(kind, str) else kind
    generator = torch.Generator().manual_seed(seed)
    frames = max((spec.max_length or 0) - 1, 1)
    x = values(spec, (n, frames) if spec.sequence else (n,), generator)
    lengths = torch.tensor([frames, *(1 + i % frames for i in range(1, n))]) if spec.sequence else None
    label = torch.arange(n) % spec.classes if spec.classes else None
    return zoo.Batch(x if spec.kind == "tokens" else x.to(dtype), label, lengths=lengths)


def dataset(kind: "str | zoo.DataSpec", n: int = 24) -> zoo.Dataset:
    """A data set of random examples: n to train on, 8 to validate, 8 to test."""
    spec = SPECS[kind] if isinstance(kind, str) else kind

    def split(n: int, seed: int) -> zoo.Split:
        batch = examples(spec, n, seed)
        return zoo.Split(batch.visible.x, batch.label, batch.lengths)

    return zoo.Dataset("random", spec, split(n, 1), split(8, 2), split(8, 3), note="random numbers")


def fit(model: Any = None, data: zoo.Dataset | None = None, **settings: Any) -> tuple[Any, Any]:
    """A small model after a quiet run of zoo.fit, and the run's result."""
    model = model or small("vae", "binary")
    quiet = {"batch_size": 8, "progress": False, "tensorboard": False}
    return model, zoo.fit(model, data or dataset("binary"), **{**quiet, **settings})


def weights(model: Any) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Log rows without what differs between equal runs."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def with_x(batch: zoo.Batch, x: Tensor) -> zoo.Batch:
    return zoo.Batch(x, batch.label, batch.observed, batch.lengths)


def take(batch: zoo.Batch, index: Any) -> zoo.Batch:
    """These examples of a batch."""
    return zoo.Batch(*(None if c is None else c[index] for c in (batch.x, batch.label, batch.observed, batch.lengths)))


def other(spec: zoo.DataSpec, x: Tensor) -> Tensor:
    """Valid data, different from x in every number."""
    if spec.kind == "tokens":
        return (x + 1) % (spec.vocabulary or 1)
    return x + 1 if spec.kind == "real" else torch.where(x > 0.5, 0.0, 1.0).to(x.dtype)


class Recorded(Default):
    """Noise that remembers what it gave, so that `replay` can give the same rows of a batch of B the same numbers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__("cpu")
        self.generator, self.sites = torch.Generator().manual_seed(seed), []

    def _next(self) -> torch.Generator:
        return self.generator

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return self._kept(super().normal(shape))

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return self._kept(super().uniform(shape))

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        return self._kept(super().integers(high, shape))

    def _kept(self, drawn: Tensor) -> Tensor:
        self.sites.append(drawn)
        return drawn

    def replay(self, rows: Tensor | None = None) -> "Given":
        rows = torch.arange(B) if rows is None else rows
        return Given(lambda site, shape: _fitted(_rows(self.sites[site], rows), shape))


class Given(Default):
    """Noise of the test's choosing: draw(site, shape) for normal and uniform numbers alike."""

    def __init__(self, draw: Callable[[int, tuple[int, ...]], Tensor]) -> None:
        super().__init__("cpu")
        self.draw, self.site = draw, -1

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        self.site += 1
        return self.draw(self.site, tuple(shape))

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return self.normal(shape)

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        return self.normal(shape)


class NoHostReads(TorchDispatchMode):
    """Fails where a value, or a shape that depends on values, would be read on the host: on a GPU each waits for the device."""

    READS: ClassVar = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal", "allclose", "bincount",
                       "_unique2", "unique_dim", "unique_consecutive", "lift_fresh"}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        assert name not in self.READS, f"{name} reads on the host"
        if name in ("index", "index_put", "index_put_"):
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), "an index by a mask reads its count"
        return func(*args, **(kwargs or {}))


def _rows(drawn: Tensor, rows: Tensor) -> Tensor:
    """These examples' part of a draw for B: along the one axis whose size is a multiple of B (sample-major)."""
    (axis,) = [i for i, n in enumerate(drawn.shape) if n % B == 0]
    return drawn.unflatten(axis, (-1, B)).index_select(axis + 1, rows).flatten(axis, axis + 1)


def _fitted(drawn: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The draw cut, or continued by other noise, to `shape`: for batches padded to another length."""
    out = torch.full(shape, 0.7).to(drawn.dtype)
    inner = tuple(slice(min(a, b)) for a, b in zip(drawn.shape, shape, strict=True))
    out[inner] = drawn[inner]
    return out


def cubature(dimensions: int) -> Tensor:
    """2n points (2n, n) with mean 0 and covariance I exactly: averages of quadratic functions over N(0, I) have no error."""
    points = math.sqrt(dimensions) * torch.eye(dimensions, dtype=torch.float64)
    return torch.cat([points, -points])


def standard_error(samples: Tensor, dim: int = 0) -> Tensor:
    return samples.std(dim) / math.sqrt(samples.shape[dim])
