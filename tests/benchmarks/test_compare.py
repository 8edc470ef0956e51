"""What is paired, what is refused and why, what is noise; from folders, single records and commits."""

import json
import subprocess

import numpy as np
import pytest

from benchmarks.cli import main
from benchmarks.compare import compare

RNG = np.random.default_rng(0)
ITEMS = RNG.normal(-100, 10, 200)                           # of the first model, by example


def better(shift, seed=0):
    return ITEMS + shift + np.random.default_rng(seed).normal(0, 1, 200)


def rows(a, b, **more):
    (t,) = compare(a, b, **more)
    return {r.metric: r for r in t.rows}, t


def test_values_of_examples_are_paired(result):
    """A difference of 1 nat is found in pairs under a spread of 10 over examples; the same errors unpaired see nothing."""
    a, b = [[result(v, s, elbo=(x, {"stderr": 0.7})) for s in range(3)] for v, x in (("a", ITEMS), ("b", better(1)))]
    found = rows(a, b)[0]["elbo"]
    assert found.verdict == "better" and found.seeds == 3 and found.difference.method == "examples within seeds"
    assert found.difference.value == pytest.approx(1, abs=0.3) and found.difference.low > 0.7
    assert rows(a[:1], b[:1])[0]["elbo"].difference.method == "examples"
    for r in (*a, *b):
        r.items.clear()
    apart = rows(a[:1], b[:1])[0]["elbo"]
    assert apart.difference.method == "unpaired" and apart.verdict == "noise"
    assert apart.difference.high - apart.difference.value == pytest.approx(1.96 * 0.7 * 2**0.5, rel=1e-3)


def test_a_metric_that_is_no_mean_of_its_items_is_paired_over_seeds(result):
    a, b = [[result(v, s, fcd=3.0 + s + d) for s in range(3)] for v, d in (("a", 0.0), ("b", -0.5))]
    b[0].record["metrics"]["fcd"]["value"] -= 0.1
    for r in (*a, *b):
        r.items["fcd"] = ITEMS.astype(np.float32)
    found = rows(a, b)[0]["fcd"]
    assert found.difference.method == "seeds" and found.verdict == "better"          # lower is


def test_verdicts(result):
    def both(**values):
        return [[result("a", s, **{k: v[0](s) for k, v in values.items()}) for s in range(4)],
                [result("a", s, **{k: v[1](s) for k, v in values.items()}) for s in range(4)]]
    found, _ = rows(*both(elbo=(lambda s: 1.0 * s, lambda s: 1.0 * s - 2 - 0.01 * s),
                          fcd=(lambda s: 2.0, lambda s: 2.0 + (-1)**s),
                          active=(lambda s: 3.0, lambda s: 4.0 + 0.01 * s), parameters=(lambda s: 10, lambda s: 9),
                          speed=(lambda s: 10.0, lambda s: 20.0)))
    assert {k: r.verdict for k, r in found.items()} == {
        "elbo": "worse", "fcd": "noise", "active": "differs", "parameters": "better", "speed": "unknown"}
    assert found["speed"].difference is None                # cost is judged in interleaved pairs, or not


def test_holm_over_the_table(result):
    """p = 0.03 alone is a finding; among four tests it is noise."""
    values = [0.0, 0.3, 0.6, 0.9]                           # t = 3.87 on 3 degrees of freedom
    a, b = [[result("a", s, elbo=0.0, fcd=0.0, active=0.0, relative=0.0) for s in range(4)], None]
    b = [result("a", s, elbo=0.5 + values[s], fcd=(-1.0)**s, active=(-1.0)**s, relative=(-1.0)**s) for s in range(4)]
    alone = rows(a, b, metrics=["elbo"])[0]["elbo"]
    assert alone.p == pytest.approx(alone.difference.p) and alone.p < 0.05 and alone.verdict == "better"
    assert rows(a, b)[0]["elbo"].p == pytest.approx(4 * alone.p) and rows(a, b)[0]["elbo"].verdict == "noise"


def test_other_data_are_refused(result):
    a = [result("a", elbo=ITEMS), result("b", elbo=ITEMS)]
    b = [result("a", elbo=ITEMS, changes={"data_sha256": "b" * 64}), result("b", elbo=ITEMS)]
    found, t = rows(a, b)
    assert list(t.refused) == ["the data differ: sha256 aaaaaaaaaaaa in A, bbbbbbbbbbbb in B"]
    assert t.refused.popitem()[1] == ["a seed 0"] and {r.variant for r in t.rows} == {"b"}


