"""Is noise (K, B, D) standard normal, and independent along every axis? On a CPU and a GPU alike: needs nothing but torch."""

import math

import torch
from torch import Tensor

LIMIT = 4.5                                                 # standard errors: one good generator in 100,000 fails a check
KOLMOGOROV = 2.4                                            # sqrt(n) D is above it once in 50,000, by 2 exp(-2 x^2)
LAGS = (1, 2, 3, 4)                                         # one call of Philox makes four neighbours


def assert_standard_normal(eps: Tensor) -> None:
    """Moments, Kolmogorov-Smirnov, and correlations of neighbours and of their squares along k, b and d."""
    eps = eps.double()
    n = eps.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        off = float((eps**power).mean() - moment) / math.sqrt(variance / n)
        assert abs(off) < LIMIT, f"moment {power} is {off:.1f} standard errors off"
    distance = math.sqrt(n) * kolmogorov_smirnov(eps)
    assert distance < KOLMOGOROV, f"the distribution is off: sqrt(n) D is {distance:.2f}"
    for axis, name in enumerate("kbd"):
        for lag in (lag for lag in LAGS if lag < eps.shape[axis]):
            for what, x in (("numbers", eps), ("squares", (eps.square() - 1) / math.sqrt(2))):
                off = float((x * x.roll(lag, axis)).mean()) * math.sqrt(n)
                assert abs(off) < LIMIT, f"{what} {lag} apart along {name} are correlated: {off:.1f} standard errors"


def kolmogorov_smirnov(x: Tensor) -> float:
    """The greatest distance between the empirical distribution and the normal one."""
    n = x.numel()
    exact = torch.special.ndtr(x.flatten().sort().values)
    steps = torch.arange(n + 1, dtype=x.dtype, device=x.device) / n
    return float(torch.maximum(steps[1:] - exact, exact - steps[:-1]).max())
