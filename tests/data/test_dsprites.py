"""dSprites: what is said without the official file; and, in a file of its form, that factors stay with their images."""

import hashlib

import numpy as np
import pytest
import torch

from zoo.data import dsprites, load_dataset
from zoo.data.files import Files
from zoo.data.sprites import COUNTS, render


@pytest.fixture
def alike(tmp_path, monkeypatch):
    """A data folder with 60 of our sprites in the official form, known by their hash."""
    factors = np.stack(np.unravel_index(np.random.RandomState(1).permutation(np.prod(COUNTS))[:60], COUNTS), 1)
    path = tmp_path / dsprites.PATH
    path.parent.mkdir()
    np.savez_compressed(path, imgs=render(torch.from_numpy(factors))[:, 0].numpy().astype(np.uint8),
                        latents_classes=np.pad(factors, ((0, 0), (1, 0))), metadata=np.array({"a": "pickle"}, object))
    monkeypatch.setattr(dsprites, "FILES", Files({dsprites.PATH: f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"}, "afar"))
    monkeypatch.setattr(dsprites, "VALID", 10)
    monkeypatch.setattr(dsprites, "TEST", 5)
    return tmp_path


def test_without_the_file_it_says_what_to_put_where(tmp_path):
    with pytest.raises(FileNotFoundError, match="github.com/google-deepmind/dsprites-dataset and put them there") as raised:
        load_dataset("dsprites", tmp_path)
    assert str(tmp_path / dsprites.PATH) in str(raised.value)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / dsprites.PATH
    path.parent.mkdir()
    path.write_bytes(b"sprites")
    with pytest.raises(ValueError, match="another file: md5 expected 7da33b31b13a06f4b04a70402ce90c2e"):
        load_dataset("dsprites", tmp_path)


def test_factors_stay_with_their_images(alike):
    data = load_dataset("dsprites", alike)
    data.check()
    assert data.spec == load_dataset("sprites").spec
    assert [len(split) for split in data.splits.values()] == [45, 10, 5]
    for split in data.splits.values():
        assert split.x.dtype == torch.bool and torch.equal(split.x, render(split.factors))
        assert torch.equal(split.label, split.factors[:, 0])


def test_the_official_file(real):
    data = real("dsprites", dsprites.PATH)
    factors = torch.cat([split.factors for split in data.splits.values()])
    assert [len(split) for split in data.splits.values()] == [717280, 10000, 10000]
    assert len(factors.unique(dim=0)) == 737280
    assert data.test.x.float().mean() == pytest.approx(0.0425, abs=5e-4)
