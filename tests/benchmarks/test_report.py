"""Tables, figures and reports from records made by hand. The page itself is tested in a browser, by test_page.py."""

import hashlib
import json
import re

import pytest
import torch
from handmade import keep, made
from PIL import Image

import zoo
from benchmarks import page, pictures, report, screenshot, table, timing
from benchmarks.cli import main


def cells(t):
    return {row.label: row.cells for row in t.rows}


def test_rows_are_sorted_and_seeds_averaged():
    (t,) = table.build([made("a", 0, elbo=-10.0, fcd=1.0), made("a", 1, elbo=-12.0, fcd=2.0), made("b", elbo=-9.0, fcd=3.0),
                        made("c", fcd=0.5), made("f", status="failed")])
    assert list(cells(t)) == ["b", "a", "c"]
    assert str(cells(t)["a"][0]) == "-11.0 ± 1.0" and str(cells(t)["b"][0]) == "-9.00 ± 0.50" and cells(t)["c"][0] is None
    assert t.bests == [-9.0, 0.5]
    text = table.terminal(t, 200).splitlines()
    assert text[0].split() == ["d/e", "elbo", "↑", "fcd", "↓"] and text[-1].split() == ["c", "–", "0.5"]
    assert "**-9.00 ± 0.50**" in table.markdown(t)


def test_a_metric_that_some_lack_keeps_its_place():
    (t,) = table.build([made("a", fcd=1.0, au=3), made("b", elbo=1.0, fcd=2.0, au=4)])
    assert [c.name for c in t.columns] == ["elbo", "fcd", "au"]
    assert t.bests[2] is None


def test_columns_stand_by_group_the_headline_first():
    """Of likelihood the names that are always wanted, of the others their first directed metric."""
    (t,) = table.build([made("a", train_throughput=9.0, au=1, fcd=1.0, rate=3.0, nll_iwae_5=9.0, elbo=-10.0), made("b", au=2)])
    assert [c.name for c in t.columns] == ["nll_iwae_5", "elbo", "rate", "fcd", "au", "train_throughput"]
    assert [c.name for c in t.headline.columns] == ["nll_iwae_5", "elbo", "fcd", "train_throughput"]
    assert {group: [c.name for c in part.columns] for group, part in t.groups.items()} == {
        "likelihood": ["nll_iwae_5", "elbo", "rate"], "distribution": ["fcd"], "latent space": ["au"],
        "cost": ["train_throughput"]}
    assert list(cells(t.headline)) == ["a", "b"] and list(cells(t.groups["distribution"])) == ["a"]


def test_a_baseline_stands_below_and_may_win():
    (t,) = table.build([made("ppca", role="baseline", elbo=-5.0), made("a", elbo=-10.0), made("b", elbo=-9.0)])
    assert list(cells(t)) == ["b", "a", "ppca"] and [row.baseline for row in t.rows] == [False, False, True]
    assert "| *ppca (baseline)* | **-5.00 ± 0.50** |" in table.markdown(t)


def test_devices_are_rows_of_their_own():
    (t,) = table.build([made("a", elbo=-10.0), made("a", device="cuda", elbo=-11.0)])
    assert list(cells(t)) == ["a (cpu)", "a (cuda)"]


def test_tables_fold_to_the_terminal():
    (t,) = table.build([made("a", elbo=-10.0, fcd=1.0, au=3)])
    folded = table.terminal(t, 28)
    assert max(map(len, folded.splitlines())) <= 28 and folded.count("d/e") == 2


@pytest.mark.parametrize("value, error, unit, text", [
    (1234567.0, None, "numbers", "1.23M"), (3.2e9, None, "bytes", "3.2GB"), (840.0, None, "examples/s", "840"),
    (-97.1234, 0.0432, "nats", "-97.123 ± 0.043"), (4.0, None, "latents", "4"), (0.123456, 0.0, "distance", "0.1235"),
    (-97.1, 13.0, "nats", "-97 ± 13"),
])
def test_numbers_as_text(value, error, unit, text):
    assert str(table.Cell(value, error, unit)) == text


def shown(path):
    """What a page shows: the one block of data in it."""
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(block)


def test_a_report_says_what_its_records_say(tmp_path):
    keep(tmp_path, [made("vae", elbo=-10.0), made("vae", 1, elbo=-12.0), made("unheard_of", elbo=-20.0, fcd=1.0),
                    made("c", status="failed")])
    path = report.build("s", tmp_path)
    data, readme = shown(path), (tmp_path / "s/README.md").read_text()
    for text in (json.dumps(data, ensure_ascii=False), readme):
        for said in ("abacus", "zoo-bench run s", "0.5 to 1.5", "</script><b>broken", "-11.0 ± 1.0", "of seeds 0, 1, only 0"):
            assert said in text, said
    (section,) = data["sections"]
    assert [row["label"] for row in section["rows"]] == ["vae", "unheard_of"]
    assert section["rows"][0]["cells"] == [{"value": -11.0, "error": 1.0, "text": "-11.0 ± 1.0", "best": True}, None]
    assert section["columns"][0]["about"].startswith("Evidence lower bound")
    assert section["curves"]["vae"] == [[5.0, -2.5, -3.0], [10.0, -1.5, -2.0]]
    assert data["variants"]["vae"]["url"] == zoo.entry("vae").url and "nll" in data["variants"]["vae"]["documentation"]
    assert "no variant of this name" in data["variants"]["unheard_of"]["documentation"]
    assert (tmp_path / "s/figures/d-e-curves.png").is_file() and "figures/d-e-curves.png" in readme
    assert "<details><summary>likelihood (1)</summary>" in readme


