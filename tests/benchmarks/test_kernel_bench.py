"""zoo-bench kernels: what is counted and recorded, what happens to what fails, and that it needs no more than torch."""

import functools
import json
import subprocess
import sys

import pytest
import torch

import zoo
from benchmarks import kernel_cases, kernels, record, timing
from benchmarks.cli import main
from zoo import likelihoods

CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch):
    """Small cases, blocks of one call, and a compiler that takes no time."""
    small = [kernel_cases.reparam_log_weight(3, 4, 5, torch.bfloat16, CPU),
             kernel_cases.nearest_code(6, 5, 4, torch.float32, CPU)]
    monkeypatch.setattr(kernels, "cases", lambda device: small)
    monkeypatch.setattr(timing, "BLOCK_SECONDS", {"cpu": 1e-6})
    for name in ("measure", "in_pairs"):
        monkeypatch.setattr(kernels, name, functools.partial(getattr(timing, name), seconds=0.0))
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: call)
    return small


def test_a_record_and_its_tables(quick, tmp_path, capsys):
    assert main(["kernels", "--device", "cpu", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (path,) = (tmp_path / "kernels").glob("*.json")
    assert json.loads(path.read_text()) == found and found["env"]["device"] == "cpu"
    assert [(r["operation"], r["pass"]) for r in found["rows"]] == [
        ("reparam_log_weight", "forward"), ("reparam_log_weight", "backward"), ("reparam_log_weight", "both"),
        ("nearest_code", "forward")]
    assert all(r["against"].keys() == {"copy", "eager", "compile"} for r in found["rows"])
    text = (path.parent / "README.md").read_text()
    assert found["env"]["processor"] in text and text.count("| reparam_log_weight |") == 3 and "B 3, D 4, k 5" in text


def test_unavoidable_bytes(quick):
    """bfloat16 mu, logvar (3, 4); z (5, 3, 4) bfloat16, kl (3) and log-weights (5, 3) float32. Data are read by both passes."""
    read, written = 2 * 3 * 4 * 2, 5 * 3 * 4 * 2 + 3 * 4 + 5 * 3 * 4
    assert kernels.unavoidable_bytes(quick[0], quick[0].inputs()) == {
        "forward": read + written, "backward": 2 * read + written, "both": 3 * read + 2 * written}
    numbers, nll = 4 * 2 * 3, 4 * 2                         # of x (2, 3), and as many parameters; and (2,)
    bernoulli = kernel_cases.bernoulli_nll(2, 3, torch.float32, CPU)
    assert kernels.unavoidable_bytes(bernoulli, bernoulli.inputs()) == {
        "forward": 2 * numbers + nll, "backward": 3 * numbers + nll, "both": 5 * numbers + 2 * nll}


def test_what_fails_is_recorded_and_the_rest_is_timed(quick, monkeypatch, tmp_path, capsys):
    def fails(*inputs):
        raise RuntimeError("no such luck")

    broken = kernel_cases.Case("broken", {"B": 1}, torch.float32, lambda: [torch.zeros(1)], fails, fails)
    halting = kernel_cases.Case("halting", {"B": 1}, torch.float32, lambda: [torch.zeros(1)], torch.sin, fails)
    monkeypatch.setattr(kernels, "cases", lambda device: [broken, halting])
    assert main(["kernels", "--device", "cpu", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "RuntimeError: no such luck" in printed and printed.count("| halting") == 3 and "failed" in printed


def test_what_is_not_reached_in_time_is_recorded_as_such(quick, tmp_path, capsys):
    assert main(["kernels", "--device", "cpu", "--minutes", "0", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("not reached in 0 minutes") == len(quick)


@pytest.mark.parametrize("family, case", [
    (likelihoods.Bernoulli, kernel_cases.bernoulli_nll(5, 7, torch.float32, CPU)),
    (likelihoods.Gaussian, kernel_cases.gaussian_nll(5, 7, torch.bfloat16, CPU)),
], ids=lambda x: getattr(x, "operation", ""))
def test_the_likelihoods_are_the_zoos(family, case):
    (x,), parameters = case.data, case.inputs()
    p = family.of(torch.stack(parameters, -2).unsqueeze(0), zoo.DataSpec((7,), "real"))
    torch.testing.assert_close(case.textbook(*parameters), -p.log_prob(x)[0])


@pytest.mark.parametrize("case", [*(case for case in kernel_cases.cases(CPU) if case.fused),
                                  kernel_cases.reparam_log_weight(7, 3, 2, torch.float32, CPU)], ids=lambda case: case.name)
def test_the_textbook_gives_what_the_operation_gives(case):
    """Shapes and precisions always, and values where no noise is in them."""
    inputs = case.inputs()
    ours, theirs = (kernels.tupled(call(*inputs)) for call in (case.fused, case.textbook))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    i = 1 if case.operation.startswith("reparam") else 0    # kl has none
    torch.testing.assert_close(ours[i], theirs[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arguments, message", [
    (["--operations", "reparam"], "there are reparam_log_weight, nearest_code"),
    (["--device", "cuda"], "torch sees no GPU"),
])
def test_what_is_wrong_is_said(quick, monkeypatch, arguments, message, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["kernels", "--device", "cpu", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_it_needs_torch_and_little_else(tmp_path):
    """A whole run, but for the compiler."""
    absent = ["zoo.face", "scipy", "sklearn", "matplotlib", "jsonschema", "safetensors", "torchvision", "PIL", "tqdm", "pandas",
              "tensorboard", "optuna", "ray", "pytest"]
    code = f"""
import sys; sys.modules.update(dict.fromkeys({absent}))
import functools, torch
from benchmarks import cli, kernels, timing
torch.compile, timing.BLOCK_SECONDS["cpu"] = lambda call, dynamic: call, 1e-6
kernels.measure, kernels.in_pairs = (functools.partial(f, seconds=0.0) for f in (timing.measure, timing.in_pairs))
sys.exit(cli.main(["kernels", "--device", "cpu", "--operations", "bernoulli_nll", "--out", {str(tmp_path)!r}]))"""
    subprocess.run([sys.executable, "-c", code], cwd=record.ROOT, check=True, capture_output=True)
    assert (tmp_path / "kernels" / "README.md").read_text().count("| bernoulli_nll |") == 3
