"""Rates at which batch sizes, seconds to an ELBO, energy: with clocks and counters held still; no timing is asserted."""

import sys
from types import SimpleNamespace

import pytest
import torch

import zoo
from benchmarks import record, timing, yardstick
from benchmarks.cli import main
from benchmarks.metrics import METRICS, energy, measure, throughput
from benchmarks.suite import SuiteError
from benchmarks.table import Cell


@pytest.fixture
def model(digits):
    return zoo.create("vae", digits.spec, latent_dim=2, hidden=8, seed=0)


def timed(monkeypatch, seconds):
    """measure() says seconds(n) of a call at batch size n."""
    monkeypatch.setattr(timing, "measure", lambda n, device, block: timing.Timing(seconds(n), 0.0, None))


@pytest.mark.parametrize("seconds, tried, best", [
    (lambda n: 1.0, [16, 1, 64, 128, 256, 512, 1024, 2048, 4096], 4096),           # until memory bounds it
    (lambda n: max(1.0, n / 256), [16, 1, 64, 128, 256, 512], 256),                # until it does not pay
    (lambda n: 1.0 + n, [16, 1, 64, 128], 128 / 129),                              # almost at its limit
    (lambda n: float(n), [16, 1, 64, 128], 1),                                     # never
])
def test_the_best_batch_is_found_by_doubling(monkeypatch, context, model, digits, seconds, tried, best):
    c, seen = context(model, digits, batch_sizes=(1, 64)), []
    timed(monkeypatch, lambda n: (seen.append(n), seconds(n))[1])
    monkeypatch.setattr(type(c), "rows", 5000)
    found = {k: m.value for k, m in throughput._rates("encode_throughput", c, lambda n: n).items()}
    assert list(found) == [f"encode_throughput{s}" for s in ("", "_1", "_64", "_best")] and seen == tried
    assert found["encode_throughput"] == 16 / seconds(16) and found["encode_throughput_64"] == 64 / seconds(64)
    assert found["encode_throughput_best"] == best


def test_no_batch_is_larger_than_what_there_is_to_train_on(monkeypatch, context, model, digits):
    c = context(model, digits, batch_sizes=(1, 64, 1 << 20))
    timed(monkeypatch, lambda n: 1.0)
    found = throughput._rates("train_throughput", c, lambda n: n, len(digits.train))
    assert set(found) == {f"train_throughput{s}" for s in ("", "_1", "_64", "_best")}
    assert found["train_throughput_best"].value <= len(digits.train)


@pytest.mark.parametrize("variant, dataset, decodes", [("vae", "digits", True), ("cvae", "digits", True),
                                                       ("vrae", "digit_rows", True), ("vrnn", "digit_rows", False)])
def test_every_rate_of_every_kind_of_model(context, variant, dataset, decodes):
    data = zoo.load_dataset(dataset)
    c = context(zoo.create(variant, data.spec, latent_dim=2, hidden=4, seed=0), data, batch_sizes=(300,), samples=8,
                metrics=("train_throughput", "encode_throughput", "decode_throughput", "sample_throughput",
                         "relative_train_speed", "time_to_first_step", "train_energy"))
    found, _ = measure(c)
    ways = ["train", "encode", *["decode"] * decodes, "sample"]
    assert set(found) == {f"{w}_throughput{s}" for w in ways for s in ("", "_300", "_best")} | {"relative_train_speed",
                                                                                              "time_to_first_step"}
    assert all(m["value"] > 0 for m in found.values())


def test_a_batch_that_a_model_refuses_is_left_out(context, digits):
    model = zoo.create("factor_vae", digits.spec, latent_dim=2, hidden=4, critic_width=4, seed=0)
    found, _ = measure(context(model, digits, batch_sizes=(1, 3), samples=8, metrics=("train_throughput", "encode_throughput")))
    assert "train_throughput_1" not in found and {"train_throughput_3", "encode_throughput_1"} <= set(found)


