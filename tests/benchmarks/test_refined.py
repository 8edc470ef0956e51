"""The refined bound: it mends a bad q, stays a bound, and treats every example by itself."""

import math

import pytest
import torch
from ppca import PPCA, PRECISION, drawn

import zoo
from benchmarks import refined
from benchmarks.metrics import METRICS, measure
from benchmarks.metrics import nll_refined as nll_refined_module
from zoo.noise import Generated


def measured(context, model, data, **numbers):
    return METRICS.get("nll_refined").measure(context(model, data, **numbers))


def test_it_mends_a_narrow_q_in_the_wrong_place(context):
    data, log_p = drawn(40)
    c = context(PPCA(shift=2.0, spread=0.5), data, iwae_k=50, iwae_examples=40, refined_k=50, refined_examples=40)
    found = METRICS.get("nll_refined").measure(c)
    bad, good = c.importance.log_p[-1] - log_p, -found.items - log_p
    assert bad.mean() < -0.5 and -0.1 < good.mean() < 3 * good.std() / math.sqrt(40)
    assert found.n == 40 and found.mc < 0.02
    assert found.stderr == pytest.approx(float(found.items.std()) / math.sqrt(40))


def test_q_goes_to_the_best_diagonal_posterior_and_is_widened(monkeypatch):
    monkeypatch.setattr(refined, "STEPS", 300)
    monkeypatch.setattr(refined, "LR", 0.01)
    data, _ = drawn(3)
    model, batch = PPCA(shift=1.0, spread=0.6), data.test.batch()
    q = refined.refine(model.joint(batch), model(batch, 64, Generated(0)).z, Generated(1))
    best = PPCA().posterior(batch)
    deviations = (q.mu - best.mu) * PRECISION.diagonal().sqrt()
    assert deviations.abs().mean() < 0.3
    assert float((q.logvar - best.logvar).mean()) == pytest.approx(2 * math.log(1.2), abs=0.1)
    assert not q.mu.requires_grad and all(p.grad is None for p in model.parameters())


def test_examples_do_not_affect_one_another():
    """Given the same noise, an example's q is the same alone and among others: no state is shared."""
    data, _ = drawn(4)
    model = PPCA(shift=1.0)

    class Same:
        def normal(self, shape):
            return torch.full(shape, 0.3)

    def refine(rows):
        batch = data.test.batch(rows)
        z = model.posterior(batch).mean + torch.tensor([-0.1, 0.1], dtype=torch.float64)[:, None, None]
        return refined.refine(model.joint(batch), z, Same())

    together, alone = refine(slice(0, 4)), refine(slice(2, 3))
    torch.testing.assert_close(together.mu[2:3], alone.mu)
    torch.testing.assert_close(together.logvar[2:3], alone.logvar)


def test_a_block_has_its_own_noise_and_optimiser(context, monkeypatch):
    """More examples leave those of full blocks as they were; the whole is what `measure` repeats."""
    monkeypatch.setattr(nll_refined_module, "TOGETHER", 4)
    data, _ = drawn(10)
    model = PPCA(shift=1.0)
    many = measured(context, model, data, refined_k=60, refined_examples=10)
    few = measured(context, model, data, refined_k=60, refined_examples=8)
    assert torch.equal(many.items[:8], few.items)
    assert torch.equal(many.items, measured(context, model, data, refined_k=60, refined_examples=10).items)


@pytest.mark.parametrize(("name", "kind", "applies"), [
    ("vae", "digits", True), ("cvae", "digits", True), ("hvae2", "digits", True), ("vamp", "digits", True),
    ("ae", "digits", False), ("vq_vae", "digits", False), ("vrae", "lgssm", True), ("vrnn", "lgssm", False),
])
def test_it_is_for_real_latents_drawn_at_once(context, name, kind, applies):
    data = zoo.load_dataset(kind)
    settings = {"groups": 2} if name == "vq_vae" else {}
    c = context(zoo.create(name, data.spec, latent_dim=4, hidden=8, **settings), data, refined_examples=2, refined_k=9,
                metrics=("nll_refined",))
    assert set(measure(c)[0]) == ({"nll_refined_9"} if applies else set())
