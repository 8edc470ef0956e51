"""A model that has learned nothing: what it says of x is known without it."""

import torch

import zoo
from zoo.distributions import DiagonalGaussian
from zoo.likelihoods import Bernoulli


class Ignorant(zoo.Variant):
    """q = prior, and a decoder that ignores z: every bound is the log-probability under independent pixels, of `logits`."""

    entry = zoo.entry("vae")

    def posterior(self, batch):
        zeros = torch.zeros(len(batch.x), self.latent_dim)
        return DiagonalGaussian(zeros, zeros)

    def likelihood(self, z, given):
        return Bernoulli(self.logits.expand(*z.shape[:2], *self.spec.shape))

    def objective(self, terms, step):
        return -terms.elbo
