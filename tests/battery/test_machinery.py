"""What engines and trainers rely on: no graph breaks, no host reads, replicas, bitwise resume, separate critics."""

import copy

import pytest
import torch
from support import CASES, FORMS, NAMES, NoHostReads, dataset, examples, form_id, kinds, perturbed, small
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

import zoo
from zoo.noise import Philox, keyed
from zoo.recipe import Recipe
from zoo.run import Run

RECIPE = Recipe(steps=8, batch_size=8, lr=1e-3, final_lr=1e-3, weight_decay=0.0, warmup=0, clip=1000.0, ema=0.9,
                precision="float32", evaluate_every=100, early_stopping=None)


class Loss(nn.Module):
    """What a step minimises, as one module: critic included."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch, key, step):
        noise = Philox(key)
        terms = self.model(batch, noise=noise)
        loss, critic = self.model.objective(terms, step).mean(), self.model.adversary_loss(terms, noise)
        return loss if critic is None else loss + critic


@pytest.mark.parametrize("name", NAMES)
def test_compiles_without_a_graph_break(name):
    torch.compiler.reset()                                  # else dynamo's recompile limit is met after a few variants
    kind = kinds(name)[0]
    batch = examples(kind)
    if batch.lengths is not None:                           # a rollout is unrolled: keep it short
        batch = zoo.Batch(batch.x[:, :3], batch.label, lengths=batch.lengths.clamp(max=3))
    model = perturbed(small(name, kind))
    loss, arguments = Loss(model), (batch, torch.tensor(3), torch.tensor(0.0))
    expected = loss(*arguments)
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    with torch._dynamo.config.patch({"allow_rnn": True} if hasattr(torch._dynamo.config, "allow_rnn") else {}):
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(*arguments)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(torch.autograd.grad(compiled, list(model.parameters())), gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "kind", "form"), FORMS + [(n, k, {}) for n, k in CASES if k != kinds(n)[0]], ids=form_id)
def test_a_training_step_reads_nothing_on_the_host(name, kind, form):
    run = Run(small(name, kind, **form), dataset(kind), RECIPE, 0, None)
    run.step()
    with NoHostReads():
        run.step()


def test_a_host_read_would_be_seen():
    with NoHostReads():
        for read in (lambda x: float(x.sum()), lambda x: bool((x > 0).any()), lambda x: x[x > 0], torch.nonzero):
            with pytest.raises(AssertionError, match="host|count"):
                read(torch.ones(3))


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_replicas_under_vmap_have_the_gradients_of_separate_models(name, kind, form):
    losses = [Loss(perturbed(small(name, kind, seed=seed, **form), seed=seed)) for seed in (1, 2)]
    keys, step, batch = torch.tensor([5, 6]), torch.tensor(0.0), examples(kind)

    def loss(parameters, buffers, key):
        return functional_call(losses[0], (parameters, buffers), (batch, key, step))

    parameters, buffers = stack_module_state(losses)
    together = vmap(grad(loss))(parameters, buffers, keys)
    for i, alone in enumerate(losses):
        expected = torch.autograd.grad(alone(batch, keys[i], step), list(alone.parameters()))
        for (key, _), g in zip(alone.named_parameters(), expected, strict=True):
            torch.testing.assert_close(together[key][i], g, atol=1e-4, rtol=1e-4, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_an_interrupted_run_resumes_bit_for_bit(name, kind, form, tmp_path):
    recipe = {"steps": 8, "batch_size": 8, "lr": 1e-2, "final_lr": 1e-3, "warmup": 5, "ema": 0.9, "seed": 4,
              "evaluate_every": 3, "checkpoint_every": 2, "progress": False, "tensorboard": False}
    data = dataset(kind)

    def interrupt(row):
        if row["step"] >= 6:
            raise InterruptedError

    whole, halved, resumed = (small(name, kind, **form) for _ in range(3))
    expected = zoo.fit(whole, data, out=tmp_path / "whole", **recipe)
    with pytest.raises(InterruptedError):
        zoo.fit(halved, data, out=tmp_path / "halved", on_log=interrupt, **recipe)
    got = zoo.fit(resumed, data, out=tmp_path / "halved", resume=True, **recipe)
    for (key, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    for a, b in zip(expected.history, got.history, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_each_loss_moves_its_own_parameters(name, kind, form):
    """Adam's first step is -lr g / |g|: the critic's parameters follow its loss alone, all others the objective alone."""
    model, data = perturbed(small(name, kind, **form)), dataset(kind)
    run = Run(copy.deepcopy(model), data, RECIPE, 0, None)
    run.step()
    noise = keyed(0, 0, model.device)
    terms = model(data.train.batch(run.order(0), noise), noise=noise)
    losses = {False: model.objective(terms, torch.tensor(0.0)).mean(), True: model.adversary_loss(terms, noise)}
    for (key, old), new in zip(model.named_parameters(), run.model.parameters(), strict=True):
        (g,) = torch.autograd.grad(losses[key.startswith("adversary.")], [old], retain_graph=True)
        expected = -RECIPE.lr * g / (g.abs() + 1e-8)
        torch.testing.assert_close(new - old, expected, atol=2e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")
