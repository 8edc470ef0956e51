"""Precision, recall, density and coverage of samples: sets of features as unions of balls around nearest neighbours.

A ball around every example reaches to its k-th nearest neighbour in its own set.

    precision   share of samples inside a ball of a real example
    density     balls of real examples that a sample is inside, divided by k; expected value 1 for equal distributions
    recall      share of real examples inside a ball of a sample
    coverage    share of real examples whose ball holds a sample

Inside is nearer than the radius, strictly. Distances in float64, by blocks of rows.
Source: Kynkäänniemi et al. 2019, eq. 1-2, precision and recall; Naeem et al. 2020, section 3, density and coverage, whose
strict comparison (in their package prdc) this follows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

K = 5                                                       # as in Naeem et al. 2020
ROWS = 1000                                                 # of a matrix of distances held at once


@dataclass(frozen=True)
class Neighbourhoods:
    """For single examples, float64; the four scores are their means."""

    precision: Tensor                                       # (n,) of samples
    density: Tensor                                         # (n,)
    recall: Tensor                                          # (m,) of real examples
    coverage: Tensor                                        # (m,)


def compare(real: Tensor, samples: Tensor, k: int = K) -> Neighbourhoods:
    """Features real (m,d), samples (n,d).  Raises: ValueError for sets of k examples or fewer."""
    if min(len(real), len(samples)) <= k:
        raise ValueError(f"{len(real)} real examples and {len(samples)} samples have no {k} neighbours each; "
                         f"set samples to at least {k + 1}")
    real, samples = real.double(), samples.double()
    real_radius, sample_radius = radii(real, k), radii(samples, k)
    balls = torch.zeros(len(samples), dtype=torch.float64)
    recall, coverage = [], []
    for part, radius in zip(real.split(ROWS), real_radius.split(ROWS), strict=True):
        distance = torch.cdist(part, samples)
        balls += (distance < radius[:, None]).sum(0)
        recall.append((distance < sample_radius).any(1))
        coverage.append(distance.amin(1) < radius)
    return Neighbourhoods((balls > 0).double(), balls / k, torch.cat(recall).double(), torch.cat(coverage).double())


def radii(x: Tensor, k: int) -> Tensor:
    """(N,): the distance from each of x (N,d) to the k-th nearest of the others."""
    found = []
    for start in range(0, len(x), ROWS):
        distance = torch.cdist(x[start:start + ROWS], x)
        distance[:, start:start + ROWS].fill_diagonal_(torch.inf)
        found.append(distance.kthvalue(k, dim=1).values)
    return torch.cat(found)
