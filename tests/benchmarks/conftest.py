import numpy as np
import pytest
import torch

import zoo
from benchmarks import record, suite
from benchmarks.context import Context
from benchmarks.protocol import Budget, Evaluation
from benchmarks.sources import Result

TINY = """
title = "Tiny"
seeds = [0]
baselines = []
[budget]
steps = 5
batch_size = 32
evaluate_every = 5
[evaluation]
metrics = ["elbo", "parameters"]
[datasets.digits]
variants = ["vae", "ae"]
settings = { latent_dim = 2, hidden = 8 }
"""


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def tiny(tmp_path):
    """A suite of two trials of five steps: (its file, its results folder)."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path, tmp_path / "results"


@pytest.fixture
def plan():
    """parse(dictionary) -> Suite, over a valid one without baselines: plan(budget={"steps": 0})"""
    def parse(**changes):
        return suite.parse("test", {"seeds": [0], "baselines": [], "datasets": {"digits": {"variants": ["vae"]}}, **changes})
    return parse


@pytest.fixture
def context():
    """context(model, data, iwae_k=...) -> Context with numbers that differ from one another."""
    def make(model, data, **evaluation):
        numbers = {"elbo_samples": 2, "iwae_k": 7, "iwae_examples": 11, "samples": 80, "refined_k": 5,
                   "refined_examples": 3} | evaluation
        return Context(model.eval(), data, Budget(batch_size=16), Evaluation(**numbers), seed=3)
    return make


@pytest.fixture(scope="session")
def digits():
    return zoo.load_dataset("digits")


@pytest.fixture
def result():
    """result("vae", seed=0, elbo=values of single examples, or one value, fcd=(value, entries of the metric)) -> Result"""
    known = {"elbo": ("nats", "higher", "likelihood"), "fcd": ("distance", "lower", "distribution"),
             "active": ("latents", "none", "latent space"), "speed": ("examples/s", "higher", "cost"),
             "parameters": ("numbers", "lower", "cost"), "relative": ("ratio", "higher", "cost")}

    def make(variant, seed=0, dataset="digits", changes=None, env=None, **values):
        metrics, items = {}, {}
        for label, v in values.items():
            v, entries = v if isinstance(v, tuple) else (v, {})
            if isinstance(v, np.ndarray):
                items[label], v = v.astype(np.float32), float(v.mean())
            metrics[label] = {"value": v, **dict(zip(("unit", "better", "group"), known[label], strict=True)), "version": 1,
                              "stderr": None, "n": None, "iqr": None, "mc": None, **entries}
        place = {"device": "cpu", "processor": "abacus", "cores": 2, "threads": 1, "load_before": 0.5, "load_after": 1.5,
                 "torch": "2", "triton": None, "python": "3", "commit": "abc", "dirty": False, "kernel_path": "reference",
                 **(env or {})}
        return Result({"schema": record.SCHEMA, "suite": "s", "dataset": dataset, "variant": variant, "seed": seed,
                       "status": "ok", "traceback": None, "metrics": metrics, "env": place, "settings": {"latent_dim": 2},
                       "budget": {"steps": 10}, "started": "2026-01-01T00:00:00Z", "seconds": 1.0,
                       "evaluation": {"metrics": sorted(values), "iwae_k": 5, "iwae_examples": 7, "samples": 9,
                                      "extractor": "x"},
                       "training": {"seconds": 1.0, "peak_bytes": 1, "env": place},
                       "curve": [{"step": 5.0, "valid_elbo": -3.0}, {"step": 10.0, "valid_elbo": -2.0}],
                       "data_sha256": "a" * 64, **(changes or {})}, items)
    return make


@pytest.fixture
def folder(tmp_path):
    """folder("name", results) -> the path of a results folder that holds them"""
    def make(name, results):
        for r in results:
            path = tmp_path / name / record.safe(r.record["dataset"]) / r.record["variant"] / f"{r.record['seed']}-cpu.json"
            record.write(path, r.record)
            record.write_items(path, {k: torch.from_numpy(v) for k, v in r.items.items()})
        return tmp_path / name
    return make
