"""The loop: schedules, averages, evaluation, stopping, divergence."""

import math
from dataclasses import replace

import pytest
import torch
from support import LOCAL, SPECS, dataset, fit, perturbed, small, weights

import zoo
from zoo.noise import Philox, fold, keyed
from zoo.recipe import Recipe
from zoo.run import DivergenceError, Run, mean_elbo

PLAIN = Recipe(steps=10, batch_size=8, lr=0.01, final_lr=0.01, weight_decay=0.0, warmup=0, clip=1000.0, ema=0.0,
               precision="float32", evaluate_every=100, early_stopping=None)


# -- schedules ----------------------------------------------------------------------------------------------------------------
def test_the_rate_is_a_cosine():
    recipe = replace(PLAIN, lr=0.1, final_lr=0.02)
    assert [round(recipe.rate(s), 6) for s in (0, 5, 10)] == [0.1, 0.06, 0.02]
    assert abs(recipe.rate(2) - (0.02 + 0.04 * (1 + math.cos(0.2 * math.pi)))) < 1e-12
    assert all(PLAIN.rate(s) == 0.01 for s in range(10))


class Recording(zoo.Variant):
    """Keeps the terms that its objective is handed."""

    entry = LOCAL

    def __init__(self):
        super().__init__(spec=SPECS["binary"], latent_dim=4, hidden=16)
        self.settings, self.seen = {}, []

    def objective(self, terms, step):
        self.seen.append((float(step), terms))
        return -terms.elbo


