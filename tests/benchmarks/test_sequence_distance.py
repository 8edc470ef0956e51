"""Statistics of sequences, on processes whose moments are known."""

import math

import pytest
import torch

import zoo
from benchmarks import sequences
from benchmarks.metrics import measure

N, T = 400, 40


def ar1(rho, n=N, t=T, seed=0, d=2):
    """Stationary x_t = rho x_{t-1} + e_t with unit variance, in d dimensions."""
    e = torch.randn(n, t, d, generator=torch.Generator().manual_seed(seed))
    x = [e[:, 0]]
    for step in e[:, 1:].unbind(1):
        x.append(rho * x[-1] + (1 - rho**2) ** 0.5 * step)
    return zoo.Batch(torch.stack(x, 1))


def shuffled(batch, seed=0):
    order = torch.rand(batch.x.shape[:2], generator=torch.Generator().manual_seed(seed)).argsort(1)
    return zoo.Batch(batch.x.gather(1, order.unsqueeze(-1).expand_as(batch.x)))


def distances(a, b):
    one, other = sequences.dynamics(a, T), sequences.dynamics(b, T)
    return {"frames": sequences.frame_distance(a, b, 1), "transitions": sequences.frame_distance(a, b, 2),
            "autocorrelation": sequences.autocorrelation_distance(one, other),
            "spectrum": sequences.spectral_distance(one, other)}


@pytest.mark.parametrize("rho", [0.0, 0.8, -0.5])
def test_correlation_and_spectrum_of_a_first_order_process(rho):
    """rho^l, and (1 - rho^2) / (1 - 2 rho cos w + rho^2) up to the leakage of 40 frames."""
    found = sequences.dynamics(ar1(rho, n=4000), T)
    lags = torch.arange(1, 21, dtype=torch.float64)
    assert torch.allclose(found.correlation, (rho**lags)[:, None].expand(-1, 2), atol=0.025)
    w = torch.linspace(0, math.pi, T + 1, dtype=torch.float64)
    long = sequences.dynamics(ar1(rho, n=400, t=400), 400).power[::10]
    assert torch.allclose(long, ((1 - rho**2) / (1 - 2 * rho * w.cos() + rho**2))[:, None].expand(-1, 2), rtol=0.3, atol=0.02)


def test_correlation_by_plain_sums():
    """Over sequences of different lengths: pairs inside only, by two loops."""
    x, lengths = ar1(0.6, n=5, t=9, d=1).x.double(), torch.tensor([9, 4, 1, 7, 2])
    mean = torch.cat([s[:n] for s, n in zip(x, lengths, strict=True)]).mean()

    def covariance(lag):
        found = [float((s[t] - mean) * (s[t + lag] - mean))
                 for s, n in zip(x, lengths.tolist(), strict=True) for t in range(n - lag)]
        return sum(found) / len(found)

    x[1, 4:] = 99.0                                         # padding may hold anything
    found = sequences.dynamics(zoo.Batch(x, lengths=lengths), 9).correlation
    assert found[:, 0].tolist() == pytest.approx([covariance(lag) / covariance(0) for lag in range(1, 5)], rel=1e-9)


def test_room_for_longer_sequences_changes_no_correlation():
    x = ar1(0.5)
    assert torch.allclose(sequences.dynamics(x, T).correlation, sequences.dynamics(x, T + 7).correlation[:T // 2], atol=1e-12)


def test_equal_processes_are_as_near_as_chance_allows():
    real = ar1(0.8, seed=1)
    same, other = distances(ar1(0.8, seed=2), real), distances(ar1(0.5, seed=2), real)
    assert distances(real, real) == pytest.approx(dict.fromkeys(same, 0.0), abs=1e-6)
    assert same["frames"] < 0.01 and same["autocorrelation"] < 0.03 and same["spectrum"] < 0.6
    for name in ("transitions", "autocorrelation", "spectrum"):
        assert other[name] > 3 * same[name]


def test_frames_in_another_order_are_equal_and_their_dynamics_are_not():
    real = ar1(0.9)
    found = distances(shuffled(real), real)
    assert found["frames"] < 1e-9
    assert found["transitions"] > 0.5 and found["autocorrelation"] > 0.15 and found["spectrum"] > 5


def test_a_louder_process_is_all_gain():
    """Twice the amplitude: 6.02 dB at every frequency, less what the floor takes; the correlation stays."""
    real = ar1(0.3)
    found = distances(zoo.Batch(2 * real.x), real)
    assert found["spectrum"] == pytest.approx(20 * math.log10(2), rel=0.01) and found["autocorrelation"] < 1e-6
    assert found["frames"] == pytest.approx(float(real.x.flatten(0, 1).double().var(0).sum()
                                                  + real.x.flatten(0, 1).double().mean(0).square().sum()), rel=1e-6)


def test_constant_dimensions_do_not_count():
    real = torch.cat([ar1(0.8).x, torch.ones(N, T, 1)], 2)
    assert distances(zoo.Batch(real), zoo.Batch(real)) == pytest.approx(distances(ar1(0.8), ar1(0.8)), abs=1e-6)
    mute = distances(zoo.Batch(torch.zeros(N, T, 3)), zoo.Batch(real))
    assert all(math.isfinite(v) for v in mute.values()) and mute["spectrum"] > 10


def test_ngrams_by_hand():
    """abab against abba: equal letters; of the pairs ab, ba, ab | ab, bb, ba one third moves from ab to bb."""
    a, b = (zoo.Batch(torch.tensor([row])) for row in ([0, 1, 0, 1], [0, 1, 1, 0]))
    assert sequences.ngram_tv(a, b, 1, 3) == 0 and sequences.ngram_tv(a, b, 2, 3) == pytest.approx(1 / 3)
    padded = zoo.Batch(torch.tensor([[0, 1, 0, 1, 2, 2]]), lengths=torch.tensor([4]))
    assert sequences.ngram_tv(a, padded, 1, 3) == 0 and sequences.ngram_tv(a, padded, 2, 3) == 0


def test_a_process_in_the_place_of_the_samples(context):
    data = zoo.load_dataset("lgssm")
    c = context(zoo.create("vrae", data.spec, latent_dim=2, hidden=4), data, metrics=("sequence_distance", "sequence_floor"))
    c.samples = data.test.batch(slice(None))
    found = {name: m["value"] for name, m in measure(c)[0].items()}
    assert len(found) == 8
    for what in ("frames", "transitions", "autocorrelation", "spectrum"):
        assert found[f"sequence_distance_{what}"] == found[f"sequence_floor_{what}"] > 0
