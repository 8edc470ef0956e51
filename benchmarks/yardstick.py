"""A training step that is always the same: what a machine's speed is measured by.

A plain auto-encoder, 784-400-20-400-784, as one writes it in torch, with Adam. Seconds do not compare across machines; the
ratio of a model's step to this one, timed in the same minute, nearly does.
"""

from collections.abc import Callable

import torch
from torch import nn

WIDTHS = (784, 400, 20, 400, 784)


def yardstick_step(batch_size: int, device: torch.device) -> Callable[[], None]:
    """A function that trains it by one step on random images (batch_size,784) in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [part for a, b in zip(WIDTHS, WIDTHS[1:], strict=False) for part in (nn.Linear(a, b), nn.ReLU())][:-1]
        net, x = nn.Sequential(*layers).to(device), torch.rand(batch_size, WIDTHS[0]).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(x), x).backward()
        optimiser.step()
    return step
