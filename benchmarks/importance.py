"""Importance-weighted bounds on log p(x) from weights that come in pieces: some numbers for each example, whatever K.

    L_k = log 1/k sum_i w_i <= log p(x) in expectation,  w_i = p(x, z_i) / q(z_i|x),  z_i ~ q          Burda et al. 2016, eq. 8

All bounds at K = 1, 10, 50, .. are read off one stream of weights. Each is kept twice, over the samples of even and of odd
number: two independent bounds, whose difference gives the Monte-Carlo error.

Samples are drawn in units that have noise of their own, and decoded as many units at once as is fastest: so the k-th sample is
the same whatever K and however they are cut, and what is computed of it too, up to the rounding of matrix products.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

import zoo
from zoo.noise import Noise

UNIT = 50                                                   # samples that have a noise of their own
GPU_UNIT = 1000                                             # where few cost as much as many; one at a time, by the fused kernel
LADDER = (1, 10, 50, 100, 500, 1000, 5000)


def ladder(k: int) -> list[int]:
    """The usual K up to k, and k itself."""
    return [*(step for step in LADDER if step < k), k]


@dataclass
class LogMeanExp:
    """log 1/k sum_i w_i of log-weights that come in pieces: sums of w and w^2, in float64, as logarithms (B,)."""

    k: int = 0
    total: Tensor = field(default_factory=lambda: torch.tensor(-math.inf, dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.tensor(-math.inf, dtype=torch.float64))

    def add(self, log_w: Tensor) -> None:
        """log_w (k,B), float64"""
        self.k += len(log_w)
        self.total = torch.logaddexp(self.total, log_w.logsumexp(0))
        self.squares = torch.logaddexp(self.squares, (2 * log_w).logsumexp(0))

    def __add__(self, other: "LogMeanExp") -> "LogMeanExp":
        return LogMeanExp(self.k + other.k, torch.logaddexp(self.total, other.total),
                          torch.logaddexp(self.squares, other.squares))

    @property
    def value(self) -> Tensor:
        """-inf before there are any."""
        return self.total - math.log(max(self.k, 1))

    @property
    def ess(self) -> Tensor:
        """The effective sample size (sum w)^2 / sum w^2, between 1 and k.  Source: Kong 1992."""
        return (2 * self.total - self.squares).exp()


@dataclass(frozen=True)
class Bounds:
    """Bounds of n examples at each of `ks`, on the CPU.

    `variance` is that of the Monte-Carlo noise of each L_k, (a - b)^2 / 4 of its halves a and b: unbiased for their mean.
    For L_k itself it holds where the noise falls as 1/k, and for few effective samples, where the delta method's 1/ESS - 1/k
    is far too small, it still sees the spread. Infinite at k = 1, which has one half only.
    """

    ks: Sequence[int]
    log_p: Tensor                                           # (len(ks), n) nats
    variance: Tensor                                        # (len(ks), n)
    ess: Tensor                                             # (n,) at the last k

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All but `ks`: those of several examples are joined along the last axis."""
        return self.log_p, self.variance, self.ess

    def mc(self, i: int) -> float | None:
        """The Monte-Carlo error of the mean over examples of the bound at ks[i]; None where it is unknown."""
        error = float(self.variance[i].sum().sqrt()) / self.variance.shape[1]
        return error if math.isfinite(error) else None


class Together:
    """The noise of several units of `size` samples of one example as one: each part makes what its own samples see.

    Samples lie on the last axis that is as long as all of them, the innermost apart, which belongs to the latents: (K,B,D),
    (T,K,D). A draw that has no such axis is the first part's.
    """

    def __init__(self, parts: Sequence[Noise], size: int) -> None:
        self.parts, self.size = parts, size

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return self._joined(shape, lambda part, its: part.normal(its))

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return self._joined(shape, lambda part, its: part.uniform(its))

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        return self._joined(shape, lambda part, its: part.integers(high, its))

    def permutation(self, n: int) -> Tensor:
        return self.parts[0].permutation(n)

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        return self.parts[0].latent(shape) if len(self.parts) == 1 else (self.normal(shape), None)

    def _joined(self, shape: tuple[int, ...], draw: Callable[[Noise, tuple[int, ...]], Tensor]) -> Tensor:
        n = len(self.parts) * self.size
        axes = [axis for axis, length in enumerate(shape[:-1]) if length == n]
        if not axes:
            return draw(self.parts[0], shape)
        its = (*shape[:axes[-1]], self.size, *shape[axes[-1] + 1:])
        return torch.cat([draw(part, its) for part in self.parts], axes[-1])


def log_weights(model: zoo.Contract, batch: zoo.Batch, noise: Callable[[int], Noise], k: int, rows: int) -> Iterator[Tensor]:
    """log w (.,1) of k samples of one example, and of those that fill the last unit; `rows` of them at once, at least a unit.

    `noise` is that of the i-th unit. The encoder is run once: later samples come from the q of the first, and from p(x,z).
    A model with a latent a step, whose q is made along with the samples, is run anew for every piece.
    """
    size, at_once = (UNIT, max(1, rows // UNIT)) if model.device.type == "cpu" else (GPU_UNIT, 1)
    units, joint, q = range(-(-k // size)), model.joint(batch), None
    for start in units[::at_once]:
        part = Together([noise(unit) for unit in units[start:start + at_once]], size)
        n = len(part.parts) * size
        if joint is None or q is None:
            terms = model(batch, n, part)
            q = terms.q
            yield terms.log_w
        else:
            z, _, log_q = q.draw(joint.prior, n, part)
            yield joint.log_likelihood(z) + joint.prior.log_prob(z) - log_q


def stream(pieces: Iterable[Tensor], ks: Sequence[int]) -> Bounds:
    """Bounds at `ks`, ascending, from log-weights in pieces (c,B), of which as many are taken as are needed.

    What a piece holds past the last k is dropped: L_k depends on the first k weights and on nothing else.
    """
    even, odd, found, done = LogMeanExp(), LogMeanExp(), [], 0
    for piece in pieces:
        log_w = piece.double().cpu()                        # many small sums: not for a GPU
        last = min(done + len(log_w), ks[-1])
        for start, end in pairwise([done, *(k for k in ks if done < k < last), last]):
            part = log_w[start - done:end - done]
            even.add(part[start % 2::2])
            odd.add(part[1 - start % 2::2])
            if end in ks:
                found.append(((even + odd).value, (even.value - odd.value).square() / 4))
        done = last
        if done == ks[-1]:
            break
    assert done == ks[-1], f"{done} weights for a bound of {ks[-1]}"
    log_p, variance = (torch.stack(rows) for rows in zip(*found, strict=True))
    return Bounds(ks, log_p, variance, (even + odd).ess)
