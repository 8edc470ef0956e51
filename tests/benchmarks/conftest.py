import pytest
import torch

import zoo
from benchmarks import suite
from benchmarks.context import Context
from benchmarks.protocol import Budget, Evaluation

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
