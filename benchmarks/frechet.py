"""The Fréchet distance between two Gaussians fitted to features. Everything in float64.

    d = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2

No matrix square root of a product: C1 C2 is not symmetric, and general square roots lose half the digits where a covariance
is singular. Source: Dowson & Landau 1982; Heusel et al. 2017, eq. 6.
"""

import torch
from torch import Tensor

Moments = tuple[Tensor, Tensor]                             # mean (d,), covariance (d,d)
MOST_PARTS = 15                                             # into which `extrapolated` divides its examples
LEAST = 5                                                   # times d examples in each: below, the bias is not yet linear in 1/n


def distance(x: Tensor, y: Tensor, known: Moments | None = None) -> float:
    """Between features x (N,d) and y (M,d); exact for singular covariances too. `known`: the moments of y, if at hand.

    Raises: ValueError for features of different width, or for fewer than two examples.
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"features are {tuple(x.shape)} and {tuple(y.shape)}; expected (N,d) and (M,d), N and M at least 2")
    if min(len(x), len(y)) <= x.shape[1]:
        return float(from_factors(x, y))
    return float(from_moments(*moments(x), *(known or moments(y))))


def moments(x: Tensor) -> Moments:
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


def standard_error(x: Tensor, known: Moments) -> float:
    """Of the distance, over the choice of the examples x (N,d); the moments of the other side are taken as given.

        sd(psi(x_i)) / sqrt(N),    psi(x) = 2 (m1 - m2)'(x - m1) + |x - m1|^2 - u' R u

    psi, up to a constant, is the distance's derivative towards a point mass at x: with C1 = s s', u = s^-1 (x - m1) and
    R = (s' C2 s)^1/2.
    Source: the Bures metric's gradient, I less the transport map, Bhatia, Jain & Lim 2019; the delta method.
    """
    m1, (m2, c2) = x.double().mean(0), known
    _, deviations, axes = torch.linalg.svd(_factor(x), full_matrices=False)             # C1 = axes' deviations^2 axes
    seen = deviations > len(deviations) * torch.finfo(torch.float64).eps * deviations[0]
    s, inverse = axes[seen].mT * deviations[seen], axes[seen].mT / deviations[seen]
    squares, basis = torch.linalg.eigh(s.mT @ c2 @ s)
    centred = x.double() - m1
    rooted = centred @ inverse @ basis * squares.clamp_min(0) ** 0.25                   # |.|^2 = u' R u
    psi = 2 * centred @ (m1 - m2) + centred.square().sum(1) - rooted.square().sum(1)
    return float(psi.std() / len(x) ** 0.5)


def parts(n: int, d: int) -> int:
    """Into how many parts `extrapolated` divides n examples of d features, at most; 2 points make no fit."""
    return min(MOST_PARTS, n // (LEAST * d))


def extrapolated(x: Tensor, known: Moments) -> tuple[float, float]:
    """The distance for infinitely many examples x, and the standard error of its fit.

    Distances at N/b examples, b = 1 .. 15 (or as many as leave 5 d), each the mean of all b parts of x; a straight line in
    b/N, by least squares; its value at 0. It may be below 0: only a bias of order 1/N^2 is left.
    Source: Chong & Forsyth 2020, FID-infinity. Departs: they draw a random subset for each of 15 sizes; here every size uses
    every example once, so that an unlucky subset has no leverage.
    Raises: ValueError for fewer than 15 d examples.
    """
    most = parts(*x.shape)
    if most < 3:
        raise ValueError(f"{len(x)} examples of {x.shape[1]} features; at least {3 * LEAST * x.shape[1]} are needed")
    b = torch.arange(1, most + 1, dtype=torch.float64)
    distances = torch.stack([torch.stack([from_moments(*moments(x[i::n]), *known) for i in range(n)]).mean()
                             for n in range(1, most + 1)])
    centred = b - b.mean()
    slope = (centred @ distances) / centred.square().sum()
    intercept = distances.mean() - slope * b.mean()
    variance = (distances - intercept - slope * b).square().sum() / (most - 2)
    return float(intercept), float((variance * (1 / most + b.mean() ** 2 / centred.square().sum())).sqrt())
