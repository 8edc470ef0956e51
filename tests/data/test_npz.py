"""Users' arrays: the kind that is read off them, the split, missing values, and errors that say what to do."""

import numpy as np
import pytest
import torch

from zoo.data import load_dataset

N = 20
RNG = np.random.RandomState(0)
UNIT = RNG.rand(N, 3)


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return load_dataset("npz:mine.npz", tmp_path)

    return save


@pytest.mark.parametrize(
    ("x", "kind", "stored"),
    [
        (RNG.rand(N, 3) < 0.5, "binary", torch.bool),
        (RNG.randint(2, size=(N, 3)), "binary", torch.bool),
        (np.zeros((N, 3), np.float64), "binary", torch.bool),
        (RNG.randint(256, size=(N, 1, 4, 4)).astype(np.uint8), "byte", torch.uint8),
        (UNIT, "unit", torch.float32),
        (UNIT * 2, "real", torch.float32),
        (RNG.randint(-5, 5, size=(N, 3)), "real", torch.float32),
    ],
)
def test_the_kind_is_read_off_the_array(save, x, kind, stored):
    data = save(x=x)
    assert data.spec.kind == kind and data.spec.shape == x.shape[1:] and not data.spec.sequence
    assert data.train.x.dtype == stored
    values = torch.cat([split.batch().x for split in data.splits.values()]) * (255 if kind == "byte" else 1)
    order = np.random.RandomState(0).permutation(N)
    torch.testing.assert_close(values, torch.from_numpy(x[order].astype(np.float32)))


def test_the_fixed_split(save):
    first, again = (save(x=UNIT, label=np.arange(N, dtype=np.uint8)) for _ in range(2))
    first.check()
    assert first.train.label.dtype == torch.int64
    assert [len(split) for split in first.splits.values()] == [16, 2, 2]
    rows = torch.cat([split.label for split in first.splits.values()])
    assert sorted(rows.tolist()) == list(range(N)) and rows.tolist() == np.random.RandomState(0).permutation(N).tolist()
    assert first.sha256 == again.sha256 and first.spec.classes == N


def test_explicit_splits_are_kept(save):
    parts = {"train": 5, "valid": 2, "test": 1}
    x = {f"x_{name}": UNIT[:n] for name, n in parts.items()}
    data = save(**x, **{f"label_{name}": np.ones(n, int) for name, n in parts.items()})
    assert {name: len(split) for name, split in data.splits.items()} == parts
    torch.testing.assert_close(data.train.x, torch.from_numpy(UNIT[:5].astype(np.float32)))


def test_tokens_and_sequences(save):
    tokens = RNG.randint(7, size=(N, 5)).astype(np.uint8)
    tokens[0, 0] = 6
    lengths = np.full(N, 4)
    tokens[:, 4] = 99                                           # past the end: does not count
    data = save(x=tokens, lengths=lengths)
    assert data.spec.kind == "tokens" and data.spec.vocabulary == 7 and data.spec.max_length == 5
    assert data.train.x.dtype == torch.int64 and (data.train.x[:, 4] == 0).all()
    frames = RNG.randn(N, 5, 2)
    frames[:, 4:] = np.nan
    data = save(x=frames, lengths=lengths)
    assert data.spec.kind == "real" and data.spec.shape == (2,) and data.spec.max_length == 5


@pytest.mark.parametrize("name", ["observed", "mask"])
def test_missing_values_may_be_nan_and_are_stored_as_zero(save, name):
    x, observed = UNIT.copy(), RNG.rand(N, 3) < 0.5
    x[~observed] = np.nan
    data = save(x=x, **{name: observed.astype(float)})
    assert data.spec.kind == "unit"
    batch = data.train.batch()
    assert batch.observed.dtype == torch.bool
    assert (batch.x[~batch.observed] == 0).all() and (batch.x[batch.observed] > 0).all()


NAN, ZERO_LENGTH = UNIT.copy(), np.full(N, 2)
NAN[3, 1], ZERO_LENGTH[5] = np.nan, 0
SPLIT = {"x_train": UNIT, "x_valid": UNIT, "x_test": UNIT}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "it holds nothing; needed is x, or x_train, x_valid and x_test"),
        ({"x": np.zeros((0, 3))}, "x has no rows; at least one"),
        ({"x": UNIT[:2]}, r"2 example\(s\); at least 3 are needed"),
        ({"x": NAN}, r"x\[0:20\]: x holds NaN or Inf in 1 example\(s\), first 3"),
        ({"x": UNIT, "lable": np.zeros(N, int)}, "unknown array 'lable'; did you mean 'label'"),
        ({"x": UNIT, "mask": np.ones((N, 3)), "observed": np.ones((N, 3))}, "two names of one array"),
        ({"x": UNIT, "label": np.full(N, -1)}, r"label lie in \[-1, -1\]"),
        ({"x": UNIT, "label": np.zeros(N)}, "label holds float64; needed are integers"),
        ({"x": UNIT, "label": np.zeros(N - 1, int)}, "label has 19 rows and x has 20"),
        ({"x": UNIT, "label": np.zeros((N, 2), int)}, r"label has shape \(20, 2\); needed is \(20,\)"),
        ({"x": UNIT[:, None], "lengths": np.full(N, 2)}, r"lengths lie in \[2, 2\]; allowed are 1 .. 1"),
        ({"x": UNIT[:, :, None], "lengths": ZERO_LENGTH}, r"lengths lie in \[0, 2\]; allowed are 1 .. 3"),
        ({"x": UNIT, "lengths": np.full(N, 2)}, r"must be \(N, T, features\)"),
        ({"x": -np.ones((N, 3), int), "lengths": np.full(N, 2)}, "tokens lie in|vocabulary"),
        ({"x": UNIT, "observed": np.ones((N, 2), bool)}, r"observed must be .* of x's shape \(20, 3\); got \(20, 2\)"),
        ({"x": UNIT, "observed": np.full((N, 3), 2)}, "observed must be 0 or 1 .* from 2 to 2"),
        ({"x": UNIT[:, 0]}, r"x has shape \(20,\); needed is one row an example"),
        ({"x": np.array(["a", "b", "c"])}, "x holds <U1; needed are numbers"),
        ({"x": np.array([None, 1])}, "not an .npz file of plain arrays .*allow_pickle"),
        ({"x": UNIT, "x_train": UNIT}, "it holds x, x_train; needed is x, or"),
        ({"x_train": UNIT, "x_test": UNIT}, "it holds x_test, x_train; needed is"),
        (SPLIT | {"label_train": np.zeros(N, int)}, "for all three splits or for none"),
        (SPLIT | {"x_valid": UNIT[:, :2]}, r"examples differ in shape: \(20, 3\), \(20, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(save, arrays, message):
    with pytest.raises(ValueError, match=rf"mine\.npz: .*({message})"):
        save(**arrays)


def test_what_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    for content in (b"", b"PK\x03\x04 broken", b"words"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="mine.npz: not an .npz file of plain arrays"):
            load_dataset(f"npz:{path}")
    np.save(tmp_path / "mine.npy", UNIT)
    with pytest.raises(ValueError, match="mine.npy: not an .npz file of plain arrays"):
        load_dataset(f"npz:{tmp_path / 'mine.npy'}")
    with pytest.raises(FileNotFoundError, match="there is neither"):
        load_dataset("npz:elsewhere.npz", tmp_path)
