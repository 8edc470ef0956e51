"""Engines: the same losses as eager training, whoever makes the steps; many seeds at once; the choice between them."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import NAMES, NoHostReads, dataset, fit, kinds, perturbed, small, weights, without_time

import zoo
from zoo import engines
from zoo.noise import Philox, fold
from zoo.program import Program
from zoo.recipe import Recipe
from zoo.run import DivergenceError, Run, mean_elbo

RECIPE = Recipe(steps=8, batch_size=8, lr=1e-3, final_lr=1e-4, weight_decay=0.1, warmup=5, clip=1.0, ema=0.9,
                precision="float32", evaluate_every=100, early_stopping=None)
STEPS = 6


def run_of(name, seed=0, kind=None, recipe=RECIPE, scale=0.4):
    kind = kind or kinds(name)[0]
    return Run(perturbed(small(name, kind, seed=seed), scale, seed), dataset(kind), recipe, seed, None)


def assert_same_run(got, expected):
    """Log rows (losses, terms, norms of gradients), and the averages of the weights: Adam turns rounding of tiny gradients into
    steps of size lr, which an average of a few steps shows as 1e-4."""
    torch.testing.assert_close(got.rows[:STEPS], expected.rows[:STEPS], rtol=1e-4, atol=1e-4)
    for a, b in zip(got.average, expected.average, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)
    for (name, a), b in zip(got.model.named_buffers(), expected.model.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3, msg=name)


def steps(program, alone):
    """As many steps of the program as of the runs by themselves."""
    for _ in range(STEPS):
        program.step()
        for run in alone:
            run.step()


@pytest.fixture
def traced(monkeypatch):
    """torch.compile's tracing and autograd, without its code generator, which takes half a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


# -- the program --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_the_program_is_the_step(name):
    ours, expected = run_of(name), run_of(name)
    program = Program([ours])
    steps(program, [expected])
    assert_same_run(ours, expected)
    assert float(ours.step_tensor) == ours.result.steps == STEPS


@pytest.mark.parametrize("name", NAMES)
def test_several_seeds_at_once_are_separate_runs(name):
    together, alone = ([run_of(name, seed) for seed in (3, 4, 5)] for _ in range(2))
    program = Program(together)
    steps(program, alone)
    for got, expected in zip(together, alone, strict=True):
        assert_same_run(got, expected)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_program_makes_its_noise_itself_as_on_a_gpu(name, many, monkeypatch):
    monkeypatch.setattr("zoo.run.keyed", philox_of)
    monkeypatch.setattr("zoo.program.keyed", philox_of)
    together, alone = ([run_of(name, seed) for seed in range(1 + many)] for _ in range(2))
    program = Program(together)
    program.ahead = False
    steps(program, alone)
    for got, expected in zip(together, alone, strict=True):
        assert_same_run(got, expected)


def philox_of(seed, step, device, kind):
    return Philox(torch.full((), fold(seed, step), dtype=torch.int64))


@pytest.mark.parametrize("many", [False, True])
def test_the_program_stays_on_the_device_and_at_its_addresses(many):
    """What a CUDA graph needs: no host reads, and state that is only changed in place."""
    runs = [run_of("factor_vae", seed) for seed in range(1 + many)]
    program = Program(runs)
    program.step()
    state = [*program.ours.weights.values(), *program.theirs.weights.values(), *program.ours.first, *program.theirs.second,
             *program.average, program.rows, program.step_tensor, *runs[0].model.parameters()]
    inputs = program._inputs(1)
    before = [t.data_ptr() for t in state]
    with NoHostReads():
        program.whole(inputs)
    assert [t.data_ptr() for t in state] == before


def test_a_replica_that_breaks_leaves_the_others_alone():
    runs, whole = ([run_of("vae", seed) for seed in (0, 1, 2)] for _ in range(2))
    with torch.no_grad():
        runs[1].ours[0].fill_(float("nan"))
    for group in (runs, whole):
        program = Program(group)
        for _ in range(STEPS):
            program.step()
    assert not torch.isfinite(runs[1].rows[:STEPS, 0]).any()
    for i in (0, 2):
        assert torch.equal(runs[i].rows, whole[i].rows) and torch.equal(weights(runs[i].model), weights(whole[i].model))


