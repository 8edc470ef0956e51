"""Numbers that depend on nothing but themselves one frame before: what the marginal and the Markov model share.

    log p(x) = sum_d log p(x_1d) + sum_t>1 sum_d log p(x_td | x_t-1,d)

Data are frames (B,T,D) here: a single example is one frame, a token a frame of one number. Discrete numbers are levels
0 .. L - 1, int64.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

import zoo
from zoo import likelihoods
from zoo.distributions import gaussian_log_prob
from zoo.noise import Default, Noise
from zoo.variant import within

from . import FLOOR, Baseline, batches

Pair = tuple[Tensor, Tensor, Tensor]                        # before, x and whether both are seen: (B,T,D)


class Numbers(nn.Module):
    """p(x_d | before_d) of every number of a frame; before and x (...,D)."""

    @abstractmethod
    def log_prob(self, before: Tensor, x: Tensor) -> Tensor:
        """(...,D) nats"""

    @abstractmethod
    def mean(self, before: Tensor) -> Tensor:
        """(...,D); of tokens the most likely one"""

    @abstractmethod
    def draw(self, before: Tensor, noise: Noise) -> Tensor: ...


class Chain(Baseline):
    """The first frame has the distribution `first`, the others `rest`."""

    def __init__(self, spec: zoo.DataSpec, first: Numbers, rest: Numbers) -> None:
        super().__init__()
        self.spec, self.first, self.rest = spec, first, rest
        average = first.mean(torch.zeros(1, spec.max_length or 1, spec.size, dtype=torch.int64))
        self.register_buffer("mean", to_data(average, spec)[0])

    def log_prob(self, batch: zoo.Batch) -> Tensor:
        self.accepted(batch)
        before, x, seen = pair(batch, self.spec)
        first, rest = self.first.log_prob(before[:, :1], x[:, :1]), self.rest.log_prob(before[:, 1:], x[:, 1:])
        return torch.where(seen, torch.cat([first, rest], 1), 0.0).sum((1, 2))

    @torch.no_grad()
    def reconstruct(self, batch: zoo.Batch) -> Tensor:
        """The mean of x; in sequences given the frame before. There is no code that could know more."""
        self.spec.check(batch)
        before, _, _ = pair(batch, self.spec)
        means = torch.cat([self.first.mean(before[:, :1]), self.rest.mean(before[:, 1:])], 1)
        return within(to_data(means, self.spec), batch.lengths)

    @torch.no_grad()
    def sample(self, n: int, *, label: Tensor | None = None, lengths: Tensor | None = None, noise: Noise | None = None,
               observe: bool = True) -> Tensor:
        """n draws from p(x). `observe` changes nothing: without latents the mean is always the same."""
        noise = noise or Default(self.device)
        given = self.conditions(n, label, lengths, noise)
        frames = [self.first.draw(torch.zeros(n, self.spec.size, dtype=torch.int64, device=self.device), noise)]
        while len(frames) < (self.spec.max_length or 1):
            frames.append(self.rest.draw(frames[-1], noise))
        return within(to_data(torch.stack(frames, 1), self.spec), given.lengths)


# -- discrete numbers -------------------------------------------------------------------------------------------------------
class Levels(Numbers):
    """Tables (D,S,L) of log p(level | level before); of one state, S = 1, whatever is before."""

    means: Tensor                                           # (D,S)
    cumulated: Tensor                                       # (D*S*(L-1),): row i's distribution function, plus i
    d: Tensor

    def __init__(self, log_p: Tensor, tokens: bool) -> None:
        super().__init__()
        p = log_p.exp()
        mean = log_p.argmax(-1) if tokens else p @ torch.arange(p.shape[-1], dtype=p.dtype)
        self.log_p = nn.Parameter(log_p.float(), requires_grad=False)
        self.register_buffer("means", mean if tokens else mean.float(), persistent=False)
        rows = torch.arange(p.shape[:2].numel()).view(*p.shape[:2], 1)
        self.register_buffer("cumulated", (rows + p.double().cumsum(-1)[..., :-1]).flatten(), persistent=False)
        self.register_buffer("d", torch.arange(len(p)), persistent=False)

    def log_prob(self, before: Tensor, x: Tensor) -> Tensor:
        return self.log_p[self.d, self._state(before), x]

    def mean(self, before: Tensor) -> Tensor:
        return self.means[self.d, self._state(before)]

    def draw(self, before: Tensor, noise: Noise) -> Tensor:
        """By the inverse of the distribution function."""
        _, states, levels = self.log_p.shape
        row = self.d * states + self._state(before)
        found = torch.searchsorted(self.cumulated, row + noise.uniform(tuple(before.shape)).double())
        return (found - row * (levels - 1)).clamp(0, levels - 1)

    def _state(self, before: Tensor) -> Tensor:
        return before if self.log_p.shape[1] > 1 else torch.zeros_like(before)


def counted(pairs: Iterable[Pair], states: int, prior: Tensor, tokens: bool) -> Levels:
    """Frequencies with L pseudo-counts in every state, spread as `prior` (D,1,L): p = (n_ab + L prior_b) / (n_a + L).

    With a uniform prior, Laplace's rule.  Source: MacKay & Peto 1995.
    """
    d, _, levels = prior.shape
    counts = torch.zeros(d * states * levels, dtype=torch.float64)
    for before, x, seen in pairs:
        cells = ((torch.arange(d) * states + before) * levels + x)[seen.expand_as(x)]
        counts += torch.bincount(cells, minlength=len(counts))
    table = counts.view(d, states, levels)
    return Levels(((table + levels * prior) / (table.sum(-1, keepdim=True) + levels)).log(), tokens)


# -- continuous numbers -----------------------------------------------------------------------------------------------------
class Line(Numbers):
    """N(intercept + slope * before, variance), each (D,)."""

    def __init__(self, intercept: Tensor, slope: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.intercept, self.slope, self.variance = (nn.Parameter(v.float(), requires_grad=False)
                                                     for v in (intercept, slope, variance))

    def log_prob(self, before: Tensor, x: Tensor) -> Tensor:
        return gaussian_log_prob(x, self.mean(before), self.variance.log())

    def mean(self, before: Tensor) -> Tensor:
        return self.intercept + self.slope * before

    def draw(self, before: Tensor, noise: Noise) -> Tensor:
        return self.mean(before) + self.variance.sqrt() * noise.normal(tuple(before.shape))


def regressed(pairs: Iterable[Pair], d: int) -> Line:
    """Least squares of every number on itself before, which is maximum likelihood; the variance is that and FLOOR."""
    sums = torch.zeros(6, d, dtype=torch.float64)
    for before, x, seen in pairs:
        a, b, one = (torch.where(seen, v.double(), 0.0) for v in (before, x, torch.ones_like(x)))
        sums += torch.stack([one, a, b, a * a, a * b, b * b]).sum((1, 2))
    n = sums[0].clamp_min(1)                                # a number that is never seen: 0, whatever
    a, b, aa, ab, bb = sums[1:] / n
    slope = (ab - a * b) / (aa - a * a + 1e-12)             # 0 / 1e-12 where nothing is before
    return Line(b - slope * a, slope, (bb - b * b - slope * (ab - a * b)).clamp_min(0) + FLOOR)


class Bounded(Numbers):
    """Continuous Bernoulli, logits (D,), whatever is before."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.float(), requires_grad=False)

    def _of(self, before: Tensor) -> likelihoods.ContinuousBernoulli:
        return likelihoods.ContinuousBernoulli(self.logits.expand(before.shape))

    def log_prob(self, before: Tensor, x: Tensor) -> Tensor:
        return self._of(before).element(x)

    def mean(self, before: Tensor) -> Tensor:
        return self._of(before).mean

    def draw(self, before: Tensor, noise: Noise) -> Tensor:
        return self._of(before).draw(noise)


