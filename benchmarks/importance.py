"""Importance-weighted bounds on log p(x) from weights that come in pieces: some numbers for each example, whatever K.

    L_k = log 1/k sum_i w_i <= log p(x) in expectation,  w_i = p(x, z_i) / q(z_i|x),  z_i ~ q          Burda et al. 2016, eq. 8

All bounds at K = 1, 10, 50, .. are read off one stream of weights. Each is kept twice, over the samples of even and of odd
number: two independent bounds, whose difference gives the Monte-Carlo error.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

UNIT = 50                                                   # samples drawn at once: what has a noise of its own
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
        """log_w (k,B)"""
        log_w = log_w.double()
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

    @classmethod
    def of(cls, parts: Iterable["Bounds"]) -> "Bounds":
        """Those of the examples of all parts."""
        parts = list(parts)
        return cls(parts[0].ks, *(torch.cat([getattr(p, name) for p in parts], -1) for name in ("log_p", "variance", "ess")))

    def mc(self, i: int) -> float | None:
        """The Monte-Carlo error of the mean over examples of the bound at ks[i]; None where it is unknown."""
        error = float(self.variance[i].sum().sqrt()) / self.variance.shape[1]
        return error if math.isfinite(error) else None


def stream(pieces: Iterable[Tensor], ks: Sequence[int]) -> Bounds:
    """Bounds at `ks`, ascending, from log-weights in pieces (c,B), of which as many are taken as are needed.

    What a piece holds past the last k is dropped: L_k depends on the first k weights and on nothing else.
    """
    even, odd, found, done = LogMeanExp(), LogMeanExp(), [], 0
    for log_w in pieces:
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
    log_p, variance = (torch.stack(rows).cpu() for rows in zip(*found, strict=True))
    return Bounds(ks, log_p, variance, (even + odd).ess.cpu())
