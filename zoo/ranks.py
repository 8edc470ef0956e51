"""One run on several devices: every rank works on its rows of each batch, and all take the same step.

    torchrun --nproc-per-node 4 -m zoo train vae --data digits

A run is the same function of (model, data, recipe, seed) as on one device, to rounding: a rank makes the noise of the whole
batch and takes that of its rows, the gradient is the mean over all ranks' examples, and clipping sees that mean. So what R
ranks have kept goes on with any other number of them. Gradients are exchanged at once, after the backward pass.

What sees a whole batch is refused, because the mean of its parts is not its value: a critic, moving averages of the batch, an
objective of an example that depends on the others.
"""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from .noise import Asked, Generated, Noise, latent_noise

if TYPE_CHECKING:
    from .data import Split
    from .variant import Contract

Site = tuple[int, int] | None                               # of a draw: its batch axis, and the rows there of an example


@contextmanager
def joined(device: torch.device) -> Iterator["Ranks"]:
    """Join the ranks that torchrun started: gloo on CPUs, nccl on GPUs, one each. Alone where it did not.

    Raises: ValueError where a rank has no GPU of its own.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched() or dist.is_initialized():
        yield Ranks()
        return
    if device.type == "cuda":
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus or device.index is not None:
            raise ValueError(f"rank {local} of this machine cannot use {device}, there being {gpus} GPUs: each rank needs its "
                             f"own; give --nproc-per-node at most {gpus}, and --device cuda without a number")
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks()
    finally:
        dist.destroy_process_group()


class Ranks:
    """This process among those of torch's default process group; alone where there is none."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        self.sites: list[Site] = []

    @property
    def first(self) -> bool:
        """Whether it is this one that writes checkpoints, log and progress."""
        return self.rank == 0

    def begin(self, model: "Contract", train: "Split", batch_size: int) -> None:
        """Give all ranks the first one's weights, and learn where batches lie in a model's noise.

        Raises: ValueError where a batch cannot be shared out.
        """
        if self.size == 1:
            return
        if batch_size % self.size:
            raise ValueError(f"a batch of {batch_size} cannot be shared out equally to {self.size} ranks; give a multiple of "
                             f"{self.size}, such as {math.ceil(batch_size / self.size) * self.size}")
        with torch.no_grad():
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)
        model.train()
        self.sites = _sites(model, train)
        self._check(model, train)

    @torch.no_grad()
    def _check(self, model: "Contract", train: "Split") -> None:
        """Hold this rank's objective against that of a whole batch of two examples a rank."""
        device = train.x.device
        index = torch.arange(2 * self.size, device=device) % len(train)
        step, found = torch.zeros((), device=device), []
        for rows, its in ((index, Generated(0, 0, device)), (self.rows(index), self.noise(Generated(0, 0, device)))):
            terms = model(train.batch(rows, its), noise=its)
            found.append(model.objective(terms, step).float())
            if model.updated_buffers(terms) or model.adversary_loss(terms, its) is not None:
                raise ValueError(f"{model.name} cannot be trained by several ranks: its critic, or its moving averages, see a "
                                 "whole batch; train it in one process")
        if not torch.allclose(self.rows(found[0]), found[1], rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ValueError(f"{model.name} cannot be trained by several ranks: its objective of an example depends on the "
                             "others in the batch; train it in one process")

    def rows(self, whole: Tensor) -> Tensor:
        """This rank's part of what all have together, along the first axis."""
        return whole.chunk(self.size)[self.rank] if self.size > 1 else whole

    def noise(self, whole: Noise) -> Noise:
        return Rows(whole, self) if self.size > 1 else whole

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over ranks into each tensor. All must be of one type."""
        found = list(tensors)
        if self.size == 1 or not found:
            return
        flat = torch.cat([t.reshape(-1) for t in found])
        dist.all_reduce(flat)
        for tensor, mean in zip(found, (flat / self.size).split([t.numel() for t in found]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def agree(self, step: int, device: torch.device) -> None:
        """Raises: ValueError where ranks begin at different steps."""
        if self.size > 1:
            steps = torch.zeros(self.size, dtype=torch.int64, device=device)
            steps[self.rank] = step
            dist.all_reduce(steps)
            if len(set(steps.tolist())) > 1:
                raise ValueError(f"the ranks would begin at the steps {steps.tolist()}: `out` must be a folder that all of "
                                 "them see, on every machine")


class Rows:
    """A rank's part of the noise of a whole batch."""

    def __init__(self, whole: Noise, ranks: Ranks) -> None:
        self.whole, self.ranks, self.site = whole, ranks, -1

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        site, whole = self._next(shape)
        return self._part(self.whole.normal(whole), site)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        site, whole = self._next(shape)
        return self._part(self.whole.uniform(whole), site)

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        site, whole = self._next(shape)
        return self._part(self.whole.integers(high, whole), site)

    def permutation(self, n: int) -> Tensor:
        site, _ = self._next((n,))
        if site is not None:
            raise ValueError(f"a permutation of a batch's {n} examples cannot be shared out to ranks; train in one process")
        return self.whole.permutation(n)

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        site, whole = self._next(shape)
        eps, seed = self.whole.latent(whole)
        if eps is None and seed is not None:                # what the fused kernel would make for the whole batch
            eps = latent_noise(seed, whole)
        assert eps is not None
        return self._part(eps, site), None

    def _next(self, shape: tuple[int, ...]) -> tuple[Site, tuple[int, ...]]:
        """-> this draw's batch axis, and its shape for the whole batch."""
        self.site += 1
        site = self.ranks.sites[self.site]
        if site is None:
            return None, shape
        axis, _ = site
        return site, (*shape[:axis], shape[axis] * self.ranks.size, *shape[axis + 1:])

    def _part(self, drawn: Tensor, site: Site) -> Tensor:
        """Rows of an axis are sample-major: (draws, examples) as one."""
        if site is None:
            return drawn
        axis, draws = site
        parts = drawn.unflatten(axis, (draws, -1)).chunk(self.ranks.size, axis + 1)
        return parts[self.ranks.rank].flatten(axis, axis + 1)


@torch.no_grad()
def _sites(model: "Contract", train: "Split") -> list[Site]:
    """Where batches lie in each draw of a step: on the axis that grows when an example is added."""
    asked = []
    for n in (2, 3):
        noise = Asked(train.x.device)
        model(train.batch(torch.arange(n, device=train.x.device) % len(train), noise), noise=noise)
        asked.append([_shape(arguments[-1]) for _, arguments in noise.sites])
    found: list[Site] = []
    for small, large in zip(*asked, strict=True):
        grown = [(axis, b - a) for axis, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
        found.append(grown[0] if grown else None)
    return found


def _shape(asked: tuple[int, ...] | int) -> tuple[int, ...]:
    """Of a draw; a permutation is asked for by its length."""
    return (asked,) if isinstance(asked, int) else asked
