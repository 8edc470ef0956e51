"""Sequences from a linear-Gaussian state-space model. Its likelihood is known exactly: the oracle of sequence models.

    z_1 ~ N(m0, P0)      z_t ~ N(A z_{t-1}, Q)      x_t ~ N(C z_t, R)

No model can beat the mean of `log_likelihood` on the test split by more than chance.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..spec import DataSpec
from ..variant import Batch, within
from .core import Dataset, Split, divide, sizes
from .names import register_dataset

A = torch.tensor([[0.9, 0.2], [-0.1, 0.8]], dtype=torch.float64)
C = torch.tensor([[1.0, 0.5], [0.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
Q = torch.tensor([0.3, 0.2], dtype=torch.float64).diag()
R = torch.tensor([0.5, 0.4, 0.6], dtype=torch.float64).diag()
M0 = torch.tensor([0.5, -0.5], dtype=torch.float64)
P0 = torch.tensor([1.0, 2.0], dtype=torch.float64).diag()

SEED, EXAMPLES, VALID, TEST = 0, 1400, 200, 200
SHORTEST, LONGEST = 20, 50


@register_dataset("lgssm")
def lgssm(root: Path) -> Dataset:
    """Frames (3,), kind real, lengths 20 .. 50."""
    splits = divide(simulate(EXAMPLES, SEED), VALID, TEST)
    note = f"""Simulated by this project: a linear-Gaussian state-space model, 2 states, 3 observed numbers a frame.
RandomState({SEED}): lengths uniform on {SHORTEST}..{LONGEST}, then all states, then all frames; {sizes(*splits)}."""
    spec = DataSpec((3,), "real", max_length=LONGEST)
    return Dataset("lgssm", spec, *splits, note=note, log_likelihood=log_likelihood)


def simulate(n: int, seed: int) -> Split:
    """n sequences of random lengths: x (n, 50, 3) float32, zero past the end."""
    rng = np.random.RandomState(seed)
    lengths = torch.from_numpy(rng.randint(SHORTEST, LONGEST + 1, n))
    state_noise = torch.from_numpy(rng.standard_normal((LONGEST, n, 2)))
    frame_noise = torch.from_numpy(rng.standard_normal((LONGEST, n, 3)))
    z = [M0 + state_noise[0] @ P0.sqrt()]                       # the covariances are diagonal: sqrt is a factor of them
    for noise in state_noise[1:]:
        z.append(z[-1] @ A.mT + noise @ Q.sqrt())
    x = torch.stack(z, 1) @ C.mT + frame_noise.transpose(0, 1) @ R.sqrt()
    return Split(within(x.float(), lengths), lengths=lengths)


def log_likelihood(batch: Batch) -> Tensor:
    """log p(x) (B,) in nats, float64, by the Kalman filter; what is past the end or missing is integrated out.

    A number that is not seen is tied to no state (its row of C is 0), has variance 1 and no error: it adds nothing.
    Raises: ValueError if x is not (B, T, 3).
    """
    if batch.x is None or batch.x.dim() != 3 or batch.x.shape[2] != 3:
        raise ValueError(f"x must be (B, T, 3); got {None if batch.x is None else tuple(batch.x.shape)}")
    seen = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask.expand_as(batch.x)
    a, c_all, q, r, mean, cov = (value.to(batch.x.device) for value in (A, C, Q, R, M0, P0))
    mean, cov = mean.expand(len(seen), 2), cov.expand(len(seen), 2, 2)
    steps: list[Tensor] = []
    for x, see in zip(batch.x.double().unbind(1), seen.unbind(1), strict=True):
        if steps:
            mean, cov = mean @ a.mT, a @ cov @ a.mT + q
        c = c_all * see[:, :, None]
        s = c @ cov @ c.mT + torch.diag_embed(r.diagonal().where(see, 1.0))
        error = (x - mean @ c_all.mT).where(see, 0.0)
        distance = (error * torch.linalg.solve(s, error)).sum(-1)
        steps.append(-0.5 * (see.sum(-1).double() * math.log(2 * math.pi) + s.logdet() + distance))
        gain = torch.linalg.solve(s, c @ cov).mT                # cov c' s^-1, because s and cov are symmetric
        mean, cov = mean + (gain @ error[:, :, None])[:, :, 0], cov - gain @ c @ cov
    return torch.stack(steps).sum(0)
