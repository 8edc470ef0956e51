"""The harness end to end, on a suite of five steps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import zoo
import zoo.run
from benchmarks import harness, record, suite, trained
from benchmarks.cli import main

KEYS = {"schema", "suite", "dataset", "variant", "role", "seed", "settings", "budget", "evaluation", "status", "traceback",
        "metrics", "env", "started", "seconds", "training", "curve", "data_sha256"}


def run(tiny, *more):
    path, out = tiny
    return main(["run", str(path), "--out", str(out), "--device", "cpu", *more])


def records(tiny):
    return {r["variant"]: r for r in record.read_all(tiny[1] / "tiny")}


def test_a_run_writes_records_and_a_report(tiny, capsys):
    assert run(tiny) == 0
    _, out = tiny
    found = json.loads((out / "tiny/digits/vae/0-cpu.json").read_text())
    assert set(found) == KEYS and found["schema"] == record.SCHEMA and found["status"] == "ok"
    assert set(found["metrics"]["elbo"]) == {"value", "unit", "better", "group", "version", "stderr", "n", "iqr", "mc", "busy"}
    assert found["metrics"]["elbo"]["n"] == 250 and found["metrics"]["elbo"]["unit"] == "nats"
    assert found["settings"]["latent_dim"] == 2 and found["budget"]["steps"] == 5 and found["seconds"] > 0
    assert found["curve"][-1]["step"] == 5 and "valid_elbo" in found["curve"][-1]
    assert found["data_sha256"] == zoo.load_dataset("digits").sha256
    assert {"device", "processor", "threads", "load_before", "load_after", "commit", "kernel_path"} <= set(found["env"])
    assert str(record.ROOT) not in json.dumps(found)
    assert found["training"]["seconds"] > 0 and found["training"]["env"]["commit"] == found["env"]["commit"]
    assert [p.name for p in sorted((out / "tiny/models").glob("digits-vae-0-cpu-*/*"))] == ["log.jsonl", "model.safetensors",
                                                                                          "trained.json"]
    items = record.read_items(out / "tiny/digits/vae/0-cpu.json")["elbo"]
    assert items.shape == (250,) and items.mean() == pytest.approx(found["metrics"]["elbo"]["value"], rel=1e-5)
    pictures = sorted((out / "tiny/figures").glob("digits-*-*.png"))
    assert len(pictures) == 12 and all(p.stat().st_size < 60_000 for p in pictures)
    head, first, last = capsys.readouterr().out.splitlines()[:3]
    assert head.startswith("digits") and first.startswith("vae") and last.startswith("ae") and "–" in last
    page = (out / "tiny/index.html").read_text()
    assert page.count("data:image/png;base64,") == len(pictures)
    assert "| ae | – |" in (out / "tiny/README.md").read_text()


def test_a_finished_trial_is_not_run_again(tiny, monkeypatch):
    assert run(tiny) == 0
    before = records(tiny)
    monkeypatch.setattr(zoo, "fit", lambda *a, **k: pytest.fail("a finished trial was trained again"))
    assert run(tiny) == 0
    assert records(tiny) == before


def test_a_changed_suite_is_refused_until_told(tiny, capsys):
    assert run(tiny) == 0
    path, out = tiny
    path.write_text(path.read_text().replace("steps = 5\n", "steps = 6\n", 1))
    assert run(tiny) == 2
    said = capsys.readouterr().err
    assert "budget.steps was 5, is now 6" in said and "--rerun" in said
    assert run(tiny, "--rerun", "--variants", "vae") == 0
    assert {name: r["budget"]["steps"] for name, r in records(tiny).items()} == {"vae": 6, "ae": 5}


def test_measuring_again_trains_nothing(tiny, monkeypatch):
    """Other numbers of the evaluation, the models that were kept: the ELBO up to its noise, the training to the letter."""
    assert run(tiny) == 0
    before, (path, _) = records(tiny), tiny
    path.write_text(path.read_text().replace('metrics = ["elbo", "parameters"]', 'metrics = ["elbo"]\nelbo_samples = 3'))
    assert run(tiny) == 2
    fit = zoo.fit
    monkeypatch.setattr(zoo, "fit", lambda *a, **k: pytest.fail("a kept model was trained again"))
    assert run(tiny, "--remeasure") == 0
    for variant, now in records(tiny).items():
        assert now["evaluation"]["elbo_samples"] == 3 and "parameters" not in now["metrics"]
        assert now["training"] == before[variant]["training"] and now["curve"] == before[variant]["curve"]
    then, now = (r["vae"]["metrics"]["elbo"] for r in (before, records(tiny)))
    assert now["value"] != then["value"] and now["value"] == pytest.approx(then["value"], abs=1)
    monkeypatch.setattr(zoo, "fit", fit)
    path.write_text(path.read_text().replace("steps = 5\n", "steps = 6\n", 1))
    assert run(tiny, "--remeasure") == 0                    # of another training: trained
    assert records(tiny)["vae"]["curve"][-1]["step"] == 6


def test_a_failing_trial_is_recorded_and_tried_again(tiny, monkeypatch, capsys):
    fit = zoo.fit

    def failing(model, *args, **kwargs):
        if model.name == "vae":
            raise RuntimeError("out of luck")
        return fit(model, *args, **kwargs)

    monkeypatch.setattr(zoo, "fit", failing)
    assert run(tiny) == 1
    found = records(tiny)
    assert found["ae"]["status"] == "ok" and found["vae"]["status"] == "failed" and found["vae"]["metrics"] == {}
    assert "out of luck" in found["vae"]["traceback"] and str(record.ROOT) not in found["vae"]["traceback"]
    assert "failed: digits vae seed 0" in capsys.readouterr().err
    assert "out of luck" in (tiny[1] / "tiny/index.html").read_text()
    monkeypatch.setattr(zoo, "fit", fit)
    assert run(tiny) == 0
    assert records(tiny)["vae"]["status"] == "ok"


def test_a_variant_that_does_not_take_the_data_is_skipped(tiny, capsys):
    path, out = tiny
    path.write_text(path.read_text().replace('"ae"]', '"vrae"]'))
    assert run(tiny) == 0
    assert set(records(tiny)) == {"vae"}
    assert "skipped digits vrae seed 0: vrae takes sequences" in "".join(capsys.readouterr())


def test_a_folder_of_another_schema_is_refused(tiny, capsys, monkeypatch):
    old = tiny[1] / "tiny/digits/gone/0-cpu.json"
    old.parent.mkdir(parents=True)
    old.write_text('{"schema": "vae-zoo.record/0"}')
    monkeypatch.setattr(zoo, "fit", lambda *a, **k: pytest.fail("trained before the folder was checked"))
    assert run(tiny) == 2
    said = capsys.readouterr().err
    assert "'vae-zoo.record/0'" in said and record.SCHEMA in said and "--out" in said
    assert main(["report", "tiny", "--out", str(tiny[1])]) == 2


def test_a_killed_run_is_resumed(tiny, monkeypatch):
    """kill -9 after the first checkpoint; the next run goes on from it and ends where an uninterrupted one does."""
    path, out = tiny
    path.write_text(path.read_text().replace("steps = 5\n", "steps = 3000\n", 1).replace(', "ae"]', "]"))
    command = [sys.executable, "-m", "benchmarks", "run", str(path), "--out", str(out), "--device", "cpu"]
    process = subprocess.Popen(command, cwd=record.ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob("tiny/models/*/checkpoint.safetensors")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list(record.paths(out / "tiny"))

    seen = []
    read = zoo.run.read_checkpoint
    monkeypatch.setattr(zoo.run, "read_checkpoint", lambda run, path: (read(run, path), seen.append(run.result.steps)))
    assert run(tiny) == 0
    assert seen and 0 < seen[0] < 3000
    (resumed,), (whole,) = record.read_all(out / "tiny"), harness.run(suite.load(str(path)), out=out / "whole", device="cpu",
                                                                    progress=False)
    assert resumed["metrics"] == whole["metrics"]
    assert [r["valid_elbo"] for r in resumed["curve"]] == [r["valid_elbo"] for r in whole["curve"]]
    assert not list(out.glob("tiny/models/*/checkpoint.safetensors"))


def test_names_make_safe_paths(plan):
    loaded = plan(datasets={"mnist:dynamic": {"variants": ["vae"]}, "polyphonic/jsb": {"variants": ["vrae"]}})
    found = [record.path_of(Path("results"), t, harness.torch.device("cuda", 1)).as_posix() for t in loaded.trials]
    assert found == ["results/test/mnist-dynamic/vae/0-cuda.json", "results/test/polyphonic-jsb/vrae/0-cuda.json"]


@pytest.fixture
def seeds(tiny, monkeypatch):
    """Records of three seeds of the one variant, trained one after the other or, as on a GPU, at once."""
    path, out = tiny
    path.write_text(path.read_text().replace("seeds = [0]", "seeds = [0, 1, 2]").replace(', "ae"', ""))

    def made(where, at_once):
        monkeypatch.setattr(trained, "AT_ONCE", {"cpu"} if at_once else set())
        return harness.run(suite.load(str(path)), out=out / where, device="cpu", progress=False)
    return made


def test_seeds_that_are_trained_at_once_are_those_trained_apart(seeds):
    together, apart = seeds("together", True), seeds("apart", False)
    for one, other in zip(together, apart, strict=True):
        assert one["status"] == "ok" and one["seed"] == other["seed"] and one["training"].pop("seeds_at_once") == 3
        assert set(one["training"]) == set(other["training"]) and other["training"]["engine"] == "eager"
        assert one["metrics"]["elbo"]["value"] == pytest.approx(other["metrics"]["elbo"]["value"], abs=1e-3)
        for a, b in zip(one["curve"], other["curve"], strict=True):
            assert a == pytest.approx({**b, "seconds": a["seconds"]}, rel=1e-4)


def test_seeds_that_cannot_be_trained_at_once_are_trained_apart(seeds, monkeypatch):
    def fails(*_, **__):
        raise zoo.run.DivergenceError("seed 1: step 3: loss = nan")

    monkeypatch.setattr(zoo, "fit_many", fails)
    assert all(r["status"] == "ok" and "seeds_at_once" not in r["training"] for r in seeds("together", True))


def test_long_curves_are_thinned():
    history = [{"step": float(i), "elbo": i / 7} for i in range(1, 1001)]
    rows = trained.thinned(history)
    assert len(rows) == 200 and rows[-1]["step"] == 1000 and rows[0]["step"] == 5
    assert trained.thinned(history[:3]) == [{k: float(f"{v:.6g}") for k, v in row.items()} for row in history[:3]]
    assert trained.thinned([]) == []
