"""-log p(x) by annealed importance sampling, and how far that can be off."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import zoo
from zoo.noise import Noise

from .. import ais
from ..context import AIS, Context, mean_and_error
from ..importance import Bounds, stream
from ..refined import gradients_of
from . import Measured, metric

CHAINS, TOGETHER = 16, 20                                   # chains of each example; examples in one block of noise


@metric("nll_ais", unit="nats", better="lower", group="likelihood", needs=["bound", "density", "ais"])
def nll_ais(context: Context) -> dict[str, Measured]:
    """Annealed importance sampling from the prior: a bound on -log p(x), nats per example, in which no encoder has a part.

        nll_ais        -1/n sum_x log 1/C sum_c w_c        of the first `ais_examples` test examples, C = 16 chains
        nll_ais_gap    the upper minus the lower bound on log p(x), of as many examples drawn from the model itself

    The gap says how far both are off, if test examples are like the model's own; raise `ais_steps` until it is small. It costs
    some 50 gradients for each of `ais_steps` temperatures, so a suite asks for it: `ais_examples = 100` under [evaluation].
    `mc`, from two halves of the chains, is of their noise; `stderr` is over examples.
    Source: Neal 2001; Wu et al. 2017; Grosse et al. 2015 (bidirectional Monte Carlo). See `benchmarks.ais`.
    """
    temperatures = ais.schedule(context.evaluation.ais_steps)
    split = context.test.head(context.evaluation.ais_examples)

    def bounds_and_gap(batch: zoo.Batch, noise: Noise, i: int) -> Sequence[Tensor]:
        assert batch.x is not None
        n = len(batch.x)
        with torch.no_grad(), gradients_of(context.data.spec):
            real, given = context.model.joint(batch), context.model.joint(batch.given)
            assert real is not None and given is not None
            below = _bounds(ais.lower(real, CHAINS, n, temperatures, noise)[0])
            z = given.prior.sample(n, noise)
            own = replace(given, batch=replace(batch.given, x=given.likelihood(z[None]).draw(noise)[0]).visible)
            log_w, sizes = ais.lower(own, CHAINS, n, temperatures, noise)
            log_v = ais.upper(own, z, CHAINS, temperatures, sizes, noise)
            return *below.tensors, -_bounds(log_v).log_p[0] - _bounds(log_w).log_p[0]

    *found, gap = context.joined("ais", split, TOGETHER, AIS, bounds_and_gap)
    bounds = Bounds([CHAINS], *found)
    nll = -bounds.log_p[0]
    return {"nll_ais": Measured(*mean_and_error(nll), len(nll), mc=bounds.mc(0), items=nll),
            "nll_ais_gap": Measured(*mean_and_error(gap), len(gap))}


def _bounds(log_w: Tensor) -> Bounds:
    return stream([log_w], [len(log_w)])
