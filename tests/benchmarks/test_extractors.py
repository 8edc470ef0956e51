"""Feature spaces: what the cards say is true, and other weights are refused."""

import json
import shutil

import pytest
import torch

from benchmarks import extractors
from benchmarks.extractors.train import accuracy, shifted

CLASSIFIERS = [name for name in extractors.names() if name != "random_projection"]


def test_the_digits_classifier_is_as_accurate_as_its_card_says(digits):
    card = extractors.card("digits8-v1")
    assert card["data_sha256"] == digits.sha256
    assert accuracy(extractors.classifier("digits8-v1"), digits.test) == pytest.approx(card["accuracy"], abs=1e-4)
    assert card["accuracy"] > 0.98


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
