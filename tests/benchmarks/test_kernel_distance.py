"""The unbiased kernel distance: its value from the definition, its error from leaving examples out one by one."""

import pytest
import torch

from benchmarks.metrics import kcd


def drawn(n, d=5, seed=0, scale=1.0):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(x, y):
    """Gretton et al. 2012, eq. 3, with the sums written out."""
    k = lambda a, b: (float(a @ b) / len(a) + 1) ** 3
    n, m = len(x), len(y)
    pairs = lambda v: sum(k(v[i], v[j]) for i in range(len(v)) for j in range(len(v)) if i != j)
    return pairs(x) / (n * (n - 1)) + pairs(y) / (m * (m - 1)) - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("rows", [4, 1000])
def test_value_and_jackknife_by_definition(monkeypatch, rows):
    monkeypatch.setattr(kcd, "ROWS", rows)
    x, y = drawn(9), drawn(7, seed=1, scale=1.5)
    value, stderr = kcd.distance(x, y)
    assert value == pytest.approx(by_definition(x, y), rel=1e-10)
    variance = 0.0
    for v in (x, y):
        without = [by_definition(*(torch.cat([w[:j], w[j + 1:]]) if w is v else w for w in (x, y))) for j in range(len(v))]
        variance += (len(v) - 1) * float(torch.tensor(without, dtype=torch.float64).var(correction=0))
    assert stderr == pytest.approx(variance**0.5, rel=1e-9)


def test_torch_fidelity_gives_the_same_on_one_full_subset():
    """Its U-statistic of the whole set, but for the cross term's diagonal, which `unbiased` keeps."""
    from torch_fidelity import metric_kid

    x, y = drawn(60), drawn(60, seed=1, scale=1.2)
    k = lambda a, b: metric_kid.kernel_poly(a.numpy(), b.numpy(), kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
                                            kid_kernel_poly_coef0=1)
    assert kcd.distance(x, y)[0] == pytest.approx(metric_kid.mmd2(k(x, x), k(x, y), k(y, y)), rel=1e-10)


@pytest.mark.parametrize("scale", [1.0, 1.3], ids=["equal", "different"])
def test_mean_and_error_over_many_sets(scale):
    found = torch.tensor([kcd.distance(drawn(100, seed=2 * s, scale=scale), drawn(100, seed=2 * s + 1)) for s in range(150)])
    value, error = found.double().unbind(1)
    if scale == 1.0:
        assert abs(float(value.mean())) < 3 * float(value.std()) / 150**0.5 and float(value.min()) < 0
    else:
        assert float(value.mean()) > 10 * float(value.std()) / 150**0.5
    assert 0.8 < float(error.mean() / value.std()) < 1.5        # never much too small; up to 2^1/2 too large at distance 0


def test_too_few_examples():
    with pytest.raises(ValueError, match="at least 3"):
        kcd.distance(drawn(2), drawn(5))
