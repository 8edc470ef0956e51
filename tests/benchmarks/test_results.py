"""What is committed under results/: records that can be read, reports that say what the records say, and not too much of it."""

import json
import math
import shutil
from pathlib import Path

import pytest

import zoo
from benchmarks import kernel_table, record, report, throughput_table
from benchmarks.baselines import BASELINES, entry
from benchmarks.metrics import METRICS

RESULTS = Path(__file__).parents[2] / "results"
SUITES = sorted(p.name for p in RESULTS.iterdir() if p.is_dir() and any(record.paths(p))) if RESULTS.is_dir() else []


@pytest.mark.parametrize("suite", SUITES)
def test_records_hold_known_names_and_finite_numbers(suite):
    families = {METRICS.get(name).label.split("{")[0] for name in METRICS}
    for path in record.paths(RESULTS / suite):
        r = record.read(path)
        assert path == RESULTS / suite / record.safe(r["dataset"]) / r["variant"] / f"{r['seed']}-{r['env']['device']}.json"
        assert r["variant"] in (BASELINES if record.is_baseline(r) else zoo.list_variants()) and r["suite"] == suite
        assert set(r["settings"]) <= set(entry(r["variant"]).settings())
        for name, m in r["metrics"].items():
            assert any(name.startswith(f) for f in families) and math.isfinite(m["value"]) and m["unit"]


@pytest.mark.parametrize("suite", SUITES)
def test_the_report_says_what_the_records_say(suite, tmp_path):
    shutil.copytree(RESULTS / suite, tmp_path / suite, ignore=shutil.ignore_patterns("models"))
    report.build(suite, tmp_path)
    assert (tmp_path / suite / "README.md").read_text() == (RESULTS / suite / "README.md").read_text()


@pytest.mark.parametrize(("folder", "table"), [("kernels", kernel_table), ("throughput", throughput_table)])
def test_the_page_of_all_devices_says_what_their_records_say(folder, table):
    records = [json.loads(path.read_text()) for path in sorted((RESULTS / folder).glob("*.json"))]
    assert not records or (RESULTS / folder / "README.md").read_text() == table.page(records)


def test_results_stay_small():                            # a page is 1.2 MB of plotting library before it says anything
    committed = (p for p in RESULTS.rglob("*") if p.is_file() and not {"quick", "models"} & set(p.relative_to(RESULTS).parts))
    assert sum(p.stat().st_size for p in committed) < 40_000_000