def test_steps_may_go_from_one_engine_to_the_other():
    ours, expected = run_of("factor_vae"), run_of("factor_vae")
    ours.step()
    program = Program([ours])
    for _ in range(3):
        program.step()
    program.release()
    for _ in range(2):
        ours.step()
    for _ in range(STEPS):
        expected.step()
    assert_same_run(ours, expected)


class Looped:
    """In the place of a CUDA graph: makes the steps of a replay one after the other."""

    sizes: list[int]

    def __init__(self, step):
        self.step = step

    def __call__(self, steps):
        self.sizes.append(len(steps))
        for inputs in steps:
            self.step(inputs)


@pytest.mark.parametrize("streamed", [False, True])
def test_replays_of_several_steps_end_where_something_is_due(streamed, monkeypatch, tmp_path):
    """Where there is no GPU: which steps a replay is given, not the replay."""
    Looped.sizes = []
    monkeypatch.setattr("zoo.program.Captured", Looped)
    monkeypatch.setitem(engines.HOW, "compile", (False, True))
    data = dataset("binary")
    if streamed:                                            # from disk, in an order that is read ahead
        np.save(tmp_path / "x.npy", data.train.x.numpy())
        monkeypatch.setattr("zoo.data.on_disk.HELD", 0)
        data = zoo.load_dataset(f"npy:{tmp_path}/x.npy")
        assert not data.train.in_memory
    seen = {}
    for engine in ("eager", "compile"):
        model = zoo.create("vae", data.spec, latent_dim=4, hidden=16, net="mlp", seed=0)
        result = zoo.fit(model, data, steps=67, batch_size=8, evaluate_every=26, checkpoint_every=34, engine=engine,
                         progress=False, tensorboard=False, out=tmp_path / engine)
        seen[engine] = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    assert [row["step"] for row in seen["compile"]] == [26, 34, 52, 67]
    assert Looped.sizes == [10, 10, *[1] * 6, *[1] * 8, 10, *[1] * 8, 10, *[1] * 5]
    for a, b in zip(seen["compile"], seen["eager"], strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4)


# -- engines ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["vae", "factor_vae", "vq_vae"])
def test_the_whole_step_is_traced_without_a_break(name, traced):
    """One of each: plain, a critic, buffers."""
    compiled, expected = run_of(name), run_of(name)
    program = Program([compiled], compiled=True)
    steps(program, [expected])
    assert_same_run(compiled, expected)


def test_programs_side_by_side_keep_what_each_has_compiled(traced):
    """Of one shape, but with other settings. What users have compiled stays, too."""
    theirs = torch.compile(lambda x: x + 1, fullgraph=True)
    theirs(torch.zeros(2))
    recipes = RECIPE, replace(RECIPE, lr=1e-2, clip=0.1)
    ours, expected = ([run_of("vae", recipe=recipe) for recipe in recipes] for _ in range(2))
    programs = [Program([run], compiled=True) for run in ours]
    for _ in range(STEPS):
        for stepper in (*programs, *expected):
            stepper.step()
    for got, wanted in zip(ours, expected, strict=True):
        assert_same_run(got, wanted)
    with torch.compiler.set_stance("fail_on_recompile"):
        theirs(torch.zeros(2))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_compiled_step_gives_eager_losses(precision):
    recipe = replace(RECIPE, precision=precision)
    compiled, expected = (run_of("vae", recipe=recipe, scale=0.1) for _ in range(2))
    program = Program([compiled], compiled=True)
    steps(program, [expected])
    if precision == "bf16":                                 # fused operations round less often
        torch.testing.assert_close(compiled.rows[:STEPS], expected.rows[:STEPS], rtol=2e-2, atol=2e-2)
    else:
        assert_same_run(compiled, expected)


