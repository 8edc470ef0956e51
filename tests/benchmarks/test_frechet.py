"""The Fréchet distance against closed forms."""

import pytest
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
