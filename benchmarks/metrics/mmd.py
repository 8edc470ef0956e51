"""Does the aggregate posterior fill the prior?"""

import torch
from torch import Tensor

import zoo

from ..context import Context
from . import Measured, metric

PAIR = 61                                                   # a branch of the suite's seed
LARGEST = 2000                                              # of a sample
SPLITS = 200                                                # of prior draws, for the null
WIDTHS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BLOCK = 256                                                 # rows of a kernel matrix at a time: bounds the memory


@metric("mmd", unit="MMD²", better="lower", group="latent space", needs=["parts"])
@torch.no_grad()
def mmd(context: Context) -> dict[str, Measured]:
    """Squared maximum mean discrepancy between z ~ q(z), one of each test example, and z ~ p(z); and what chance gives.

        mean_{i!=j} k(z_i, z_j) + mean_{i!=j} k(p_i, p_j) - 2 mean_{ij} k(z_i, p_j)        U-statistic: may be below 0
        k(a, b) = sum_w w C / (w C + |a - b|^2),  w in .1, .2, .5, 1, 2, 5, 10;  C the mean of |p - p'|^2, 2 D of N(0, I)

    n of each, at most 2000, z of a random subset. `mmd`: its standard error is that of the linearised statistic, too large
    where q(z) is the prior. `mmd_null`: 95 of 100 comparisons of the prior with itself stay below it, estimated from 200
    divisions of 2n of its draws; an `mmd` below it is no evidence of a difference. The prior is the model's own, learned or
    not, given what the examples are given; of an auto-encoder, what it samples from.
    Source: Tolstikhin et al. 2018, section 4 (kernel); Gretton et al. 2012, lemma 6 (estimate), corollary 16 (its error).
    """
    noise = context.noise(PAIR)
    subset = noise.permutation(len(context.draws))[:LARGEST]
    n = len(subset)
    assert isinstance(context.model, zoo.Variant)
    prior = context.model.prior(context.test.take(subset).batch(slice(None), noise).given)
    p, again = (prior.sample(n, noise).double().cpu() for _ in range(2))
    scale = 2 * float(p.var(0).sum())
    first = torch.arange(2 * n)[:, None] < n
    h = witness(torch.cat([context.draws[subset.cpu()].double(), p]), first, scale)
    error = 2 * ((h[:n].var() + h[n:].var()) / n).sqrt()
    halves = noise.uniform((2 * n, SPLITS)).argsort(0).cpu() < n
    null = 2 * witness(torch.cat([p, again]), halves, scale).mean(0)
    return {"mmd": Measured(float(2 * h.mean()), float(error), n), "mmd_null": Measured(float(null.quantile(0.95)), n=n)}


def witness(z: Tensor, first: Tensor, scale: float) -> Tensor:
    """z (2n,D), of which the n rows where `first` (2n,R) is true are one sample, the rest another, R times over -> (2n,R):
    a point's mean kernel with the others of its own sample, less that with the other sample. Twice its mean is the MMD²."""
    n, chosen = len(z) // 2, first.double()
    to_first, to_all = kernel_sums(z, torch.cat([chosen, torch.ones(2 * n, 1)], 1), scale).tensor_split([first.shape[1]], 1)
    own = torch.where(first, to_first, to_all - to_first)
    return own / (n - 1) - (to_all - own) / n


def kernel_sums(z: Tensor, weights: Tensor, scale: float) -> Tensor:
    """sum_{j != i} k(z_i, z_j) weights_jr, for z (M,D) and weights (M,R): (M,R)."""
    sums = []
    for rows in z.split(BLOCK):
        distance = torch.cdist(rows, z).square()
        kernel = sum((w * scale / (w * scale + distance) for w in WIDTHS), torch.zeros(()))
        sums.append(kernel @ weights)
    return torch.cat(sums) - len(WIDTHS) * weights
