"""Feature spaces: what the cards say is true, and other weights are refused."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F

from benchmarks import extractors, frechet
from benchmarks.extractors.train import accuracy, shifted

CLASSIFIERS = [name for name in extractors.names() if name != "random_projection"]


def test_the_digits_classifier_is_as_accurate_as_its_card_says(digits):
    card = extractors.card("digits8-v1")
    assert card["data_sha256"] == digits.sha256
    assert accuracy(extractors.classifier("digits8-v1"), digits.test) == pytest.approx(card["accuracy"], abs=1e-4)
    assert card["accuracy"] > 0.98


@pytest.fixture
def mnist(real):
    return real("mnist", "MNIST")


def test_the_mnist_classifier_is_as_accurate_as_its_card_says(mnist):
    card = extractors.card("mnist28-v1")
    assert card["data_sha256"] == mnist.sha256
    assert accuracy(extractors.classifier("mnist28-v1"), mnist.test) == pytest.approx(card["accuracy"], abs=1e-4)
    assert card["accuracy"] > 0.99


@pytest.mark.parametrize("name, expected", [("digits8-v1", 2.1376), ("mnist28-v1", 0.23931)])
def test_the_distance_between_training_and_test_data(request, name, expected):
    """Pinned: another value is another feature space, another data set, or another formula."""
    data = request.getfixturevalue(extractors.card(name)["dataset"])
    train, test = (extractors.load(name)(split.batch().x, None) for split in (data.train, data.test))
    assert frechet.distance(test, train) == pytest.approx(expected, rel=1e-3)


def blurred(x, sigma):
    line = torch.exp(-0.5 * (torch.arange(-7, 8) / sigma) ** 2)
    return F.conv2d(x, (line[:, None] * line / line.sum() ** 2)[None, None], padding=7)


def test_the_distance_grows_with_noise_and_with_blur(digits):
    """Every step is worse than the one before, and the first than the floor: clean test images."""
    features = extractors.load("digits8-v1")
    train, x = features(digits.train.batch().x, None), digits.test.batch().x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy = [(x + sd * noise).clamp(0, 1) for sd in (0, 0.1, 0.2, 0.3, 0.4, 0.6)]
    soft = [x, *(blurred(x, sigma) for sigma in (0.4, 0.6, 0.8, 1.0, 1.5))]
    for family in (noisy, soft):
        found = [frechet.distance(features(worse, None), train) for worse in family]
        assert found == sorted(found) and found[-1] > 10 * found[0]


def test_a_classifier_is_known_as_one():
    assert extractors.classifies("digits8-v1") and not extractors.classifies("random_projection")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_cards(name):
    card = extractors.card(name)
    features = extractors.load(name)(torch.rand(3, *card["shape"]), None)
    assert features.shape == (3, card["d"]) and (features >= 0).all()
    assert sum(p.numel() for p in extractors.classifier(name).parameters()) == card["parameters"]
    assert (extractors.FOLDER / f"{name}.safetensors").stat().st_size < 300_000
    with pytest.raises(ValueError, match="takes examples of shape"):
        extractors.load(name)(torch.rand(3, 1, 5, 5), None)


def test_weights_of_another_digest_are_refused(tmp_path):
    name = CLASSIFIERS[0]
    for ending in ("json", "safetensors"):
        shutil.copy(extractors.FOLDER / f"{name}.{ending}", tmp_path)
    extractors.classifier(name, tmp_path)
    weights = tmp_path / f"{name}.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="SHA-256"):
        extractors.classifier(name, tmp_path)


def test_unknown_names_get_the_nearest():
    with pytest.raises(LookupError, match="mnist28-v1"):
        extractors.card("mnist28")


def test_random_projection_is_the_same_everywhere():
    """Pinned: a change of the noise contract would make old distances incomparable without a word."""
    features = extractors.load("random_projection")(torch.linspace(0, 1, 24).view(2, 3, 4), None)
    assert features.shape == (2, 64)
    assert features[1, :8].tolist() == pytest.approx(PINNED, abs=1e-4)


def test_random_projection_ignores_padding():
    x, lengths = torch.rand(4, 6, 3), torch.tensor([6, 2, 1, 4])
    padded = x.clone()
    padded[1, 2:] = 7.0
    features = extractors.load("random_projection")
    assert torch.equal(features(x, lengths), features(padded, lengths))
    assert not torch.equal(features(x, lengths), features(x, torch.tensor([6, 6, 1, 4])))


def test_shifts_keep_the_image_and_bring_in_zeros():
    x = torch.ones(200, 1, 4, 4)
    moved = shifted(x, 1)
    assert moved.shape == x.shape and set(moved.unique().tolist()) == {0.0, 1.0}
    assert set(moved.sum((1, 2, 3)).tolist()) == {16.0, 12.0, 9.0}


def test_cards_are_plain_json():
    for name in CLASSIFIERS:
        assert json.dumps(extractors.card(name))


PINNED = [0.0, 0.0545, 0.0, 0.0, 0.0, 0.0, 0.0323, 0.1423]
