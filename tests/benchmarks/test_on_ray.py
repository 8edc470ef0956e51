"""Trials on Ray: the records of a serial run, a lost worker's trial resumed, and what is said where a cluster does not fit."""

import os
import re
import signal
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from benchmarks import harness, on_ray, record, suite
from benchmarks.cli import main

TIMED = {"started", "seconds", "training", "env", "curve"}


NODE = {"object_store_memory": 100_000_000, "include_dashboard": False}


@contextmanager
def cluster_of(cpus):
    """A cluster whose head has so many processors."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, **NODE})
    yield made
    made.shutdown()


def run_on(made, path, out):
    return harness.run(suite.load(str(path)), out=out, device="cpu", engine="ray", address=made.address)


@pytest.fixture(scope="module")
def cluster():
    """cluster(path, out): the suite, on a cluster of one processor: one worker at a time, that takes trial after trial."""
    with cluster_of(1) as made:
        yield partial(run_on, made)


def at_work(name):
    """Ids of this cluster's processes that are at a trial: children of our child, entitled by Ray."""
    def children(pid):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]

    def title(pid):
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    return [pid for ours in children(os.getpid()) for pid in children(ours) if title(pid).startswith(f"ray::{name}")]


@pytest.mark.slow
def test_the_records_are_those_of_a_serial_run(cluster, tiny, capfd):
    path, out = tiny
    path.write_text(path.read_text().replace('"ae"]', '"ae", "vrae"]'))
    serial = harness.run(suite.load(str(path)), out=out / "serial", device="cpu", progress=False)
    found = cluster(path, out / "ray")
    assert [r["variant"] for r in found] == [r["variant"] for r in serial] == ["vae", "ae"]
    for one, other in zip(serial, found, strict=True):
        assert {k: v for k, v in one.items() if k not in TIMED} == {k: v for k, v in other.items() if k not in TIMED}
        assert other["env"]["threads"] == 1
    said = "".join(capfd.readouterr())
    assert "skipped digits vrae" in said and "digits vae seed 0, evaluation, elbo 1/2" in said
    assert record.read_all(out / "ray/tiny") and not list((out / "ray/tiny").glob(".seen*"))
    before = [r["started"] for r in found]
    assert [r["started"] for r in cluster(path, out / "ray")] == before                 # finished: not run again


def long(path):
    """One trial, long enough to be broken off."""
    path.write_text(path.read_text().replace('"ae"]', "]").replace("steps = 5\n", "steps = 4000\n", 1)
                    .replace("evaluate_every = 5", "evaluate_every = 100"))


@contextmanager
def under_way(run, path, out):
    """run(path, out) in a thread, from its first checkpoint on; what it returns, in a list."""
    found = []
    runs = threading.Thread(target=lambda: found.extend(run(path, out)))
    runs.start()
    deadline = time.monotonic() + 90
    while not list(out.glob("tiny/models/*/checkpoint.safetensors")):
        assert runs.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    yield found
    runs.join(120)


def assert_resumed(found):
    """From the checkpoint whose rows were marked."""
    assert [(r["status"], r["curve"][-1]["step"]) for r in found] == [("ok", 4000)]
    rates = [row["lr"] for row in found[0]["curve"]]
    assert set(rates[:4]) == {7.0} and rates[-1] < 1        # a row is 100 steps, the first checkpoint that of step 400


def mark(out):
    """To be seen again where the run is resumed."""
    (log,) = out.glob("tiny/models/*/log.jsonl")
    log.write_text(re.sub(r'"lr": [^,]+', '"lr": 7.0', log.read_text()))


@pytest.mark.slow
def test_what_a_killed_worker_was_at_is_finished_by_another(cluster, tiny, capfd):
    path, out = tiny
    long(path)
    with under_way(cluster, path, out) as found:
        (worker,) = at_work("digits vae")
        os.kill(worker, signal.SIGSTOP)
        mark(out)
        os.kill(worker, signal.SIGKILL)
    said = "".join(capfd.readouterr())
    assert "digits vae seed 0: its process was lost (WorkerCrashedError" in said
    assert "once more, from its last checkpoint" in said
    assert_resumed(found)


