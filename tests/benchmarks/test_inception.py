"""Canonical FID: nothing without the weight file, nothing from another one, from the right one torch-fidelity's features."""

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import nn

import zoo
from benchmarks import frechet
from benchmarks.extractors import inception
from benchmarks.metrics import METRICS, measure


@pytest.fixture
def model(context, digits):
    return context(zoo.create("vae", digits.spec, latent_dim=2, hidden=8, seed=0), digits, samples=3, metrics=("fid", "kid"))


def test_without_the_file_there_is_no_fid(model, monkeypatch):
    monkeypatch.delenv(inception.VARIABLE, raising=False)
    assert measure(model)[0] == {}
    with pytest.raises(FileNotFoundError, match="ZOO_INCEPTION is not set.*get https://.*6726825d.pth"):
        METRICS.get("fid").measure(model)
    assert "$ZOO_INCEPTION" in METRICS.get("fid").documentation.splitlines()[0]        # which `zoo-bench list` prints


def test_a_file_that_is_not_there(model, monkeypatch, tmp_path):
    monkeypatch.setenv(inception.VARIABLE, str(tmp_path / "none.pth"))
    with pytest.raises(FileNotFoundError, match="none.pth, which .ZOO_INCEPTION names, is no file"):
        measure(model)


def test_another_file_is_refused_and_both_hashes_are_named(model, monkeypatch, tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"another network")
    monkeypatch.setenv(inception.VARIABLE, str(path))
    for name in ("fid", "kid"):
        with pytest.raises(ValueError, match="6726825d") as refused:
            METRICS.get(name).measure(model)
        assert hashlib.sha256(b"another network").hexdigest() in str(refused.value)


def test_images_of_two_channels_have_no_fid(model, monkeypatch):
    monkeypatch.setenv(inception.VARIABLE, "set")
    assert METRICS.get("fid").applies(model)
    two = replace(model.data, spec=zoo.DataSpec((2, 8, 8), "byte"))
    assert not METRICS.get("fid").applies(replace(model, data=two))


def test_bytes():
    x = torch.tensor([-0.1, 0.0, 0.5, 127.4 / 255, 1.0, 1.2]).view(1, 1, 2, 3)
    shown = inception.as_bytes(x)
    assert shown.dtype == torch.uint8 and shown.shape == (1, 3, 2, 3)
    assert shown[0, 0].flatten().tolist() == [0, 0, 128, 127, 255, 255] and torch.equal(shown[:, 0], shown[:, 2])


def test_features_are_torch_fidelity_s(model, monkeypatch, tmp_path):
    """With random weights, whose hash stands in for the published one: the way is tested, and FID by its definition."""
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    path = tmp_path / "weights.pth"
    with monkeypatch.context() as patch:                    # the network can only be built from weights
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        theirs = fidelity.FeatureExtractorInceptionV3("inception", ["2048"], verbose=False)
    for p in theirs.parameters():
        p.mul_(2.4 if p.dim() == 4 else 1.0)                # so that features do not fade on the way through 48 layers
    torch.save(theirs.state_dict(), path)
    monkeypatch.setenv(inception.VARIABLE, str(path))
    monkeypatch.setattr(inception, "DIGEST", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    x = model.samples.x
    expected = theirs((x * 255).round().to(torch.uint8).repeat(1, 3, 1, 1))[0]
    model.data = replace(model.data, train=model.data.train.head(3))
    found, _ = measure(model)
    assert torch.equal(model.inception.samples, expected)
    assert float(expected.std()) > 1e-3
    assert found["fid"]["value"] == frechet.distance(expected, model.inception.real.features)
    assert found["fid"]["n"] == found["kid"]["n"] == 3 and found["kid"]["stderr"] > 0
