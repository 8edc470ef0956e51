"""Choosing the number of latents: folds, the rule, resuming, and that the test split is not read."""

import json
import sys
from dataclasses import replace

import pytest
import torch

import zoo
from benchmarks import tune
from benchmarks.cli import main
from benchmarks.folds import folds, joined
from benchmarks.protocol import Budget
from benchmarks.tune import Axis, Plan, Tried, best, chosen

QUICK = Budget(steps=4, batch_size=32, evaluate_every=4)


@pytest.fixture
def plan():
    """plan("latent_dim=1:8", ...) -> Plan of two folds and four steps."""
    def make(*search, **changes):
        return replace(Plan("vae", tuple(map(Axis.parse, search)), {"hidden": 8}, QUICK, folds=2, seed=0), **changes)
    return make


@pytest.fixture
def wine():
    return zoo.load_dataset("wine")


def searched(plan, data, trials, out):
    return tune.search(plan, data, trials, device="cpu", out=out, progress=False)


def test_folds_part_train_and_valid(wine):
    parts = list(folds(wine, 4, seed=1))
    whole = torch.cat([wine.train.x, wine.valid.x])
    rows = lambda x: sorted(map(tuple, x.tolist()))
    assert rows(torch.cat([p.valid.x for p in parts])) == rows(whole)
    for part in parts:
        assert rows(torch.cat([part.train.x, part.valid.x])) == rows(whole) and len(part.valid) in (35, 36)
        assert part.test is part.valid and len(part.train.label) == len(part.train)
    for n in (1, 144):
        with pytest.raises(ValueError, match=f"folds is {n}; it must lie between 2 and the 143 examples"):
            folds(wine, n, seed=1)


def test_pixels_drawn_at_every_visit_stay_what_they_were():
    data = zoo.load_dataset("digits:dynamic")
    both = joined(data.train, data.valid)
    assert both.binarise and both.x.dtype == torch.uint8 and torch.equal(both.x[:len(data.train)], data.train.x)
    valid = both.take(slice(len(data.train), None))
    assert torch.equal(valid.batch().x, data.valid.batch().x)


def test_sequences_are_padded_to_the_longest():
    a = zoo.Split(torch.ones(2, 3, 5), lengths=torch.tensor([3, 2]), observed=torch.ones(2, 3, 5, dtype=torch.bool))
    b = zoo.Split(torch.ones(1, 4, 5), lengths=torch.tensor([4]), observed=torch.ones(1, 4, 5, dtype=torch.bool))
    both = joined(a, b)
    assert both.x.shape == both.observed.shape == (3, 4, 5) and both.lengths.tolist() == [3, 2, 4]
    assert both.x[:2, 3].sum() == 0 and both.x[2].sum() == 20


def test_the_rule_by_hand():
    """16 is best; 8 falls behind by 1, +-1 (in folds: 0, 2); 4 by 2, +-0, whatever the spread of its own folds."""
    tried = [Tried({"latent_dim": d}, folds)
             for d, folds in ((4, [8.0, -2.0]), (8, [10.0, -2.0]), (16, [10.0, 0.0]), (32, [9.0, 0.0]))]
    assert best(tried).settings == {"latent_dim": 16} and chosen(tried).settings == {"latent_dim": 8}
    assert tried[1].value == 4 and tried[1].stderr == pytest.approx(6)
    assert chosen([Tried({"beta": 2.0}, [1.0, 2.0]), Tried({"beta": 1.0}, [1.0, 2.5])]).settings == {"beta": 1.0}


def test_where_to_look():
    assert Axis.parse("latent_dim=2:64") == Axis("latent_dim", low=2, high=64)
    assert Axis.parse("beta=0.5:4.0") == Axis("beta", low=0.5, high=4.0)
    assert Axis.parse("net=mlp,conv") == Axis("net", ("mlp", "conv"))
    for wrong in ("latent_dim", "latent_dim=", "=2:4", "latent_dim=8:2", "latent_dim=a:b"):
        with pytest.raises(ValueError, match="KEY=LOW:HIGH or KEY=A,B,C"):
            Axis.parse(wrong)


@pytest.mark.parametrize("changes, message", [
    ({"variant": "ae"}, "ae has no bound"),
    ({"variant": "veo"}, "unknown variant 'veo'"),
    ({"search": (Axis("latent_dims", (1,)),)}, "no setting 'latent_dims'; did you mean 'latent_dim'"),
    ({"settings": {"latent_dim": 3}}, "latent_dim is given twice"),
    ({"budget": replace(QUICK, warmup=5)}, "warmup is 5; it must end within the 4 steps"),
])
def test_a_plan_that_makes_no_sense_is_refused(plan, changes, message):
    with pytest.raises((ValueError, LookupError), match=message):
        plan("latent_dim=1:4", **changes)


