"""What is on disk when a run ends, breaks off, is killed or finds the disk full, and how it goes on from there."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import fit, perturbed, small, weights, without_time

import zoo
from zoo.store import read_tensors, write_atomically

ROOT = Path(__file__).parents[1]


def test_a_constant_rate_may_be_followed_for_more_steps(tmp_path):
    whole, expected = fit(steps=12, evaluate_every=4)
    fit(steps=8, evaluate_every=4, out=tmp_path)
    more, got = fit(small("vae", "binary", seed=9), steps=12, evaluate_every=4, out=tmp_path, resume=True)
    assert torch.equal(weights(more), weights(whole)) and without_time(got.history) == without_time(expected.history)


CHANGES = [{"lr": 0.02}, {"seed": 1}, {"batch_size": 4}, {"warmup": 3}, {"ema": 0.5}, {"final_lr": 0.0}, {"noise": "philox"}]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_recipe_is_refused(tmp_path, change):
    fit(steps=4, out=tmp_path)
    with pytest.raises(ValueError, match=f"of another run .*{next(iter(change))} was"):
        fit(steps=4, out=tmp_path, resume=True, **change)


def test_another_model_is_refused(tmp_path):
    fit(steps=4, out=tmp_path)
    for model in (small("beta_vae", "binary"), small("vae", "binary", latent_dim=3)):
        with pytest.raises(ValueError, match="of another run"):
            fit(model, steps=4, out=tmp_path, resume=True)


def test_a_falling_rate_has_its_length(tmp_path):
    fit(steps=4, final_lr=0.0, out=tmp_path)
    with pytest.raises(ValueError, match="steps was 4, is now 8"):
        fit(steps=8, final_lr=0.0, out=tmp_path, resume=True)


def test_resuming_nothing_begins_and_resuming_nowhere_is_refused(tmp_path):
    assert torch.equal(weights(fit(steps=3, out=tmp_path, resume=True)[0]), weights(fit(steps=3)[0]))
    with pytest.raises(ValueError, match="needs `out`"):
        fit(steps=3, resume=True)


def test_a_corrupt_checkpoint_is_refused(tmp_path):
    fit(steps=4, out=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="corrupt"):
        fit(steps=4, out=tmp_path, resume=True)


def test_the_log_on_disk_is_the_history(tmp_path):
    _, result = fit(steps=9, evaluate_every=3, out=tmp_path)
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == result.history
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')                       # cut short by a crash
    _, again = fit(steps=9, evaluate_every=3, out=tmp_path, resume=True)
    assert without_time(again.history) == without_time(result.history)


LONG_RUN = """
import sys, torch, zoo
sys.path.insert(0, {root!r} + "/tests")
torch.set_num_threads(1)
from support import dataset, small
zoo.fit(small("vae", "binary"), dataset("binary"), steps={steps}, batch_size=8, checkpoint_every=5, evaluate_every=50,
        out={out!r}, progress=False, tensorboard=False)
"""


def test_a_run_killed_in_the_middle_resumes_bit_for_bit(tmp_path):
    steps, killed, checkpoint = 2000, tmp_path / "killed", tmp_path / "killed" / "checkpoint.safetensors"
    process = subprocess.Popen([sys.executable, "-c", LONG_RUN.format(root=str(ROOT), steps=steps, out=str(killed))], cwd=ROOT,
                               env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    try:
        while not (killed / "log.jsonl").is_file() or not checkpoint.is_file():
            assert process.poll() is None, "the run ended by itself"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    recipe = {"checkpoint_every": 500, "evaluate_every": 50, "steps": steps}
    resumed, got = fit(out=killed, resume=True, **recipe)
    whole, expected = fit(**recipe, out=tmp_path / "whole")
    assert torch.equal(weights(resumed), weights(whole))
    assert without_time([r for r in got.history if r["step"] % 50 == 0])[-10:] == without_time(expected.history)[-10:]


KILLED_WHILE_WRITING = """
import os, signal
fsync, seen = os.fsync, []
def killed(handle):
    if "checkpoint" in os.readlink(f"/proc/self/fd/{handle}"):
        seen.append(handle)
        if len(seen) == 3:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = killed
"""


def test_a_run_killed_while_it_writes_a_checkpoint_resumes_from_the_one_before(tmp_path):
    code = KILLED_WHILE_WRITING + LONG_RUN.format(root=str(ROOT), steps=50, out=str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    _, header = read_tensors(tmp_path / "killed" / "checkpoint.safetensors", "vae-zoo.checkpoint/1")
    assert header["result"]["steps"] == 10                  # the third was to be that of step 15
    resumed, _ = fit(out=tmp_path / "killed", resume=True, steps=50, evaluate_every=50)
    assert torch.equal(weights(resumed), weights(fit(steps=50, evaluate_every=50)[0]))


# -- the disk -----------------------------------------------------------------------------------------------------------------
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    """A limit on the size of files stands for the full disk: the write fails half way through."""
    model, path = small("vae", "binary"), tmp_path / "model.safetensors"
    zoo.save(model, path)
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        with pytest.raises(OSError, match="untouched") as error:
            zoo.save(perturbed(model), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert str(path) in str(error.value)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two" and len(list(tmp_path.iterdir())) == 1
