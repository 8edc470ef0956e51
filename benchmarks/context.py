"""What metrics see of one trained model: its parts are computed when first asked for, and once.

Everything is a function of (model, data, numbers of the suite, seed). Sums are taken in float64; nothing here needs memory in
proportion to the number of importance samples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

import zoo
from zoo.noise import Noise, fold, keyed

from .protocol import Budget, Evaluation

EVALUATION = 7                                              # a stream of the seed that training does not draw from
ELBO, IWAE, SAMPLES, SHOWN, DRAWS = range(5)                # and its branches
NUMBERS = 1 << 22                                           # of x, over all rows of one forward pass: bounds the memory


@dataclass
class Context:
    model: zoo.Contract
    data: zoo.Dataset
    budget: Budget
    evaluation: Evaluation
    seed: int
    peak_bytes: int = 0                                     # of memory, while it was trained
    curve: list[dict[str, float]] = field(default_factory=list)          # rows of its training log

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def test(self) -> zoo.Split:
        return self.data.test.to(self.device)

    def noise(self, branch: int, i: int = 0) -> Noise:
        return keyed(fold(self.seed, EVALUATION, branch), i, self.device)

    @property
    def rows(self) -> int:
        """How many examples to decode in one pass."""
        spec = self.data.spec
        return max(1, NUMBERS // (max(spec.size, 128) * (spec.max_length or 1)))

    def blocks(self, split: zoo.Split, rows: int, branch: int) -> Iterator[tuple[zoo.Batch, Noise]]:
        """The split in order, in batches of so many rows, each with its noise."""
        for i, start in enumerate(range(0, len(split), max(1, rows))):
            noise = self.noise(branch, i)
            yield split.batch(slice(start, start + max(1, rows)), noise), noise

    # -- likelihood -----------------------------------------------------------------------------------------------------
    @cached_property
    @torch.no_grad()
    def elbo(self) -> Tensor:
        """(N,) nats, of every test example; mean over `elbo_samples` draws of z."""
        k = self.evaluation.elbo_samples
        return torch.cat([self.model(batch, k, noise).elbo.double().cpu()
                          for batch, noise in self.blocks(self.test, self.rows // k, ELBO)])

    @cached_property
    @torch.no_grad()
    def log_p(self) -> Tensor:
        """(n,) nats: the importance-weighted bound on log p(x) of the first `iwae_examples` test examples."""
        k_all = self.evaluation.iwae_k
        k = min(k_all, 50, self.rows)
        bounds = []
        for batch, noise in self.blocks(self.test.head(self.evaluation.iwae_examples), self.rows // k, IWAE):
            mean = LogMeanExp()
            for done in range(0, k_all, k):
                mean.add(self.model(batch, min(k, k_all - done), noise).log_w)
            bounds.append(mean.value.cpu())
        return torch.cat(bounds)

    # -- sizes ----------------------------------------------------------------------------------------------------------
    @cached_property
    def steps(self) -> Tensor:
        """(N,) frames in each test example."""
        return self._count(per_frame=True)

    @cached_property
    def dimensions(self) -> Tensor:
        """(N,) numbers that were seen in each test example."""
        return self._count(per_frame=False)

    def _count(self, per_frame: bool) -> Tensor:
        batch = self.data.test.batch(slice(None), self.noise(SHOWN))
        assert batch.x is not None
        if per_frame:
            return batch.inside(batch.x.shape[1]).sum(1).double()
        mask = torch.ones((), dtype=torch.bool) if batch.mask is None else batch.mask
        return mask.expand_as(batch.x).flatten(1).sum(1).double()

    # -- codes and samples ----------------------------------------------------------------------------------------------
    @cached_property
    def codes(self) -> Tensor:
        """(N,D) posterior means of the test split; of models with a latent a step, the (frames,D) of all its frames."""
        return self.codes_of(self.test)

    @cached_property
    def train_codes(self) -> Tensor:
        """The same of the first `labelled` training examples."""
        return self.codes_of(self.data.train.head(self.evaluation.labelled).to(self.device))

    def codes_of(self, split: zoo.Split) -> Tensor:
        found = []
        for batch, _ in self.blocks(split, self.rows, SHOWN):
            z = self.model.encode(batch)
            found.append(z[batch.inside(z.shape[1])] if z.dim() == 3 else z)
        return torch.cat(found).cpu()

    @cached_property
    @torch.no_grad()
    def draws(self) -> Tensor:
        """(N,D) z ~ q(z|x), one for each test example (a latent a step: for each frame): the aggregate posterior."""
        found = []
        for batch, noise in self.blocks(self.test, self.rows, DRAWS):
            z = self.model(batch, 1, noise).z[0]
            found.append(z[batch.inside(z.shape[1])] if z.dim() == 3 else z)
        return torch.cat(found).cpu()

    @cached_property
    def reconstructions(self) -> Tensor:
        """(N,*shape) means of p(x|z) at the posterior's mean, of the test split."""
        return torch.cat([self.model.reconstruct(batch).cpu() for batch, _ in self.blocks(self.test, self.rows, SHOWN)])

    @cached_property
    def samples(self) -> zoo.Batch:
        """`samples` new examples: means of p(x|z), sequences drawn, with lengths of the training split in turn."""
        n, train = self.evaluation.samples, self.data.train
        lengths = None if train.lengths is None else train.lengths[torch.arange(n) % len(train)]
        drawn = []
        for i, start in enumerate(range(0, n, self.rows)):
            part = None if lengths is None else lengths[start:start + self.rows].to(self.device)
            drawn.append(self.model.sample(min(self.rows, n - start), lengths=part, noise=self.noise(SAMPLES, i)).cpu())
        return zoo.Batch(torch.cat(drawn), lengths=lengths)

    @cached_property
    def reference(self) -> zoo.Batch:
        """The training split as it is stored: grey where the model's data are drawn from it."""
        return replace(self.data.train, binarise=False).batch(slice(None))


class LogMeanExp:
    """log 1/K sum_k exp(log_w_k) of numbers that come in pieces: one float64 for each example, whatever K."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.k = 0

    def add(self, log_w: Tensor) -> None:
        """log_w (k,B)"""
        piece = log_w.double().logsumexp(0)
        self.total = piece if self.total is None else torch.logaddexp(self.total, piece)
        self.k += len(log_w)

    @property
    def value(self) -> Tensor:
        """(B,)"""
        assert self.total is not None
        return self.total - math.log(self.k)


def mean_and_error(values: Tensor, weights: Tensor | None = None) -> tuple[float, float]:
    """sum(values) / sum(weights), weights 1 by default, and its standard error over examples (of a ratio, linearised)."""
    weights = torch.ones_like(values) if weights is None else weights
    mean = values.sum() / weights.sum()
    residual = (values - mean * weights) / weights.mean()
    n = len(values)
    return float(mean), float(residual.square().sum().div(max(n - 1, 1) * n).sqrt())
