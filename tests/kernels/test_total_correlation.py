"""total_correlation against torch.distributions, and against a case whose total correlation is known."""

import math

import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close

from kernels import total_correlation


def test_by_distributions():
    z, mu, logvar = torch.randn(4, 3).double(), torch.randn(6, 3).double(), torch.randn(6, 3).double()
    joint, marginals = total_correlation(z, mu, logvar)
    each = torch.stack([Normal(mu, (logvar / 2).exp()).log_prob(row) for row in z])         # (4, 6, 3)
    assert_close(joint, each.sum(2).exp().sum(1).log())
    assert_close(marginals, each.exp().sum(1).log().sum(1))


def test_correlated_codes_have_the_known_total_correlation():
    """q(z) of many narrow Gaussians on points of N(0, [[1, r], [r, 1]]): TC is -1/2 log(1 - r^2), here 0.511 nats."""
    n, r, spread = 4000, 0.8, 0.02
    points = torch.randn(n, 2, dtype=torch.float64)
    points[:, 1] = r * points[:, 0] + math.sqrt(1 - r**2) * points[:, 1]
    logvar = torch.full_like(points, 2 * math.log(math.sqrt(spread)))
    z = torch.randn(1000, 2, dtype=torch.float64) * math.sqrt(spread) + points[:1000]
    joint, marginals = total_correlation(z, points, logvar)
    found = (joint - math.log(n)) - (marginals - 2 * math.log(n))
    c = r / (1 + spread)
    assert found.mean() == pytest.approx(-0.5 * math.log(1 - c**2), abs=4 * float(found.std()) / 1000**0.5 + 0.02)


@pytest.mark.parametrize(("arguments", "error", "said"), [
    ((torch.zeros(3), torch.zeros(3, 1), torch.zeros(3, 1)), ValueError, "z has shape"),
    ((torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3, 1)), ValueError, "must agree in D"),
    ((torch.zeros(3, 2), torch.zeros(0, 2), torch.zeros(0, 2)), ValueError, "at least one Gaussian"),
    ((torch.zeros(3, 2), torch.zeros(3, 2).long(), torch.zeros(3, 2)), TypeError, "mu is torch.int64"),
])
def test_wrong_arguments_are_named(arguments, error, said):
    with pytest.raises(error, match=said):
        total_correlation(*arguments)
