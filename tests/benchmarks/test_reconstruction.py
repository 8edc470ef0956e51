"""Scores of reconstructions, by hand and against slow loops."""

import math
from dataclasses import replace

import pytest
import torch
from support import dataset, small

import zoo
from benchmarks.metrics import METRICS, measure
from benchmarks.ssim import ssim

NAMES = ("mse", "psnr", "ssim", "reconstruction_accuracy", "original_accuracy", "token_accuracy")


def slow_ssim(x, y):
    """Wang et al. 2004, section III-C, place by place: x and y (H,W)."""
    size = min(11, *x.shape)
    size -= size % 2 == 0
    w = torch.tensor([[math.exp(-((i - size // 2) ** 2 + (j - size // 2) ** 2) / (2 * 1.5**2)) for j in range(size)]
                      for i in range(size)], dtype=torch.float64)
    w /= w.sum()
    found = []
    for i in range(x.shape[0] - size + 1):
        for j in range(x.shape[1] - size + 1):
            a, b = x[i:i + size, j:j + size], y[i:i + size, j:j + size]
            m_a, m_b = float((w * a).sum()), float((w * b).sum())
            v_a, v_b = float((w * (a - m_a) ** 2).sum()), float((w * (b - m_b) ** 2).sum())
            c_ab = float((w * (a - m_a) * (b - m_b)).sum())
            found.append((2 * m_a * m_b + 1e-4) * (2 * c_ab + 9e-4) / ((m_a**2 + m_b**2 + 1e-4) * (v_a + v_b + 9e-4)))
    return sum(found) / len(found)


@pytest.mark.parametrize("shape", [(1, 16, 13), (3, 12, 12), (1, 8, 8), (1, 4, 9)], ids=str)
def test_ssim_by_a_slow_loop(shape):
    x = torch.rand(3, *shape, dtype=torch.float64)
    y = (x + 0.3 * torch.randn_like(x)).clamp(0, 1)
    expected = [sum(slow_ssim(a, b) for a, b in zip(*images, strict=True)) / shape[0] for images in zip(x, y, strict=True)]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-12)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 3, abs=1e-12)


def test_ssim_of_constant_images():
    """No variance: only luminance is left, (2 a b + C1) / (a^2 + b^2 + C1)."""
    x, y = torch.full((1, 1, 20, 20), 0.4), torch.full((1, 1, 20, 20), 0.6)
    assert float(ssim(x, y)) == pytest.approx((0.48 + 1e-4) / (0.52 + 1e-4), rel=1e-6)


@pytest.fixture
def given(context):
    """given(kind, reconstruct) -> what is measured when reconstructions are what this function makes of the originals."""
    def make(kind, reconstruct, **evaluation):
        data = kind if isinstance(kind, zoo.Dataset) else dataset(kind)
        name = next(n for n in zoo.list_variants() if zoo.entry(n).why_not(data.spec) is None)
        c = context(small(name, data.spec), data, metrics=NAMES, **evaluation)
        c.reconstructions = reconstruct(c.originals.x)
        return measure(c)
    return make


def test_errors_of_images_by_hand(given):
    """Half of 8 images off by 0.1, the others by 0.01: mean squared error 0.00505, but mean PSNR 30 dB, not 22.97."""
    off = torch.tensor([0.1, 0.01] * 4).view(-1, 1, 1, 1)
    found, items = given("unit", lambda x: x + off)
    assert found["mse"]["value"] == pytest.approx(0.00505, rel=1e-5)
    assert found["psnr"]["value"] == pytest.approx(30, abs=1e-4)
    assert items["psnr"].tolist() == pytest.approx([20, 40] * 4, abs=1e-3)
    assert found["psnr"]["stderr"] == pytest.approx(10 * (8 / 7) ** 0.5 / 8**0.5, rel=1e-4)


def test_perfect_images_are_finite(given):
    found, _ = given("byte", lambda x: x)
    assert found["mse"]["value"] == 0 and found["ssim"]["value"] == pytest.approx(1)
    assert found["psnr"]["value"] == pytest.approx(10 * math.log10(12 * 255**2))


@pytest.mark.parametrize("kind, names", [
    ("real", {"mse"}), ("unit", {"mse", "psnr", "ssim"}), ("real-frames", {"mse"}), ("byte-frames", {"mse"}),
    ("tokens", {"token_accuracy"}),
])
def test_what_applies(given, kind, names):
    assert set(given(kind, lambda x: x)[0]) == names


def test_frames_past_the_end_do_not_count(given):
    data = dataset("real-frames")
    found, items = given(data, lambda x: x + 0.5 + 100 * (torch.arange(x.shape[1]) >= data.test.lengths[:, None])[..., None])
    assert found["mse"]["value"] == pytest.approx(0.25) and items["mse"].tolist() == pytest.approx([0.25] * 8)


def test_missing_numbers_do_not_count(given):
    data = dataset("unit")
    seen = torch.ones_like(data.test.x, dtype=torch.bool)
    seen[:, :, 0] = False
    data = replace(data, test=replace(data.test, observed=seen))
    found, _ = given(data, lambda x: torch.where(seen, x + 0.1, 7.0))
    assert found["mse"]["value"] == pytest.approx(0.01, rel=1e-4)
    assert found["psnr"]["value"] == pytest.approx(20, abs=1e-3) and 0 < found["ssim"]["value"] < 1


def test_tokens_by_hand(given):
    """One wrong token in every sequence: 1 - 8 / number of tokens."""
    data = dataset("tokens")
    found, _ = given(data, lambda x: torch.cat([(x[:, :1] + 1) % 5, x[:, 1:]], 1))
    assert found["token_accuracy"]["value"] == pytest.approx(1 - 8 / int(data.test.lengths.sum()))


def test_originals_are_what_was_reconstructed(context):
    """Of pixels drawn at every visit, the same draw; whatever the blocks."""
    data = zoo.load_dataset("digits:dynamic")
    c = context(small("vae", data.spec), replace(data, test=data.train.head(300)))
    shown = torch.cat([batch.x for batch, _ in c.blocks(c.test, c.rows, 3)])
    assert torch.equal(c.originals.x, shown) and set(shown.unique().tolist()) == {0.0, 1.0}


def test_classes_of_reconstructions(given, digits):
    """Every other image replaced by its neighbour: labels are seen where image and label still agree."""
    same = digits.test.label == digits.test.label.roll(1)
    found, items = given(digits, lambda x: x.roll(1, 0), extractor="digits8-v1")
    real, _ = given(digits, lambda x: x, extractor="digits8-v1")
    assert real["reconstruction_accuracy"]["value"] == found["original_accuracy"]["value"] > 0.98
    assert found["reconstruction_accuracy"]["value"] == pytest.approx(float(same.double().mean()), abs=0.02)
    assert set(items["reconstruction_accuracy"].tolist()) == {0.0, 1.0}
    assert METRICS.get("original_accuracy").better == "none"
