"""-log p(x) from importance samples of a q that was refined for each example."""

from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor

import zoo
from zoo.noise import Noise

from ..context import REFINED, Context, mean_and_error
from ..importance import UNIT, Bounds, stream
from ..refined import START, gradients_of, log_weights, refine
from . import Measured, metric

TOGETHER = 20                                               # examples, in one block of noise


@metric("nll_refined", unit="nats", better="lower", group="likelihood", needs=["bound", "density"],
        label="nll_refined_{refined_k}")
def nll_refined(context: Context) -> Measured:
    """Importance-weighted bound on -log p(x) after local refinement of q, of the first `refined_examples` test examples.

        -1/n sum_x log 1/K sum_k p(x, z_k) / q_x(z_k),  z_k ~ q_x        K = `refined_k`, nats per example

    q_x is a diagonal Gaussian, fitted to x alone by 50 steps of Adam on the ELBO, then widened by 1.2 (`benchmarks.refined`);
    the final samples are fresh. It judges p with little regard for the encoder: rank generative models on it, and read how
    far `nll_iwae` is above it as the encoder's failing. `stderr` is over examples, `mc` over the final samples.
    Source: Burda et al. 2016, eq. 8, on the locally optimised posteriors of Cremer et al. 2018.
    """
    k, split = context.evaluation.refined_k, context.test.head(context.evaluation.refined_examples)

    def bound(batch: zoo.Batch, noise: Noise, i: int) -> Sequence[Tensor]:
        with torch.no_grad(), gradients_of(context.data.spec):
            joint = context.model.joint(batch)
            assert joint is not None
            q = refine(joint, context.model(batch, START, noise).z, noise)
        return stream((log_weights(joint, q, UNIT, context.noise(REFINED, unit, i)) for unit in count()), [k]).tensors

    bounds = Bounds([k], *context.joined("refined", split, TOGETHER, REFINED, bound))
    nll = -bounds.log_p[0]
    value, stderr = mean_and_error(nll)
    return Measured(value, stderr, len(nll), mc=bounds.mc(0), items=nll)
