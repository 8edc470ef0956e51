"""Denoising: corruptions of a known strength, and a model that changes nothing."""

import math

import pytest
import torch

import zoo
from benchmarks.metrics import measure
from benchmarks.metrics.denoising import corrupt
from zoo.distributions import DiagonalGaussian
from zoo.likelihoods import Gaussian
from zoo.noise import Generated


class Identity(zoo.Variant):
    """Reconstructs what it is given."""

    entry = zoo.entry("vae")

    def posterior(self, batch):
        x = batch.x.flatten(1)
        return DiagonalGaussian(x, torch.zeros_like(x))

    def likelihood(self, z, given):
        mu = z.unflatten(-1, self.spec.shape)
        return Gaussian(mu, torch.ones_like(mu))

    def objective(self, terms, step):
        return -terms.elbo


def identity(data):
    return Identity(spec=data.spec, latent_dim=data.spec.size, hidden=4)


def value(context):
    return {name: m["value"] for name, m in measure(context)[0].items()}


def test_salt_and_pepper_turns_an_eighth_of_the_pixels():
    x = (torch.arange(40_000) % 2).float().view(1, 1, 200, 200)
    noisy = corrupt(x, zoo.DataSpec((1, 200, 200), "binary"), Generated(0))
    assert set(noisy.unique().tolist()) == {0.0, 1.0}
    assert float((noisy != x).float().mean()) == pytest.approx(0.125, abs=4 * (0.125 * 0.875 / 40_000) ** 0.5)


def test_gaussian_noise_stays_among_the_values_of_the_data():
    x = torch.full((1, 1, 200, 200), 0.5)
    noisy = corrupt(x, zoo.DataSpec((1, 200, 200), "unit"), Generated(0))
    inside = (noisy > 0) & (noisy < 1)
    assert float(inside.float().mean()) == pytest.approx(math.erf(0.5 / 0.3 / 2**0.5), abs=0.01)
    levels = corrupt(x, zoo.DataSpec((1, 200, 200), "byte", levels=17), Generated(0)) * 16
    assert torch.allclose(levels, levels.round(), atol=1e-5) and levels.min() == 0 and levels.max() == 16


def test_a_model_that_changes_nothing_gains_nothing(context):
    """Grey images of one half: the PSNR of clipped noise is known, and a median lessens it."""
    x = torch.full((30, 1, 30, 30), 0.5)
    data = zoo.Dataset("grey", zoo.DataSpec((1, 30, 30), "unit"), *[zoo.Split(x)] * 3, note="")
    found = value(context(identity(data), data, metrics=("denoise_*",)))
    a = 0.5 / 0.3
    tail = math.erfc(a / 2**0.5)
    mse = 0.09 * (1 - tail - 2 * a * math.exp(-a**2 / 2) / math.sqrt(2 * math.pi)) + 0.25 * tail
    assert found["denoise_psnr_noisy"] == pytest.approx(-10 * math.log10(mse), abs=0.1)
    assert found["denoise_psnr"] == pytest.approx(found["denoise_psnr_noisy"], abs=1e-6)
    assert found["denoise_psnr_median"] > found["denoise_psnr_noisy"] + 5
    assert len(found) == 3                                  # no labels, no classifier


def test_a_classifier_recognises_less_under_noise(context, digits):
    c = context(identity(digits), digits, metrics=("denoise_*",), extractor="digits8-v1")
    found = value(c)
    assert found["denoise_accuracy"] == found["denoise_accuracy_noisy"]
    assert 0.3 < found["denoise_accuracy_noisy"] < 0.9      # 0.996 without the noise, by its card
    assert value(c) == found                                # the noise is fixed


@pytest.mark.parametrize("name, variant", [("digit_rows", "vrae"), ("wine", "vae"), ("digits", "cvae"),
                                           ("digits+missing=0.5", "vae")])
def test_only_pictures_that_a_model_must_read_itself(context, name, variant):
    data = zoo.load_dataset(name)
    assert value(context(zoo.create(variant, data.spec, latent_dim=2, hidden=8), data, metrics=("denoise_*",))) == {}
