"""Where random numbers come from. A noise object is handed to whatever draws; nothing else in the zoo draws.

Noise is a function of (seed, step, site, element), never of hidden generator state: each draw takes the next *site*, so that
a resumed run, a replica and a single run see the same numbers. Two backends say so in different ways:

    Generated   torch's generator, reseeded from (seed, step) and site: the fast one in eager mode on a CPU
    Philox      counter-based words (kernels.philox): the same numbers on every device, and the seed of the fused kernels

`Default` is torch's global generator, for calls that bring no noise. A program that cannot hold a generator, such as a compiled
step, is given numbers drawn ahead: `Asked` learns what it will ask for, `ahead` draws that, `Given` hands it out.
"""

import math
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from kernels import philox

MASK63 = (1 << 63) - 1


class Noise(Protocol):
    """What an assembly, a data set or a critic may ask for; float32 (int64 for indices) on the noise's own device."""

    def normal(self, shape: tuple[int, ...]) -> Tensor: ...
    def uniform(self, shape: tuple[int, ...]) -> Tensor: ...
    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor: ...
    def permutation(self, n: int) -> Tensor: ...
    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        """(eps, seed) for one `kernels.reparam_kl` of z's shape (K,B,D): the noise itself, its seed, or neither."""


def fold(seed: int, *data: int) -> int:
    """A 63-bit key from a seed and counters (splitmix64 rounds), so that neighbouring seeds share no stream."""
    key = seed
    for value in data:
        key = (key + 0x9E3779B97F4A7C15 * (value + 1)) & 0xFFFFFFFFFFFFFFFF
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        key ^= key >> 31
    return key & MASK63


class Default:
    """torch's global generator of the device: reproducible through `torch.manual_seed`."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, device=self.device, generator=self._next())

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, device=self.device, generator=self._next())

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(high, shape, device=self.device, generator=self._next())

    def permutation(self, n: int) -> Tensor:
        return torch.randperm(n, device=self.device, generator=self._next())

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        return (self.normal(shape), None) if self.device.type == "cpu" else (None, None)

    def _next(self) -> torch.Generator | None:
        return None


class Generated(Default):
    """torch's generator, seeded anew for every site from (seed, step, site)."""

    def __init__(self, seed: int, step: int = 0, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self.key, self.site = fold(seed, step), 0
        self._generator = torch.Generator(device=self.device)

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        return self.normal(shape), None

    def _next(self) -> torch.Generator:
        self.site += 1
        return self._generator.manual_seed(fold(self.key, self.site))


class Philox:
    """Counter-based noise. `key` is a 0-dim int64 tensor: it stays on its device, and vmap may map it.

    fused    whether kernels make a latent's noise themselves from its seed; the numbers are the same
    """

    def __init__(self, key: Tensor, fused: bool = True) -> None:
        self.key, self.site, self.fused = key, 0, fused

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        seed = self._seed()
        return (None, seed) if self.fused else (latent_noise(seed, shape), None)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return philox.normal(self._seed(), (1, 1, torch.Size(shape).numel())).view(shape)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return philox.uniform(self._seed(), (1, 1, torch.Size(shape).numel())).view(shape)

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        return (self.uniform(shape) * high).long().clamp_max(high - 1)

    def permutation(self, n: int) -> Tensor:
        return self.uniform((n,)).argsort()

    def _seed(self) -> Tensor:
        self.site += 1
        return torch.stack([self.key, torch.full_like(self.key, self.site)])


def latent_noise(seed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The noise (K,B,..,D) that a fused kernel makes from a latent's seed."""
    return philox.normal(seed, (shape[0], math.prod(shape[1:-1]), shape[-1])).view(shape)


class Asked(Default):
    """Noise without chance that notes what it is asked for: (method, its arguments) of each draw."""

    def __init__(self, device: torch.device | str) -> None:
        super().__init__(device)
        self.sites: list[tuple[str, tuple[Any, ...]]] = []

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return self._note(torch.zeros(shape, device=self.device), "normal", tuple(shape))

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return self._note(torch.full(shape, 0.5, device=self.device), "uniform", tuple(shape))

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        return self._note(torch.zeros(shape, dtype=torch.int64, device=self.device), "integers", high, tuple(shape))

    def permutation(self, n: int) -> Tensor:
        return self._note(torch.arange(n, device=self.device), "permutation", n)

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        return self._note(torch.zeros(shape, device=self.device), "latent", tuple(shape)), None

    def _note(self, drawn: Tensor, method: str, *arguments: Any) -> Tensor:
        self.sites.append((method, arguments))
        return drawn


def ahead(noise: Noise, sites: Iterable[tuple[str, tuple[Any, ...]]]) -> list[Tensor]:
    """What the noise would give at each site in turn; noise itself for latents, never a seed."""
    drawn = (getattr(noise, method)(*arguments) for method, arguments in sites)
    return [d[0] if isinstance(d, tuple) else d for d in drawn]


class Given:
    """Numbers drawn ahead, handed out in their order."""

    def __init__(self, drawn: list[Tensor]) -> None:
        self.drawn, self.site = drawn, -1

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return self._next()

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return self._next()

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        return self._next()

    def permutation(self, n: int) -> Tensor:
        return self._next()

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        return self._next(), None

    def _next(self) -> Tensor:
        self.site += 1
        return self.drawn[self.site]


def keyed(seed: int, step: int, device: torch.device, kind: str = "auto") -> Noise:
    """The noise of one step: torch's generator on a CPU, where it is fastest, but for the kind "philox"; Philox where kernels
    are fused."""
    cpu = device.type == "cpu"
    if cpu and kind == "auto":
        return Generated(seed, step, device)
    return Philox(step_key(seed, step, device), fused=not cpu)


def step_key(seed: int, step: int, device: torch.device) -> Tensor:
    """Of the Philox noise of one step."""
    return torch.full((), fold(seed, step), dtype=torch.int64, device=device)              # a fill: no copy to wait for
