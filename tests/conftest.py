"""Every test runs on one thread, from one seed."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
