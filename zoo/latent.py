"""Ways through latent space, for pictures: each gives codes (N,D) to decode, row by row of the picture."""

import torch
from torch import Tensor


def traversal(start: Tensor, dimensions: Tensor, values: Tensor) -> Tensor:
    """A row for each of `dimensions` (n,), in which this coordinate of `start` (D,) takes its `values` (n,steps)."""
    z = start.repeat(*values.shape, 1)
    z[torch.arange(len(dimensions)), :, dimensions] = values
    return z.flatten(0, 1)


def interpolation(z: Tensor, steps: int) -> Tensor:
    """A row for each of z (n,D): the straight line to the next one, from the last to the first; both ends among the `steps`.

    Straight, not along a sphere: that needs a prior around 0, and not every variant has one.
    """
    share = torch.linspace(0, 1, steps, device=z.device, dtype=z.dtype)
    return torch.lerp(z[:, None], z.roll(-1, 0)[:, None], share[:, None]).flatten(0, 1)


def plane(mean: Tensor, sd: Tensor, side: int) -> Tensor:
    """Two latents on a grid of side x side quantiles, 1% to 99%, of Gaussians with this mean and sd (2,), laid out as a map:
    the first grows to the right, the second upwards.

    Source: Kingma & Welling 2014, appendix A, figure 4.
    """
    quantiles = torch.special.ndtri(torch.linspace(0.01, 0.99, side, device=mean.device, dtype=mean.dtype))
    up, right = torch.meshgrid(-quantiles, quantiles, indexing="ij")
    return mean + sd * torch.stack([right, up], -1).flatten(0, 1)


def principal(codes: Tensor, n: int) -> tuple[Tensor, float]:
    """Codes (N,D) along their first n <= D principal axes (N,n), and the share of the variance that these hold."""
    centred = codes - codes.mean(0)
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()         # a sign that rounding cannot flip
    variance = singular.square()
    return centred @ axes[:n].T, float(variance[:n].sum() / variance.sum().clamp_min(1e-30))
