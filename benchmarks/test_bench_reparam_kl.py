"""`kernels.reparam_kl` against the textbook's lines, forward and backward: `pytest benchmarks/test_bench_reparam_kl.py`."""

from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from benchmarks.kernel_cases import textbook
from benchmarks.timing import in_pairs, synchronise
from kernels import reparam_kl

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


SIZES = pytest.mark.parametrize("rows, latents, k", [(128, 32, 1), (512, 64, 16)])
ON = pytest.mark.parametrize("device", DEVICES)


def stepping(operation: Callable[..., tuple[Tensor, Tensor]], rows: int, latents: int, k: int,
             device: str) -> Callable[[], None]:
    """A call that goes forward and backward once, and ends when the device is done."""
    place = torch.device(device)
    mu, logvar = (torch.randn(rows, latents, device=place).requires_grad_() for _ in range(2))

    def step() -> None:
        z, kl = operation(mu, logvar, k)
        torch.autograd.grad(z.sum() + kl.sum(), (mu, logvar))
        synchronise(place)
    return step


@ON
@SIZES
@pytest.mark.parametrize("operation", [textbook, reparam_kl], ids=["textbook", "reparam_kl"])
def test_forward_and_backward(benchmark: Callable[..., None], operation: Callable[..., tuple[Tensor, Tensor]], rows: int,
                              latents: int, k: int, device: str) -> None:
    benchmark(stepping(operation, rows, latents, k, device))


@ON
@SIZES
def test_speed_over_the_textbook(record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str], rows: int,
                                 latents: int, k: int, device: str) -> None:
    """The ratio to quote: both are timed in turns."""
    ratio = in_pairs(stepping(textbook, rows, latents, k, device), stepping(reparam_kl, rows, latents, k, device),
                     torch.device(device))
    record_property("speed over the textbook", asdict(ratio))
    with capsys.disabled():
        print(f"\nreparam_kl is {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] times as fast as the textbook's lines: "
              f"{rows} x {latents}, k = {k}, {device}{', on a busy machine' if ratio.busy else ''}")
