"""MIWAE, Mattei & Frellsen 2019, eq. 4, on a linear-Gaussian decoder, where log p(x_obs) is known."""

import math

import torch
from support import SPECS, examples, perturbed, small, standard_error
from torch import nn
from torch.distributions import MultivariateNormal

import zoo
from zoo.noise import Generated

F64 = torch.float64
W = torch.tensor([[1, 0.5], [0, 1], [-1, 0.3], [0.2, -0.7]], dtype=F64)
S2, M = 0.3, torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=F64)
X = torch.cos(torch.arange(6, dtype=F64)[:, None] + 0.5 * torch.arange(4, dtype=F64))
OBSERVED = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]], dtype=torch.bool)


class Decoder(nn.Module):
    def forward(self, z):
        mu = z @ W.T + M
        return torch.stack([mu, torch.full_like(mu, math.log(math.expm1(math.sqrt(S2) - 0.01)))], 1)


class Encoder(nn.Module):
    """A guide that knows nothing: the prior."""

    def __init__(self):
        super().__init__()
        self.seen = None

    def forward(self, x):
        self.seen = x
        return torch.zeros(len(x), 4, dtype=F64)


def model_of(k):
    return zoo.create("miwae", zoo.DataSpec((4,), "real"), latent_dim=2, k=k, encoder=Encoder(), decoder=Decoder())


def log_p_observed():
    """log N(m_o, W_o W_o' + s2 I) of each example's own observed numbers."""
    return torch.stack([MultivariateNormal(M[o], W[o] @ W[o].T + S2 * torch.eye(int(o.sum()), dtype=F64)).log_prob(x[o])
                        for x, o in zip(X, OBSERVED, strict=True)])


def test_the_bound_converges_to_the_likelihood_of_what_was_observed():
    model, batch = model_of(5000), zoo.Batch(torch.where(OBSERVED, X, float("nan")), observed=OBSERVED)
    runs = torch.stack([-model.objective(model(batch, noise=Generated(0, i)), torch.tensor(0.0)) for i in range(30)])
    assert ((runs.mean(0) - log_p_observed()).abs() < 5 * standard_error(runs) + 2e-3).all()


def test_importance_weights_impute_the_conditional_mean():
    """sum_k w_k E[x_m|z_k] -> m_m + W_m W_o' (W_o W_o' + s2 I)^-1 (x_o - m_o)."""
    model, batch = model_of(200_000), zoo.Batch(X, observed=OBSERVED)
    terms = model(batch, noise=Generated(1))
    imputed = (terms.log_w.softmax(0)[..., None] * (terms.z @ W.T + M)).sum(0)
    for i, o in enumerate(OBSERVED):
        gain = torch.linalg.solve(W[o] @ W[o].T + S2 * torch.eye(int(o.sum()), dtype=F64), X[i, o] - M[o])
        torch.testing.assert_close(imputed[i, ~o], (M + W @ W[o].T @ gain)[~o], atol=0.05, rtol=0)


def test_the_encoder_sees_zeros_where_nothing_was_observed():
    model = model_of(2)
    model(zoo.Batch(torch.where(OBSERVED, X, float("nan")), observed=OBSERVED))
    assert torch.equal(model.encoder.seen, torch.where(OBSERVED, X, 0.0))


def test_with_everything_observed_it_is_iwae():
    one, two = (perturbed(small(name, "binary", k=4)) for name in ("miwae", "iwae"))
    two.load_state_dict(one.state_dict())
    a, b = (m.objective(m(examples("binary"), noise=Generated(0)), torch.tensor(0.0)) for m in (one, two))
    assert torch.equal(a, b)
    assert zoo.entry("miwae").settings()["k"] == 20 and small("miwae", SPECS["binary"], k=3).train_samples == 3
