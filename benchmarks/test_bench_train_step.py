"""One training step of every variant on embedded data: `pytest benchmarks/test_bench_train_step.py`."""

from collections.abc import Callable

import pytest
import torch

import zoo
from benchmarks.timing import synchronise
from benchmarks.train_step import train_step

DATA = ("digits", "digit_rows")                             # an image, a sequence: a variant takes one of them


@pytest.mark.parametrize("variant", zoo.list_variants())
def test_train_step(benchmark: Callable[..., None], variant: str) -> None:
    data = next(d for d in map(zoo.load_dataset, DATA) if zoo.entry(variant).why_not(d.spec) is None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    step = train_step(zoo.create(variant, data.spec, seed=0).to(device), data, batch_size=128)

    def synchronised() -> None:
        step()
        synchronise(device)

    benchmark(synchronised)
