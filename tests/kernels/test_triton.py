"""Run what needs a process of its own: Triton reads TRITON_INTERPRET when it is imported, and never again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")
HERE = Path(__file__).parent


@pytest.mark.parametrize(("file", "interpret"), [
    ("interpreted.py", "1"), ("interpreted_pairs.py", "1"), ("test_transforms.py", "1"), ("compile_only.py", "0"),
])
def test_in_own_process(file, interpret):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    options = ["-q", "-rs", "--show-capture=no", "-p", "no:cacheprovider", "-o", "addopts="]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(HERE / file), *options],
        cwd=HERE.parents[1],
        env=inherited | {"TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    nothing_left = run.returncode == pytest.ExitCode.NO_TESTS_COLLECTED  # the whole file is skipped
    assert run.returncode == 0 or nothing_left, run.stdout + run.stderr
    if nothing_left or " passed" not in run.stdout:
        pytest.skip(run.stdout)
