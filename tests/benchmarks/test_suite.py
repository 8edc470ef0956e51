"""Suites: what is shipped loads, and what is wrong is named."""

import ast
from pathlib import Path

import pytest

import benchmarks
import zoo
from benchmarks import suite
from benchmarks.baselines import BASELINES, entry
from benchmarks.protocol import Budget
from benchmarks.suite import SuiteError


@pytest.mark.parametrize("name", suite.names())
def test_shipped_suites(name):
    loaded = suite.load(name)
    assert loaded.title and loaded.trials and len(set(map(str, loaded.trials))) == len(loaded.trials)
    for trial in loaded.trials:
        assert trial.settings.keys() == entry(trial.variant).settings().keys()


def test_the_quick_suite_needs_no_files(tmp_path):
    for dataset in {trial.dataset for trial in suite.load("quick").trials}:
        zoo.load_dataset(dataset, root=tmp_path)


def test_overrides_go_from_the_whole_to_the_part(plan):
    loaded = plan(
        budget={"steps": 1, "lr": 1}, settings={"latent_dim": 3},
        datasets={"digits": {"variants": ["*vae"], "budget": {"steps": 2},
                             "variant": {"beta_vae": {"budget": {"steps": 3}, "settings": {"beta": 9.0}}}}})
    trials = {t.variant: t for t in loaded.trials}
    assert (trials["vae"].budget.steps, trials["beta_vae"].budget.steps, trials["vae"].budget.lr) == (2, 3, 1.0)
    assert trials["beta_vae"].settings["beta"] == 9.0 and trials["vae"].settings["latent_dim"] == 3
    assert {"cvae", "vq_vae", "factor_vae"} < trials.keys()


def one(**table):
    return {"datasets": {"digits": {"variants": ["vae"], **table}}}


@pytest.mark.parametrize("changes, message", [
    ({"seed": [0]}, "unknown key seed; did you mean 'seeds'"),
    ({"seeds": []}, "seeds is"),
    ({"seeds": [0, 0]}, "seeds is"),
    ({"seeds": 3}, "seeds is 3; it must be a list"),
    ({"budget": {"stpes": 1}}, "unknown key budget.stpes; did you mean 'steps'"),
    ({"budget": {"steps": "many"}}, "budget.steps is 'many'; it must be a int"),
    ({"budget": {"steps": 0}}, "budget.steps is 0; it must be at least 1"),
    ({"budget": {"steps": True}}, "budget.steps is True"),
    ({"budget": 7}, "budget is 7; it must be a table"),
    (one(budget={"lr": "fast"}), "datasets.digits.budget.lr is 'fast'"),
    (one(settings={"latent_dims": 3}), "datasets.digits.settings.latent_dims: vae has no setting .* did you mean 'latent_dim'"),
    (one(evaluation={"metrics": ["elbow"]}), "metric in datasets.digits.evaluation.metrics: 'elbow'; did you mean 'elbo'"),
    (one(evaluation={"extractor": "digits"}), "evaluation.extractor: unknown extractor 'digits'; did you mean 'digits8-v1'"),
    (one(variants=["veo"]), "unknown variant in datasets.digits.variants: 'veo'"),
    (one(variants=["q*x"]), r"'q\*x'"),
    (one(variant={"vaes": {}}), "datasets.digits.variant.vaes is not among its variants; did you mean 'vae'"),
    (one(variant={"vae": {"evaluation": {}}}), "unknown key datasets.digits.variant.vae.evaluation"),
    (one(variants=[]), "datasets is empty"),
    ({"datasets": {"digit": {"variants": ["vae"]}}}, "datasets.digit: unknown data set; did you mean 'digits'"),
    ({"datasets": {"digit+missing=0.5": {"variants": ["vae"]}}}, "unknown data set; did you mean 'digits'"),
    ({"datasets": {"digits+mising=0.5": {"variants": ["vae"]}}}, "unknown modifier 'mising'; did you mean 'missing'"),
    ({"datasets": {"digits+without=9..0": {"variants": ["vae"]}}}, "the range is empty"),
    ({"datasets": {}}, "datasets is empty"),
    ({"baselines": ["pcca"]}, "unknown baseline in baselines: 'pcca'; did you mean 'ppca'"),
    ({"baselines": 1}, "baselines is 1; it must be a list"),
    (one(baselines=["ppac"]), "unknown baseline in datasets.digits.baselines: 'ppac'"),
])
def test_errors_name_the_key_and_the_nearest_match(plan, changes, message):
    with pytest.raises(SuiteError, match=message):
        plan(**changes)


