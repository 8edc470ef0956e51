"""Baselines by name: what a VAE has to beat. One model a file here; a new file needs no other edit.

    @baseline("ppca", takes="examples", paper=..., url=..., equation=...)
    class PPCA(Baseline):
        def __init__(self, data, seed, *, latent_dim=16): ...         # fits

A baseline is fitted by its constructor: by counting, in closed form or by EM, on the CPU. From then on it keeps zoo's
`Contract`, so that metrics need not tell it from a variant: log w = log p(x) for every sample, where its likelihood is exact.
Its settings are the suite's of the same name, such as `latent_dim`; the others, of nets, mean nothing to it.
"""

import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

import zoo
from zoo.noise import Default, Noise, fold, keyed
from zoo.registry import Registry
from zoo.variant import within

TAKES = ("examples", "sequences", "both")
FITTING = 8                                                 # a stream of the seed, beside those of training and evaluation
NUMBERS = 1 << 22                                           # of x in one batch of a pass over the data
FITTED = 40_000_000                                         # numbers of x at most that PCA and mixtures are fitted to: 160 MB
FLOOR = 1e-4                                                # added to variances: no scale below zoo.likelihoods.Gaussian's
C = TypeVar("C", bound="type[Baseline]")


@dataclass(frozen=True)
class Entry(zoo.Entry):
    """What is known of a baseline: as of a variant, and which data it takes. The tag `missing`: with missing values too."""

    takes: str = "both"

    def why_not(self, spec: zoo.DataSpec) -> str | None:
        if self.takes != "both" and (self.takes == "sequences") != spec.sequence:
            return f"{self.name} takes {self.takes}; these data are {'sequences' if spec.sequence else 'single examples'}"
        return None


class Baseline(zoo.Contract):
    """A fitted model; subclasses without latents give `log_prob`, `reconstruct` and `sample`, the others `forward` too.

    Fitted numbers are parameters that no gradient reaches, so that they move with the model and are counted.
    """

    latent_dim = 0                                          # no latents: z, KL and codes have no numbers
    mean: Tensor                                            # of x (*shape), (T,*frame): what there is to decode without latents

    @abstractmethod
    def log_prob(self, batch: zoo.Batch) -> Tensor:
        """log p(x) (B,), nats."""

    def accepted(self, batch: zoo.Batch) -> Tensor:
        """x, if it is of the data this was fitted to.  Raises: as `DataSpec.check_form`; ValueError for missing values."""
        self.spec.check_form(batch)
        if batch.observed is not None and "missing" not in self.entry.tags:
            raise ValueError(f"{self.name} takes no missing values")
        assert batch.x is not None
        return batch.x

    def objective(self, terms: zoo.Terms, step: Tensor) -> Tensor:
        """What the fit has minimised."""
        return -terms.elbo

    @torch.no_grad()
    def forward(self, batch: zoo.Batch, k: int | None = None, noise: Noise | None = None) -> zoo.Terms:
        log_p = self.log_prob(batch).expand(k or 1, -1)
        none = log_p.new_zeros(*log_p.shape, 0)
        return zoo.Terms(batch, none, None, -log_p, none, log_p)

    def encode(self, batch: zoo.Batch) -> Tensor:
        """(B,0) where there are no latents."""
        self.spec.check(batch)
        assert batch.x is not None
        return torch.zeros(len(batch.x), 0, device=self.device)

    def decode(self, z: Tensor, label: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """The mean of x, whatever z, where there are no latents."""
        given = self.conditions(len(z), label, lengths, Default(z.device))
        return within(self.mean.expand(len(z), *self.mean.shape), given.lengths)


BASELINES: Registry[Entry] = Registry("baseline")


def baseline(name: str, *, takes: str, paper: str, url: str, equation: str, tags: Iterable[str] = ()) -> Callable[[C], C]:
    """Class decorator: enter a baseline.  Raises: ValueError for a name that is taken, by a variant too, or a wrong `takes`."""
    if name in zoo.list_variants():                         # both are rows of one table and folders of one suite
        raise ValueError(f"baseline {name!r} has the name of a variant: choose another name for one of them")
    if takes not in TAKES:
        raise ValueError(f"{name}: takes is {takes!r}; it must be one of {', '.join(TAKES)}")

    def enter(cls: C) -> C:
        cls.entry = BASELINES.add(name, Entry(name, cls, paper, url, equation, tags=frozenset(tags), takes=takes))
        return cls
    return enter


def entry(name: str) -> zoo.Entry:
    """What is known of a baseline or of a variant: of any row of a table.  Raises: LookupError naming the nearest match."""
    return BASELINES.get(name) if name in BASELINES else zoo.entry(name)


def why_not(name: str, data: zoo.Dataset) -> str | None:
    """Why this baseline does not take such data; None if it does."""
    found = BASELINES.get(name)
    if "missing" not in found.tags and any(split.observed is not None for split in data.splits.values()):
        return f"{name} takes no missing values"
    return found.why_not(data.spec)


def fit(name: str, data: zoo.Dataset, seed: int, **settings: Any) -> Baseline:
    """A baseline fitted to the training split. Its noise comes from `seed`.

    Raises: LookupError for an unknown name; ValueError for data it does not take, or a setting below 1.
    """
    if reason := why_not(name, data):
        raise ValueError(reason)
    model = BASELINES.get(name).build(data, seed, **settings)
    model.settings = settings
    return model.eval().requires_grad_(False)               # type: ignore[return-value]


# -- for baselines ----------------------------------------------------------------------------------------------------------
def batches(data: zoo.Dataset, seed: int, limit: int | None = None) -> Iterator[zoo.Batch]:
    """The training split in order, or its first examples of `limit` numbers in all; what is binarised at every visit: drawn
    once."""
    rows = max(1, NUMBERS * len(data.train) // data.train.x.numel())
    end = len(data.train) if limit is None else min(len(data.train), max(1, limit * len(data.train) // data.train.x.numel()))
    for i, start in enumerate(range(0, end, rows)):
        noise = keyed(fold(seed, FITTING), i, torch.device("cpu"))
        yield data.train.batch(slice(start, min(start + rows, end)), noise)


def matrix(data: zoo.Dataset, seed: int, numbers: int = FITTED) -> Tensor:
    """(n,D): the first training examples, of so many numbers in all at most, as rows."""
    return torch.cat([batch.x.flatten(1) for batch in batches(data, seed, numbers) if batch.x is not None])


def cell(spec: zoo.DataSpec) -> float:
    """The variance of noise that is uniform in the cell of one byte's value; 0 for data of other kinds."""
    return 1 / (12 * (spec.levels - 1) ** 2) if spec.kind == "byte" else 0.0


def clipped(x: Tensor, spec: zoo.DataSpec) -> Tensor:
    """Within the range of the data."""
    return x if spec.kind == "real" else x.clamp(0, 1)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
