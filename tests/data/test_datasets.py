"""What every data set has in common: names, splits, batches, hashes, checks."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zoo.data import Dataset, Split, list_datasets, load_dataset, names, register_dataset
from zoo.data.files import data_root
from zoo.noise import Generated
from zoo.registry import Registry
from zoo.spec import DataSpec

EMBEDDED = ("digits", "digits:dynamic", "digits:fixed", "digit_rows", "sprites", "lgssm", "breast_cancer", "wine")


@pytest.fixture
def tiny(monkeypatch):
    """A data set registered for one test: probabilities of four pixels."""
    loaders = Registry("data set")
    for name in names._loaders:
        loaders.add(name, names._loaders.get(name))
    monkeypatch.setattr(names, "_loaders", loaders)
    x = torch.tensor([[0.0, 1.0, 0.25, 0.5]]).repeat(6, 1)
    data = Dataset("tiny", DataSpec((4,), "unit", classes=2), *[Split(x, torch.arange(6) % 2)] * 3, note="made up")
    register_dataset("tiny", binarise=True)(lambda root: data)
    return data


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_data_set_is_whole_and_the_same_every_time(name, tmp_path):
    data = load_dataset(name, tmp_path)
    data.check()
    assert data.name == name
    assert data.sha256 == load_dataset(name, tmp_path).sha256
    assert all(len(split) > 0 for split in data.splits.values())
    assert "Split" in data.note or "RandomState" in data.note
    assert list(tmp_path.iterdir()) == [], "nothing may be written into the data folder"


def test_the_names_are_those_documented():
    grey = ["digits", "fashion_mnist", "kmnist", "mnist"]
    polyphonic = [f"polyphonic/{name}" for name in ("jsb", "muse", "nottingham", "piano_midi")]
    other = ["breast_cancer", "cifar10", "digit_rows", "dsprites", "folder:PATH", "lgssm", "npy:PATH", "npz:PATH", "sprites",
             "text:PATH", "wine"]
    binarised = [f"{name}:{how}" for name in grey for how in ("dynamic", "fixed")]
    assert list_datasets() == sorted(grey + binarised + polyphonic + other)
    assert list_datasets("polyphonic/*") == polyphonic


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("digit", "digits"),
        ("mnits", "mnist"),
        ("mnist:dynamc", "mnist:dynamic"),
        ("npz", "npz:PATH"),
        ("poly/jsb", "polyphonic/jsb"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(wrong, meant):
    with pytest.raises(LookupError, match=f"unknown data set '{wrong}'.*'{meant}'"):
        load_dataset(wrong)


def test_a_family_without_a_path_is_refused():
    with pytest.raises(LookupError, match="'npz:' has no path after the colon: write npz:PATH"):
        load_dataset("npz:")


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="'digits' is already registered"):
        register_dataset("digits")(lambda root: load_dataset("lgssm"))


def test_the_data_folder_is_the_argument_then_the_environment_then_data(monkeypatch):
    monkeypatch.setenv("ZOO_DATA", "/from/environment")
    assert data_root("/given") == Path("/given")
    assert data_root() == Path("/from/environment")
    monkeypatch.delenv("ZOO_DATA")
    assert data_root() == Path("data")


def test_importing_loads_no_data_library():
    code = "import sys, zoo.data; print([m for m in ('torchvision', 'sklearn', 'scipy', 'PIL') if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_a_batch_is_what_the_spec_says_whatever_the_storage():
    byte = Split(torch.tensor([[0, 8, 16]], dtype=torch.uint8), levels=17).batch().x
    torch.testing.assert_close(byte, torch.tensor([[0.0, 0.5, 1.0]]), rtol=0, atol=0)
    binary = Split(torch.tensor([[False, True]])).batch().x
    torch.testing.assert_close(binary, torch.tensor([[0.0, 1.0]]), rtol=0, atol=0)
    tokens = Split(torch.tensor([[3, 1]]), lengths=torch.tensor([2])).batch()
    assert tokens.x.dtype == torch.int64 and tokens.lengths.tolist() == [2]


def test_a_batch_takes_the_same_rows_of_every_column():
    n = torch.arange(10)
    x = n[:, None].float()
    split = Split(x, label=n, lengths=n, observed=x > 4, factors=n[:, None])
    for index in (torch.tensor([7, 2, 2]), slice(3, 5)):
        batch = split.batch(index)
        assert batch.x[:, 0].tolist() == batch.label.tolist() == batch.lengths.tolist() == n[index].tolist()
        assert batch.observed[:, 0].tolist() == (n[index] > 4).tolist()
    head = split.head(3)
    assert len(head) == 3 and all(len(column) == 3 for column in head.columns().values())
    assert split.to("meta").x.device.type == "meta"
    assert repr(split) == "Split(x=(10, 1) torch.float32, label, lengths, observed, factors)"


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="label has 3 rows and x has 4"):
        Split(torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64))


def test_dynamic_binarisation_draws_pixels_with_their_grey_values_as_probabilities(tiny):
    train = load_dataset("tiny:dynamic").train
    visits = torch.stack([train.batch(noise=Generated(0, step)).x for step in range(2000)]).flatten(0, 1)
    assert set(visits.unique().tolist()) == {0.0, 1.0}
    mean = visits.mean(0)
    assert mean[0] == 0 and mean[1] == 1
    standard_error = (torch.tensor([0.25, 0.5]) * torch.tensor([0.75, 0.5]) / len(visits)).sqrt()
    assert ((mean[2:] - torch.tensor([0.25, 0.5])).abs() < 4 * standard_error).all()


def test_dynamic_binarisation_follows_its_noise(tiny):
    train = load_dataset("tiny:dynamic").train
    first, again, other = (train.batch(noise=Generated(0, step)).x for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(5)
    default = train.batch().x
    torch.manual_seed(5)
    assert torch.equal(default, train.batch().x)


def test_binary_data_cannot_be_binarised():
    with pytest.raises(ValueError, match="sprites holds binary data"):
        names.binarised(load_dataset("sprites"), fixed=True)


def test_the_hash_sees_every_array_of_every_split(tiny):
    assert replace(tiny, note="other words").sha256 == tiny.sha256
    changed = tiny.valid.x.clone()
    changed[0, 0] = 0.5
    assert replace(tiny, valid=replace(tiny.valid, x=changed)).sha256 != tiny.sha256
    assert replace(tiny, test=replace(tiny.test, label=1 - tiny.test.label)).sha256 != tiny.sha256
    assert replace(tiny, test=replace(tiny.test, label=None)).sha256 != tiny.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.full((6, 4), float("nan"))}, r"tiny, valid\[0:6\]: x holds NaN"),
        ({"x": torch.full((6, 4), 1.5)}, r"tiny, valid\[0:6\]: x lies in \[1.5, 1.5\]"),
        ({"label": torch.full((6,), 2)}, r"tiny, valid\[0:6\]: label lie in \[2, 2\]; allowed are 0 .. 1"),
        ({"factors": torch.zeros(6, 1)}, "tiny, valid: factors do not fit"),
    ],
)
def test_check_names_the_split_and_the_fault(tiny, change, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny, valid=replace(tiny.valid, **change)).check()


def test_check_refuses_an_empty_split(tiny):
    with pytest.raises(ValueError, match="tiny, test: no examples"):
        replace(tiny, test=tiny.test.head(0)).check()


def test_only_data_with_symbols_can_be_written_as_text(tiny):
    with pytest.raises(TypeError, match="unit data without symbols"):
        tiny.spec.text(torch.zeros(1, 2, dtype=torch.int64))
