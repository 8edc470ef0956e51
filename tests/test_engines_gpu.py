"""Captured and compiled steps on a GPU: the losses of eager training, fresh noise and data at every replay."""

import pytest
import torch
from support import NAMES, dataset, kinds, small

import zoo

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SETTINGS = {"steps": 75, "batch_size": 8, "ema": 0.9, "warmup": 10, "final_lr": 1e-4, "evaluate_every": 15, "device": "cuda",
            "progress": False, "tensorboard": False}        # between two evaluations a replay of ten steps, and five of one


def fitted(name, engine):
    model = small(name, kinds(name)[0])
    return zoo.fit(model, dataset(kinds(name)[0]), engine=engine, **SETTINGS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ["cudagraph", "compile+cudagraph"])
def test_a_captured_step_gives_eager_losses(name, engine):
    got, expected = fitted(name, engine), fitted(name, "eager")
    assert got.engine == engine                             # it did not fall back
    for a, b in zip(got.history, expected.history, strict=True):
        for key in ("loss", "nll", "kl", "valid_elbo"):
            assert a[key] == pytest.approx(b[key], rel=2e-3, abs=2e-3), (a["step"], key)


def test_seeds_at_once_on_a_gpu_are_separate_runs():
    data = dataset("binary")
    settings = {k: v for k, v in SETTINGS.items() if k != "ema"}
    for seed, (_, result) in enumerate(zoo.fit_many("vae", data, seeds=range(4), settings={"hidden": 16}, **settings)):
        assert result.engine in ("cudagraph", "eager")
        expected = zoo.fit(zoo.create("vae", data.spec, seed=seed, hidden=16), data, seed=seed, engine="eager", **settings)
        for a, b in zip(result.history, expected.history, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=2e-3, abs=2e-3)