def test_a_page_needs_no_other_file(tmp_path):
    keep(tmp_path, [made("a", elbo=-10.0)])
    text = report.build("s", tmp_path).read_text()
    own = text.replace(page.PLOTLY.read_text(), "")
    assert len(own) < len(text) and not re.search(r"""\b(src|href)=["']|@import|url\(""", own)


def test_the_code_of_others_is_what_it_says():
    readme = (page.PLOTLY.parent / "README.md").read_text()
    assert hashlib.sha256(page.PLOTLY.read_bytes()).hexdigest() in readme
    assert re.search(r"minified\) v(\S+)", page.PLOTLY.read_text())[1] in readme            # its version


@pytest.mark.parametrize("name, message", [("page.jpg", "must end in .png"), ("page.png", "install one")])
def test_why_there_is_no_screenshot(name, message, tmp_path, monkeypatch, capsys):
    keep(tmp_path, [made("a", elbo=-10.0)])
    monkeypatch.setattr(screenshot.shutil, "which", lambda name: None)
    assert main(["report", "s", "--out", str(tmp_path), "--screenshot", name]) == 2
    assert message in capsys.readouterr().err


def test_a_record_that_is_no_json_is_named(tmp_path):
    broken = tmp_path / "s/d/a/0-cpu.json"
    broken.parent.mkdir(parents=True)
    broken.write_text(json.dumps(made("a"))[:50])
    with pytest.raises(ValueError, match="0-cpu.json is no record"):
        report.build("s", tmp_path)


ALWAYS, WALKS = {"samples", "reconstructions", "latents"}, {"traversals", "interpolations"}
CASES = {                                                   # variant, spec, latents -> the pictures that there are to draw
    "grey": ("vae", zoo.DataSpec((1, 8, 8), "unit", classes=3), 3, ALWAYS | WALKS | {"latents3d"}),
    "conditional": ("cvae", zoo.DataSpec((1, 8, 8), "unit", classes=3), 2, ALWAYS | WALKS | {"manifold"}),
    "colour": ("vae", zoo.DataSpec((3, 40, 40), "unit"), 3, ALWAYS | WALKS | {"latents3d"}),
    "vector": ("vae", zoo.DataSpec((5,), "real"), 1, ALWAYS | WALKS),
    "plane": ("ae", zoo.DataSpec((5,), "real"), 2, ALWAYS | WALKS | {"manifold"}),
    "piano": ("vrnn", zoo.DataSpec((6,), "binary", max_length=7), 3, ALWAYS | {"latents3d"}),
    "roll": ("vrae", zoo.DataSpec((88,), "binary", max_length=130), 3, ALWAYS | WALKS | {"latents3d"}),
    "tokens": ("vrnn", zoo.DataSpec((), "tokens", max_length=9, vocabulary=4), 3, ALWAYS | {"latents3d"}),
}


@pytest.mark.parametrize("case", CASES)
def test_pictures_of_every_kind_of_data(case, context, tmp_path):
    (variant, spec, latents, kinds), n = CASES[case], 30
    shape = (n, *([spec.max_length] if spec.sequence else []), *spec.shape)
    x = torch.rand(shape).round() if spec.kind != "tokens" else torch.randint(4, shape)
    lengths = torch.randint(1, spec.max_length + 1, (n,)) if spec.sequence else None
    split = zoo.Split(x, label=torch.randint(3, (n,)) if spec.classes else None, lengths=lengths)
    model = zoo.create(variant, spec, latent_dim=latents, hidden=8, seed=0)
    (tmp_path / "x-manifold.png").write_text("of another model")
    pictures.draw(context(model, zoo.Dataset("made", spec, split, split, split, note="")), tmp_path / "x")
    assert {p.name for p in tmp_path.iterdir()} == {f"x-{kind}.png" for kind in kinds} and kinds <= set(pictures.KINDS)
    for path in tmp_path.iterdir():
        image = Image.open(path)
        assert path.stat().st_size < 60_000 and min(image.size) >= 8
        assert max(image.size) <= 800 or case == "roll" and path.stem.endswith(("samples", "reconstructions"))


def test_walks_keep_the_label_where_they_begin_and_take_the_latents_that_carry_most(context, digits, monkeypatch):
    model, told = zoo.create("cvae", digits.spec, latent_dim=2, hidden=8, seed=0), []
    c, decode = context(model, digits), model.decode
    c.group_kl = torch.tensor([0.1, 0.2])
    monkeypatch.setattr(model, "decode", lambda z, label: (told.append((z, label)), decode(z, label))[1])
    monkeypatch.setattr(pictures, "_write", lambda picture, path: None)
    pictures.draw(c, pictures.Path("x"))
    (z, one), (_, each), (_, again) = told
    begun = digits.test.label[:8]
    assert (one == begun[0]).all() and (again == begun[0]).all() and torch.equal(each, begun.repeat_interleave(9))
    assert torch.equal(z[:9, 0], c.codes[0, 0].expand(9))                       # the second latent moves first
    span = c.draws[:, 1].mean() + c.draws[:, 1].std() * torch.tensor([-3.0, 0.0, 3.0])
    assert torch.allclose(z[[0, 4, 8], 1], span, atol=1e-5)


def test_timing_measures_seconds():
    seconds = timing.measure(lambda: __import__("time").sleep(0.004), torch.device("cpu"))
    assert 0.004 <= seconds.median < 0.02 and seconds.iqr >= 0
    assert timing.Timing(0.5, 0.1, None).rate(10) == pytest.approx((20.0, 4.0))
