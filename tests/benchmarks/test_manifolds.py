"""Precision, recall, density and coverage: as the authors' package has them, and the right way round."""

import pytest
import torch

from benchmarks import manifolds


def drawn(n, seed, shift=0.0, spread=1.0):
    return shift + spread * torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


def means(real, samples, k=5):
    return {name: float(v.mean()) for name, v in vars(manifolds.compare(real, samples, k)).items()}


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("rows", [77, 1000])
def test_equal_to_prdc(monkeypatch, capsys, rows, k):
    from prdc import compute_prdc

    monkeypatch.setattr(manifolds, "ROWS", rows)
    real, samples = drawn(500, 0), drawn(500, 1, shift=0.3, spread=0.9)
    theirs = compute_prdc(real.double().numpy(), samples.double().numpy(), nearest_k=k)
    ours = means(real, samples, k)
    assert ours.keys() == theirs.keys() and 0.1 < ours["precision"] < 1
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), abs=1e-12)


def test_a_line_by_hand():
    """Real 0, 1, 3; samples 0.5, 10 and 10.1; k = 1. Radii of real: 1, 1, 2; of samples: 9.5, 0.1, 0.1."""
    found = manifolds.compare(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [10.0], [10.1]]), k=1)
    assert found.precision.tolist() == [1, 0, 0] and found.density.tolist() == [2, 0, 0]
    assert found.recall.tolist() == [1, 1, 1] and found.coverage.tolist() == [1, 1, 0]


def test_the_right_way_round():
    """A generator that collapsed on the mode is precise and recalls nothing; one that spreads too far, the reverse."""
    real = drawn(400, 0)
    collapsed, wide = means(real, drawn(400, 1, spread=0.1)), means(real, drawn(400, 1, spread=3.0))
    assert collapsed["precision"] > 0.99 and collapsed["recall"] < 0.05 and collapsed["density"] > 1
    assert wide["precision"] < 0.3 and wide["recall"] > 0.7


def test_equal_distributions():
    """Expected: density 1, coverage 1 - 2^-5 (Naeem et al. 2020, section 3)."""
    sets = (means(drawn(300, 2 * s), drawn(300, 2 * s + 1)) for s in range(20))
    found = torch.tensor([[v["density"], v["coverage"]] for v in sets])
    assert found.mean(0).tolist() == pytest.approx([1, 1 - 2**-5], abs=0.02)


def test_one_sample_again_and_again():
    found = means(drawn(50, 0), drawn(1, 0).expand(50, -1))
    assert found["recall"] == 0 and found["coverage"] < 0.5


def test_too_few_examples():
    with pytest.raises(ValueError, match="at least 6"):
        manifolds.compare(drawn(5, 0), drawn(50, 1))
