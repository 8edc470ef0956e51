"""Every test runs on one thread, from one seed. Real files come from $ZOO_DATA or from ../shared/data beside the checkout."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from zoo.data import Dataset, load_dataset

REAL_ROOT = Path(os.environ.get("ZOO_DATA") or Path(__file__).parents[2] / "shared" / "data")

signal.signal(signal.SIGINT, signal.default_int_handler)    # shells have background jobs, and all they start, ignore Ctrl-C


@pytest.fixture(autouse=True)
def one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def real_root() -> Callable[[str], Path]:
    """real_root(path) -> the folder of real data; skips the test where `path` is missing from it."""

    def root(path: str) -> Path:
        if not (REAL_ROOT / path).exists():
            pytest.skip(f"real data not at hand: no {path} in {REAL_ROOT} (set $ZOO_DATA)")
        return REAL_ROOT

    return root


@pytest.fixture
def real(real_root) -> Callable[[str, str], Dataset]:
    """real(name, path) -> the data set, read from files that must be at hand: never a download."""
    return lambda name, path: load_dataset(name, real_root(path))
