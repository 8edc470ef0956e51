"""zoo-bench throughput: what is recorded and shown, what happens to what fails. No timing is asserted."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import context, device_record, throughput, timing, train_step
from benchmarks.cli import main
from benchmarks.metrics import Measured
from benchmarks.metrics import throughput as rates


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """command(*arguments) -> exit status, what was printed, the record: batches of 16, blocks of one call."""
    monkeypatch.setattr(timing, "BLOCK_SECONDS", {"cpu": 1e-6})
    monkeypatch.setattr(timing, "LEAST", 2)
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    monkeypatch.setattr(throughput, "BATCH", 16)
    monkeypatch.setattr(throughput, "SAMPLES", 10)
    monkeypatch.setattr(context, "NUMBERS", 128 * 32)       # batches of 32 at most

    def run(*arguments):
        status = main(["throughput", *arguments, "--out", str(tmp_path), "--device", "cpu"])
        records = [json.loads(path.read_text()) for path in (tmp_path / "throughput").glob("*.json")]
        return status, capsys.readouterr(), records[0] if records else None
    return run


def test_a_record_and_its_tables(command, tmp_path):
    status, said, record = command("vae", "ae", "--json")
    part = record["variants"]["digits"]
    assert status == 0 and json.loads(said.out) == part and part["env"]["load_after"] is not None
    assert [(r["variant"], r["what"]) for r in part["rows"]] == [
        ("ae", "train"), ("ae", "encode"), ("ae", "sample"), ("vae", "train"), ("vae", "encode"), ("vae", "sample"),
        ("vae", "bound")]                                   # an auto-encoder has no bound
    assert all(r["value"] > 0 and (r["what"] == "bound" or r["batch"] == 16 and r["best"]["batch"] in (16, 32))
               for r in part["rows"])
    text = (tmp_path / "throughput" / "README.md").read_text()
    assert f"## {record['processor']}" in text and "### Every variant on digits" in text and "| vae " in text


def test_another_data_set_is_put_beside_the_first(command):
    command("ae")
    before = command("vae")[2]["variants"]["digits"]
    status, said, record = command("vr*e", "--data", "digit_rows")
    assert status == 0 and list(record["variants"]) == ["digits", "digit_rows"]
    assert record["variants"]["digits"] == before and {r["variant"] for r in before["rows"]} == {"vae"}
    assert {r["variant"] for r in record["variants"]["digit_rows"]["rows"]} == {"vrae"} and "| vrae " in said.out


def test_what_fails_is_recorded_and_the_rest_is_timed(command, monkeypatch):
    def fails(context, n):
        raise RuntimeError("no such luck")

    monkeypatch.setitem(throughput.WAYS, "encode", fails)
    status, said, record = command("vae")
    rows = {r["what"]: r for r in record["variants"]["digits"]["rows"]}
    assert status == 1 and rows["encode"]["error"] == "RuntimeError: no such luck" and "\n\nFailed:\n\n- " in said.out
    assert "encode: RuntimeError: no such luck" in said.out
    assert rows["train"]["value"] > 0 and rows["sample"]["value"] > 0

    monkeypatch.setattr(throughput, "rows_of", lambda *a: fails(*a[:2]))
    status, said, record = command("vae")
    assert status == 1 and "RuntimeError: no such luck" in said.out


def test_a_line_for_each_engine(command, monkeypatch):
    for module in (throughput, train_step):
        monkeypatch.setattr(module, "ENGINES", ("eager", "other"))
    _, said, record = command("vae", "--engines", "eager,other")
    assert [r.get("engine") for r in record["variants"]["digits"]["rows"]] == ["eager", "other", None, None, None]
    assert said.out.count("| vae ") == 2


@pytest.mark.parametrize("arguments, message", [
    (["vea"], "did you mean 'vae'"),
    (["vrae"], "takes sequences"),
    (["vae", "--data", "digit"], "did you mean 'digits'"),
    (["vae", "--engines", "egaer"], "did you mean 'eager'"),
])
def test_what_is_wrong_is_said(command, arguments, message):
    status, said, record = command(*arguments)
    assert status == 2 and message in said.err and record is None


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch sees no GPU"):
        throughput.usable("cuda", ["eager"])


def test_batches_grow_until_memory_ends():
    def rated(n):
        if n > 64:
            raise torch.OutOfMemoryError("too much")
        return Measured(float(n))

    found = rates.grown({16: Measured(16.0)}, rated, 1 << 20)
    assert list(found) == [16, 32, 64] and rates.best_of(found) == 64


def test_a_device_has_one_file():
    assert device_record.path_of(Path("x"), "AMD EPYC (TM) 9") == Path("x/amd-epyc-tm-9.json")
