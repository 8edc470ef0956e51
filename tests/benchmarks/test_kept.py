"""An evaluation that is broken off goes on where it stopped, and only if nothing has changed; what is said meanwhile."""

from dataclasses import replace

import pytest
import torch

import zoo
from benchmarks import context as context_module
from benchmarks import harness, kept, record, suite
from benchmarks.cli import main
from benchmarks.kept import Kept
from benchmarks.metrics import METRICS, measure


@pytest.fixture
def eager(monkeypatch):
    """Everything is written at once."""
    monkeypatch.setattr(kept, "EVERY", 0.0)


def test_what_is_kept_is_read_back(tmp_path, eager):
    path, of = tmp_path / "kept", {"a": (1, 2.5)}
    first = Kept(path, of)
    first.put("empty", {"x": 0.1}, {})
    first.put("full", None, {"0": torch.arange(3, dtype=torch.float64), "b/c": torch.ones(2)})
    again = Kept(path, of)
    assert "full" in again and "none" not in again and again.get("empty") == ({"x": 0.1}, {})
    value, tensors = again.get("full")
    assert value is None and torch.equal(tensors["0"], torch.arange(3, dtype=torch.float64)) and set(tensors) == {"0", "b/c"}
    assert again.before > 0
    again.forget()
    assert not path.exists() and "full" not in Kept(path, of)


def test_what_depends_on_other_things_or_is_broken_is_not_taken(tmp_path, eager):
    path = tmp_path / "kept"
    Kept(path, {"a": 1}).put("x", 1, {})
    assert "x" in Kept(path, {"a": 1}) and "x" not in Kept(path, {"a": 2})
    path.write_bytes(path.read_bytes()[:-3] + b"..")
    assert "x" not in Kept(path, {"a": 1})


def test_writes_are_seldom_and_without_a_path_there_are_none(tmp_path):
    one, none = Kept(tmp_path / "kept", {}), Kept()
    for it in (one, none):
        it.put("x", 1, {})
        assert it.get("x") == (1, {})
    assert not any(tmp_path.iterdir())


def test_the_digest_of_the_code_is_that_of_its_files(monkeypatch, tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "a.py").write_text("1")
    ours = kept.code()                                      # kept for the process: not of the other folder
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    before = kept.code.__wrapped__()
    (tmp_path / "zoo" / "a.py").write_text("2")
    assert kept.code.__wrapped__() != before != ours


@pytest.mark.parametrize("metric, at", [("nll_iwae", "benchmarks.context.stream"),
                                        ("nll_refined", "benchmarks.metrics.nll_refined.stream")])
def test_an_evaluation_that_was_broken_off_goes_on(tiny, eager, monkeypatch, metric, at):
    path, out = tiny
    path.write_text(path.read_text().replace('["elbo", "parameters"]', f'["elbo", "{metric}"]\niwae_k = 60\niwae_examples = 8\n'
                                             "refined_k = 10\nrefined_examples = 70").replace('"ae"]', "]"))
    (whole,) = harness.run(suite.load(str(path)), out=out / "whole", device="cpu", progress=False)
    from benchmarks.importance import stream
    done, elbos = [], []

    def interrupted(pieces, ks):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(ks)
        return stream(pieces, ks)

    command = ["run", str(path), "--out", str(out), "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(at, interrupted)
        assert main(command) == 130
    assert len(done) == 3 and not list(record.paths(out / "tiny"))
    monkeypatch.setattr(zoo, "fit", lambda *a, **k: pytest.fail("a trained model was trained again"))
    monkeypatch.setattr(METRICS.get("elbo").measure.__globals__["Context"], "elbo", property(lambda c: elbos.append(c)))
    monkeypatch.setattr(at, lambda pieces, ks: done.append(ks) or stream(pieces, ks))
    assert main(command) == 0
    (found,) = record.read_all(out / "tiny")
    assert found["metrics"] == whole["metrics"] and not elbos
    assert len(done) == (8 if metric == "nll_iwae" else 4)                      # blocks in all: none was done twice
    assert [p.name for p in sorted(out.glob("tiny/models/*/*"))] == ["log.jsonl", "model.safetensors", "trained.json"]


def test_a_context_of_other_data_takes_nothing_from_this_one(context, digits):
    c = context(zoo.create("vae", digits.spec, latent_dim=2, hidden=8), digits)
    assert len(c.importance.ess) == 11 and "importance" in c.kept
    other = replace(c, seed=4)
    assert "importance" not in other.kept and not torch.equal(other.importance.log_p, c.importance.log_p)


def test_a_metric_is_named_and_a_long_one_says_how_far_it_is(context, digits, monkeypatch):
    monkeypatch.setattr(context_module, "TELL_EVERY", 0.0)
    c, said = context(zoo.create("vae", digits.spec, latent_dim=2, hidden=8), digits, metrics=("parameters", "nll_iwae")), []
    c.tell = said.append
    measure(c)
    assert said[:3] == ["parameters 1/2", "nll_iwae 2/2", "nll_iwae 2/2, 1 of 11 examples"]
    assert said[-1] == "nll_iwae 2/2, 10 of 11 examples"
