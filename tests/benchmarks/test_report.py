"""Tables, figures and pages from records made by hand."""

import json
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

import zoo
from benchmarks import pictures, record, report, table, timing


def made(variant, seed=0, device="cpu", status="ok", **values):
    units = {"elbo": ("nats", "higher"), "fcd": ("distance", "lower"), "au": ("latents", "none")}
    metrics = {k: {"value": v, "unit": units[k][0], "better": units[k][1], "group": "likelihood", "version": 1,
                   "stderr": 0.5 if k == "elbo" else None, "n": 9, "iqr": None, "mc": None} for k, v in values.items()}
    env = {"device": device, "processor": "abacus", "cores": 2, "threads": 1, "load_before": 0.5, "load_after": 1.5,
           "torch": "2", "triton": None, "python": "3", "commit": "abc", "dirty": False, "kernel_path": "reference"}
    return {"schema": record.SCHEMA, "suite": "s", "dataset": "d/e", "variant": variant, "seed": seed, "status": status,
            "traceback": None if status == "ok" else "Traceback\nValueError: <b>broken</b>", "metrics": metrics, "env": env,
            "settings": {}, "budget": {"steps": 10},
            "evaluation": {"metrics": [], "iwae_k": 5, "iwae_examples": 7, "samples": 9},
            "seconds": 3.0, "training": {"seconds": 1.0, "peak_bytes": 1, "env": env}, "data_sha256": "0123456789abcdef" * 4,
            "started": "2026-01-01T00:00:00+00:00",
            "curve": [{"step": 5.0, "valid_elbo": -3.0}, {"step": 10.0, "valid_elbo": -2.0}]}


def test_rows_are_sorted_and_seeds_averaged():
    (t,) = table.build([made("a", 0, elbo=-10.0, fcd=1.0), made("a", 1, elbo=-12.0, fcd=2.0), made("b", elbo=-9.0, fcd=3.0),
                        made("c", fcd=0.5), made("f", status="failed")])
    assert [label for label, _ in t.rows] == ["b", "a", "c"]
    cells = dict(t.rows)
    assert str(cells["a"][0]) == "-11.0 ± 1.0" and str(cells["b"][0]) == "-9.00 ± 0.50" and cells["c"][0] is None
    assert t.bests == [-9.0, 0.5]
    text = table.terminal(t, 200).splitlines()
    assert text[0].split() == ["d/e", "elbo", "↑", "fcd", "↓"] and text[-1].split() == ["c", "–", "0.5"]
    assert "**-9.00 ± 0.50**" in table.markdown(t)


def test_a_metric_that_some_lack_keeps_its_place():
    (t,) = table.build([made("a", fcd=1.0, au=3), made("b", elbo=1.0, fcd=2.0, au=4)])
    assert [c.name for c in t.columns] == ["elbo", "fcd", "au"]
    assert t.bests[2] is None


def test_devices_are_rows_of_their_own():
    (t,) = table.build([made("a", elbo=-10.0), made("a", device="cuda", elbo=-11.0)])
    assert [label for label, _ in t.rows] == ["a (cpu)", "a (cuda)"]


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


class Wellformed(HTMLParser):
    """Every element that must be closed is, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attributes):
        self.sources += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_and_says_what_failed(tmp_path):
    for r in (made("a", elbo=-10.0), made("b", status="failed")):
        record.write(tmp_path / "s/d-e" / r["variant"] / "0-cpu.json", r)
    page = report.build("s", tmp_path)
    parser = Wellformed()
    parser.feed(page.read_text())
    assert parser.open == [] and parser.sources[0] == "#d-e"
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in parser.sources)
    readme = (tmp_path / "s/README.md").read_text()
    for text in (page.read_text(), readme):
        assert "abacus" in text and "zoo-bench run s" in text and "0.5 to 1.5" in text and "broken" in text
    assert "&lt;b&gt;broken" in page.read_text()
    assert (tmp_path / "s/figures/d-e-curves.png").is_file() and "figures/d-e-curves.png" in readme


def test_a_record_that_is_no_json_is_named(tmp_path):
    broken = tmp_path / "s/d/a/0-cpu.json"
    broken.parent.mkdir(parents=True)
    broken.write_text(json.dumps(made("a"))[:50])
    with pytest.raises(ValueError, match="0-cpu.json is no record"):
        report.build("s", tmp_path)


SPECS = {
    "grey": zoo.DataSpec((1, 8, 8), "unit", classes=3), "colour": zoo.DataSpec((3, 40, 40), "unit"),
    "vector": zoo.DataSpec((5,), "real"), "piano": zoo.DataSpec((6,), "binary", max_length=7),
    "tokens": zoo.DataSpec((), "tokens", max_length=9, vocabulary=4),
}


@pytest.mark.parametrize("kind", SPECS)
def test_pictures_of_every_kind_of_data(kind, context, tmp_path):
    spec, n = SPECS[kind], 30
    shape = (n, *([spec.max_length] if spec.sequence else []), *spec.shape)
    x = torch.rand(shape).round() if spec.kind != "tokens" else torch.randint(4, shape)
    lengths = torch.randint(1, spec.max_length + 1, (n,)) if spec.sequence else None
    split = zoo.Split(x, label=torch.randint(3, (n,)) if spec.classes else None, lengths=lengths)
    model = zoo.create("vrnn" if spec.sequence else "vae", spec, latent_dim=1 if kind == "vector" else 3, hidden=8, seed=0)
    pictures.draw(context(model, zoo.Dataset("made", spec, split, split, split, note="")), tmp_path / "x")
    for what in pictures.KINDS:
        path = tmp_path / f"x-{what}.png"
        image = Image.open(path)
        assert path.stat().st_size < 60_000 and max(image.size) <= 800 and min(image.size) >= 8


def test_timing_measures_seconds():
    seconds = timing.measure(lambda: __import__("time").sleep(0.004), torch.device("cpu"))
    assert 0.004 <= seconds.median < 0.02 and seconds.iqr >= 0
    assert timing.Timing(0.5, 0.1, None).rate(10) == pytest.approx((20.0, 4.0))
