"""Probabilistic PCA: the one latent variable model of images whose likelihood and posterior are known.

    z ~ N(0, I),  x | z ~ N(W z + m, s2 I)
    p(x) = N(m, W W' + s2 I)      p(z|x) = N(M^-1 W'(x - m), s2 M^-1),  M = W'W + s2 I

Real variants become this model by an own linear decoder; golden values were computed apart from the zoo, in closed form.
"""

import math

import pytest
import torch
from support import LOCAL, Correlated, Given, cubature, standard_error
from torch import nn
from torch.distributions import MultivariateNormal, Normal

import zoo
from zoo.likelihoods import Gaussian
from zoo.noise import Generated

F64 = torch.float64
W = torch.tensor([[1, 0.5], [0, 1], [-1, 0.3], [0.2, -0.7]], dtype=F64)
S2, M = 0.3, torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=F64)
PRECISION = W.T @ W + S2 * torch.eye(2, dtype=F64)                              # the posterior's, times s2
X = torch.cos(torch.arange(6, dtype=F64)[:, None] + 0.5 * torch.arange(4, dtype=F64))
SPEC = zoo.DataSpec((4,), "real")
LOG_P = MultivariateNormal(M, W @ W.T + S2 * torch.eye(4, dtype=F64)).log_prob(X)


class LinearDecoder(nn.Module):
    """z -> mean W z + m and the raw scale that the Gaussian family turns into s."""

    def __init__(self):
        super().__init__()
        self.register_buffer("raw", torch.tensor(math.log(math.expm1(math.sqrt(S2) - 0.01)), dtype=F64))

    def forward(self, z):
        mu = z @ W.T + M
        return torch.stack([mu, self.raw.expand_as(mu)], 1)


class LinearEncoder(nn.Module):
    """x -> the best diagonal posterior: the exact mean, and the inverse of the precision's diagonal."""

    def __init__(self, wider=0.0):
        super().__init__()
        self.logvar = (S2 / PRECISION.diagonal()).log() + wider

    def forward(self, x):
        mu = (x - M) @ W @ torch.linalg.inv(PRECISION)
        return torch.cat([mu, self.logvar.expand_as(mu)], -1)


def linear(name="vae", wider=0.0, **settings):
    return zoo.create(name, SPEC, latent_dim=2, encoder=LinearEncoder(wider), decoder=LinearDecoder(), **settings)


def points(values):
    """Noise that is the same K points for every example: values (K,D)."""
    return Given(lambda site, shape: values.unsqueeze(1).expand(shape))


def test_the_exact_posterior_gives_log_p_on_every_sample():
    model = linear()
    inverse = torch.linalg.inv(PRECISION)
    model.posterior = lambda batch: Correlated((batch.x - M) @ W @ inverse, S2 * inverse)
    terms = model(zoo.Batch(X), 64)
    torch.testing.assert_close(terms.log_w, LOG_P.expand(64, 6), atol=1e-10, rtol=0)
    assert abs(terms.iwae.mean() - -5.6776232563) < 1e-9
    assert abs(terms.elbo.mean() - -5.6776232563) < 1e-9


def test_the_best_diagonal_posterior_misses_it_by_the_known_gap():
    terms = linear()(zoo.Batch(X), 4, points(cubature(2)))                      # exact: the integrand is quadratic in eps
    assert abs(terms.elbo.mean() - -5.6779845280) < 1e-9
    torch.testing.assert_close(terms.log_w.mean(0), terms.elbo)


