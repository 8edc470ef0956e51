"""Trials in several processes: the records of a serial run, and what is left when processes are killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import harness, record, suite, timing
from benchmarks.cli import main

TIMED = {"started", "seconds", "training", "env"}


def without_time(found):
    """A record without what differs between equal trials; of the curve too."""
    return {**{k: v for k, v in found.items() if k not in TIMED}, "metrics": found["metrics"],
            "curve": [{k: v for k, v in row.items() if k != "seconds"} for row in found["curve"]]}


def begin(tiny, variants):
    """The suite in two processes, the trial of vae long enough to be killed in."""
    path, out = tiny
    path.write_text(path.read_text() + "[datasets.digits.variant.vae]\nbudget = { steps = 4000 }\n")
    command = [sys.executable, "-m", "benchmarks", "run", str(path), "--out", str(out), "--device", "cpu", "--jobs", "2",
               "--variants", variants]
    return subprocess.Popen(command, cwd=record.ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)


def await_checkpoint(process, out, deadline=90):
    end = time.monotonic() + deadline
    while not list(out.glob("tiny/models/digits-vae-*/checkpoint.safetensors")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def workers(process):
    """Ids of the processes that train: children that were not started for multiprocessing's own purposes."""
    found = []
    for child in children(process.pid):
        with open(f"/proc/{child}/cmdline") as file:
            if "spawn_main" in file.read():
                found.append(child)
    return found


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(") ", 1)[1][0] not in "ZX"
    except FileNotFoundError:
        return False


def await_end(pids, deadline=20):
    end = time.monotonic() + deadline
    while any(map(running, pids)):
        assert time.monotonic() < end, "a worker outlives its parent"
        time.sleep(0.02)


def test_the_records_are_those_of_a_serial_run(tiny, capfd):
    path, out = tiny
    path.write_text(path.read_text().replace('"parameters"]', '"parameters", "train_throughput"]')
                    .replace('"ae"]', '"ae", "vrae"]'))
    loaded = suite.load(str(path))
    serial = harness.run(loaded, out=out / "serial", device="cpu", progress=False)
    parallel = harness.run(loaded, out=out / "parallel", device="cpu", progress=False, jobs=3)
    assert [r["variant"] for r in parallel] == [r["variant"] for r in serial] == ["vae", "ae"]
    for one, other in zip(serial, parallel, strict=True):
        times = [r["metrics"].pop(key) for r in (one, other) for key in list(r["metrics"]) if "throughput" in key]
        assert len(times) >= 2 and times[-1]["busy"] is True
        assert without_time(one) == without_time(other)
        assert other["env"]["threads"] == 1
    for name in ("serial", "parallel"):
        assert len(list((out / name / "tiny/models").glob("*/trained.json"))) == 2
    drawn = [{p.name for p in (out / name / "tiny/figures").iterdir()} for name in ("serial", "parallel")]
    assert drawn[0] == drawn[1]
    assert "skipped digits vrae" in "".join(capfd.readouterr())
    assert timing.alone                                     # here, that is


def test_what_a_killed_worker_was_at_is_finished_by_another(tiny):
    process = begin(tiny, "vae")
    await_checkpoint(process, tiny[1])
    (worker,) = workers(process)
    os.kill(worker, signal.SIGKILL)
    said = process.communicate(timeout=120)[0]
    (found,) = record.read_all(tiny[1] / "tiny")
    assert process.returncode == 0 and found["status"] == "ok" and found["curve"][-1]["step"] == 4000, said
    assert "digits vae seed 0: its process was killed by SIGKILL; once more, from its last checkpoint" in said


def test_a_trial_whose_worker_is_killed_again_is_recorded_and_the_others_go_on(tiny):
    process, killed = begin(tiny, "vae,ae"), set()
    await_checkpoint(process, tiny[1])
    while process.poll() is None:
        if (tiny[1] / "tiny/digits/ae/0-cpu.json").is_file():
            for pid in set(workers(process)) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    said = process.communicate()[0]
    found = {r["variant"]: r for r in record.read_all(tiny[1] / "tiny")}
    assert process.returncode == 1 and found["ae"]["status"] == "ok" and found["vae"]["status"] == "failed", said
    assert "was killed by SIGKILL, in each of 2 tries" in found["vae"]["traceback"] and "leaked" not in said
    assert list(tiny[1].glob("tiny/models/digits-vae-*/checkpoint.safetensors"))            # for the next run


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(tiny, how):
    process = begin(tiny, "vae")
    await_checkpoint(process, tiny[1])
    pids = workers(process)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)                         # as a terminal does
    else:
        process.send_signal(how)
    said, _ = process.communicate(timeout=30)
    await_end(pids)
    assert pids and process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert "the same command goes on from here" in said and "Traceback" not in said
    assert not (tiny[1] / "tiny/digits/vae/0-cpu.json").exists()


def test_no_jobs_are_refused(tiny, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", str(tiny[0]), "--out", str(tiny[1]), "--jobs", "0"])
    assert stop.value.code == 2 and "at least 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="jobs is 0"):
        harness.run(suite.load(str(tiny[0])), out=tiny[1], jobs=0)
    assert not tiny[1].exists()
