"""What a data set is: three splits of tensors under one spec."""

import hashlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..noise import Default, Generated, Noise
from ..spec import DataSpec
from ..variant import Batch
from .on_disk import OnDisk

READ_AT_ONCE = 1 << 22                                          # numbers; bounds the memory of `check` and `sha256`


@dataclass(frozen=True, repr=False)
class Split:
    """Examples, stored small: bool for binary data, uint8 for byte data, int64 for tokens, float32 for the rest.

    x (N, *shape), for sequences (N, T, *frame) and zero past the end; label (N,); lengths (N,); observed like x;
    factors (N, F). x may lie on disk, and is then of the same use but for arithmetic: see `on_disk.py`.
    Raises: ValueError when the columns differ in length.
    """

    x: Tensor | OnDisk
    label: Tensor | None = None
    lengths: Tensor | None = None
    observed: Tensor | None = None
    factors: Tensor | None = None
    binarise: bool = False                                      # x are probabilities: draw pixels at every visit
    levels: int = 256                                           # of uint8 data
    flip: bool = False                                          # mirror images left to right, or not, at every visit

    def __post_init__(self) -> None:
        for name, column in self.columns().items():
            if len(column) != len(self.x):
                raise ValueError(f"{name} has {len(column)} rows and x has {len(self.x)}; they must be equal")

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        extra = [*self._others(), *["binarise"] * self.binarise, *["flip"] * self.flip]
        return f"Split({', '.join([f'x={tuple(self.x.shape)} {self.x.dtype}', *extra])})"

    @property
    def in_memory(self) -> bool:
        return isinstance(self.x, Tensor)

    @property
    def held(self) -> Tensor:
        """x, in memory.  Raises: ValueError where it lies on disk."""
        if isinstance(self.x, Tensor):
            return self.x
        raise ValueError(f"{self} is larger than memory and lies on disk; this is for data in memory")

    def columns(self) -> dict[str, Tensor | OnDisk]:
        """What there is of the columns, by name, x first."""
        return {"x": self.x, **self._others()}

    def _others(self) -> dict[str, Tensor]:
        return {f.name: v for f in fields(self) if f.name != "x" and isinstance(v := getattr(self, f.name), Tensor)}

    def batch(self, index: Tensor | slice = slice(None), noise: Noise | None = None) -> Batch:
        """The examples at `index` as a model takes them: float32 (tokens int64), bytes divided by levels - 1.

        Reads nothing on the host, unless x lies on disk. `noise` serves mirroring and binarisation only; without it torch's
        default generator does.
        """
        label, observed, lengths = (None if c is None else c[index] for c in (self.label, self.observed, self.lengths))
        return self.prepared(self.x[index], label, observed, lengths, noise)

    def prepared(self, x: Tensor, label: Tensor | None = None, observed: Tensor | None = None, lengths: Tensor | None = None,
                 noise: Noise | None = None) -> Batch:
        """`batch`, of rows as they are stored."""
        if x.dtype == torch.uint8:
            x = x.to(torch.float32) / (self.levels - 1)
        elif x.dtype == torch.bool:
            x = x.to(torch.float32)
        noise = Default(x.device) if noise is None else noise
        if self.flip:
            mirrored = noise.uniform((len(x), 1, 1, 1)) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
            observed = None if observed is None else torch.where(mirrored, observed.flip(-1), observed)
        if self.binarise:
            x = (noise.uniform(tuple(x.shape)) < x).to(torch.float32)
        return Batch(x, label, observed, lengths)

    def ahead(self, order: Iterable[Tensor | slice]) -> Generator["Split"]:
        """The examples at each index of `order`, in turn, as splits in memory: what `take` gives, but rows on disk are read by
        other processes before their turn. Indices are on the host. The processes end when the iterator ends, or is closed.

        Raises: ValueError or OSError naming the file that cannot be read, at its turn.
        """
        if isinstance(self.x, Tensor):
            yield from map(self.take, order)
            return
        for index, x in self.x.ahead(order):
            others: dict[str, Any] = {name: column[index] for name, column in self._others().items()}
            yield replace(self, x=x, **others)

    def to(self, device: torch.device | str) -> "Split":
        return self._map(lambda column: column.to(device))

    def head(self, n: int) -> "Split":
        """The first n examples."""
        return self.take(slice(n))

    def take(self, index: Tensor | slice) -> "Split":
        """The examples at `index`, as a split."""
        return self._map(lambda column: _rows(column, index) if isinstance(column, Tensor) else column.take(index))

    def _map(self, change: Callable[[Tensor | OnDisk], Tensor | OnDisk]) -> "Split":
        changed: dict[str, Any] = {name: change(column) for name, column in self.columns().items()}
        return replace(self, **changed)


def _rows(column: Tensor, index: Tensor | slice) -> Tensor:
    """column[index]: `index_select` takes rows in half the time."""
    return column[index] if isinstance(index, slice) or index.dtype == torch.bool else column.index_select(0, index)


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
        """Of the stored arrays of all splits: names, types, shapes and values. Reads all that lies on disk."""
        digest = hashlib.sha256()
        for split_name, split in self.splits.items():
            for name, column in split.columns().items():
                dtype = torch.empty(0, dtype=column.dtype).numpy().dtype
                digest.update(f"{split_name}.{name} {dtype} {tuple(column.shape)}\n".encode())
                parts = [column] if isinstance(column, Tensor) else (x for _, x in column.ahead(_slices(column)))
                for part in parts:
                    digest.update(np.ascontiguousarray(part.cpu().numpy()).data)
        return digest.hexdigest()

    def check(self) -> None:
        """Hold every example of every split against the spec, but for rows on disk whose type admits no wrong value: of these
        the first one tells the shape, and a damaged file is named when its turn comes.

        Raises: as `DataSpec.check`, naming the split.
        """
        for name, split in self.splits.items():
            check(self.spec, split, f"{self.name}, {name}")


def check(spec: DataSpec, split: Split, where: str) -> None:
    """As `Dataset.check`. Raises: as `DataSpec.check`, with `where` and the rows in front."""
    if not len(split):
        raise ValueError(f"{where}: no examples; every split needs at least one")
    if split.factors is not None:
        counts = torch.tensor([count for _, count in spec.factors], device=split.factors.device)
        if split.factors.shape[1:] != counts.shape or ((split.factors < 0) | (split.factors >= counts)).any():
            raise ValueError(f"{where}: factors do not fit the spec's {spec.factors}")
    if not split.in_memory and split.x.dtype in (torch.bool, torch.uint8):
        split = split.head(1)
    slices = _slices(split.x)
    for rows, part in zip(slices, split.ahead(slices), strict=True):
        try:
            spec.check(part.batch(noise=Generated(seed=0, device=split.x.device)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}[{rows.start}:{rows.stop}]: {error}") from None


def _slices(x: Tensor | OnDisk) -> list[slice]:
    rows = max(1, READ_AT_ONCE * len(x) // max(1, x.numel()))
    return [slice(start, min(start + rows, len(x))) for start in range(0, len(x), rows)]


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