@pytest.mark.parametrize("key, value, said", [
    ("version", 2, "version 1 in A, 2 in B"), ("n", 9, "number of examples None in A"),
    ("unit", "bits", "unit nats in A, bits in B"),
])
def test_another_definition_is_refused(result, key, value, said):
    a, b = [result("a", elbo=1.0, fcd=2.0)], [result("a", elbo=(1.0, {key: value}), fcd=2.0)]
    found, t = rows(a, b)
    assert list(found) == ["fcd"] and said in "".join(t.refused)


def test_cost_of_another_machine_is_refused_but_for_ratios(result):
    costs = {"speed": 1.0, "parameters": 5, "relative": 0.5}
    found, t = rows([result("a", **costs)], [result("a", env={"threads": 2}, **costs)])
    assert set(found) == {"parameters", "relative"}
    assert t.refused == {"not the same machine: abacus, 1 of 2 cores in A, abacus, 2 of 2 cores in B": ["a speed"]}


def test_what_differs_in_protocol_is_said(result):
    a = [result("a", 0, elbo=1.0, fcd=1.0), result("a", 1, elbo=1.0)]
    b = [result("a", 0, elbo=1.0, changes={"budget": {"steps": 20}})]
    assert rows(a, b)[1].notes == {"budget.steps is 10 in A, 20 in B": ["a"], "measured in A only: fcd": ["a"],
                                   "only in A": ["a seed 1"]}


def test_a_data_set_of_one_side_is_not_passed_over_in_silence(result):
    first, second = compare([result("a", elbo=1.0), result("a", dataset="sprites", elbo=1.0)], [result("a", elbo=2.0)])
    assert first.rows and not second.rows and second.notes == {"only in A": ["a seed 0"]}


def test_sides_of_one_variant_are_compared_whatever_their_names(result):
    found, t = rows([result("a", elbo=1.0)], [result("b", elbo=2.0)])
    assert found["elbo"].variant == "a -> b"
    with pytest.raises(LookupError, match=r"A has digits \(a; seeds 0\); B has digits \(b, c; seeds 0\)"):
        compare([result("a", elbo=1.0)], [result("b", elbo=2.0), result("c", elbo=2.0)])


def test_the_command(result, folder, capsys):
    where = str(folder("r", [result(v, s, elbo=x, speed=(1e4, {"busy": v == "b"})) for s in (0, 1)
                             for v, x in (("a", better(1, s)), ("b", ITEMS))]))
    assert main(["compare", where, "--variants", "a,b"]) == 0
    said = capsys.readouterr().out
    assert "a -> b, 2 seeds" in said and "examples within seeds" in said and "10k†" in said and "elbo ↑" in said
    assert main(["compare", where, "--variants", "a,b", "--fail-if-worse"]) == int("WORSE" in said)
    capsys.readouterr()
    assert main(["compare", f"{where}/digits/a/0-cpu.json", f"{where}/digits/b", "--json", "--metrics", "elbo"]) == 0
    (t,) = json.loads(capsys.readouterr().out)["tables"]
    assert t["dataset"] == "digits" and t["notes"] == {"only in B": ["b seed 1"]}
    assert t["rows"][0]["verdict"] == "worse" and t["rows"][0]["difference"]["method"] == "examples"


def test_commits(result, folder, tmp_path, capsys):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments], check=True,
                       capture_output=True)
    place = folder("results/s", [result("a", elbo=ITEMS)])
    git("init")
    git("add", ".")
    git("commit", "-m", "then")
    folder("results/s", [result("a", elbo=better(1))])
    assert main(["compare", f"{place}@HEAD", str(place), "--fail-if-worse"]) == 0
    assert " better " in capsys.readouterr().out
    git("rm", "-r", "--cached", "results")
    git("commit", "-m", "gone")
    assert main(["compare", str(place), f"{place}@HEAD@{{1}}", "--fail-if-worse"]) == 1          # a name of git's may hold an @
    assert main(["compare", f"{place}@HEAD", str(place)]) == 2
    assert main(["compare", f"{place}@v1", str(place)]) == 2
    assert "git log --oneline" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, said", [
    (["{}"], "--variants A,B"), (["{}", "--variants", "a,bb"], "did you mean 'b'"),
    (["{}", "nowhere"], "no records in 'nowhere'"),
    (["{}", "{}", "--metrics", "elba"], "did you mean 'elbo'"), (["{}", "{}/digits/a/0-cpu.npz"], "is no record"),
])
def test_what_is_wrong_is_said(result, folder, capsys, arguments, said):
    where = str(folder("r", [result(v, elbo=ITEMS) for v in "ab"]))
    assert main(["compare", *(a.format(where) for a in arguments)]) == 2
    assert said in capsys.readouterr().err