def test_a_run_made_by_a_program_resumes_bit_for_bit(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)
    settings = {"steps": 8, "final_lr": 1e-4, "ema": 0.9, "evaluate_every": 4, "checkpoint_every": 4, "engine": "compile"}

    def interrupt(row):
        if row["step"] >= 6:
            raise InterruptedError

    whole, expected = fit(small("factor_vae", "binary"), out=tmp_path / "whole", **settings)
    with pytest.raises(InterruptedError):
        fit(small("factor_vae", "binary"), out=tmp_path / "half", on_log=interrupt, **{**settings, "evaluate_every": 2})
    again, got = fit(small("factor_vae", "binary"), out=tmp_path / "half", resume=True, **{**settings, "evaluate_every": 2})
    assert torch.equal(weights(again), weights(whole))
    assert got.engine == expected.engine == "compile"
    more, result = fit(small("factor_vae", "binary"), out=tmp_path / "whole", resume=True, **{**settings, "engine": "auto"})
    assert result.engine == "compile"                       # what the checkpoint was made with


def test_an_engine_that_fails_gives_way_to_eager_and_says_so(monkeypatch):
    def broken(*_, **__):
        def call(*_):
            raise RuntimeError("no compiler here\nand a long story")
        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match="engine 'compile' failed .*no compiler here.*goes on with 'eager'") as seen:
        model, result = fit(steps=5, engine="compile")
    assert "long story" not in str(seen[0].message)
    expected, other = fit(steps=5, engine="eager")
    assert torch.equal(weights(model), weights(expected)) and result.engine == other.engine == "eager"


def test_running_statistics_are_left_to_eager():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.BatchNorm1d(8))
    data = dataset("binary")
    model = zoo.create("vae", data.spec, latent_dim=4, hidden=16, encoder=net)
    with pytest.warns(UserWarning, match="'compile' failed .*has BatchNorm, whose running statistics.*goes on with 'eager'"):
        _, result = fit(model, data, steps=3, engine="compile")
    assert result.engine == "eager" and int(net[2].num_batches_tracked) == 3
    with pytest.raises(ValueError, match="has BatchNorm.*use GroupNorm or LayerNorm"):
        Program([Run(model, data, RECIPE, seed, None) for seed in (0, 1)])


@pytest.mark.parametrize(("wrong", "said"), [
    ({"engine": "jit"}, "engine is 'jit'; it must be one of auto, eager"), ({"engine": "cudagraph"}, "'cudagraph' needs a GPU"),
    ({"precision": "tf32"}, "'tf32', which cpu has not"),
])
def test_what_cannot_be_used_here_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        fit(steps=2, device="cpu", **wrong)