def test_warm_up_weighs_the_kl_and_no_metric_sees_it():
    model = Recording()
    _, result = fit(model, steps=6, warmup=4, evaluate_every=1)
    for (step, terms), row in zip(model.seen, result.history, strict=True):
        weight = min((step + 1) / 4, 1)
        torch.testing.assert_close(row["loss"], row["nll"] + weight * row["kl"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(terms.kl.sum(-1).mean().item(), weight * row["kl"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(row["elbo"], -row["nll"] - row["kl"], rtol=1e-4, atol=1e-4)
    assert [step for step, _ in model.seen] == list(range(6))


def test_what_is_best_is_only_asked_after_the_warm_up():
    _, result = fit(steps=6, warmup=5, evaluate_every=1)
    assert result.best_step >= 5


def test_the_average_is_of_the_weights_after_each_step():
    run = Run(perturbed(small("vae", "binary")), dataset("binary"), replace(PLAIN, ema=0.95), 0, None)
    average = [p.detach().clone() for p in run.ours]
    for step in range(6):
        run.step()
        decay = min(0.95, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, run.ours, strict=True)]
    for a, b in zip(run.average, average, strict=True):
        torch.testing.assert_close(a, b)


def test_the_average_is_what_is_evaluated_and_left():
    data = dataset("binary")
    averaged, result = fit(data=data, steps=10, lr=0.05, ema=0.9)
    plain, _ = fit(data=data, steps=10, lr=0.05)
    assert not torch.equal(weights(averaged), weights(plain))
    assert result.history[-1]["valid_elbo"] == mean_elbo(averaged, data.valid, 0)


def test_clipping_bounds_the_gradient():
    run = Run(perturbed(small("vae", "binary")), dataset("binary"), replace(PLAIN, clip=0.5), 0, None)
    run.step()
    norm = torch.cat([m.flatten() / 0.1 for m in run.optimiser.first]).norm()           # of the first step's gradient
    torch.testing.assert_close(norm, torch.tensor(0.5), atol=1e-4, rtol=0)
    assert run.rows[0, 4] > 0.5                             # the log has the norm before clipping


def test_weight_decay_shrinks_the_weights():
    assert weights(fit(steps=20, weight_decay=5.0)[0]).norm() < weights(fit(steps=20)[0]).norm()


def test_an_epoch_visits_every_example_once_in_an_order_of_its_own():
    run = Run(small("vae", "binary"), dataset("binary", 24), PLAIN, 0, None)
    first, second = ([run.order(e * 3 + i) for i in range(3)] for e in range(2))
    assert all(torch.cat(epoch).sort().values.tolist() == list(range(24)) for epoch in (first, second))
    assert torch.cat(first).tolist() != torch.cat(second).tolist() != list(range(24))


def test_epochs_are_steps_over_the_data():
    assert fit(epochs=2)[1].steps == 6 and fit(epochs=0.5)[1].steps == 2


def test_a_seed_decides_the_run():
    one, again, another = (weights(fit(steps=5, seed=s)[0]) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, another)


# -- evaluation and stopping --------------------------------------------------------------------------------------------------
def test_evaluation_covers_every_example_and_leaves_the_mode():
    model, data = perturbed(small("vae", "binary")).train(), dataset("binary", 24)
    whole = mean_elbo(model, data.train, 0)
    assert model.training and mean_elbo(model, data.train, 0) == whole
    parts = [model(data.train.batch(slice(i, i + 10)), 1, keyed_valid(i // 10)).elbo.sum().item() for i in range(0, 24, 10)]
    assert abs(mean_elbo(model, data.train, 0, batch_size=10) - sum(parts) / 24) < 1e-4


def keyed_valid(i):
    return keyed(fold(0, 1), i, torch.device("cpu"))


def test_early_stopping_leaves_the_best_weights(tmp_path):
    """Random data, a wide net: it soon only learns the training examples by heart."""
    data = dataset("binary", 16)
    recipe = {"steps": 600, "lr": 0.02, "evaluate_every": 10, "early_stopping": 3, "out": tmp_path}
    model, result = fit(small("vae", "binary", hidden=64), data, **recipe)
    scores = {row["step"]: row["valid_elbo"] for row in result.history if "valid_elbo" in row}
    assert result.stopped_early and result.steps < 600
    assert result.best_step == max(scores, key=scores.get) < result.steps and result.steps == result.best_step + 30
    assert mean_elbo(model, data.valid, 0) == result.best_elbo == max(scores.values())
    assert torch.equal(weights(zoo.load(tmp_path / "model.safetensors")), weights(model))


def test_resuming_a_run_that_has_stopped_trains_no_further(tmp_path):
    recipe = {"steps": 600, "lr": 0.02, "evaluate_every": 10, "early_stopping": 3, "out": tmp_path}
    data = dataset("binary", 16)
    model, result = fit(small("vae", "binary", hidden=64), data, **recipe)
    again, more = fit(small("vae", "binary", hidden=64), data, **recipe, resume=True)
    assert more.steps == result.steps and torch.equal(weights(again), weights(model))


# -- divergence ---------------------------------------------------------------------------------------------------------------
class Poisoned(Recording):
    """Its loss is NaN from step 7 on."""

    def objective(self, terms, step):
        return torch.where(step >= 6, torch.nan, -terms.elbo)


def test_a_loss_that_is_no_number_ends_the_run_and_says_where_and_what_is_left(tmp_path):
    with pytest.raises(DivergenceError, match=r"step 7: loss = nan.*last good checkpoint is .*checkpoint.safetensors") as error:
        fit(Poisoned(), steps=20, out=tmp_path, checkpoint_every=5)
    assert "nll = nan" not in str(error.value)
    with pytest.raises(DivergenceError, match="no checkpoint was written"):
        fit(Poisoned(), steps=20)


def test_a_number_too_large_for_the_model_names_the_term():
    data = dataset("real")
    x = data.train.x.clone()
    x[3] = 1e30
    with pytest.raises(DivergenceError, match=r"step 1: .*kl = inf"):
        fit(small("vae", "real"), replace(data, train=replace(data.train, x=x)), steps=5)


def test_nan_in_the_data_is_refused_before_the_first_step():
    data = dataset("real")
    x = data.train.x.clone()
    x[3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"train\[0:24\]: x holds NaN or Inf in 1 example\(s\), first 3"):
        fit(small("vae", "real"), replace(data, train=replace(data.train, x=x)), steps=5)


# -- noise --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["eager", "compile"])
def test_a_cpu_can_draw_the_numbers_of_a_gpu(engine, monkeypatch):
    """There latents come from seeds in kernels, which in plain torch give the same; evaluation draws them too."""
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)
    settings = {"steps": 6, "evaluate_every": 3, "ema": 0.9}
    model, result = fit(noise="philox", engine=engine, **settings)
    other, plain = fit(**settings)
    assert result.history[0]["nll"] != plain.history[0]["nll"]
    monkeypatch.setattr("zoo.run.keyed", lambda seed, step, device, kind: Philox(torch.tensor(fold(seed, step))))
    gpus, expected = fit(**settings)
    torch.testing.assert_close(weights(model), weights(gpus), rtol=0, atol=1e-4)
    for a, b in zip(result.history, expected.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5) and a.get("valid_elbo") == pytest.approx(b.get("valid_elbo"))


# -- settings -----------------------------------------------------------------------------------------------------------------
def test_bf16_trains_and_keeps_densities_and_weights_in_float32():
    model, result = fit(steps=30, lr=0.01, precision="bf16", evaluate_every=30)
    plain = fit(steps=30, lr=0.01, evaluate_every=30)[1]
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert result.history[-1]["elbo"] != plain.history[-1]["elbo"]
    assert abs(result.history[-1]["elbo"] - plain.history[-1]["elbo"]) < 0.3


@pytest.mark.parametrize(("wrong", "said"), [
    ({"steps": 0}, "steps is 0"), ({"lr": 0.0}, "lr is 0"), ({"clip": -1.0}, "clip is -1"), ({"ema": 1.0}, "ema is 1"),
    ({"precision": "fp8"}, "'fp8'"), ({"warmup": -1}, "warmup is -1"), ({"early_stopping": 0}, "early_stopping is 0"),
    ({"noise": "white"}, "'white'"), ({"batch_size": 0}, "batch_size is 0"), ({"steps": 3, "epochs": 1}, "not both"),
])
def test_settings_out_of_range(wrong, said):
    with pytest.raises(ValueError, match=said):
        fit(**wrong)
