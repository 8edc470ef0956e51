"""No model beats the process its data come from: a better score is leaked data or lost nats."""

import pytest
import torch
from support import NAMES, small, standard_error

import zoo
from zoo.data.lgssm import log_likelihood, simulate
from zoo.noise import Generated


@pytest.fixture(scope="module")
def process():
    """300 short sequences of a linear-Gaussian state-space model."""
    def cut(split):
        return zoo.Split(split.x[:, :6].contiguous(), lengths=split.lengths.clamp(max=6))

    train, test = cut(simulate(500, 1)), cut(simulate(300, 2))
    spec = zoo.DataSpec((3,), "real", max_length=6)
    return zoo.Dataset("process", spec, train, test, test, note="simulated", log_likelihood=log_likelihood)


@pytest.mark.parametrize("name", [n for n in NAMES if zoo.entry(n).why_not(zoo.DataSpec((3,), "real", max_length=6)) is None])
def test_a_trained_sequence_model_does_not_beat_the_truth(name, process):
    model = small(name, process.spec)
    batch = process.test.batch()

    @torch.no_grad()
    def iwae():
        return model(batch, 20, Generated(0)).iwae

    before = iwae().mean()
    zoo.fit(model, process, steps=150, lr=1e-2, evaluate_every=1000, batch_size=64, progress=False)
    bound = iwae()
    difference = bound - process.log_likelihood(batch)
    assert bound.mean() > before + 1                        # it has learned something
    assert difference.mean() < 3 * standard_error(difference)
