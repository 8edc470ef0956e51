"""Timing says what it saw: pairs that agree, a machine that was busy."""

import os
import time

import pytest
import torch
from scipy import stats

from benchmarks import timing

CPU = torch.device("cpu")


def work():
    x = torch.ones(64, 64)
    for _ in range(20):
        x = x @ x * 1e-3


@pytest.mark.skipif(os.getloadavg()[0] > (os.cpu_count() or 1), reason="the load average exceeds the number of cores")
def test_the_same_code_in_interleaved_pairs_takes_the_same_time():
    """A/A, test 10 of the reference: what the method finds where there is nothing to find."""
    ratio = timing.in_pairs(work, work, CPU)
    assert ratio.median == pytest.approx(1, abs=0.05) and ratio.low <= ratio.median <= ratio.high


def clock(monkeypatch, seconds):
    """A clock that only `spend` moves: spend(2.0) is a call that takes two seconds."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return [lambda s=s: now.__setitem__(0, now[0] + s) for s in seconds]


def test_a_ratio_is_of_seconds_first_over_second(monkeypatch):
    slow, fast = clock(monkeypatch, (0.03, 0.01))
    found = timing.in_pairs(slow, fast, CPU)
    assert (found.median, found.low, found.high, found.iqr) == pytest.approx((3, 3, 3, 0))


@pytest.mark.parametrize("n", [6, 11, 12, 75, 400])
def test_the_interval_of_a_median_is_scipy_s(n):
    values = torch.rand(n).tolist()
    want = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert timing.median_interval(values) == (want.low, want.high)


def test_a_burst_that_outlasts_a_pair_changes_no_ratio(monkeypatch):
    now, calls = [0.0], [0]

    def call(seconds):
        def spend():
            calls[0] += 1
            now[0] += seconds * (10 if 40 <= calls[0] < 52 else 1)          # a neighbour comes and goes
        return spend

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = timing.in_pairs(call(0.004), call(0.002), CPU)
    assert found.median == pytest.approx(2) and found.low == pytest.approx(2) and found.high == pytest.approx(2)


def test_a_block_is_the_mean_of_calls_that_fill_it(monkeypatch):
    (call,) = clock(monkeypatch, (0.001,))
    assert timing._calls(call, CPU) == 2
    assert timing.measure(call, CPU).median == pytest.approx(0.001)


def test_a_slow_call_is_timed_often_enough_and_a_fast_one_long_enough(monkeypatch):
    for seconds, calls in ((1.0, 1 + timing.LEAST), (0.001, 20 + 300)):
        made = []
        (spend,) = clock(monkeypatch, (seconds,))
        timing.measure(lambda spend=spend, made=made: (spend(), made.append(1)), CPU)
        assert len(made) == pytest.approx(calls, abs=3)


@pytest.mark.parametrize("waited, busy", [((1.0, 1.06), True), ((1.0, 1.04), False), ((None, 1.0), None)])
def test_a_process_that_waits_for_a_core_is_on_a_busy_machine(monkeypatch, waited, busy):
    numbers = iter(waited)
    (second,) = clock(monkeypatch, (1.0,))
    monkeypatch.setattr(timing, "_waited", lambda: next(numbers))
    waiting = timing.Waiting()
    second()
    assert waiting.busy is busy


@pytest.mark.skipif(timing._waited() is None, reason="this system does not keep how long a process waits")
def test_waiting_only_grows():
    before = timing._waited()
    work()
    assert timing._waited() >= before > 0


def test_calls_take_turns_and_a_ratio_is_of_one_round(monkeypatch):
    now, made = [0.0], []

    def call(name, seconds):
        def spend():
            made.append(name)
            now[0] += seconds * len(made)                   # a machine that gets slower and slower
        return spend

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = timing.in_turns({"a": call("a", 3.0), "b": call("b", 2.0), "c": call("c", 1.0)}, CPU, seconds=0.0)
    assert "".join(made[3:15]) == "bca" + "cab" + "abc" + "bca" and len(found.rounds) == timing.LEAST
    assert found.ratio("a", "c").median == pytest.approx(3, rel=0.2)
    assert found.timing("a").median > found.timing("c").median
