"""The Fréchet distance against closed forms."""

import pytest
import scipy.linalg
import torch

from benchmarks import frechet


def features(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64) * torch.logspace(0, -1, d, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + 1.5


FORMS = [lambda x, y: frechet.from_moments(*frechet.moments(x), *frechet.moments(y)), frechet.from_factors]


@pytest.mark.parametrize("form", FORMS, ids=["moments", "factors"])
@pytest.mark.parametrize("n", [200, 7], ids=["full rank", "singular"])
def test_equal_sets_are_at_distance_zero(form, n):
    x = features(n, 12)
    _, cov = frechet.moments(x)
    assert float(form(x, x)) <= 1e-6 * float(cov.trace())


@pytest.mark.parametrize("form", FORMS, ids=["moments", "factors"])
def test_a_shift_of_the_mean_adds_its_square(form):
    x = features(200, 12)
    shift = torch.linspace(-1, 2, 12, dtype=torch.float64)
    assert float(form(x, x + shift)) == pytest.approx(float(shift.square().sum()), rel=1e-9)


@pytest.mark.parametrize("form", FORMS, ids=["moments", "factors"])
def test_a_scaled_covariance(form):
    """C2 = t^2 C1 with equal means: (1 - t)^2 tr C1."""
    x, t = features(300, 12), 1.7
    y = (x - x.mean(0)) * t + x.mean(0)
    assert float(form(x, y)) == pytest.approx((1 - t) ** 2 * float(frechet.moments(x)[1].trace()), rel=1e-8)


def test_diagonal_gaussians():
    """Commuting covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    m1, m2 = torch.randn(2, 5, dtype=torch.float64)
    s1, s2 = torch.rand(2, 5, dtype=torch.float64) + 0.1
    expected = (m1 - m2).square().sum() + (s1 - s2).square().sum()
    found = frechet.from_moments(m1, s1.square().diag(), m2, s2.square().diag())
    assert float(found) == pytest.approx(float(expected), rel=1e-10)


def test_both_forms_agree_and_the_sets_may_differ_in_size():
    x, y = features(150, 12, 0), features(90, 12, 1)
    moments, factors = (float(form(x, y)) for form in FORMS)
    assert moments == pytest.approx(factors, rel=1e-9)
    assert frechet.distance(x, y) == pytest.approx(factors, rel=1e-9)


def test_fewer_examples_than_dimensions():
    """Against the definition by the root of an explicit product, with the null space cut off."""
    x, y = features(6, 20, 0), features(9, 20, 1)
    (m1, c1), (m2, c2) = frechet.moments(x), frechet.moments(y)
    values, vectors = torch.linalg.eigh(c1)
    root = (vectors[:, -5:] * values[-5:].sqrt()) @ vectors[:, -5:].T            # rank 5
    product = torch.linalg.eigvalsh(root @ c2 @ root).clamp_min(0)
    expected = (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * product[product > 1e-13].sqrt().sum()
    assert frechet.distance(x, y) == pytest.approx(float(expected), rel=1e-6)


def test_symmetry():
    x, y = features(100, 12, 0), features(80, 12, 1)
    assert frechet.distance(x, y) == pytest.approx(frechet.distance(y, x), rel=1e-9)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_features_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match="expected"):
        frechet.distance(*(torch.zeros(s) for s in shapes))


def test_others_give_the_same_distance():
    """scipy's general matrix square root, as pytorch-fid takes it; and torch-fidelity's eigenvalues of the product."""
    from torch_fidelity import metric_fid

    x, y = features(500, 12, 0), features(400, 12, 1) * 1.3
    (m1, c1), (m2, c2) = frechet.moments(x), frechet.moments(y)
    root = scipy.linalg.sqrtm((c1 @ c2).numpy())
    by_scipy = float((m1 - m2).square().sum() + c1.trace() + c2.trace()) - 2 * float(root.trace().real)
    statistics = [metric_fid.fid_features_to_statistics(v) for v in (x, y)]
    by_fidelity = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID]
    assert frechet.distance(x, y) == pytest.approx(by_scipy, rel=1e-9)
    assert frechet.distance(x, y) == pytest.approx(by_fidelity, rel=1e-9)
    assert frechet.distance(x, y, known=(m2, c2)) == frechet.distance(x, y)


def test_the_derivative_of_the_distance():
    """The standard error's psi, against an infinitesimal jackknife: examples weighed by 1 +- h one at a time."""
    x, (m2, c2) = features(30, 4, 0), frechet.moments(features(500, 4, 1) * 1.4)

    def weighed(i, h):
        weight = torch.full((30,), 1 / 30, dtype=torch.float64)
        weight = weight * (1 - h)
        weight[i] += h
        mean = weight @ x
        return frechet.from_moments(mean, torch.cov(x.mT, aweights=weight, correction=0) * 30 / 29, m2, c2)

    psi = torch.stack([(weighed(i, 1e-5) - weighed(i, -1e-5)) / 2e-5 for i in range(30)])
    assert frechet.standard_error(x, (m2, c2)) == pytest.approx(float(psi.std() / 30**0.5), rel=0.04)      # 30 / 29, twice


SPREAD = torch.linspace(0.7, 1.6, 6, dtype=torch.float64)
UNIT = torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)


def repeated(n, spread):
    """(100,4): distance, its standard error, extrapolated, its fit's error, of sets of n from N(0, spread^2) to N(0, 1)."""
    rows = []
    for seed in range(100):
        x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread
        distance = frechet.from_moments(*frechet.moments(x), *UNIT)
        rows.append((distance, frechet.standard_error(x, UNIT), *frechet.extrapolated(x, UNIT)))
    return torch.tensor(rows, dtype=torch.float64)


def test_the_standard_error_is_the_deviation_over_sets():
    distance, error, *_ = repeated(300, SPREAD).unbind(1)
    assert float(error.mean()) == pytest.approx(float(distance.std()), rel=0.25)                         # 3.5 of its own errors


@pytest.mark.parametrize("spread", [SPREAD, torch.ones(6, dtype=torch.float64)], ids=["different", "equal"])
def test_the_extrapolated_distance_has_little_bias(spread):
    """From N(0, s^2) to N(0, 1) it is sum (s - 1)^2; of equal distributions it falls below 0 about half the time."""
    distance, error, limit, of_fit = repeated(300, spread).unbind(1)
    truth = float((spread - 1).square().sum())
    bias, left = float(distance.mean()) - truth, float(limit.mean()) - truth
    assert bias > 3 * float(distance.std()) / 10
    assert abs(left) < bias / 5 + 3 * float(limit.std()) / 10
    assert 0.75 < float((error.square() + of_fit.square()).sqrt().mean() / limit.std()) < 2             # too large near 0
    if truth == 0:
        assert 0.2 < float((limit < 0).double().mean()) < 0.8


def test_examples_that_are_all_the_same():
    assert frechet.standard_error(torch.full((50, 6), 2.0), UNIT) == 0


def test_too_few_examples_to_extrapolate_from():
    with pytest.raises(ValueError, match="at least 90"):
        frechet.extrapolated(features(89, 6), UNIT)
