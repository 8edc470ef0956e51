"""What a data set looks like to a model: enough to choose nets and likelihood, and to refuse data that does not fit."""

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .variant import Batch

KINDS = ("binary", "unit", "byte", "real", "tokens")


@dataclass(frozen=True)
class DataSpec:
    """Shape and kind of one example; for sequences, of one frame.

    Kinds: `binary` {0, 1}; `unit` continuous in [0, 1]; `byte` v / (levels - 1) for integers v < levels; `real`; `tokens`
    integers below `vocabulary`. Everything but tokens reaches a model as float32.

    Raises: ValueError for a kind, a size or a combination that makes no sense.
    """

    shape: tuple[int, ...]
    kind: str
    classes: int | None = None                  # labels are 0 .. classes - 1
    max_length: int | None = None               # a number: sequences of up to so many frames
    levels: int = 256                           # of `byte` data
    vocabulary: int | None = None               # of `tokens`
    factors: tuple[tuple[str, int], ...] = ()   # ground truth: (name, number of values)
    symbols: tuple[str, ...] = ()               # what each token stands for

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "factors", tuple((str(n), int(v)) for n, v in self.factors))
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        if any(n < 1 for n in self.shape):
            raise ValueError(f"shape is {self.shape}; every size must be at least 1")
        if self.kind == "tokens" and (self.shape != () or self.max_length is None or not self.vocabulary):
            raise ValueError("tokens are sequences with shape=(), a max_length and a vocabulary; "
                             f"got shape={self.shape}, max_length={self.max_length}, vocabulary={self.vocabulary}")
        if self.kind != "tokens" and self.shape == ():
            raise ValueError("shape is (); an example that is one number has shape (1,)")
        if self.symbols and len(self.symbols) != self.vocabulary:
            raise ValueError(f"{len(self.symbols)} symbols for a vocabulary of {self.vocabulary}; they must be as many")
        if self.max_length is not None and self.max_length < 1:
            raise ValueError(f"max_length is {self.max_length}; it must be at least 1")

    @property
    def sequence(self) -> bool:
        return self.max_length is not None

    @property
    def size(self) -> int:
        """Numbers in one example, or in one frame."""
        return math.prod(self.shape)

    @property
    def discrete(self) -> bool:
        """Whether p(x|z) is a probability, so that bits per dimension mean something."""
        return self.kind in ("binary", "byte", "tokens")

    def text(self, tokens: Tensor, lengths: Tensor | None = None) -> list[str]:
        """Tokens (B,T) as strings.  Raises: TypeError if the data have no symbols."""
        if not self.symbols:
            raise TypeError(f"{self.kind} data without symbols cannot be written as text")
        ends = [tokens.shape[1]] * len(tokens) if lengths is None else lengths.tolist()
        return ["".join(self.symbols[t] for t in row[:end]) for row, end in zip(tokens.tolist(), ends, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "DataSpec":
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(d) - known):
            raise ValueError(f"a data spec has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return cls(**d)

    def check(self, batch: "Batch") -> None:
        """Refuse a batch that is not of this spec. Reads the data on the host: for the edges of a program, not for its loop.

        Raises: TypeError for a wrong dtype; ValueError for a wrong shape, range, label, length or a NaN.
        """
        self.check_form(batch)
        assert batch.x is not None
        _check_range("label", batch.label, 0, self.classes)
        _check_range("lengths", batch.lengths, 1, batch.x.shape[1] + 1 if self.sequence else None)
        self._check_values(batch.visible.x)                 # what is missing or past the end may hold anything

    def check_form(self, batch: "Batch") -> None:
        """The part of `check` that shapes and dtypes tell: no data is read, so that every forward pass can afford it."""
        x = batch.x
        if x is None:
            raise ValueError("the batch has no x")
        lead = 2 if self.sequence else 1
        if x.dim() != lead + len(self.shape) or tuple(x.shape[lead:]) != self.shape:
            want = ("batch", "time", *self.shape) if self.sequence else ("batch", *self.shape)
            raise ValueError(f"x has shape {tuple(x.shape)}; expected {want}")
        if self.max_length is not None and x.shape[1] > self.max_length:
            raise ValueError(f"x has {x.shape[1]} frames; the data's max_length is {self.max_length}")
        if self.kind == "tokens" and x.dtype != torch.int64:
            raise TypeError(f"tokens must be int64; got {x.dtype}")
        if self.kind != "tokens" and not x.is_floating_point():
            raise TypeError(f"x must be floating point; got {x.dtype} (divide {self.kind} data by levels - 1 first)")
        if batch.lengths is not None and not self.sequence:
            raise ValueError("lengths given, but these data are not sequences")
        _check_column("label", batch.label, len(x))
        _check_column("lengths", batch.lengths, len(x))
        if batch.observed is not None and (batch.observed.dtype != torch.bool or batch.observed.shape != x.shape):
            raise ValueError(f"observed must be bool of x's shape {tuple(x.shape)}; "
                             f"got {batch.observed.dtype} {tuple(batch.observed.shape)}")

    def _check_values(self, x: Tensor | None) -> None:
        assert x is not None
        if x.numel() == 0:
            return
        if self.kind != "tokens" and not torch.isfinite(x).all():
            bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten().tolist()
            raise ValueError(f"x holds NaN or Inf in {len(bad)} example(s), first {bad[0]}; "
                             "mark missing values with `observed=False` instead")
        low, high = float(x.min()), float(x.max())
        if self.kind == "tokens" and not (low >= 0 and high < (self.vocabulary or 0)):
            raise ValueError(f"tokens lie in [{low:g}, {high:g}]; the vocabulary allows 0 .. {(self.vocabulary or 0) - 1}")
        if self.kind in ("binary", "unit", "byte") and not (low >= 0 and high <= 1):
            raise ValueError(f"x lies in [{low:g}, {high:g}]; {self.kind} data must lie in [0, 1]")
        if self.kind == "binary" and bool(((x != 0) & (x != 1)).any()):
            raise ValueError("binary data must be 0 or 1; for grey values use kind 'unit' or 'byte', or binarise "
                             "(a data set's name with ':dynamic' or ':fixed' does)")


def _check_column(name: str, column: Tensor | None, n: int) -> None:
    if column is None:
        return
    if column.shape != (n,):
        raise ValueError(f"{name} has shape {tuple(column.shape)}; expected ({n},), one for each example")
    if column.dtype != torch.int64:
        raise TypeError(f"{name} must be int64; got {column.dtype}")


def _check_range(name: str, column: Tensor | None, low: int, high: int | None) -> None:
    if column is not None and high is not None and len(column) and not (column.min() >= low and column.max() < high):
        raise ValueError(f"{name} lie in [{int(column.min())}, {int(column.max())}]; allowed are {low} .. {high - 1}")
