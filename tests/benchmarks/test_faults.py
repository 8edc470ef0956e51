"""What a suite survives, what ends it, and what is said: no memory, no room on the disk, no folder to write into."""

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

import zoo
from benchmarks import record
from benchmarks.cli import main

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9."),
    MemoryError(),
]


def run(tiny, *more):
    path, out = tiny
    return main(["run", str(path), "--out", str(out), "--device", "cpu", *more])


def records(tiny):
    return {r["variant"]: r for r in record.read_all(tiny[1] / "tiny")}


@pytest.fixture
def small_memory(monkeypatch):
    """small_memory(n): vae cannot be trained in batches of more than n. -> the sizes that are tried"""
    fit, tried = zoo.fit, []

    def make(most):
        def failing(model, *args, batch_size, **kwargs):
            tried.append(batch_size)
            if model.name == "vae" and batch_size > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return fit(model, *args, batch_size=batch_size, **kwargs)
        monkeypatch.setattr(zoo, "fit", failing)
        return tried
    return make


@pytest.fixture
def only_vae(monkeypatch):
    """only_vae(error): training vae raises it"""
    fit = zoo.fit

    def make(error):
        def failing(model, *args, **kwargs):
            if model.name == "vae":
                raise error
            return fit(model, *args, **kwargs)
        monkeypatch.setattr(zoo, "fit", failing)
    return make


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: type(e).__name__)
def test_a_trial_without_memory_is_recorded_with_what_to_do_and_the_others_go_on(tiny, only_vae, error, capsys):
    only_vae(error)
    assert run(tiny) == 1
    found = records(tiny)
    assert found["ae"]["status"] == "ok" and found["vae"]["status"] == "failed"
    last = found["vae"]["traceback"].splitlines()[-1]
    assert last == ('out of memory in training: lower batch_size, 32 now: [datasets."digits".variant.vae] '
                    "budget = { batch_size = ... }; or run with --auto-batch")
    assert last in (tiny[1] / "tiny/README.md").read_text()


def test_with_auto_batch_the_batch_is_halved_until_it_fits_and_the_record_says_so(tiny, small_memory, capsys):
    tried = small_memory(9)
    assert run(tiny, "--auto-batch") == 0 and tried == [32, 16, 8, 32]
    found, (path, out) = records(tiny), tiny
    assert found["vae"]["status"] == "ok" and found["vae"]["auto_batch"] == {"asked": 32, "used": 8}
    assert found["vae"]["budget"] == found["ae"]["budget"] | {"batch_size": 8} and "auto_batch" not in found["ae"]
    assert "digits vae seed 0: out of memory at a batch size of 16; once more, at 8" in capsys.readouterr().out
    assert "vae seed 0 on cpu: trained at a batch size of 8, since 32 did not fit" in (out / "tiny/README.md").read_text()
    assert len(list(out.glob("tiny/models/digits-vae-*"))) == 1
    assert run(tiny, "--auto-batch") == 0 and len(tried) == 4                   # finished, for those who ask for it
    assert run(tiny, "--remeasure", "--auto-batch") == 0 and tried[4:] == [32, 16]              # the model of 8 was kept
    assert run(tiny) == 2
    said = capsys.readouterr().err
    assert "budget.batch_size was 8, is now 32; it was halved from 32 to fit into memory: --auto-batch" in said
    path.write_text(path.read_text().replace("batch_size = 32", "batch_size = 64"))
    assert run(tiny, "--auto-batch", "--variants", "vae") == 2                  # another size was asked for
    assert "budget.batch_size was 8, is now 64" in capsys.readouterr().err


def test_auto_batch_ends_at_one(tiny, small_memory):
    assert small_memory(0) == [] and run(tiny, "--auto-batch") == 1
    found = records(tiny)
    assert found["ae"]["status"] == "ok" and found["vae"]["status"] == "failed" and found["vae"]["budget"]["batch_size"] == 32
    assert found["vae"]["traceback"].splitlines()[-1].startswith("out of memory in training, even at a batch size of 1")


def test_without_memory_for_a_metric_the_model_is_kept(tiny, monkeypatch):
    def failing(context):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.harness.measure", failing)
        assert run(tiny, "--variants", "vae") == 1
    assert "iwae_k" in records(tiny)["vae"]["traceback"].splitlines()[-1]
    monkeypatch.setattr(zoo, "fit", lambda *a, **k: pytest.fail("a kept model was trained again"))
    assert run(tiny, "--variants", "vae") == 0


