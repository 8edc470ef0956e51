"""What a data set is: three splits of tensors under one spec."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..noise import Default, Generated, Noise
from ..spec import DataSpec
from ..variant import Batch

CHECKED_AT_ONCE = 1 << 22                                       # numbers; bounds the memory of `check`


@dataclass(frozen=True, repr=False)
class Split:
    """Examples, stored small: bool for binary data, uint8 for byte data, int64 for tokens, float32 for the rest.

    x (N, *shape), for sequences (N, T, *frame) and zero past the end; label (N,); lengths (N,); observed like x;
    factors (N, F). Raises: ValueError when the columns differ in length.
    """

    x: Tensor
    label: Tensor | None = None
    lengths: Tensor | None = None
    observed: Tensor | None = None
    factors: Tensor | None = None
    binarise: bool = False                                      # x are probabilities: draw pixels at every visit
    levels: int = 256                                           # of uint8 data

    def __post_init__(self) -> None:
        for name, column in self.columns().items():
            if len(column) != len(self.x):
                raise ValueError(f"{name} has {len(column)} rows and x has {len(self.x)}; they must be equal")

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        extra = [name for name in self.columns() if name != "x"] + ["binarise"] * self.binarise
        return f"Split({', '.join([f'x={tuple(self.x.shape)} {self.x.dtype}', *extra])})"

    def columns(self) -> dict[str, Tensor]:
        """The tensors by name, x first."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def batch(self, index: Tensor | slice = slice(None), noise: Noise | None = None) -> Batch:
        """The examples at `index` as a model takes them: float32 (tokens int64), bytes divided by levels - 1.

        Reads nothing on the host. `noise` serves binarisation only; without it torch's default generator does.
        """
        x = self.x[index]
        if x.dtype == torch.uint8:
            x = x.to(torch.float32) / (self.levels - 1)
        elif x.dtype == torch.bool:
            x = x.to(torch.float32)
        if self.binarise:
            noise = Default(x.device) if noise is None else noise
            x = (noise.uniform(tuple(x.shape)) < x).to(torch.float32)
        label, observed, lengths = (None if c is None else c[index] for c in (self.label, self.observed, self.lengths))
        return Batch(x, label, observed, lengths)

    def to(self, device: torch.device | str) -> "Split":
        return self._map(lambda column: column.to(device))

    def head(self, n: int) -> "Split":
        """The first n examples."""
        return self.take(slice(n))

    def take(self, index: Tensor | slice) -> "Split":
        """The examples at `index`, as a split."""
        return self._map(lambda column: column[index])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Split":
        changed: dict[str, Any] = {name: change(column) for name, column in self.columns().items()}
        return replace(self, **changed)


@dataclass(frozen=True)
class Dataset:
    """A named data set. `log_likelihood(batch) -> (B,)`, in nats: exact; only where the generating process is known."""

    name: str
    spec: DataSpec
    train: Split
    valid: Split
    test: Split
    note: str = field(repr=False)                               # source, size, seed, split, licence
    log_likelihood: Callable[[Batch], Tensor] | None = field(default=None, repr=False)
    novel: int | None = None                                    # the class that train and valid lack and test has
    hidden: bool = False                                        # x is true, not 0, where `observed` says missing

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @cached_property
    def sha256(self) -> str:
        """Of the stored arrays of all splits: names, types, shapes and values."""
        digest = hashlib.sha256()
        for split_name, split in self.splits.items():
            for name, column in split.columns().items():
                array = np.ascontiguousarray(column.cpu().numpy())
                digest.update(f"{split_name}.{name} {array.dtype} {array.shape}\n".encode())
                digest.update(array.data)
        return digest.hexdigest()

    def check(self) -> None:
        """Hold every example of every split against the spec. Raises: as `DataSpec.check`, naming the split."""
        for name, split in self.splits.items():
            check(self.spec, split, f"{self.name}, {name}")


def check(spec: DataSpec, split: Split, where: str) -> None:
    """Hold every example against the spec. Raises: as `DataSpec.check`, with `where` and the rows in front."""
    if not len(split):
        raise ValueError(f"{where}: no examples; every split needs at least one")
    if split.factors is not None:
        counts = torch.tensor([count for _, count in spec.factors], device=split.factors.device)
        if split.factors.shape[1:] != counts.shape or ((split.factors < 0) | (split.factors >= counts)).any():
            raise ValueError(f"{where}: factors do not fit the spec's {spec.factors}")
    rows = max(1, CHECKED_AT_ONCE * len(split) // max(1, split.x.numel()))
    for start in range(0, len(split), rows):
        stop = min(start + rows, len(split))
        try:
            spec.check(split.batch(slice(start, stop), Generated(seed=0, device=split.x.device)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}[{start}:{stop}]: {error}") from None


def shuffle(whole: Split, seed: int) -> Split:
    """In the order of RandomState(seed).permutation, a stream that numpy has frozen."""
    return whole.take(torch.from_numpy(np.random.RandomState(seed).permutation(len(whole))))


def divide(whole: Split, valid: int, test: int) -> tuple[Split, Split, Split]:
    """Train, valid and test, in this order."""
    first, second = len(whole) - valid - test, len(whole) - test
    return whole.take(slice(first)), whole.take(slice(first, second)), whole.take(slice(second, None))


def divide_in_tenths(whole: Split) -> tuple[Split, Split, Split]:
    """Shuffled by seed 0, then a tenth each, and at least one example, for valid and test: the rule for users' data.

    Raises: ValueError for fewer than 3 examples.
    """
    if len(whole) < 3:
        raise ValueError(f"{len(whole)} example(s); at least 3 are needed for train, valid and test")
    tenth = max(1, len(whole) // 10)
    return divide(shuffle(whole, seed=0), tenth, tenth)


def sizes(*splits: Split) -> str:
    """For notes: "1297 train, 250 valid, 250 test"."""
    return ", ".join(f"{len(split)} {name}" for name, split in zip(("train", "valid", "test"), splits, strict=True))


def pad(sequences: list[np.ndarray], length: int) -> Split:
    """Sequences (T_i, *frame) as x (N, length, *frame), zero past the end, with their lengths."""
    x = np.zeros((len(sequences), length, *sequences[0].shape[1:]), sequences[0].dtype)
    for row, sequence in zip(x, sequences, strict=True):
        row[: len(sequence)] = sequence
    return Split(torch.from_numpy(x), lengths=torch.tensor([len(sequence) for sequence in sequences]))
