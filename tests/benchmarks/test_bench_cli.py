"""The command line: quick to help, exact about what is wrong."""

import json
import subprocess
import sys

import pytest

from benchmarks import record
from benchmarks.baselines import BASELINES
from benchmarks.cli import main
from benchmarks.metrics import METRICS


def test_help_imports_nothing_heavy():
    code = ("import sys\nfrom benchmarks.cli import main\ntry:\n    main(['run', '--help'])\nexcept SystemExit: pass\n"
            "print([m for m in ('torch', 'matplotlib', 'zoo.face', 'PIL', 'tqdm') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=record.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "examples:" in done.stdout and "quick" in done.stdout


def test_list(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert {"quick", "mnist", "sequences"} <= everything["suites"].keys()
    assert list(everything["baselines"]) == list(BASELINES)
    assert len(everything["metrics"]) == len(METRICS) and "random_projection" in everything["extractors"]
    assert all(name in printed for part in everything.values() for name in part)


@pytest.mark.parametrize("arguments, message", [
    (["run", "quik"], "did you mean 'quick'"),
    (["run", "quick", "--datasets", "digit"], "did you mean 'digits'"),
    (["run", "quick", "--variants", "betavae"], "did you mean 'beta_vae'"),
    (["run", "quick", "--seeds", "1,1"], "list of different integers"),
    (["report", "quick"], "zoo-bench run quick"),
])
def test_what_is_wrong_is_said_and_the_status_is_two(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_exit_with_two(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "quick", "--seeds", "one"])
    assert stop.value.code == 2 and "integers such as 0,1" in capsys.readouterr().err


def test_records_as_json(tiny, capsys):
    path, out = tiny
    assert main(["run", str(path), "--out", str(out), "--device", "cpu", "--variants", "vae", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == record.read(out / "tiny/digits/vae/0-cpu.json")
