"""Model files: what is refused, and that nothing is ever half written."""

import json

import pytest
import torch
from safetensors.torch import save_file
from support import examples, perturbed, small
from torch import nn

import zoo
from zoo.noise import Generated
from zoo.store import read_tensors, write_atomically, write_tensors


@pytest.fixture
def path(tmp_path):
    zoo.save(perturbed(small("vae", "binary")), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def header(path):
    return read_tensors(path, "vae-zoo.model/1")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        zoo.load(tmp_path / "nothing")


@pytest.mark.parametrize("part", [0, 3, 100, -10])
def test_a_truncated_file(path, part):
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(ValueError, match="corrupt"):
        zoo.load(path)


def test_a_file_of_something_else(path):
    path.write_bytes(b"PK\x03\x04 not what it should be" * 10)
    with pytest.raises(ValueError, match="corrupt"):
        zoo.load(path)


def test_a_pickle_is_never_opened(path):
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="corrupt"):
        zoo.load(path)


def test_someone_elses_safetensors(path):
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not written by this project"):
        zoo.load(path)
    save_file({"a": torch.zeros(2)}, path, metadata={"vae-zoo": "{not json"})
    with pytest.raises(ValueError, match="corrupt"):
        zoo.load(path)


def test_another_schema(path):
    tensors, found = header(path)
    write_tensors(path, tensors, {**found, "schema": "vae-zoo.model/999"})
    with pytest.raises(ValueError, match="schema 'vae-zoo.model/999'; this version reads"):
        zoo.load(path)


def test_a_variant_that_no_longer_exists(path):
    tensors, found = header(path)
    write_tensors(path, tensors, {**found, "name": "vaee"})
    with pytest.raises(LookupError, match="'vae'"):
        zoo.load(path)


def test_weights_that_do_not_fit(path):
    tensors, found = header(path)
    write_tensors(path, {k: v[..., :1] for k, v in tensors.items()}, found)
    with pytest.raises(ValueError, match="do not fit vae"):
        zoo.load(path)


def test_a_header_that_anyone_can_read(path):
    _, found = header(path)
    assert found["name"] == "vae" and found["spec"]["shape"] == [1, 4, 4] and found["settings"]["latent_dim"] == 4
    json.dumps(found)


def own_decoder():
    return nn.Sequential(nn.Linear(4, 16), nn.Unflatten(-1, (1, 1, 4, 4)))


def test_own_modules_are_asked_for_again(tmp_path):
    model, path = perturbed(small("vae", "binary", decoder=own_decoder())), tmp_path / "own.safetensors"
    zoo.save(model, path)
    with pytest.raises(ValueError, match="own decoder.*pass it"):
        zoo.load(path)
    with pytest.raises(ValueError, match="not built with an own encoder"):
        zoo.load(path, decoder=own_decoder(), encoder=own_decoder())
    again, batch = zoo.load(path, decoder=own_decoder()), examples("binary")
    assert torch.equal(again(batch, noise=Generated(0)).elbo, model(batch, noise=Generated(0)).elbo)


def test_folders_are_made_and_files_can_be_read_by_others(tmp_path):
    path = tmp_path / "a" / "b" / "model.safetensors"
    zoo.save(small("vae", "binary"), path)
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, path):
    before, names = path.read_bytes(), {p.name for p in tmp_path.iterdir()}
    with pytest.raises(OSError) as error:
        write_atomically(path / "under_a_file", b"new")
    assert error.value.filename
    assert path.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == names