@pytest.mark.parametrize("where, trials", [("latent_dim=1:64", 4), ("latent_dim=4,1,2", 1)])
def test_a_search_that_was_killed_goes_on_to_the_same_end(plan, wine, tmp_path, monkeypatch, where, trials):
    whole = searched(plan(where), wine, trials, tmp_path / "whole")
    fits, fit = [], tune._fit

    def killed(*arguments):
        fits.append(arguments[1])
        if len(fits) == 4:                                  # in the second fold of the second trial
            raise KeyboardInterrupt
        return fit(*arguments)
    monkeypatch.setattr(tune, "_fit", killed)
    with pytest.raises(KeyboardInterrupt):
        searched(plan(where), wine, trials, tmp_path / "killed")
    assert searched(plan(where), wine, trials, tmp_path / "killed") == whole
    assert fits[0] == fits[1] and fits[2] == fits[3] == fits[4], "the first trial is kept, the second starts again"
    fits.clear()
    assert searched(plan(where), wine, trials, tmp_path / "killed") == whole and not fits
    if trials == 1:
        assert [t.settings["latent_dim"] for t in whole] == [4, 1, 2]


def test_settings_proposed_again_are_not_trained_again(plan, wine, tmp_path, monkeypatch):
    fits, fit = [], tune._fit
    monkeypatch.setattr(tune, "_fit", lambda *arguments: fits.append(arguments[1]) or fit(*arguments))
    tried = searched(plan("latent_dim=1:2"), wine, 8, tmp_path)
    assert len(tried) == 8 and len(fits) == 2 * len({t.settings["latent_dim"] for t in tried}) <= 4


def test_the_test_split_is_never_read(plan, wine, tmp_path):
    garbage = replace(wine, test=zoo.Split(torch.full((3, 7), torch.nan)))
    results = [searched(plan("latent_dim=1,3"), data, 1, tmp_path / str(i)) for i, data in enumerate((wine, garbage))]
    assert results[0] == results[1]


def test_another_plan_does_not_continue_the_study(plan, wine, tmp_path):
    searched(plan("latent_dim=1,2"), wine, 1, tmp_path)
    with pytest.raises(ValueError, match="made by another search: seed was 0, is now 1"):
        searched(plan("latent_dim=1,2", seed=1), wine, 1, tmp_path)
    with pytest.raises(ValueError, match="data_sha256"):
        searched(plan("latent_dim=1,2"), replace(wine, train=wine.train.head(90)), 1, tmp_path)


def test_the_true_number_of_latents_is_found(plan, tmp_path):
    """x = W z + noise with two latents: one is too few, and more than two gain nothing."""
    generator = torch.Generator().manual_seed(0)
    w = torch.linalg.qr(torch.randn(8, 2, generator=generator))[0] * 2
    x = torch.randn(800, 2, generator=generator) @ w.T + 0.3 * torch.randn(800, 8, generator=generator)
    splits = zoo.Split(x[:600]), zoo.Split(x[600:]), zoo.Split(x[:1])
    data = zoo.Dataset("plane", zoo.DataSpec((8,), "real"), *splits, note="")
    budget = Budget(steps=350, batch_size=64, lr=1e-2, final_lr=1e-3, ema=0.9)
    tried = searched(plan("latent_dim=1,2,4", budget=budget, settings={"hidden": 32}), data, 1, tmp_path)
    value = {t.settings["latent_dim"]: t.value for t in tried}
    assert value[2] > value[1] + 1 and value[4] < value[2] + 0.3
    assert chosen(tried).settings == {"latent_dim": 2}


def test_without_optuna_the_message_says_what_to_install(plan, wine, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"pip install 'vae-zoo\[tune\]'"):
        searched(plan("latent_dim=1,2"), wine, 1, tmp_path)


def test_the_command(tmp_path, capsys):
    arguments = ["tune", "vae", "--data", "wine", "--search", "latent_dim=1,2", "--search", "net=mlp", "--set", "hidden=8",
                 "--folds", "2", "--steps", "4", "--device", "cpu", "--out", str(tmp_path)]
    assert main(arguments) == 0
    printed, said = capsys.readouterr()
    assert "best" in printed and "chosen" in printed and "zoo train vae --data wine --set hidden=8 --set latent_dim=" in said
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "tune/wine-vae/trials.json").read_text())
    assert [t["settings"]["latent_dim"] for t in found["trials"]] == [1, 2] and found["chosen"]["net"] == "mlp"
    assert (tmp_path / "tune/wine-vae/value.png").stat().st_size > 1000


@pytest.mark.parametrize("more, message", [
    (["--folds", "1"], "folds is 1"),
    (["--search", "latent_dim"], "KEY=LOW:HIGH"),
    (["--set", "hidden"], "KEY=VALUE"),
    (["--set", "hiden=4"], "did you mean 'hidden'"),
])
def test_what_is_wrong_is_said_and_nothing_is_written(more, message, tmp_path, capsys):
    assert main(["tune", "vae", "--data", "wine", "--out", str(tmp_path), *more]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())
