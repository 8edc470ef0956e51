"""The Fréchet distance between two Gaussians fitted to features. Everything in float64.

    d = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2

No matrix square root of a product: C1 C2 is not symmetric, and general square roots lose half the digits where a covariance
is singular. Source: Dowson & Landau 1982; Heusel et al. 2017, eq. 6.
"""

import torch
from torch import Tensor


def distance(x: Tensor, y: Tensor) -> float:
    """Between features x (N,d) and y (M,d); exact for singular covariances too.

    Raises: ValueError for features of different width, or for fewer than two examples.
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"features are {tuple(x.shape)} and {tuple(y.shape)}; expected (N,d) and (M,d), N and M at least 2")
    return float(from_factors(x, y) if min(len(x), len(y)) <= x.shape[1] else from_moments(*moments(x), *moments(y)))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d,d)."""
    x = x.double()
    return x.mean(0), torch.cov(x.mT)


def from_moments(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> Tensor:
    """By eigenvalues of symmetric matrices: with C1 = s s', those of C1 C2 are those of s' C2 s."""
    values, vectors = torch.linalg.eigh(c1)
    s = vectors * values.clamp_min(0).sqrt()
    product = s.mT @ c2 @ s
    root = torch.linalg.eigvalsh((product + product.mT) / 2).clamp_min(0).sqrt().sum()
    return ((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * root).clamp_min(0)


def from_factors(x: Tensor, y: Tensor) -> Tensor:
    """From features, without a covariance: with C1 = a'a and C2 = b'b the root's trace is the sum of singular values of a b'.

    For fewer examples than dimensions, where eigenvalues that should be 0 come out as roots of rounding errors.
    """
    a, b = _factor(x), _factor(y)
    root = torch.linalg.svdvals(a @ b.mT).sum()
    shift = x.double().mean(0) - y.double().mean(0)
    return (shift.square().sum() + a.square().sum() + b.square().sum() - 2 * root).clamp_min(0)


def _factor(x: Tensor) -> Tensor:
    """A matrix of at most d rows whose square is the covariance."""
    centred = (x.double() - x.double().mean(0)) / (len(x) - 1) ** 0.5
    return centred if len(x) <= x.shape[1] else torch.linalg.qr(centred, mode="r")[1]
