"""A training step as one program over tensors, changed in place: for torch.compile, a CUDA graph, or several models at once.

It is the step of `run.Run`, to rounding: what varies from step to step (rows of data; noise, or its key) comes in as
tensors, what a step changes (weights, moments, averages, buffers, log rows, the count) stays at its address, schedules are
functions of the count, gradients are those of torch.func, and AdamW is written out: torch's cannot be traced.

Several models of one shape, seeds of a variant, are stacked along a leading axis and share each operation: S. Their weights
then are views into the stacks. Each is clipped by its own norm.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from .adamw import AdamW
from .noise import Asked, Given, Noise, Philox, ahead, keyed, step_key
from .recipe import LOG_ROWS
from .variant import Batch

if TYPE_CHECKING:
    from .run import Run

WARM = 3                                                    # calls before a capture, as CUDA wants them
AT_ONCE = 10                                                # steps of one replay: the host spends its time on tens of them
Tensors = dict[str, Tensor]


class Program:
    """The next step of one run, or of several in step with one another. `compiled`, `captured`: how it is executed.

    While it stands the runs' own `step` must not be called; `release` gives them back.
    Raises: ValueError for nets with BatchNorm.
    """

    def __init__(self, runs: "Sequence[Run]", compiled: bool = False, captured: bool = False) -> None:
        run = runs[0]
        if any(isinstance(m, _BatchNorm) and m.track_running_stats for m in run.model.modules()):
            raise ValueError(f"{run.model.name} has BatchNorm, whose running statistics a program cannot update: use GroupNorm "
                             "or LayerNorm, track_running_stats=False, or one seed with engine 'eager'")
        self.runs, self.many, self.recipe, self.device = runs, len(runs) > 1, run.recipe, run.device
        self.split, self.losses = run.train, run.losses
        columns = {name: column for name, column in run.train.columns().items() if name != "factors"}
        self.columns = list(columns)
        self.held = [c for c in columns.values() if isinstance(c, Tensor)] if run.train.in_memory else []
        self.ahead = run.device.type == "cpu"               # elsewhere noise is made inside, from a key
        self.sites = _sites(run) if self.ahead else []
        for other in runs:
            other.step_tensor = run.step_tensor
        self.step_tensor = run.step_tensor
        self.ours, self.theirs = self._moved([r.optimiser for r in runs]), self._moved([r.critic for r in runs])
        named = [dict(r.losses.named_buffers()) for r in runs]
        self.buffers = {name: self._joined([n[name] for n in named]) for name in named[0]}
        self.average = [self._joined(list(v)) for v in zip(*(r.average for r in runs), strict=True)]
        self.rows = torch.stack([r.rows for r in runs], 1)
        for i, r in enumerate(runs):
            r.rows = self.rows[:, i]
        self.whole = partial(_compiled(Program._whole) if compiled else Program._whole, self)
        self.captured = Captured(self.whole) if captured else None

    def step(self, most: int = 1) -> None:
        """Make a step; or AT_ONCE, if they are replayed, and no more than `most`."""
        n = AT_ONCE if self.captured and most >= AT_ONCE else 1
        steps = [self._inputs(self.runs[0].result.steps + i) for i in range(n)]
        if self.captured:
            self.captured(steps)
        else:
            self.whole(steps[0])
        for run in self.runs:
            run.result.steps += n

    def release(self) -> None:
        """Let the runs' own steps go on."""
        for run in self.runs:
            run.count()

    # -- what is shared -------------------------------------------------------------------------------------------------
    def _moved(self, optimisers: list[AdamW]) -> AdamW:
        """What moves the parameters of all."""
        moved = copy.copy(optimisers[0])
        moved.weights = {name: self._joined([o.weights[name] for o in optimisers]) for name in moved.weights}
        moved.first = [self._joined(list(moments)) for moments in zip(*(o.first for o in optimisers), strict=True)]
        moved.second = [self._joined(list(moments)) for moments in zip(*(o.second for o in optimisers), strict=True)]
        return moved

    def _joined(self, tensors: list[Tensor]) -> Tensor:
        """One tensor for all models, of which theirs become views; of one model, its own."""
        if not self.many:
            return tensors[0].detach()
        stack = torch.stack([t.detach() for t in tensors])
        for tensor, part in zip(tensors, stack, strict=True):
            tensor.data = part
        return stack

    def _together(self, parts: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(parts) if self.many else parts[0]

    def _inputs(self, done: int) -> list[Tensor]:
        """What differs from step to step, of all models, after so many steps. Of data in memory the indices, else the rows; of
        noise what is asked for, drawn as the run's own step draws it, or on a GPU its key alone."""
        return [self._together(parts) for parts in zip(*(self._inputs_of(run, done) for run in self.runs), strict=True)]

    def _inputs_of(self, run: "Run", done: int) -> list[Tensor]:
        rows = [run.order(done)] if self.held else list(map(partial(getattr, run.part(done)), self.columns))
        if self.ahead:
            return [*rows, *ahead(keyed(run.seed, done, self.device, self.recipe.noise), self.sites)]
        return [*rows, step_key(run.seed, done, self.device)]

    # -- the program ----------------------------------------------------------------------------------------------------
    def _whole(self, inputs: list[Tensor]) -> None:
        step, recipe = self.step_tensor, self.recipe
        lr, decay = recipe.rate(step, torch.cos), recipe.remembered(step).clamp(max=recipe.ema)
        if self.held:
            inputs = [*(column[inputs[0]] for column in self.held), *inputs[1:]]
        arguments = self.ours.weights, self.theirs.weights, self.buffers, inputs, step
        one = vmap(self._gradients, (0, 0, 0, 0, None)) if self.many else self._gradients
        ours, theirs, seen, updated = one(*arguments)
        with torch.no_grad():
            norm = self.ours.written_out(ours, lr, recipe.clip, step + 1, self.many)
            self.theirs.written_out(theirs, lr, recipe.clip, step + 1, self.many)
            for name, value in updated.items():
                self.buffers[f"model.{name}"].copy_(value)
            for mean, p in zip(self.average, self.ours.weights.values(), strict=False):
                mean.lerp_(p, 1 - decay)
            row = torch.cat([seen, norm[..., None]], -1)
            self.rows.index_copy_(0, (step % LOG_ROWS).long()[None], row.view(1, *self.rows.shape[1:]))
            step.add_(1)

    def _gradients(self, ours: Tensors, theirs: Tensors, buffers: Tensors, inputs: list[Tensor], step: Tensor
                   ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensors]:
        """One model's: of the objective for ours, of the critic's loss for theirs, taken apart."""
        n = len(self.columns)
        noise: Noise = Given(inputs[n:]) if self.ahead else Philox(inputs[n], fused=not self.many)
        batch = self.split.prepared(**dict(zip(self.columns, inputs[:n], strict=True)), noise=noise)

        values, pull, (seen, updated) = vjp(                # type: ignore[misc]  # stubs know no aux
            lambda ours, theirs: self._losses(ours, theirs, buffers, batch, noise, step), ours, theirs, has_aux=True)
        one, zero = torch.ones_like(values[0]), torch.zeros_like(values[0])
        if len(values) == 1:
            return list(pull((one,))[0].values()), [], seen, updated
        return list(pull((one, zero))[0].values()), list(pull((zero, one))[1].values()), seen, updated

    def _losses(self, ours: Tensors, theirs: Tensors, buffers: Tensors, batch: Batch, noise: Noise, step: Tensor
                ) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensors]]:
        loss, critic, seen, updated = functional_call(self.losses, (ours, theirs, buffers), (batch, noise, step))
        return (loss,) if critic is None else (loss, critic), (seen, updated)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without guards: a program's state stays where it is, and looking at all of it takes a tenth of a small model's step. So
    the code has to be this program's own: torch keeps what it compiled by code."""
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(own, fullgraph=True, dynamic=False, options={"guard_filter_fn": lambda guards: [False] * len(guards)})


