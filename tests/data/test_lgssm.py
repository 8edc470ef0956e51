"""The state-space model: golden likelihoods, padding, missing values, and that the simulation is of this model."""

import math

import pytest
import torch

from zoo.data import load_dataset
from zoo.data.lgssm import M0, P0, A, C, Q, R, log_likelihood
from zoo.variant import Batch

GOLDEN = {5: -16.8117082209, 8: -27.5631842281}


def waves(length):
    t, i = torch.arange(length, dtype=torch.float64)[:, None], torch.arange(3, dtype=torch.float64)
    return torch.sin(0.7 * t + 0.3 * i)


def joint(length):
    """Mean (3T,) and covariance (3T, 3T) of x_1 .. x_T, state by state."""
    means, covs = [M0], [P0]
    for _ in range(length - 1):
        means.append(A @ means[-1])
        covs.append(A @ covs[-1] @ A.mT + Q)
    z = torch.zeros(length, length, 2, 2, dtype=torch.float64)
    for s in range(length):
        z[s, s] = covs[s]
        for t in range(s + 1, length):
            z[t, s] = A @ z[t - 1, s]
            z[s, t] = z[t, s].mT
    x = C @ z @ C.mT
    x[range(length), range(length)] += R
    return torch.cat([C @ mean for mean in means]), x.transpose(1, 2).reshape(3 * length, 3 * length)


@pytest.mark.parametrize("length", GOLDEN)
def test_golden_values(length):
    assert log_likelihood(Batch(waves(length)[None])).item() == pytest.approx(GOLDEN[length], abs=1e-9)


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 1e30, 0.0])
def test_padding_is_ignored(junk):
    x = torch.full((2, 11, 3), junk, dtype=torch.float64)
    for row, length in zip(x, GOLDEN, strict=True):
        row[:length] = waves(length)
    found = log_likelihood(Batch(x, lengths=torch.tensor(list(GOLDEN))))
    torch.testing.assert_close(found, torch.tensor(list(GOLDEN.values()), dtype=torch.float64), rtol=0, atol=1e-9)


def test_missing_values_are_integrated_out():
    """Against the joint Gaussian of the numbers that are seen."""
    generator = torch.Generator().manual_seed(0)
    observed = torch.rand(4, 9, 3, generator=generator) < 0.6
    observed[3, 4] = False                                      # a frame without any
    x = torch.randn(4, 9, 3, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([9, 9, 6, 9])
    found = log_likelihood(Batch(x.where(observed, math.nan), observed=observed, lengths=lengths))
    mean, cov = joint(9)
    for row in range(4):
        seen = (observed[row] & (torch.arange(9) < lengths[row])[:, None]).flatten()
        gaussian = torch.distributions.MultivariateNormal(mean[seen], cov[seen][:, seen])
        assert found[row].item() == pytest.approx(gaussian.log_prob(x[row].flatten()[seen]).item(), abs=1e-9)


def test_the_data_are_draws_from_the_model():
    """For x ~ N(m, S) of n numbers, log p(x) - log p(m) = -chi2_n / 2: mean -n/2, variance n/2, whatever S is."""
    train = load_dataset("lgssm").train
    mean, cov = joint(50)
    peak = {}
    for length in train.lengths.unique().tolist():
        n = 3 * length
        peak[length] = -0.5 * (n * math.log(2 * math.pi) + cov[:n, :n].logdet().item())
    n = 3 * train.lengths.double()
    chi2 = -2 * (log_likelihood(train.batch()) - torch.tensor([peak[length] for length in train.lengths.tolist()]))
    score = (chi2 - n) / (2 * n).sqrt()
    assert abs(score.mean()) < 4 / math.sqrt(len(train)) and abs(score.std() - 1) < 0.1
    first = train.batch().x[:, 0].double()
    assert ((first.mean(0) - mean[:3]).abs() < 4 * (cov.diagonal()[:3] / len(train)).sqrt()).all()


def test_spec_lengths_and_golden_mean():
    data = load_dataset("lgssm")
    assert data.spec.shape == (3,) and data.spec.kind == "real" and data.spec.max_length == 50
    assert [len(split) for split in data.splits.values()] == [1000, 200, 200]
    assert data.train.lengths.min() == 20 and data.train.lengths.max() == 50
    assert data.log_likelihood(data.test.batch()).mean().item() == pytest.approx(-144.4854, abs=1e-3)
    past_the_end = torch.arange(50) >= data.test.lengths[:, None]
    assert (data.test.x[past_the_end] == 0).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"x must be \(B, T, 3\); got \(5, 3\)"):
        log_likelihood(Batch(torch.zeros(5, 3)))