# -- auto ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def clock(monkeypatch, tmp_path):
    """A clock that every eager step moves by `eager` seconds, every other by `compile`; and a memory of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    now, pace = [0.0], {"eager": 1.0, "compile": 0.5}
    monkeypatch.setattr(engines.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)

    def paced(kind, step):
        def call(self, *most):
            step(self, *most)
            now[0] += pace[kind]
        return call

    monkeypatch.setattr(Run, "step", paced("eager", Run.step))
    monkeypatch.setattr(Program, "step", paced("compile", Program.step))
    return pace


def test_auto_takes_what_is_fastest_and_remembers_it(clock, tmp_path):
    model, result = fit(steps=200)
    assert result.engine == "compile"
    (found,) = json.loads((tmp_path / "cache/vae-zoo/engines.json").read_text()).values()
    assert found == {"eager": 1.0, "compile": 0.5, "compile begins": 0.5}
    clock["compile"] = 9.0                                  # it does not measure again
    assert fit(steps=200)[1].engine == "compile"
    expected, _ = fit(steps=200, engine="eager")
    torch.testing.assert_close(weights(model), weights(expected), rtol=0, atol=0.02)


def test_auto_measures_anew_in_another_version(clock, monkeypatch):
    assert fit(steps=200)[1].engine == "compile"
    clock["compile"] = 9.0
    monkeypatch.setattr(engines, "_code", lambda: "another")
    assert fit(steps=200)[1].engine == "eager"


def test_auto_goes_back_where_compiling_gains_nothing(clock):
    clock["compile"] = 1.5
    assert fit(steps=200)[1].engine == "eager"


def test_auto_does_not_compile_for_few_steps(clock, tmp_path):
    assert fit(steps=60)[1].engine == "eager" and not (tmp_path / "cache").exists()


def test_auto_takes_models_that_no_registry_made(clock):
    model = small("vae", "binary")
    del model.settings
    assert fit(model, steps=200)[1].engine == "compile"


def test_auto_survives_a_damaged_memory(clock, tmp_path):
    path = tmp_path / "cache/vae-zoo/engines.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert fit(steps=200)[1].engine == "compile" and json.loads(path.read_text())


# -- fit_many -----------------------------------------------------------------------------------------------------------
QUIET = {"progress": False, "tensorboard": False}


def test_fit_many_is_fit_for_each_seed(tmp_path):
    data, recipe = dataset("binary"), {"steps": 12, "batch_size": 8, "lr": 1e-3, "evaluate_every": 4}
    found = zoo.fit_many("beta_vae", data, seeds=[2, 7], settings={"latent_dim": 3, "hidden": 16}, out=tmp_path,
                         **recipe, **QUIET)
    for seed, (model, result) in zip((2, 7), found, strict=True):
        alone = zoo.create("beta_vae", data.spec, seed=seed, latent_dim=3, hidden=16)
        expected = zoo.fit(alone, data, seed=seed, engine="eager", **recipe, **QUIET)
        torch.testing.assert_close(weights(model), weights(alone), rtol=1e-3, atol=1e-4)
        for a, b in zip(without_time(result.history), without_time(expected.history), strict=True):
            assert a == pytest.approx(b, rel=1e-4, abs=1e-4)
        assert torch.equal(weights(zoo.load(tmp_path / str(seed) / "model.safetensors")), weights(model))


def test_fit_many_resumes(tmp_path):
    data, recipe = dataset("binary"), {"batch_size": 8, "settings": {"hidden": 16}, "seeds": [0, 1], **QUIET}
    whole = zoo.fit_many("vae", data, steps=12, **recipe)
    zoo.fit_many("vae", data, steps=8, out=tmp_path, **recipe)
    resumed = zoo.fit_many("vae", data, steps=12, out=tmp_path, resume=True, **recipe)
    for (a, _), (b, _) in zip(whole, resumed, strict=True):
        assert torch.equal(weights(a), weights(b))


def test_fit_many_stops_each_seed_by_itself():
    data = dataset("binary", 16)
    found = zoo.fit_many("vae", data, seeds=[0, 1, 2], settings={"hidden": 64, "latent_dim": 4}, steps=300, lr=0.02,
                         batch_size=8, evaluate_every=10, early_stopping=3, **QUIET)
    for model, result in found:
        assert result.stopped_early and result.history[-1]["step"] == result.best_step + 30
        assert mean_elbo(model, data.valid, [0, 1, 2][found.index((model, result))]) == pytest.approx(result.best_elbo)


def test_a_seed_that_diverges_is_named_and_the_others_are_kept(tmp_path, monkeypatch):
    note = Run.note

    def poisoned(run, *arguments):
        if run.seed == 1:
            run.rows.fill_(float("nan"))
        note(run, *arguments)

    monkeypatch.setattr(Run, "note", poisoned)
    with pytest.raises(DivergenceError, match="^seed 1: step 1: "):
        zoo.fit_many("vae", dataset("binary"), seeds=[0, 1], steps=100, batch_size=8, out=tmp_path, **QUIET)
    assert (tmp_path / "0/model.safetensors").is_file() and not (tmp_path / "1/model.safetensors").is_file()


@pytest.mark.parametrize(("wrong", "error", "said"), [
    ({"seeds": []}, ValueError, "at least one"), ({"seeds": [1, 1]}, ValueError, "each once"),
    ({"seeds": [0], "lrr": 1.0}, TypeError, "lrr"),
])
def test_what_fit_many_refuses(wrong, error, said):
    with pytest.raises(error, match=said):
        zoo.fit_many("vae", dataset("binary"), **wrong)
