"""What metrics see of one trained model: its parts are computed when first asked for, and once.

Everything is a function of (model, data, numbers of the suite, seed). Sums are taken in float64.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

import zoo
from zoo.noise import Noise, fold, keyed

from . import extractors
from .extractors import inception
from .features import FeatureSets
from .importance import Bounds, ladder, log_weights, stream
from .kept import Kept
from .protocol import Budget, Evaluation

EVALUATION = 7                                              # a stream of the seed that training does not draw from
ELBO, IWAE, SAMPLES, SHOWN, DRAWS, REFINED, AIS = range(7)  # and its branches
NUMBERS = 1 << 22                                           # of x, over all rows of one forward pass: bounds the memory
PIECE = 1 << 20                                             # of importance samples: four times as many took a fifth longer
TELL_EVERY = 0.5                                            # seconds between two words on how far a metric is


@dataclass
class Context:
    model: zoo.Contract
    data: zoo.Dataset
    budget: Budget
    evaluation: Evaluation
    seed: int
    peak_bytes: int = 0                                     # of memory, while it was trained
    curve: list[dict[str, float]] = field(default_factory=list)          # rows of its training log
    tell: Callable[[str], None] = lambda said: None         # told what is measured, and how far it is
    kept: Kept = field(default_factory=Kept, init=False)    # what an earlier process has found; of no replaced context
    doing: str = ""
    told: float = 0.0

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def test(self) -> zoo.Split:
        return self.data.test.to(self.device)

    def noise(self, branch: int, i: int = 0, *within: int) -> Noise:
        """The i-th noise of a branch, or of what is `within` it."""
        return keyed(fold(self.seed, EVALUATION, branch, *within), i, self.device)

    @property
    def rows(self) -> int:
        """How many examples to decode in one pass."""
        return self._rows(NUMBERS)

    def _rows(self, numbers: int) -> int:
        spec = self.data.spec
        return max(1, numbers // (max(spec.size, 128) * (spec.max_length or 1)))

    def blocks(self, split: zoo.Split, rows: int, branch: int) -> Iterator[tuple[zoo.Batch, Noise]]:
        """The split in order, in batches of so many rows, each with its noise."""
        for i, start in enumerate(range(0, len(split), max(1, rows))):
            if start and time.monotonic() - self.told >= TELL_EVERY:
                self.tell(f"{self.doing}, {start:,} of {len(split):,} examples")
                self.told = time.monotonic()
            noise = self.noise(branch, i)
            yield split.batch(slice(start, start + max(1, rows)), noise), noise

    def begin(self, doing: str) -> None:
        """Tell what is measured from now on."""
        self.doing, self.told = doing, time.monotonic()
        self.tell(doing)

    def joined(self, name: str, split: zoo.Split, rows: int, branch: int,
               of: Callable[[zoo.Batch, Noise, int], Sequence[Tensor]]) -> list[Tensor]:
        """Tensors (..,N) from the (..,B) that `of` makes of the i-th block, its noise and i; kept under `name` as they come."""
        its = self.kept.get(name)[1] if name in self.kept else {}
        parts = [[its[f"{i}"] for i in range(len(its))]] if its else []
        done = parts[0][0].shape[-1] if parts else 0
        for i, (batch, noise) in enumerate(self.blocks(split, rows, branch)):
            if i * rows >= done:
                parts.append(list(of(batch, noise, i)))
            if self.kept.due or done < len(split) <= (i + 1) * rows:
                parts = [[torch.cat(tensors, -1) for tensors in zip(*parts, strict=True)]]
                self.kept.put(name, None, {f"{j}": tensor for j, tensor in enumerate(parts[0])})
        return parts[0]

    # -- likelihood -----------------------------------------------------------------------------------------------------
    @cached_property
    @torch.no_grad()
    def elbo_terms(self) -> tuple[Tensor, Tensor]:
        """-> distortion, rate (N,), nats, of every test example; means over `elbo_samples` draws of z."""
        k = self.evaluation.elbo_samples
        passes = (self.model(batch, k, noise) for batch, noise in self.blocks(self.test, self.rows // k, ELBO))
        parts = [(t.nll.double().mean(0).cpu(), t.kl.double().sum(-1).mean(0).cpu()) for t in passes]
        distortion, rate = (torch.cat(part) for part in zip(*parts, strict=True))
        return distortion, rate

    @property
    def elbo(self) -> Tensor:
        """(N,) nats"""
        distortion, rate = self.elbo_terms
        return -(distortion + rate)

    @cached_property
    @torch.no_grad()
    def importance(self) -> Bounds:
        """Importance-weighted bounds on log p(x) of the first `iwae_examples` test examples, at all K up to `iwae_k`."""
        k, split = self.evaluation.iwae_k, self.test.head(self.evaluation.iwae_examples)

        def bounds(batch: zoo.Batch, noise: Noise, i: int) -> Sequence[Tensor]:
            weights = log_weights(self.model, batch, lambda unit: self.noise(IWAE, unit, i), k, self._rows(PIECE))
            return stream(weights, ladder(k)).tensors
        return Bounds(ladder(k), *self.joined("importance", split, 1, IWAE, bounds))

    @property
    def log_p(self) -> Tensor:
        """(n,) nats: the bound at `iwae_k`."""
        return self.importance.log_p[-1]

    @cached_property
    @torch.no_grad()
    def group_kl(self) -> Tensor:
        """(G,) nats: the KL of each group of latents, mean over the test split."""
        return sum((self.model(batch, 1, noise).kl.double().sum((0, 1)).cpu()
                    for batch, noise in self.blocks(self.test, self.rows, ELBO)), torch.zeros(())) / len(self.test)

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

    @property
    def one_code(self) -> bool:
        """Whether an example has one code, not one a step."""
        return len(self.codes) == len(self.test)

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
    def factor_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes (N,D) and factors (N,F) of the first `factor_examples` of the test, valid and train splits, in this order."""
        left, codes, factors = self.evaluation.factor_examples, [], []
        for split in (self.data.test, self.data.valid, self.data.train):
            if left > 0:
                part = split.head(left)
                assert part.factors is not None
                codes.append(self.codes[:left] if split is self.data.test else self.codes_of(part.to(self.device)))
                factors.append(part.factors.cpu())
                left -= len(part)
        return torch.cat(codes).double().numpy(), torch.cat(factors).numpy()

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
    def originals(self) -> zoo.Batch:
        """The test split as its reconstructions saw it."""
        x = torch.cat([batch.x for batch, _ in self.blocks(self.test, self.rows, SHOWN) if batch.x is not None])
        return replace(self.test.batch(slice(None), self.noise(SHOWN)), x=x).to("cpu")

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

    @cached_property
    def features(self) -> FeatureSets:
        """Of samples and real data, in the suite's feature space."""
        name = self.evaluation.extractor
        return FeatureSets(self, name, extractors.load(name))

    @cached_property
    def inception(self) -> FeatureSets:
        """The same in the space of the canonical FID, from the user's weight file.  Raises: as `inception.load`."""
        return FeatureSets(self, inception.NAME, inception.load(self.device))


def mean_and_error(values: Tensor, weights: Tensor | None = None) -> tuple[float, float]:
    """sum(values) / sum(weights), weights 1 by default, and its standard error over examples (of a ratio, linearised)."""
    weights = torch.ones_like(values) if weights is None else weights
    mean = values.sum() / weights.sum()
    residual = (values - mean * weights) / weights.mean()
    n = len(values)
    return float(mean), float(residual.square().sum().div(max(n - 1, 1) * n).sqrt())
