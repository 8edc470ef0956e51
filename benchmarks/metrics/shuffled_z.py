"""Does the decoder use its latents?"""

import torch

import zoo

from ..context import DRAWS, Context, mean_and_error
from . import Measured, metric

ORDER = 60                                                  # a branch of the suite's seed


@metric("shuffled_z_gap", unit="nats", better="none", group="latent space", needs=["parts"])
@torch.no_grad()
def shuffled_z_gap(context: Context) -> Measured:
    """How much of log p(x|z) is lost when z is another example's, nats per example.

        1/N sum_i log p(x_i|z_i) - log p(x_i|z_j),  z ~ q(z|x), j != i: the next in a random cycle through the test split

    0 where the decoder ignores z, even where q(z|x) differs from the prior, which a KL cannot tell. Conditional models keep
    the example's own label: what counts is what z adds to it.
    Source: Cheng et al. 2020 (CLUB, an upper bound on the information; there p(x|z) is the true conditional, here the model's).
    """
    model, own = context.model, context.draws.to(context.device)
    assert isinstance(model, zoo.Variant)
    cycle = context.noise(ORDER).permutation(len(own))
    other = torch.empty_like(own)
    other[cycle] = own[cycle.roll(1)]
    gaps = []
    blocks = context.blocks(context.test, context.rows, DRAWS)      # with these draws' own x, where it is binarised
    for (batch, _), *codes in zip(blocks, own.split(context.rows), other.split(context.rows), strict=True):
        x = batch.visible.x
        assert x is not None
        mine, foreign = (model.likelihood(z[None], batch.given).log_prob(x, batch.mask)[0] for z in codes)
        gaps.append((mine - foreign).double().cpu())
    gap = torch.cat(gaps)
    value, stderr = mean_and_error(gap)
    return Measured(value, stderr, len(gap))
