"""A posterior for each example by itself: what the encoder gives is only where the search begins.

    max_{mu, s} E_{z ~ N(mu, s^2)} log p(x|z) + log p(z) - log N(z; mu, s^2)          nats; then s <- 1.2 s

Adam on the reparameterised gradient, for each example's D means and D log-variances alone. Wider than the optimum, because
importance weights forgive a wide q and not a narrow one; the factor is fixed in advance, so that any bound taken with fresh
noise afterwards is a valid one.

Source: Kim et al. 2018 and Cremer et al. 2018 (local optimisation of q).  Departs from the papers: fewer steps, and
q begins at the mean and variance of draws of the encoder's own, whatever its family.
"""

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor

import zoo
from zoo.distributions import DiagonalGaussian
from zoo.noise import Noise

STEPS, LR, SAMPLES, WIDER = 50, 0.03, 4, 1.2
START = 64                                                  # draws of the encoder's q


def gradients_of(spec: zoo.DataSpec) -> AbstractContextManager[None]:
    """In which decoders can be differentiated while they are evaluated: cuDNN's recurrent nets cannot."""
    return torch.backends.cudnn.flags(enabled=not spec.sequence)


@torch.enable_grad()
def refine(joint: zoo.Joint, z: Tensor, noise: Noise) -> DiagonalGaussian:
    """The refined q (B,D) of the joint's examples, from draws z (K,B,D) of where to begin.

    Examples do not affect one another: the objective is their sum, and Adam works number by number.
    """
    mu, logvar = (v.requires_grad_() for v in (z.mean(0), z.var(0).log()))
    adam = torch.optim.Adam([mu, logvar], lr=LR)
    for _ in range(STEPS):
        q = DiagonalGaussian(mu, logvar)
        z = q.at(noise.normal((SAMPLES, *mu.shape)).to(mu.dtype))
        bound = (joint.log_likelihood(z) + joint.prior.log_prob(z)).mean(0) + 0.5 * logvar.sum(-1)      # the entropy of q
        mu.grad, logvar.grad = torch.autograd.grad(-bound.sum(), [mu, logvar])
        adam.step()
    return DiagonalGaussian(mu.detach(), logvar.detach() + 2 * math.log(WIDER))


@torch.no_grad()
def log_weights(joint: zoo.Joint, q: DiagonalGaussian, k: int, noise: Noise) -> Tensor:
    """log p(x,z) - log q(z) (k,B) of new draws."""
    z = q.at(noise.normal((k, *q.mu.shape)).to(q.mu.dtype))
    return joint.log_likelihood(z) + joint.prior.log_prob(z) - q.log_prob(z)
