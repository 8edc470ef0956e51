"""Annealed importance sampling with Hamiltonian moves, and its sandwich: bounds on log p(x) that need no q.

    f_t(z) = p(z) p(x|z)^b_t,  0 = b_0 < .. < b_T = 1
    forward    z_0 ~ p(z), z_t by HMC on f_t:             log w = sum_t (b_t - b_{t-1}) log p(x|z_{t-1})      E[w] = p(x)
    backward   z_T ~ p(z|x), the same moves turned round: log v = -(the same sum along the way back)          E[v] = 1 / p(x)

So log mean w is below log p(x) in expectation, and -log mean v above it. An exact z_T is known where x was drawn from the model
itself: the pair z, x ~ p(z) p(x|z).

A step size that adapts to its own chain bends E[w] upwards, past log p(x). Here a pilot run with noise of its own adapts one
size for each example and temperature, and the runs that count keep them.

Source: Neal 2001, section 2; Wu et al. 2017 (schedule, leapfrog steps, acceptance target), Grosse et al. 2015 (sandwich).
Departs from their code: frozen step sizes; a faster adaptation, for fewer temperatures.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import zoo
from zoo.noise import Noise

LEAPS, TARGET, GAIN, START = 10, 0.65, 0.2, 0.3             # leapfrog steps; acceptance wanted, and how step sizes follow it
Target = Callable[[Tensor], Tensor]                         # z (C,B,D) -> log-density (C,B), unnormalised


def schedule(steps: int, rad: float = 4.0) -> Tensor:
    """Inverse temperatures b_0 .. b_T (T+1,): a sigmoid between -rad and rad, stretched to [0, 1]: slow at both ends."""
    b = torch.linspace(-rad, rad, steps + 1, dtype=torch.float64).sigmoid()
    return (b - b[0]) / (b[-1] - b[0])


def walk(joint: zoo.Joint, z: Tensor, temperatures: Tensor, sizes: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor]:
    """C chains for each of B examples from z (C,B,D) along inverse temperatures (T+1,), up or down.

    sizes    (T+1,B) step sizes of the moves at each temperature; None: adapt them, which makes a pilot run
    -> log-weights (C,B) in float64, whose mean of exponentials estimates p(x) on the way up, 1 / p(x) on the way down; sizes
    """
    log_w, adapting = torch.zeros(z.shape[:2], dtype=torch.float64, device=z.device), sizes is None
    sizes = torch.full((len(temperatures), z.shape[1]), START, dtype=z.dtype, device=z.device) if sizes is None else sizes
    for t in range(1, len(temperatures)):
        before, b = float(temperatures[t - 1]), float(temperatures[t])
        with torch.no_grad():
            log_w += (b - before) * joint.log_likelihood(z).double()
        if t == len(temperatures) - 1:
            break                                           # a move on the last density would change no weight
        z, acceptance = move(partial(_annealed, joint, b), z, sizes[t], noise)
        if adapting:
            sizes[t + 1] = sizes[t] * (GAIN * (acceptance.mean(0) - TARGET)).exp()
    return log_w, sizes


def move(target: Target, z: Tensor, size: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """One Hamiltonian move that leaves the target as it is: z (C,B,D), step size (B,) -> z, probability of acceptance (C,B)."""
    v = noise.normal(tuple(z.shape)).to(z.dtype)
    u = noise.uniform(tuple(z.shape[:2])).to(z.dtype)
    step = size[:, None]
    log_p, slope = _with_gradient(target, z)
    new, energy = z, log_p - 0.5 * v.square().sum(-1)
    for _ in range(LEAPS):
        v = v + 0.5 * step * slope
        new = new + step * v
        log_p, slope = _with_gradient(target, new)
        v = v + 0.5 * step * slope
    acceptance = (log_p - 0.5 * v.square().sum(-1) - energy).exp().clamp_max(1).nan_to_num(0)           # diverged: refused
    return torch.where((u < acceptance)[..., None], new, z), acceptance


def _annealed(joint: zoo.Joint, b: float, z: Tensor) -> Tensor:
    return joint.prior.log_prob(z) + b * joint.log_likelihood(z)


@torch.enable_grad()
def _with_gradient(target: Target, z: Tensor) -> tuple[Tensor, Tensor]:
    z = z.detach().requires_grad_()
    log_p = target(z)
    return log_p.detach(), torch.autograd.grad(log_p.sum(), z)[0]


def prior_draws(joint: zoo.Joint, chains: int, n: int, noise: Noise) -> Tensor:
    """(C,B,D) z ~ p(z), for n examples."""
    return torch.stack([joint.prior.sample(n, noise) for _ in range(chains)])


def lower(joint: zoo.Joint, chains: int, n: int, temperatures: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """-> log-weights (C,B) for p(x) of the joint's n examples; the step sizes they were made with, from a pilot run."""
    _, sizes = walk(joint, prior_draws(joint, chains, n, noise), temperatures, None, noise)
    return walk(joint, prior_draws(joint, chains, n, noise), temperatures, sizes, noise)


def upper(joint: zoo.Joint, z: Tensor, chains: int, temperatures: Tensor, sizes: Tensor, noise: Noise) -> Tensor:
    """-> log-weights (C,B) for 1 / p(x), from z (B,D) ~ p(z|x) exactly, and the step sizes of `lower`."""
    return walk(joint, z.expand(chains, -1, -1), temperatures.flip(0), sizes.flip(0), noise)[0]
