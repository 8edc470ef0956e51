"""Data that stay on disk: the batches, runs and checksums of the same data in memory, read ahead, in bounded memory."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import fit, small, weights, without_time

import zoo
from zoo.data import load_dataset, on_disk
from zoo.data.on_disk import AHEAD, OnDisk

RNG = np.random.RandomState(0)
BYTES = RNG.randint(256, size=(60, 1, 6, 5)).astype(np.uint8)


@pytest.fixture
def photographs(tmp_path):
    """`folder:` of 60 images in two subfolders, of which one is grey."""
    for i in range(60):
        path = tmp_path / "photographs" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.randint(256, size=(6, 5, 3) if i else (6, 5)).astype(np.uint8)).save(path)
    return f"folder:{tmp_path}/photographs"


@pytest.fixture
def both(monkeypatch):
    """both(name) -> the data set in memory, and the one on disk."""
    def load(name):
        kept = load_dataset(name)
        monkeypatch.setattr(on_disk, "HELD", 0)
        streamed = load_dataset(name)
        monkeypatch.undo()
        assert kept.train.in_memory and not streamed.train.in_memory and not streamed.test.in_memory
        return kept, streamed
    return load


def assert_same(a, b):
    """Batches, of every field and type."""
    for name in ("x", "label", "observed", "lengths"):
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other) and one.dtype == other.dtype


@pytest.mark.parametrize("modifier", ["", "+without=1"])
def test_batches_are_those_in_memory(photographs, both, modifier):
    kept, streamed = both(photographs + modifier)
    assert streamed.spec == kept.spec and streamed.spec.shape == (3, 6, 5) and streamed.sha256 == kept.sha256
    assert "in memory" in kept.note and "read from disk" in streamed.note
    for name, split in streamed.splits.items():
        other = kept.splits[name]
        assert len(split) == len(other) and split.x.shape == other.x.shape and split.x.numel() == other.x.numel()
        for index in (torch.tensor([3, 0, 3]), slice(1, 4), slice(None)):
            assert_same(split.batch(index), other.batch(index))
            assert_same(split.take(index).head(2).batch(), other.take(index).head(2).batch())
            (read,) = split.to("cpu").ahead([index])
            assert read.in_memory and torch.equal(read.x, other.take(index).x) and torch.equal(read.label, other.label[index])


ARRAYS = [
    ("byte", BYTES),
    ("binary", BYTES % 2),
    ("binary", BYTES > 99),
    ("unit", BYTES / 255),
    ("real", (BYTES / 100).astype(np.float32)),
    ("real", BYTES.astype(np.int32)),
]


@pytest.mark.parametrize("kind, x", ARRAYS, ids=lambda a: a if isinstance(a, str) else str(a.dtype))
def test_an_array_is_what_it_is_in_an_npz_file(kind, x, both, tmp_path):
    np.savez(tmp_path / "a.npz", x=x, label=np.arange(60) % 3)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "label.npy", np.arange(60) % 3)
    whole = load_dataset(f"npz:{tmp_path}/a.npz")
    for data in both(f"npy:{tmp_path}"):
        data.check()
        assert data.spec == whole.spec and data.spec.kind == kind and data.sha256 == whole.sha256
    kept, streamed = both(f"npy:{tmp_path}/x.npy")
    assert streamed.spec.classes is None and torch.equal(streamed.valid.batch().x, whole.valid.batch().x)
    with pytest.raises(ValueError, match="larger than memory"):
        _ = streamed.train.held


def test_the_kind_is_read_off_all_of_an_array(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.mapped.READ_AT_ONCE", 100)                # three rows
    for last, kind in ((0, "binary"), (0.5, "unit"), (2.0, "real"), (float("nan"), "real")):
        x = np.zeros((30, 33), np.float32)
        x[-1, -1] = last
        np.save(tmp_path / "x.npy", x)
        assert load_dataset(f"npy:{tmp_path}/x.npy").spec.kind == kind


@pytest.mark.parametrize("array, message", [
    (np.arange(30), "one row an example"),
    (np.array([["a"]] * 30), "needed are numbers"),
    (np.array([[None]] * 30), "not an .npy file"),
    (np.zeros((2, 3)), r"2 example\(s\)"),
])
def test_what_is_no_array_of_examples_is_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        load_dataset(f"npy:{tmp_path}")


def test_files_that_are_not_what_their_names_say_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="x.npy"):
        load_dataset(f"npy:{tmp_path}")
    np.save(tmp_path / "x.npy", BYTES)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-9])
    with pytest.raises(ValueError, match="x.npy: not an .npy file"):
        load_dataset(f"npy:{tmp_path}")
    np.savez(tmp_path / "a.npz", x=BYTES)
    with pytest.raises(ValueError, match="several arrays; npz:"):
        load_dataset(f"npy:{tmp_path}/a.npz")
    np.save(tmp_path / "x.npy", BYTES)
    for label in (np.arange(59), np.arange(60) - 1, np.arange(60)[:, None]):
        np.save(tmp_path / "label.npy", label)
        with pytest.raises(ValueError, match=r"label.npy .* needed are \(60,\) integers from 0"):
            load_dataset(f"npy:{tmp_path}")


# -- training -----------------------------------------------------------------------------------------------------------------
RECIPE = {"steps": 15, "evaluate_every": 5, "lr": 0.01}     # of 6 an epoch


def run(data, **settings):
    model, result = fit(small("vae", data.spec, net="mlp"), data, **{**RECIPE, **settings})
    assert multiprocessing.active_children() == []
    return weights(model), without_time(result.history)


def test_a_run_is_that_in_memory_and_takes_no_random_numbers(photographs, both):
    for modifier in ("", "+flip"):
        kept, streamed = both(photographs + modifier)
        before = torch.get_rng_state()
        (a, history), (b, other) = run(kept), run(streamed)
        assert torch.equal(a, b) and history == other and torch.equal(torch.get_rng_state(), before)


def test_other_engines_and_several_seeds_read_it_too(photographs, both, monkeypatch):
    kept, streamed = both(photographs + "+flip")
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)
    (a, _), (b, _) = (run(data, engine="compile") for data in (kept, streamed))
    assert torch.equal(a, b)
    settings = {"seeds": [0, 1], "settings": {"net": "mlp", "hidden": 8}, "steps": 8, "batch_size": 8, "progress": False}
    for (one, _), (other, _) in zip(*(zoo.fit_many("vae", data, **settings) for data in (kept, streamed)), strict=True):
        assert torch.equal(weights(one), weights(other))
    assert multiprocessing.active_children() == []


def test_an_engine_that_fails_loses_no_batch(photographs, both, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no compiler here")

    _, data = both(photographs)
    expected, _ = run(data, engine="eager")
    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    with pytest.warns(UserWarning, match="no compiler here"):
        got, _ = run(data, engine="compile")
    assert torch.equal(got, expected) and multiprocessing.active_children() == []


def test_a_run_resumes_in_the_middle_of_an_epoch(photographs, both, tmp_path):
    _, data = both(photographs)
    whole, history = run(data)
    run(data, steps=10, out=tmp_path)
    resumed, again = run(data, out=tmp_path, resume=True)
    assert torch.equal(resumed, whole) and again == history


def test_a_damaged_image_is_named_at_its_turn(photographs, both):
    """Its header is whole, so that it is found when it is read; nothing hangs."""
    _, data = both(photographs)
    path = Path(os.fsdecode(data.train.x.source.paths[data.train.x.index[0]]))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image") as caught:
        run(data)
    assert "\n" not in str(caught.value) and multiprocessing.active_children() == []
    Image.new("RGB", (5, 7)).save(path)
    with pytest.raises(ValueError, match=r"it has turned from .* into \(3, 7, 5\); load the data anew"):
        data.train.batch(slice(1))


def test_nan_on_disk_is_found_before_training(both, tmp_path):
    x = BYTES / 100
    x[7] = float("nan")
    np.save(tmp_path / "x.npy", x)
    _, data = both(f"npy:{tmp_path}/x.npy")
    with pytest.raises(ValueError, match="x holds NaN"):
        run(data)


def test_masks_as_large_as_the_data_are_refused(photographs, monkeypatch):
    monkeypatch.setattr(on_disk, "HELD", 0)
    with pytest.raises(ValueError, match=r"\+missing=0.5: .* too large to be held in memory"):
        load_dataset(f"{photographs}+missing=0.5")


# -- reading ahead ------------------------------------------------------------------------------------------------------------
class Marked:
    """A source of row numbers, which leaves a mark where it was read and by whom."""

    shape, dtype = (1,), torch.int64

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return 1000

    def read(self, rows):
        (self.folder / f"{rows[0]}-{os.getpid()}").touch()
        return torch.from_numpy(rows.copy())[:, None]


def rows_of(source):
    return OnDisk(source, torch.arange(len(source)))


def test_the_next_batches_are_read_meanwhile_and_no_more_of_them_than_said(tmp_path):
    asked = []

    def order():
        for i in range(100):
            asked.append(i)
            yield torch.tensor([9 * i, 9 * i + 1])

    reading = rows_of(Marked(tmp_path)).ahead(order())
    index, x = next(reading)
    assert index.tolist() == [0, 1] and x.tolist() == [[0], [1]]
    most = AHEAD * on_disk._processes()
    deadline = time.monotonic() + 20
    while len(marks := list(tmp_path.iterdir())) < 1 + most and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(marks) == len(asked) == 1 + most
    assert str(os.getpid()) not in {mark.name.partition("-")[2] for mark in marks}
    assert [next(reading)[0].tolist() for _ in range(20)] == [[9 * i, 9 * i + 1] for i in range(1, 21)]
    reading.close()
    assert multiprocessing.active_children() == [] and len(asked) == 21 + most


def test_a_process_that_is_lost_is_reported(tmp_path):
    reading = rows_of(Marked(tmp_path)).ahead(torch.tensor([i]) for i in range(1000))
    with pytest.raises((OSError, RuntimeError), match="was lost|DataLoader worker"):    # the latter: a signal, anywhere
        next(reading)
        multiprocessing.active_children()[0].kill()
        list(reading)
    reading.close()
    assert multiprocessing.active_children() == []


INTERRUPTED = "import sys, zoo.data.on_disk as d; d.HELD = 0; from zoo.cli import main; sys.exit(main(sys.argv[1:]))"


def test_ctrl_c_ends_all_processes_in_one_line(tmp_path):
    np.save(tmp_path / "x.npy", BYTES)
    root = Path(__file__).parents[2]
    command = ["train", "vae", "--data", f"npy:{tmp_path}/x.npy", "--set", "net=mlp", "--batch-size", "8", "--steps", "1000000",
               "--set", "hidden=8", "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, *command], cwd=root, start_new_session=True, text=True,
                               stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"})
    try:
        while not (tmp_path / "log.jsonl").is_file() or not (tmp_path / "log.jsonl").stat().st_size:
            assert process.poll() is None, "the run ended by itself"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)               # as a terminal does: to all of them
        _, said = process.communicate(timeout=30)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        process.kill()
    assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said


def test_all_rows_are_read_in_order_whatever_their_number(tmp_path, monkeypatch):
    assert torch.equal(rows_of(Marked(tmp_path)).whole(), torch.arange(1000)[:, None])
    monkeypatch.setattr(on_disk, "ROWS", 300)
    assert torch.equal(rows_of(Marked(tmp_path)).take(torch.arange(999, 0, -1)).whole(), torch.arange(999, 0, -1)[:, None])


def test_memory_is_that_of_a_batch(tmp_path, monkeypatch):
    """An array of 200 MB, sparse on disk, all of it read."""
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (50_000, 4000))
    file[::100, 0] = np.arange(500) % 256
    del file
    monkeypatch.setattr(on_disk, "HELD", 100 << 20)
    tracemalloc.start()
    data = load_dataset(f"npy:{tmp_path}/x.npy")
    total = sum(int(split.x[i:i + 500].sum()) for split in data.splits.values() for i in range(0, len(split), 500))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not data.train.in_memory and total == sum(i % 256 for i in range(500)) and peak < 20e6
