"""What a suite survives, what ends it, and what is said: no memory, no room on the disk, no folder to write into."""

import resource
import signal

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
        patch.setattr("zoo.training.save", full)            # the weights, after the last checkpoint
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


def test_data_that_are_missing_fail_the_trial_alone(tiny, tmp_path):
    path, _ = tiny
    path.write_text(path.read_text() + f'[datasets."npz:{tmp_path}/none.npz"]\nvariants = ["vae"]\n')
    assert run(tiny, "--variants", "vae") == 1
    states = [(r["dataset"][:3], r["status"]) for r in record.read_all(tiny[1] / "tiny")]
    assert sorted(states) == [("dig", "ok"), ("npz", "failed")]