@pytest.mark.parametrize("name", [n for n in zoo.list_variants() if zoo.entry(n).bound == "iwae"])
def test_an_importance_weighted_objective_converges_to_log_p(name):
    x, gaps = zoo.Batch(X), []
    for k in (1, 10, 1000):
        model = linear(name, 1.0, k=k)                                          # a posterior e times too wide
        loss = torch.stack([model.objective(model(x, noise=Generated(0, i)), torch.tensor(0.0)) for i in range(2000 // k + 20)])
        gaps.append((LOG_P + loss.mean(0)).mean())
        assert gaps[-1] > -5 * standard_error(loss.mean(1))
    assert gaps[0] > 0.3 and gaps[0] > 2 * gaps[1] > 4 * gaps[2] and abs(gaps[2]) < 0.01


def test_two_conjugate_gaussians():
    """z ~ N(0,1), x|z ~ N(z, 1/2), x = 1.2, q = N(0.3, 0.8): L_K = log p - Var(w) / (2 K Z^2) + O(K^-2)."""
    log_p, variance = -1.6016710873, 0.4998072878

    class Conjugate(zoo.Variant):
        def __init__(self):
            super().__init__(spec=zoo.DataSpec((1,), "real"), latent_dim=1, encoder=nn.Identity(), decoder=nn.Identity())

        def posterior(self, batch):
            return zoo.distributions.DiagonalGaussian(torch.full_like(batch.x, 0.3), torch.full_like(batch.x, math.log(0.8)))

        def likelihood(self, z, given):
            return Gaussian(z, torch.full_like(z, math.sqrt(0.5)))

        def objective(self, terms, step):
            return -terms.iwae

    model, x = Conjugate(), torch.full((1, 1), 1.2, dtype=F64)
    assert abs(model(zoo.Batch(x), 2, points(cubature(1))).elbo.item() - -2.2389367186) < 1e-9
    for k in (10, 50, 200):
        bound = model(zoo.Batch(x.expand(200_000 // k, 1)), k, Generated(k)).iwae
        assert abs(bound.mean() - (log_p - variance / (2 * k))) < 4 * standard_error(bound) + 1 / k**2


class LinearVAE(zoo.Variant):
    """Everything linear, one variance for q's latents each, one learned s for all of x."""

    entry = LOCAL

    def __init__(self, **common):
        super().__init__(encoder=nn.Linear(6, 2), decoder=nn.Linear(2, 6), **common)
        self.spread, self.log_scale = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(()))

    def posterior(self, batch):
        mu = self.encoder(batch.x)
        return zoo.distributions.DiagonalGaussian(mu, self.spread.expand_as(mu))

    def likelihood(self, z, given):
        mu = self.decoder(z)
        return Gaussian(mu, self.log_scale.exp().expand_as(mu))

    def objective(self, terms, step):
        return -terms.elbo


def test_a_trained_linear_vae_reaches_the_maximum_likelihood_of_pca():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(6, 2, generator=generator)
    x = torch.randn(256, 2, generator=generator) @ truth.T + 0.5 * torch.randn(256, 6, generator=generator) + 1.0
    split = zoo.Split(x)
    data = zoo.Dataset("pca", zoo.DataSpec((6,), "real"), split, split, split, note="drawn from the model")
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.double().T, correction=0)).flip(0)
    s2 = eigenvalues[2:].mean()
    best = -0.5 * (6 * math.log(2 * math.pi) + eigenvalues[:2].log().sum() + 4 * s2.log() + 6)

    model = LinearVAE(spec=data.spec, latent_dim=2)
    zoo.fit(model, data, steps=1500, batch_size=256, lr=0.03, final_lr=1e-4, progress=False)
    with torch.no_grad():
        elbo = model(split.batch(), 4, points(cubature(2).float())).elbo.mean()
        assert abs(elbo - best) < 0.01
        assert elbo <= best + 1e-4                                              # and no model of this family is better
        torch.testing.assert_close((2 * model.log_scale).exp(), s2.float(), atol=0.01, rtol=0)
        w = model.decoder.weight
        marginal = MultivariateNormal(model.decoder.bias, w @ w.T + (2 * model.log_scale).exp() * torch.eye(6))
        assert abs(marginal.log_prob(x).mean() - best) < 0.01


def test_gaussian_reference_values_are_those_of_torch():
    torch.testing.assert_close(LOG_P.mean(), torch.tensor(-5.6776232563, dtype=F64), atol=1e-9, rtol=0)
    torch.testing.assert_close(Gaussian(X[None], torch.full_like(X[None], 0.7)).log_prob(X),
                               Normal(X, 0.7).log_prob(X).sum(-1)[None])