def test_on_a_full_disk_the_run_ends_and_loses_nothing(tiny, capsys):
    """A limit on the size of files stands for the full disk: logs fit, checkpoints do not."""
    path, out = tiny
    path.write_text(path.read_text().replace("hidden = 8", "hidden = 64"))
    assert run(tiny, "--variants", "ae") == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        assert run(tiny) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    said = capsys.readouterr().err
    assert "could not write" in said and "what was there before is untouched" in said and "checkpoint.safetensors" in said
    assert {p: p.read_bytes() for p in before} == before and set(records(tiny)) == {"ae"}
    assert run(tiny) == 0 and set(records(tiny)) == {"vae", "ae"}


def test_a_full_disk_keeps_the_checkpoint_of_the_trial_at_hand(tiny, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")       # as a line of the log has it: without a name

    path, out = tiny
    path.write_text(path.read_text().replace("steps = 5\n", "steps = 200\n", 1))
    with monkeypatch.context() as patch:
        patch.setattr("zoo.run.save", full)            # the weights, after the last checkpoint
        assert run(tiny, "--variants", "vae") == 2
    assert "No space left" in capsys.readouterr().err
    assert not records(tiny) and list(out.glob("tiny/models/*/checkpoint.safetensors"))
    assert run(tiny, "--variants", "vae") == 0


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_results_that_cannot_be_written_are_refused(tiny, capsys, jobs):
    """A file where the folder should be: what forbids writing to a superuser too."""
    tiny[1].mkdir()
    (tiny[1] / "tiny").write_text("in the way")
    assert run(tiny, "--jobs", jobs) == 2
    said = capsys.readouterr().err
    assert str(tiny[1] / "tiny") in said and "Traceback" not in said
    assert (tiny[1] / "tiny").read_text() == "in the way"


def test_a_folder_on_a_read_only_disk_is_said(tiny, monkeypatch, capsys):
    def read_only(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("zoo.store.tempfile.mkstemp", read_only)
    assert run(tiny) == 2
    said = capsys.readouterr().err
    assert "could not write" in said and "Read-only file system" in said and str(tiny[1]) in said and "Traceback" not in said
    assert not records(tiny)


KILLED = """
import os, signal, sys
from benchmarks.cli import main
fsync = os.fsync
def killed(handle):
    if {name!r} in os.readlink(f"/proc/self/fd/{{handle}}"):
        os.ftruncate(handle, 100)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = killed
main(sys.argv[1:])
"""


def test_a_kill_while_a_record_is_written_leaves_none_and_loses_nothing(tiny, monkeypatch):
    path, out = tiny
    command = ["run", str(path), "--out", str(out), "--device", "cpu", "--variants", "vae"]
    done = subprocess.run([sys.executable, "-c", KILLED.format(name=".0-cpu.json."), *command], cwd=record.ROOT, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    assert done.returncode == -signal.SIGKILL and [p.stat().st_size for p in out.glob("tiny/digits/vae/.0-cpu.json.*")] == [100]
    assert not records(tiny)
    monkeypatch.setattr(zoo, "fit", lambda *a, **k: pytest.fail("a trained model was trained again"))
    assert main(command) == 0 and records(tiny)["vae"]["status"] == "ok"


def test_nan_in_the_data_fails_the_trial_alone_and_is_said(tiny, tmp_path):
    path, x = tiny[0], np.random.default_rng(0).random((60, 4))
    x[7, 1] = np.nan
    np.savez(tmp_path / "holes.npz", x=x)
    path.write_text(path.read_text() + f'[datasets."npz:{tmp_path}/holes.npz"]\nvariants = ["vae"]\n')
    assert run(tiny, "--variants", "vae") == 1
    found = {r["dataset"][:3]: r for r in record.read_all(tiny[1] / "tiny")}
    assert found["dig"]["status"] == "ok" and found["npz"]["status"] == "failed"
    assert "x holds NaN or Inf in 1 example(s), first 7" in found["npz"]["traceback"].splitlines()[-1]


def test_data_that_are_missing_fail_the_trial_alone(tiny, tmp_path):
    path, _ = tiny
    path.write_text(path.read_text() + f'[datasets."npz:{tmp_path}/none.npz"]\nvariants = ["vae"]\n')
    assert run(tiny, "--variants", "vae") == 1
    states = [(r["dataset"][:3], r["status"]) for r in record.read_all(tiny[1] / "tiny")]
    assert sorted(states) == [("dig", "ok"), ("npz", "failed")]
