"""A linear-Gaussian state-space model as a SequenceVariant: log p(x) by Kalman's filter, exact guides, log w on every sample.

    z_1 ~ N(m0, P0),  z_t ~ N(A z_{t-1}, Q),  x_t ~ N(C z_t, R);  Q and R diagonal

The exact guide, from the filter run backwards, is q(z_t | z_{t-1}, x_{t:T}) = N(V (P^-1 p_t + eta_t), V), V = (P^-1 + L_t)^-1,
where N(p_t, P) is the prior of the step. Any frame masked, counted twice, or read one step late moves log w.
"""


import pytest
import torch
from support import LOCAL, Correlated, Given, cubature, standard_error
from torch import nn

import zoo
from zoo.data import lgssm
from zoo.likelihoods import Gaussian
from zoo.noise import Generated

F64 = torch.float64
A = torch.tensor([[0.9, 0.2], [-0.1, 0.8]], dtype=F64)
C = torch.tensor([[1.0, 0.5], [0.0, 1.0], [1.0, -1.0]], dtype=F64)
Q, R = torch.tensor([0.3, 0.2], dtype=F64).diag(), torch.tensor([0.5, 0.4, 0.6], dtype=F64)
M0, P0 = torch.tensor([0.5, -0.5], dtype=F64), torch.tensor([1.0, 2.0], dtype=F64).diag()
LOG_P = {5: -16.8117082209, 8: -27.5631842281}                              # golden: Kalman's filter, and the joint Gaussian
FILTERED = {5: -17.3539611140, 8: -28.9224284792}                           # golden: ELBO of the locally optimal guide


class StateSpace(zoo.SequenceVariant):
    """State: z_{t-1}, and whether this is the first step, whose prior is no transition."""

    entry = LOCAL

    def __init__(self, smoothing=True):
        super().__init__(spec=zoo.DataSpec((3,), "real", max_length=9), latent_dim=2)
        self.smoothing, self.unused = smoothing, nn.Parameter(torch.zeros(1, dtype=F64))

    def start(self, n):
        return torch.zeros(n, 2, dtype=F64), torch.ones(n, 1, dtype=F64)

    def prior_step(self, state):
        z, first = state
        first = first[..., None]
        return Correlated(first[..., 0] * M0 + (1 - first[..., 0]) * z @ A.T, first * P0 + (1 - first) * Q)

    def join(self, state, z):
        return z, torch.zeros_like(state[1])

    def emission(self, joint):
        mu = joint[0] @ C.T
        return Gaussian(mu, R.sqrt().expand_as(mu))

    def context(self, x, past, lengths):
        frames, batch, _ = x.shape
        ends = torch.full((batch,), frames) if lengths is None else lengths
        from_x, precision = x / R @ C, C.T @ (C / R[:, None])
        now, eta, context = torch.zeros(batch, 2, 2, dtype=F64), torch.zeros(batch, 2, dtype=F64), []
        for t in reversed(range(frames)):
            later = (t + 1 < ends).double()[:, None] * float(self.smoothing)                    # is there a later frame?
            gain = A.T @ torch.linalg.inv(torch.eye(2, dtype=F64) + now @ Q)
            now, eta = precision + later[..., None] * (gain @ now @ A), from_x[t] + later * (gain @ eta[..., None])[..., 0]
            context.append((now, eta))
        return tuple(torch.stack(v) for v in zip(*reversed(context), strict=True))

    def posterior_step(self, state, context, p):
        precision = torch.linalg.inv(p.covariance)
        covariance = torch.linalg.inv(precision + context[0])
        mu = covariance @ ((precision @ p.mu[..., None])[..., 0] + context[1])[..., None]
        return Correlated(mu[..., 0], (covariance + covariance.mT) / 2)

    def objective(self, terms, step):
        return -terms.elbo


def observations(frames):
    return torch.sin(0.7 * torch.arange(frames, dtype=F64)[:, None] + 0.3 * torch.arange(3, dtype=F64))


@pytest.mark.parametrize("frames", [5, 8])
def test_the_exact_guide_gives_log_p_on_every_sample(frames):
    log_w = StateSpace()(zoo.Batch(observations(frames)[None]), 64).log_w
    torch.testing.assert_close(log_w, torch.full((64, 1), LOG_P[frames], dtype=F64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("junk", [0.0, 1e6, float("nan")])
def test_the_exact_guide_gives_log_p_in_a_padded_batch(junk):
    x = torch.full((2, 9, 3), junk, dtype=F64)
    x[0, :5], x[1, :8] = observations(5), observations(8)
    terms = StateSpace()(zoo.Batch(x, lengths=torch.tensor([5, 8])), 16)
    torch.testing.assert_close(terms.log_w, torch.tensor([LOG_P[5], LOG_P[8]], dtype=F64).expand(16, 2), atol=1e-9, rtol=0)
    assert (terms.kl[:, 0, 5:] == 0).all() and (terms.kl[:, 1, 8:] == 0).all() and (terms.kl[:, 0, :5] != 0).all()


@pytest.mark.parametrize("frames", [5, 8])
def test_the_locally_optimal_guide_has_its_known_elbo(frames):
    """log w is quadratic in all eps together, so that 4 T points average it exactly."""
    points = cubature(2 * frames)                                           # (K, T*D)
    noise = Given(lambda site, shape: points.view(-1, frames, 2).transpose(0, 1))
    terms = StateSpace(smoothing=False)(zoo.Batch(observations(frames)[None]), len(points), noise)
    assert abs(terms.log_w.mean() - FILTERED[frames]) < 1e-9
    assert abs(terms.elbo.mean() - FILTERED[frames]) < 1e-9


def test_more_particles_close_the_gap_of_a_local_guide():
    bounds = StateSpace(smoothing=False)(zoo.Batch(observations(8).expand(1000, 8, 3)), 10, Generated(0)).iwae
    assert abs(bounds.mean() - -27.73) < 4 * standard_error(bounds) + 0.02
    assert FILTERED[8] < bounds.mean() < LOG_P[8]


@pytest.mark.parametrize("frames", [5, 8])
def test_the_data_sets_own_likelihood_agrees(frames):
    assert abs(lgssm.log_likelihood(zoo.Batch(observations(frames)[None])).item() - LOG_P[frames]) < 1e-9


def test_free_running_follows_the_model():
    """Mean and covariance of x_1..x_9 drawn step by step."""
    model = StateSpace()
    x = model.sample(20_000, noise=Generated(0))
    mean, covariance = M0, P0
    for t in range(9):
        deviations = x[:, t] - mean @ C.T
        assert (deviations.mean(0).abs() < 5 * standard_error(x[:, t])).all()
        torch.testing.assert_close(deviations.T @ deviations / len(x), C @ covariance @ C.T + R.diag(), atol=0.25, rtol=0.05)
        mean, covariance = A @ mean, A @ covariance @ A.T + Q
    lag = (x[:, 3] - x[:, 3].mean(0)).T @ (x[:, 2] - x[:, 2].mean(0)) / len(x)
    start = P0
    for _ in range(2):
        start = A @ start @ A.T + Q
    torch.testing.assert_close(lag, C @ A @ start @ C.T, atol=0.15, rtol=0)