def averaged(pairs: Iterable[Pair], d: int) -> Bounded:
    """The continuous Bernoulli whose mean is the data's, with two pseudo-observations of 1/2: without, one that is always 0
    has infinite density. In an exponential family that is maximum likelihood. By bisection: the mean rises with the logit."""
    total, n = torch.ones(d, dtype=torch.float64), torch.full((d,), 2.0, dtype=torch.float64)
    for _, x, seen in pairs:
        total += torch.where(seen, x.double(), 0.0).sum((0, 1))
        n += seen.expand_as(x).sum((0, 1))
    target = total / n
    high = 2 * n                                            # the mean is at least 1 / n, and that of the logit -l at most 1 / l
    low = -high
    for _ in range(100):
        middle = (low + high) / 2
        above = likelihoods.ContinuousBernoulli(middle).mean > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return Bounded((low + high) / 2)


# -- data as frames ---------------------------------------------------------------------------------------------------------
def levels(spec: zoo.DataSpec) -> int | None:
    """How many values a number has; None where they are continuous."""
    return {"binary": 2, "byte": spec.levels, "tokens": spec.vocabulary}.get(spec.kind)


def pair(batch: zoo.Batch, spec: zoo.DataSpec) -> Pair:
    """Every frame with the one before it, 0 before the first. Seen: here, not whether the one before is."""
    x = batch.visible.x
    assert x is not None
    seen = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else batch.mask.expand_as(x)
    if spec.kind in ("binary", "byte"):
        x = (x * ((levels(spec) or 2) - 1)).round().long()
    x, seen = (v.reshape(len(v), v.shape[1] if spec.sequence else 1, spec.size) for v in (x, seen))
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1), x, seen


def pairs_of(data: zoo.Dataset, seed: int) -> Iterator[Pair]:
    """Of the training split: all frames after the first, with the one before."""
    for batch in batches(data, seed):
        before, x, seen = pair(batch, data.spec)
        yield before[:, 1:], x[:, 1:], seen[:, 1:]


def independent(data: zoo.Dataset, seed: int) -> Numbers:
    """The distribution of every number over all examples, and all frames, of the training split."""
    spec, count = data.spec, levels(data.spec)
    alone = ((torch.zeros_like(x), x, seen) for batch in batches(data, seed) for _, x, seen in [pair(batch, spec)])
    if count:
        uniform = torch.full((spec.size, 1, count), 1 / count, dtype=torch.float64)
        return counted(alone, 1, uniform, spec.kind == "tokens")
    return regressed(alone, spec.size) if spec.kind == "real" else averaged(alone, spec.size)


def to_data(x: Tensor, spec: zoo.DataSpec) -> Tensor:
    """Frames (B,T,D) in the data's units and shape."""
    if spec.kind in ("binary", "byte"):
        x = x / ((levels(spec) or 2) - 1)
    x = x.unflatten(-1, spec.shape) if spec.shape else x[..., 0]
    return x if spec.sequence else x[:, 0]
