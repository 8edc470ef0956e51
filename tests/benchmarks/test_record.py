"""The published schema: what the harness writes passes, what is misspelt, missing or no number does not."""

import json

import jsonschema
import pytest

from benchmarks import record
from benchmarks.cli import main
from benchmarks.metrics import BETTER, GROUPS, Measured

SCHEMA = json.loads((record.ROOT / "benchmarks" / "schema.json").read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The path of a record that the harness wrote."""
    folder = tmp_path_factory.mktemp("schema")
    (folder / "tiny.toml").write_text('[budget]\nsteps = 2\n[evaluation]\nmetrics = ["elbo", "train_throughput"]\n'
                                      '[datasets.digits]\nvariants = "vae"\nsettings = { hidden = 8 }\n')
    assert main(["run", str(folder / "tiny.toml"), "--out", str(folder), "--device", "cpu"]) == 0
    return folder / "tiny/digits/vae/0-cpu.json"


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    entry = SCHEMA["$defs"]["metric"]["properties"]
    assert SCHEMA["title"] == SCHEMA["properties"]["schema"]["const"] == record.SCHEMA
    assert entry["better"]["enum"] == list(BETTER) and entry["group"]["enum"] == list(GROUPS)
    assert set(Measured.__dataclass_fields__) - {"items"} <= set(entry)


def test_what_the_harness_writes_is_read(written):
    assert record.read(written)["metrics"].keys() >= {"elbo", "train_throughput"}


def test_a_failed_trial_and_a_baseline_are_records(written, tmp_path):
    r = record.read(written)
    for change in ({"status": "failed", "traceback": "out of luck", "metrics": {}, "training": None, "curve": [],
                    "data_sha256": None}, {"role": "baseline", "training": None, "curve": []}):
        record.write(tmp_path / "0-cpu.json", r | change)
        assert record.read(tmp_path / "0-cpu.json") == r | change


def put(r, path, value):
    """The record with this value at `a.b.c`; None: without that key."""
    *above, last = path.split(".")
    inner = r
    for key in above:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return r


@pytest.mark.parametrize("path, value, said", [
    ("seed", None, "'seed' is a required property"),
    ("sede", 3, "'sede' was unexpected"),
    ("seed", "0", "seed: '0' is not of type 'integer'"),
    ("role", "baselines", "role: 'baselines' is not one of"),
    ("metrics.elbo.value", float("nan"), "metrics.elbo.value: 'NaN' is not of type 'number'"),
    ("metrics.elbo.value", True, "metrics.elbo.value"),
    ("metrics.elbo.stderr", -1, "metrics.elbo.stderr"),
    ("metrics.elbo.version", None, "metrics.elbo: 'version' is a required property"),
    ("metrics.elbo.iqrs", 1.0, "metrics.elbo: .*'iqrs' was unexpected"),
    ("metrics.elbo.better", "up", "metrics.elbo.better: 'up' is not one of"),
    ("metrics.elbo.group", "costs", "metrics.elbo.group"),
    ("env.threads", 0, "env.threads"),
    ("env.cpu", "x", "env: .*'cpu' was unexpected"),
    ("training.env.commit", 7, "training.env.commit"),
    ("evaluation.metrics", None, "evaluation: 'metrics' is a required property"),
    ("budget.steps", {"n": 1}, "budget.steps"),
    ("started", "yesterday", "started"),
    ("data_sha256", "abc", "data_sha256"),
    ("status", "failed", "traceback: None is not of type 'string'"),
    ("curve", [{"elbo": 1.0}], r"curve\[0\]: 'step' is a required property"),
])
def test_what_is_wrong_is_refused_by_its_key(written, tmp_path, path, value, said):
    wrong = tmp_path / "0-cpu.json"
    wrong.write_text(json.dumps(put(json.loads(written.read_text()), path, value)))
    with pytest.raises(ValueError, match=said) as error:
        record.read(wrong)
    assert str(wrong) in str(error.value)