class Captured:
    """Steps replayed from a CUDA graph, one for each number of steps at once, after WARM calls that are made as they come.

    A graph reads its inputs where those of the recorded call lay: later ones are copied there.
    """

    def __init__(self, step: Callable[[list[Tensor]], None]) -> None:
        self.step, self.warm, self.side = step, WARM, torch.cuda.Stream()
        self.graphs: dict[int, tuple[torch.cuda.CUDAGraph, list[Tensor]]] = {}

    def __call__(self, steps: list[list[Tensor]]) -> None:
        if self.warm:
            self.warm -= 1
            self.side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.side):
                for inputs in steps:
                    self.step(inputs)
            torch.cuda.current_stream().wait_stream(self.side)
            return
        if len(steps) not in self.graphs:
            self.graphs[len(steps)] = self._recorded(steps)
        graph, static = self.graphs[len(steps)]
        torch._foreach_copy_(static, [t for inputs in steps for t in inputs])
        graph.replay()

    def _recorded(self, steps: list[list[Tensor]]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
        graph, static = torch.cuda.CUDAGraph(), [[t.clone() for t in inputs] for inputs in steps]
        with torch.cuda.graph(graph):                       # records, and does not run
            for inputs in static:
                self.step(inputs)
        return graph, [t for inputs in static for t in inputs]


@torch.no_grad()
def _sites(run: "Run") -> list[tuple[str, tuple[Any, ...]]]:
    """What a step asks its noise for."""
    asked = Asked(run.device)
    batch = run.train.batch(slice(run.recipe.batch_size), asked)
    run.losses(batch, asked, run.step_tensor)
    return asked.sites
