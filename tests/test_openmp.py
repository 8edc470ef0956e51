"""Threads spin briefly, unless the user has said otherwise; and it is said in time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.openmp import SPINS, spin_briefly


@pytest.mark.parametrize("said", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_what_the_user_says_stays(said, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    for key, value in said.items():
        monkeypatch.setenv(key, value)
    spin_briefly()
    assert os.environ.pop("GOMP_SPINCOUNT", None) == (said.get("GOMP_SPINCOUNT") if said else SPINS)


@pytest.mark.parametrize("module", ["zoo.cli", "benchmarks.cli"])
def test_torch_is_not_imported_before(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
