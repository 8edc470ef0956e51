"""Data larger than memory: rows that stay on disk until a batch needs them, and are read ahead of the step that takes them.

`Split.x` is then no tensor but an `OnDisk`, which is indexed like one. What takes at most HELD bytes is read into memory at
once, by the same code, so that both give the same batches, bit for bit.

Reading ahead is torch's DataLoader: processes of its own, so that decoding takes no turns with the training loop's Python. Each
has AHEAD batches to do, and they arrive in the order that was asked for.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

HELD = 2 << 30                                                  # bytes
AHEAD = 2                                                       # batches for each process that reads
MOST_PROCESSES = 8
ROWS = 500                                                      # read at once where all are; so few are read alone


class Source(Protocol):
    """What can be read row by row. It is copied to the processes that read: small, and no open file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""

    @property
    def dtype(self) -> torch.dtype: ...
    def __len__(self) -> int: ...
    def read(self, rows: np.ndarray) -> Tensor:
        """(n, *shape), in this order.  Raises: ValueError or OSError naming the file."""


@dataclass(frozen=True)
class OnDisk:
    """Rows of a source: those at `index` (N,), on the host. Indexing reads them, onto `device`; `take` reads nothing."""

    source: Source
    index: Tensor
    device: torch.device = torch.device("cpu")

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.index), *self.source.shape))

    @property
    def dtype(self) -> torch.dtype:
        return self.source.dtype

    def numel(self) -> int:
        return self.shape.numel()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self.source.read(self.take(index).index.numpy()).to(self.device)

    def take(self, index: Tensor | slice) -> "OnDisk":
        return replace(self, index=self.index[index.cpu() if isinstance(index, Tensor) else index])

    def to(self, device: torch.device | str) -> "OnDisk":
        return replace(self, device=torch.device(device))

    def whole(self) -> Tensor:
        """All rows, read by several processes where they are many, with a progress bar if that takes a while."""
        if len(self) <= ROWS:
            return self[:]
        x = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        slices = [slice(start, start + ROWS) for start in range(0, len(self), ROWS)]
        for index, part in tqdm(self.ahead(slices), "reading", len(slices), leave=False, delay=3):
            x[index] = part
        return x

    def ahead(self, order: Iterable[Tensor | slice]) -> Iterator[tuple[Tensor | slice, Tensor]]:
        """Each index, a slice or a tensor on the host, with its rows; both on `device`. While one is used the next are read:
        at most AHEAD for each process, which bounds the memory. The processes end when the iterator ends, or is closed.

        Raises: what reading raises, at the turn of the index; OSError where a process was ended from outside.
        """
        asked = (index if isinstance(index, slice) else index.numpy() for index in order)    # else its whole storage is sent
        loader: DataLoader = DataLoader(
            _Reads(self.to("cpu")), sampler=asked, batch_size=None, num_workers=_processes(), prefetch_factor=AHEAD,
            pin_memory=self.device.type == "cuda", generator=torch.Generator())              # not the global one's numbers
        reading: Any = iter(loader)
        try:
            while True:
                try:
                    index, x = next(reading)
                except StopIteration:
                    return
                except (RuntimeError, OSError, EOFError) as error:              # a process ended, or a pipe to it
                    raise OSError(f"a process that reads the data was lost, for want of memory perhaps: {error}") from error
                if isinstance(x, Exception):
                    raise x
                yield (index.to(self.device, non_blocking=True) if isinstance(index, Tensor) else index,
                       x.to(self.device, non_blocking=True))
        finally:
            reading._shutdown_workers()                         # now: a traceback might keep `reading`, and the processes


class _Reads(Dataset):
    """An error travels as a value: torch would put the other process's traceback into its words."""

    def __init__(self, rows: OnDisk) -> None:
        self.rows = rows

    def __getitem__(self, index: np.ndarray | slice) -> tuple[np.ndarray | slice, Tensor | Exception]:
        try:
            return index, self.rows[index if isinstance(index, slice) else torch.from_numpy(index)]
        except (ValueError, OSError) as error:
            return index, error


def _processes() -> int:
    """This process's share of the cores that it may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_PROCESSES, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def held(source: Source) -> Tensor | OnDisk:
    """A source's rows: in memory, unless they take more than HELD bytes there."""
    rows = OnDisk(source, torch.arange(len(source)))
    return rows if rows.numel() * rows.dtype.itemsize > HELD else rows.whole()


def where(x: Tensor | OnDisk) -> str:
    """For notes."""
    return "in memory" if isinstance(x, Tensor) else f"read from disk as training goes, being larger than {HELD >> 20} MiB"
