"""Two folders become one, or it is said why not, before anything is written."""

import numpy as np
import pytest

from benchmarks import record, sources
from benchmarks.cli import main

ITEMS = np.linspace(-3, 3, 7)


def held(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} if folder.exists() else {}


def merge(*arguments):
    return main(["merge", *map(str, arguments)])


@pytest.fixture
def sides(result, folder):
    mine = folder("mine/s", [result("a", 0, elbo=ITEMS), result("a", 1, elbo=ITEMS)])
    theirs = folder("theirs/s", [result("a", 1, elbo=ITEMS), result("b", 0, elbo=ITEMS, env={"processor": "quipu"})])
    for where, names in ((mine, ("digits-a-samples.png",)), (theirs, ("digits-a-samples.png", "digits-b-samples.png"))):
        (where / "figures").mkdir()
        for name in names:
            (where / "figures" / name).write_bytes(where.parts[-2].encode())
    return mine, theirs


def test_records_items_and_pictures_come_along(sides, tmp_path, capsys):
    mine, theirs = sides
    assert merge(theirs, mine) == 0
    assert capsys.readouterr().out.split() == [str(mine / "digits/b/0-cpu.json")]         # the trial both have is equal
    assert {(r.record["variant"], r.record["seed"]) for r in sources.load(str(mine))} == {("a", 0), ("a", 1), ("b", 0)}
    assert record.read_items(mine / "digits/b/0-cpu.json")["elbo"] == pytest.approx(ITEMS)
    assert (mine / "figures/digits-b-samples.png").read_bytes() == b"theirs"
    assert (mine / "figures/digits-a-samples.png").read_bytes() == b"mine"
    assert main(["report", "s", "--out", str(mine.parent)]) == 0
    assert "| b |" in (mine / "README.md").read_text()


def test_into_a_new_folder(sides, tmp_path):
    assert merge(*sides, tmp_path / "all/s") == 0
    assert len(sources.load(str(tmp_path / "all/s"))) == 3


@pytest.mark.parametrize("prefer, value", [("from", 5.0), ("into", 0.0)])
def test_the_same_trial_with_other_numbers_needs_a_choice(sides, result, folder, capsys, prefer, value):
    mine, theirs = sides
    folder("theirs/s", [result("a", 1, elbo=5.0)])
    before = held(mine)
    assert merge(theirs, mine) == 2
    said = capsys.readouterr().err
    assert "digits/a/1-cpu.json" in said and "--prefer" in said and held(mine) == before
    assert merge(theirs, mine, "--prefer", prefer) == 0
    path = mine / "digits/a/1-cpu.json"
    assert record.read(path)["metrics"]["elbo"]["value"] == pytest.approx(value, abs=1e-9)
    assert bool(record.read_items(path)) == (prefer == "into")          # values of examples stay with their record


@pytest.mark.parametrize("changes, said", [
    ({"data_sha256": "b" * 64}, "different data named 'digits'"), ({"suite": "t"}, "suites s, t"),
    ({"evaluation": {"metrics": ["elbo"], "samples": 3}}, "evaluation.samples is "),
])
def test_what_does_not_belong_in_one_table_is_refused(sides, result, folder, capsys, changes, said):
    mine, _ = sides
    before = held(mine)
    assert merge(folder("wrong/s", [result("c", 0, elbo=ITEMS, changes=changes)]), mine, "--prefer", "from") == 2
    assert said in capsys.readouterr().err and held(mine) == before


def test_a_folder_without_records_is_refused(sides, tmp_path, capsys):
    assert merge(tmp_path / "nowhere", sides[0]) == 2
    assert "no records in" in capsys.readouterr().err