def test_the_examples_to_encode_repeat_where_the_split_is_short(context, model, digits):
    c = context(model, digits)
    x, n = throughput._examples(c, 600).x, len(digits.test)
    assert len(x) == 600 and torch.equal(x[:n], x[n:2 * n]) and torch.equal(x[:n], c.test.batch(slice(None)).x)


def test_seconds_to_an_elbo_are_read_from_the_curve(context, model, digits):
    c = context(model, digits, elbo_targets=(-120, -110.5, -90))
    c.curve += [{"step": 1.0, "seconds": 1.0, "elbo": -80.0}, {"step": 2.0, "seconds": 2.0, "valid_elbo": -119.0},
                {"step": 3.0, "seconds": 3.0, "valid_elbo": -110.5}, {"step": 4.0, "seconds": 4.0, "valid_elbo": -115.0}]
    found = METRICS.get("seconds_to_elbo").measure(c)
    assert {k: m.value for k, m in found.items()} == {"seconds_to_elbo_-120": 2.0, "seconds_to_elbo_-110.5": 3.0}


def test_the_harness_hands_the_curve_over(tiny):
    path, out = tiny
    path.write_text(path.read_text().replace('metrics = ["elbo", "parameters"]',
                                             'metrics = ["seconds_to_elbo"]\nelbo_targets = [-1e6]'))
    assert main(["run", str(path), "--out", str(out), "--device", "cpu"]) == 0
    r = record.read(out / "tiny/digits/vae/0-cpu.json")
    assert r["metrics"]["seconds_to_elbo_-1e+06"]["value"] == r["curve"][-1]["seconds"]


@pytest.mark.parametrize("key, value", [("batch_sizes", [0]), ("batch_sizes", ["1"]), ("elbo_targets", ["x"]),
                                        ("elbo_targets", [float("nan")])])
def test_lists_of_numbers_are_checked(plan, key, value):
    with pytest.raises(SuiteError, match=f"evaluation.{key} is .* must be a list of"):
        plan(evaluation={key: value})


def test_energy_is_what_work_takes_above_rest(monkeypatch, context, model, digits):
    """100 W at rest, 300 W at work: 200 W over the examples of a second."""
    now, watts = [0.0], [100.0]
    joules = [0.0]

    def spend(seconds):
        now[0] += seconds
        joules[0] += watts[0] * seconds

    def step():
        watts[0] = 300.0
        spend(0.01)
        watts[0] = 100.0

    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: now[0], sleep=spend))
    monkeypatch.setattr(energy, "counter", lambda device: lambda: joules[0])
    monkeypatch.setattr(energy, "train_step", lambda *a, **k: step)
    found = METRICS.get("train_energy").measure(context(model, digits))
    assert found["train_energy"].value == pytest.approx(200 / (16 / 0.01))
    assert found["train_energy_idle"].value == pytest.approx(100 / (16 / 0.01))


def test_no_energy_is_claimed_where_nothing_counts_it(monkeypatch, context, model, digits):
    assert METRICS.get("train_energy").measure(context(model, digits)) == {}
    monkeypatch.setitem(sys.modules, "pynvml", None)        # not installed
    assert energy.counter(torch.device("cuda")) is None


def test_the_yardstick_trains_and_is_the_same_each_time():
    torch.manual_seed(0)
    step = yardstick.yardstick_step(4, torch.device("cpu"))
    net = next(c.cell_contents for c in step.__closure__ if isinstance(c.cell_contents, torch.nn.Module))
    before = [p.clone() for p in net.parameters()]
    step()
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert sum(p.numel() for p in net.parameters()) == 784 * 400 + 400 + 400 * 20 + 20 + 20 * 400 + 400 + 400 * 784 + 784


def test_a_busy_timing_is_marked_in_every_table():
    assert str(Cell(12000.0, None, "examples/s", busy=True)) == "12k†" and str(Cell(1.25, 0.1, "s")) == "1.25 ± 0.10"
