"""Annealed importance sampling: weights are unbiased both ways, and the sandwich closes around the exact value."""

import math

import pytest
import torch
from ppca import PPCA, drawn

import zoo
from benchmarks import ais
from benchmarks.importance import stream
from benchmarks.metrics import METRICS, measure
from zoo.likelihoods import Gaussian
from zoo.noise import Generated
from zoo.variant import Joint

X, S2 = 1.2, 0.5                                            # z ~ N(0, 1), x | z ~ N(z, 1/2)
LOG_P = -1.6016710873


@pytest.fixture
def line():
    batch = zoo.Batch(torch.full((1, 1), X))
    return Joint(batch, zoo.distributions.StandardNormal(1), lambda z: Gaussian(z, torch.full_like(z, math.sqrt(S2))))


def mean_is_one(ratio):
    return abs(ratio.mean() - 1) < 3.5 * ratio.std() / math.sqrt(len(ratio))


def test_the_schedule_is_slow_at_both_ends():
    b = ais.schedule(10)
    assert len(b) == 11 and b[0] == 0 and b[-1] == 1
    torch.testing.assert_close(b.flip(0), 1 - b)
    assert b.diff().argmax() in (4, 5) and (b.diff() > 0).all() and b.diff()[0] < 0.2 * b.diff()[4]


@torch.no_grad()
def test_weights_are_unbiased_both_ways(line):
    temperatures = ais.schedule(6)
    up, sizes = ais.lower(line, 20_000, 1, temperatures, Generated(0))
    assert mean_is_one((up[:, 0] - LOG_P).exp())
    z = X / (1 + S2) + math.sqrt(S2 / (1 + S2)) * torch.randn(20_000, 1, 1, generator=torch.Generator().manual_seed(0))
    down, _ = ais.walk(line, z, temperatures.flip(0), sizes.flip(0), Generated(1))
    assert mean_is_one((down[:, 0] + LOG_P).exp())
    assert up.std() > 0.05 and down.std() > 0.05


@torch.no_grad()
def test_only_the_pilot_adapts(line):
    z, sizes = torch.zeros(8, 1, 1), torch.full((11, 1), 0.4)
    kept = ais.walk(line, z, ais.schedule(10), sizes, Generated(0))[1]
    assert torch.equal(kept, torch.full((11, 1), 0.4))
    adapted = ais.walk(line, z, ais.schedule(10), None, Generated(0))[1]
    assert len(adapted[1:].unique()) == 10


@torch.no_grad()
def test_a_move_keeps_its_target():
    z = torch.randn(40_000, 1, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.5]) + 1

    def target(z):
        return -0.5 * ((z - 1) / torch.tensor([1.0, 0.5])).square().sum(-1)

    new, acceptance = ais.move(target, z, torch.tensor([0.6]), Generated(0))
    moved = (new != z).any(-1).float().mean()
    assert 0.3 < moved < 0.999 and moved == pytest.approx(float(acceptance.mean()), abs=0.01)
    torch.testing.assert_close(new.mean((0, 1)), torch.ones(2), atol=0.02, rtol=0)
    torch.testing.assert_close(new.std((0, 1)), torch.tensor([1.0, 0.5]), atol=0.02, rtol=0)


def test_what_diverges_is_refused():
    z = torch.ones(5, 1, 1)
    new, acceptance = ais.move(lambda z: -z.square().square().sum(-1), z, torch.tensor([1e6]), Generated(0))
    assert torch.equal(new, z) and (acceptance == 0).all()


@torch.no_grad()
def test_the_pilot_finds_step_sizes_that_are_accepted():
    data, _ = drawn(4, torch.float32)
    joint = PPCA().joint(data.test.batch())
    _, sizes = ais.lower(joint, 16, 4, ais.schedule(100), Generated(0))
    assert sizes.shape == (101, 4) and 0.05 < sizes[99].mean() < 0.2 < sizes[10].mean()       # the posterior's scale is 0.08
    z = torch.stack([PPCA(exact=True)(data.test.batch(), 16, Generated(1)).z])[0]
    _, acceptance = ais.move(lambda z: joint.prior.log_prob(z) + joint.log_likelihood(z), z, sizes[99], Generated(2))
    assert 0.4 < acceptance.mean() < 0.9


@torch.no_grad()
def test_the_sandwich_on_probabilistic_pca(context):
    data, log_p = drawn(8, torch.float32)
    numbers = {"ais_examples": 8, "metrics": ("nll_ais",)}
    found, items = measure(context(PPCA(), data, ais_steps=60, **numbers))
    below, error = -items["nll_ais"] - log_p, found["nll_ais"]
    assert -5 < below.mean() < 3 * (below.std() / math.sqrt(8))
    assert error["mc"] > 0 and error["n"] == 8
    gap = found["nll_ais_gap"]
    assert 0 < gap["value"] < 8 and gap["stderr"] > 0 and "nll_ais_gap" not in items
    coarse = measure(context(PPCA(), data, ais_steps=12, **numbers))[0]["nll_ais_gap"]
    assert coarse["value"] > gap["value"] + 2 * math.hypot(gap["stderr"], coarse["stderr"])     # it closes


@torch.no_grad()
def test_the_upper_bound_is_above_log_p_of_what_the_model_drew():
    data, log_p = drawn(12, torch.float32)                                     # with posterior draws, exact for any x
    joint, temperatures = PPCA().joint(data.test.batch()), ais.schedule(60)
    _, sizes = ais.lower(joint, 8, 12, temperatures, Generated(0))
    z = PPCA(exact=True)(data.test.batch(), 1, Generated(1)).z[0]
    above = -stream([ais.upper(joint, z, 8, temperatures, sizes, Generated(2))], [8]).log_p[0] - log_p
    assert above.mean() > -3 * above.std() / math.sqrt(12) and above.mean() < 6


@pytest.mark.parametrize(("name", "kind"), [(n, "digits") for n in ("cvae", "vamp", "hvae2")] + [("vrae", "digit_rows")])
def test_it_runs_on_whatever_draws_its_latents_at_once(context, name, kind):
    data = zoo.load_dataset(kind)
    c = context(zoo.create(name, data.spec, latent_dim=4, hidden=8), data, ais_examples=2, ais_steps=3, metrics=("nll_ais",))
    assert set(measure(c)[0]) == {"nll_ais", "nll_ais_gap"}


def test_a_suite_asks_for_it(context, digits, plan):
    model = zoo.create("vae", digits.spec, latent_dim=2, hidden=8)
    assert not METRICS.get("nll_ais").applies(context(model, digits))
    assert METRICS.get("nll_ais").applies(context(model, digits, ais_examples=2))
    assert plan(evaluation={"ais_examples": 5}).trials[0].evaluation.ais_examples == 5