def test_files_that_are_no_suites(tmp_path):
    with pytest.raises(LookupError, match="did you mean 'quick'"):
        suite.load("quik")
    broken = tmp_path / "broken.toml"
    broken.write_text("seeds = [")
    with pytest.raises(SuiteError, match="broken.toml"):
        suite.load(str(broken))


TWO = {"baselines": ["ppca", "mark*"],
       "datasets": {"digits": {"variants": ["vae", "beta_vae", "ae"]}, "lgssm": {"variants": ["vrae"]}}}


def chosen(**choice):
    return {(t.dataset, t.variant, t.seed) for t in suite.parse("test", TWO, **choice).trials}


def test_choosing_trials():
    assert chosen(asked=("*vae",), chosen=("digits",)) == {("digits", "vae", 0), ("digits", "beta_vae", 0)}
    assert chosen(asked=("vrae",), chosen=("lgs*",), seeds=(1, 7)) == {("lgssm", "vrae", 1), ("lgssm", "vrae", 7)}
    with pytest.raises(SuiteError, match="did you mean 'beta_vae'"):
        chosen(asked=("betavae",))
    with pytest.raises(SuiteError, match="did you mean 'digits'"):
        chosen(chosen=("digit",))


def test_a_range_stands_for_its_data_sets():
    table = {"baselines": [],
             "datasets": {"digits+without=8..10": {"variants": ["vae"]}, "digits+missing=0.5": {"variants": ["vae"]}}}
    assert [t.dataset for t in suite.parse("test", table).trials] == [
        "digits+without=8", "digits+without=9", "digits+without=10", "digits+missing=0.5"]
    (one,) = suite.parse("test", table, ("digits+without=9",)).trials
    assert one.dataset == "digits+without=9"


def test_any_variant_may_be_asked_for_by_its_name():
    assert chosen(asked=("iwae",), chosen=("digits",)) == {("digits", "iwae", 0)}
    with pytest.raises(SuiteError, match="name one of another suite in full"):
        chosen(asked=("iwa*",))


def test_baselines_run_with_the_first_seed_and_the_settings_they_know():
    here = {"variants": ["vae"], "settings": {"latent_dim": 3, "hidden": 8}, "variant": {"vae": {"budget": {"batch_size": 9}}}}
    loaded = suite.parse("test", {"seeds": [4, 5], "datasets": {"digits": here, "lgssm": {"baselines": ["markov"]}}})
    made = {(t.dataset, t.variant): t for t in loaded.trials if t.role == "baseline"}
    assert len(made) == sum(t.role == "baseline" for t in loaded.trials) and {t.seed for t in made.values()} == {4}
    assert [name for dataset, name in made if dataset == "digits"] == list(BASELINES)       # all, by default
    assert [name for dataset, name in made if dataset == "lgssm"] == ["markov"]
    assert made["digits", "ppca"].settings == {"latent_dim": 3} and made["digits", "marginal"].settings == {}
    assert made["digits", "ppca"].budget.batch_size == Budget.batch_size


def test_baselines_are_asked_for_like_variants():
    assert chosen(asked=("ppca", "ae"), chosen=("digits",)) == {("digits", "ae", 0), ("digits", "ppca", 0)}
    assert chosen(asked=("mix*", "ae"), chosen=("digits",)) == {("digits", "ae", 0)}       # not among this suite's
    assert chosen(asked=("mixture",), chosen=("digits",)) == {("digits", "mixture", 0)}


def test_the_harness_names_no_variant():
    """Suites do: a new variant or a renamed one needs no edit in Python."""
    files = [p for p in Path(benchmarks.__file__).parent.rglob("*.py")]
    assert len(files) > 20
    for path in files:
        constants = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
        assert not constants & set(zoo.list_variants()), path