@pytest.mark.slow
def test_what_a_lost_machine_was_at_is_finished_on_another(tiny, capfd):
    path, out = tiny
    long(path)
    with cluster_of(0) as made:
        lost = made.add_node(num_cpus=1, **NODE)
        with under_way(partial(run_on, made), path, out) as found:
            (worker,) = at_work("digits vae")
            os.kill(worker, signal.SIGSTOP)
            mark(out)
            made.add_node(num_cpus=1, **NODE)
            made.remove_node(lost, allow_graceful=False)
    said = "".join(capfd.readouterr())
    assert "digits vae seed 0: its process was lost" in said and "once more, from its last checkpoint" in said
    assert_resumed(found)


def test_a_trial_that_is_lost_again_is_recorded(tiny):
    path, out = tiny
    plan = harness.Plan(suite.load(str(path)), torch.device("cpu"), None, out)
    said = []

    class Bar:
        write, update = said.append, lambda self: None

    tries = on_ray.Tries(plan, list(plan.suite.trials), False, Bar())
    for _ in range(2):
        tries.lost(tries.begin(), "was lost (NodeDiedError: gone)")
    assert list(tries.made) == ["digits vae seed 0"] and tries.open and len(tries.todo) == 1
    (found,) = record.read_all(out / "tiny")
    assert found["status"] == "failed" and "(NodeDiedError: gone), in each of 2 tries" in found["traceback"]
    assert "once more" in said[0] and said[1].startswith("failed digits vae seed 0")


CPUS = {"CPU": 8.0}


@pytest.mark.parametrize("there, device, jobs, gpus, expected", [
    (CPUS, "cpu", None, None, (1, 0)), (CPUS, "cpu", 2, None, (4, 0)), (CPUS, "cpu", 99, None, (1, 0)),
    (CPUS | {"GPU": 2.0}, "cuda", None, None, (1, 1)), (CPUS | {"GPU": 2.0}, "cuda", 4, 0.5, (2, 0.5)),
    (CPUS, "cpu", None, 0.5, "the device is cpu"), (CPUS, "cuda", None, None, "the cluster has 0"),
    (CPUS | {"GPU": 2.0}, "cuda", None, 1.5, "a fraction of one GPU"), (CPUS | {"GPU": 2.0}, "cuda", None, 4.0, "4 GPUs, and"),
    (CPUS | {"GPU": 2.0}, "cuda:1", None, None, "Ray chooses"), (CPUS | {"GPU": 1.0}, "cuda", None, -1.0, "a fraction"),
])
def test_a_trials_share(there, device, jobs, gpus, expected):
    kind = device.partition(":")[0]
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            on_ray._share(there, kind, device, jobs, gpus)
    else:
        assert on_ray._share(there, kind, device, jobs, gpus) == on_ray.Share(*expected)


def test_a_worker_that_does_not_see_the_folder_or_has_other_code_ends_the_run(tiny):
    plan = harness.Plan(suite.load(str(tiny[0])), torch.device("cpu"), None, tiny[1])
    for token, version, said in ((tiny[0], "older", "another version"), (tiny[1], on_ray.code(), "does not see")):
        kind, error = on_ray._work(plan, plan.suite.trials[0], None, str(token), "", version, 1)
        assert kind == "raised" and said in str(error)
    assert not tiny[1].exists()


def test_no_ray_and_no_cluster_are_said(tiny, capsys, monkeypatch):
    def run(*more):
        assert main(["run", str(tiny[0]), "--out", str(tiny[1]), "--device", "cpu", *more]) == 2
        return capsys.readouterr().err

    assert "--engine ray" in run("--address", "auto")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ray", None)
        assert "pip install -e '.[ray]'" in run("--engine", "ray")
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert "no Ray cluster answers at '127.0.0.1:9'" in run("--engine", "ray", "--address", "127.0.0.1:9")
