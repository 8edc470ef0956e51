"""Several ranks on one machine: the loss curve, the noise and the checkpoints of one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ranked import data_of
from support import LOCAL, NAMES, SPECS, dataset, kinds, perturbed, small

import zoo
from zoo.noise import Generated, Philox
from zoo.ranks import Ranks, _sites

ROOT = Path(__file__).parents[1]
RECIPE = {"steps": 12, "batch_size": 8, "evaluate_every": 4, "lr": 0.01, "warmup": 3, "ema": 0.9, "clip": 5.0}
TIGHT = {"rtol": 2e-4, "atol": 2e-4}


def ranked(folder, cases, size=2):
    """Run cases by so many ranks: what each of them says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(exist_ok=True)
    (folder / "cases.json").write_text(json.dumps(cases))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([sys.executable, ROOT / "tests/ranked.py", str(r), str(size), str(port), folder,
                                 folder / "cases.json"], env=environment, stderr=subprocess.PIPE, text=True)
               for r in range(size)]
    said = [p.communicate(timeout=180)[1] for p in started]
    assert all(p.returncode == 0 for p in started), said
    return [json.loads((folder / f"{r}.json").read_text()) for r in range(size)]


def alone(name, kind, **settings):
    data = data_of(kind)
    model = perturbed(small(name, data.spec))
    return model, zoo.fit(model, data, device="cpu", progress=False, tensorboard=False, **settings)


def assert_same_curve(found, expected):
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        for key in wanted.keys() - {"seconds"}:
            torch.testing.assert_close(row[key], wanted[key], **TIGHT, msg=lambda m, k=key: f"{k}: {m}")


def test_two_ranks_reach_the_curve_of_one_process_and_resume_with_another_number(tmp_path):
    """The same global batch, for every kind of draw: pixels, latents in two levels, K samples, latents a step; and of rows that
    the ranks read from disk, the one process from memory. Then 8 steps by two ranks and 4 by one, and the other way round; and
    what cannot be shared out."""
    np.save(tmp_path / "x.npy", np.random.RandomState(0).rand(30, 5))
    wholes = [("vae", "real"), ("hvae2", "binary"), ("iwae", "byte"), ("vrnn", "real-frames"), ("vae", f"npy:{tmp_path}/x.npy")]
    half = {**RECIPE, "steps": 8}
    alone("vae", "binary", **half, out=tmp_path / "by-one")
    cases = [*((name, kind, None, RECIPE) for name, kind in wholes), ("vae", "binary", "by-two", half),
             ("vae", "binary", "by-one", {**RECIPE, "resume": True}), ("vq_vae", "binary", None, RECIPE),
             ("factor_vae", "binary", None, RECIPE), ("vae", "binary", None, {**RECIPE, "batch_size": 7})]
    first, second = ranked(tmp_path, cases)
    for (name, kind), found, other in zip(wholes, first, second, strict=False):
        assert_same_curve(found["history"], alone(name, kind, **RECIPE)[1].history)
        assert found["weights"] == other["weights"]
    whole = alone("vae", "binary", **RECIPE)[1].history
    assert_same_curve(first[6]["history"], whole)
    assert_same_curve(second[6]["history"], whole[2:])      # the log before is the first one's
    assert sorted(p.name for p in (tmp_path / "by-two").iterdir()) == ["checkpoint.safetensors", "log.jsonl",
                                                                       "model.safetensors"]
    assert len((tmp_path / "by-two/log.jsonl").read_text().splitlines()) == 2
    assert_same_curve(alone("vae", "binary", **RECIPE, out=tmp_path / "by-two", resume=True)[1].history, whole)
    for said in (first, second):
        assert "vq_vae cannot be trained by several ranks" in said[7]["refused"] and "moving averages" in said[7]["refused"]
        assert "factor_vae cannot be trained by several ranks: its critic" in said[8]["refused"]
        assert "a batch of 7 cannot be shared out equally to 2 ranks; give a multiple of 2, such as 8" in said[9]["refused"]


def of(rank, size, model, train):
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    ranks.sites = _sites(model, train)
    return ranks


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_rank_has_the_noise_of_its_rows(name, size):
    """Every variant: the terms of each rank's rows are those of the whole batch."""
    for kind in kinds(name):
        model, data = perturbed(small(name, kind)), dataset(kind)
        model.train_samples, index = 3, torch.arange(8)
        with torch.no_grad():
            noise = Generated(0, 3)
            whole = model(data.train.batch(index, noise), noise=noise).elbo
            for rank in range(size):
                ranks = of(rank, size, model, data.train)
                noise = ranks.noise(Generated(0, 3))
                part = model(data.train.batch(ranks.rows(index), noise), noise=noise).elbo
                torch.testing.assert_close(part, whole[rank * 8 // size:(rank + 1) * 8 // size], rtol=1e-4, atol=1e-4)


def test_pixels_that_are_drawn_or_mirrored_and_fused_noise_are_shared_out_too():
    model = small("vae", "binary")
    grey = zoo.Split(torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)), binarise=True, flip=True)
    index = torch.arange(8)
    for make in (lambda: Generated(0, 3), lambda: Philox(torch.tensor(5))):
        with torch.no_grad():
            noise = make()
            batch = grey.batch(index, noise)
            whole = model(batch, noise=noise).elbo
            for rank in range(2):
                ranks = of(rank, 2, model, grey)
                noise = ranks.noise(make())
                part = grey.batch(ranks.rows(index), noise)
                assert torch.equal(part.x, batch.x[4 * rank:4 * rank + 4])
                torch.testing.assert_close(model(part, noise=noise).elbo, whole[4 * rank:4 * rank + 4], rtol=1e-4, atol=1e-4)


def test_torchrun(tmp_path):
    """The command, on two processes: one of them speaks and writes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "zoo", "train",
               "vae", "--data", "digits", "--steps", "6", "--set", "hidden=8", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, cwd=ROOT, check=False,
                          capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 steps in") == 1 and done.stderr.count("training examples ->") == 1
    assert {"model.safetensors", "run.json", "samples.png"} <= {p.name for p in tmp_path.iterdir()}


class Centred(zoo.Variant):
    """Its objective of an example depends on the batch's mean."""

    entry = LOCAL

    def __init__(self):
        super().__init__(spec=SPECS["binary"], latent_dim=4, hidden=16)
        self.settings = {}

    def objective(self, terms, step):
        return -terms.elbo + terms.z.mean().square()


def test_an_objective_that_couples_examples_is_found():
    data = dataset("binary").train
    of(1, 2, small("vae", "binary"), data)._check(perturbed(small("vae", "binary")), data)
    with pytest.raises(ValueError, match="local cannot be trained by several ranks: its objective of an example depends"):
        of(1, 2, Centred(), data)._check(perturbed(Centred()), data)
