"""Statistics of sets of sequences, and distances between them. Everything in float64; padding does not count.

Of numbers (N,T,*frame) each frame is D numbers. Source of the autocovariance by Fourier transform: Brockwell & Davis 1991,
section 10.1; of the spectrum as a mean of periodograms: Bartlett 1948.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

import zoo

from . import frechet

LAGS = 20                                                   # at most; and at most half of the longest sequence
NOISE_FLOOR = 1e-3                                          # of a dimension's mean power: -30 dB
NUMBERS = 1 << 22                                           # transformed at once


def windows(batch: zoo.Batch, n: int) -> Tensor:
    """(W,n*D): every run of n frames that lies inside a sequence; of tokens (W,n)."""
    assert batch.x is not None
    frames = batch.x if batch.x.dim() == 2 else batch.x.flatten(2)
    inside = batch.inside(frames.shape[1])[:, n - 1:]
    return frames.unfold(1, n, 1)[inside].flatten(1)


def frame_distance(a: zoo.Batch, b: zoo.Batch, n: int) -> float:
    """Fréchet distance between runs of n frames, flattened: their means and covariances. n = 1 sees no order."""
    return frechet.distance(windows(a, n), windows(b, n))


def ngram_tv(a: zoo.Batch, b: zoo.Batch, n: int, vocabulary: int) -> float:
    """Total variation between the n-grams of tokens, in [0, 1]: 1/2 sum_g |p_a(g) - p_b(g)|."""
    grams = [(windows(batch, n) * vocabulary ** torch.arange(n)).sum(1) for batch in (a, b)]
    seen, which = torch.cat(grams).unique(return_inverse=True)
    p, q = (torch.bincount(w, minlength=len(seen)).double() / len(w) for w in which.split([len(g) for g in grams]))
    return float((p - q).abs().sum() / 2)


@dataclass(frozen=True)
class Dynamics:
    """power (F,D): the mean periodogram, per frame; correlation (L,D): of frames 1 .. L steps apart, 0 where nothing varies."""

    power: Tensor
    correlation: Tensor


def dynamics(batch: zoo.Batch, longest: int) -> Dynamics:
    """Of deviations from the mean over all frames of the set; `longest`: frames that a sequence can have, F = longest + 1.

    Sequences are continued by zeros to twice that, so that the power's transform is the plain sum over pairs of frames; it is
    divided by their number, lag by lag.
    """
    x = batch.visible.x
    assert x is not None
    x, inside = x.flatten(2).double(), batch.inside(x.shape[1])
    mean = x[inside].mean(0)
    power = x.new_zeros(longest + 1, x.shape[2])
    for part, seen in zip(*(v.split(max(1, NUMBERS // (longest * x.shape[2]))) for v in (x, inside)), strict=True):
        deviation = torch.where(seen.unsqueeze(-1), part - mean, 0.0)
        power += torch.fft.rfft(deviation, n=2 * longest, dim=1).abs().square().sum(0)
    pairs = torch.stack([inside[:, lag:].sum() for lag in range(1 + min(LAGS, longest // 2))])
    covariance = torch.fft.irfft(power, n=2 * longest, dim=0)[:len(pairs)] / pairs[:, None].clamp_min(1)
    varies = covariance[0] > 1e-12
    return Dynamics(power / inside.sum(), torch.where(varies, covariance[1:] / covariance[0], 0.0))


def autocorrelation_distance(a: Dynamics, b: Dynamics) -> float:
    """Mean over lags, and over the dimensions that vary in b, of |rho_a - rho_b|."""
    return float((a.correlation - b.correlation).abs().mean(0)[_varies(b)].mean())


def spectral_distance(a: Dynamics, b: Dynamics) -> float:
    """Log-spectral distance in dB, mean over the dimensions that vary in b.

        ( mean_f (10 log10 (P_a(f) + e) / (P_b(f) + e))^2 )^1/2,    e = 0.001 mean_f P_b(f)

    Source: Gray & Markel 1976, with the L2 norm. Departs: e, so that silence is finite.
    """
    floor = NOISE_FLOOR * b.power.mean(0)
    ratio = 10 * ((a.power + floor) / (b.power + floor))[:, _varies(b)].log10()
    return float(ratio.square().mean(0).sqrt().mean())


def _varies(d: Dynamics) -> Tensor:
    return d.power.mean(0) > 1e-12
