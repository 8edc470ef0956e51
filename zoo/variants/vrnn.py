"""VRNN: one recurrence over x and z, in the prior, the encoder and the decoder.

    p: z_t | h_t;  x_t | z_t, h_t;  h_t = f(x_{t-1}, z_{t-1}, h_{t-1})          q: z_t | x_t, h_t
    objective = sum_t nll_t + KL(q(z_t | x_<=t, z_<t) || p(z_t | x_<t, z_<t))          nats per sequence, minimised

Source: Chung et al. 2015, eq. 5-11 (there h_{t-1} is what is h_t here).  Departs from the paper: GRU for LSTM; the first state
is f(0, 0, 0), not 0.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..distributions import DiagonalGaussian
from ..likelihoods import Family
from ..nets.mlp import layers
from ..registry import register
from ..sequence import SequenceVariant
from ..variant import Terms


@register("vrnn", paper="Chung et al., A Recurrent Latent Variable Model for Sequential Data, NeurIPS 2015",
          url="https://arxiv.org/abs/1506.02216", equation="eq. 11", plain_at={},
          tags=["sequence", "filtering", "learned_prior"])
class VRNN(SequenceVariant):
    """Settings as of every sequence variant."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        z, h = self.latent_dim, self.hidden
        self.embed_x, self.embed_z = layers(self.frames.width, h, h), layers(z, h, h)
        self.cell = nn.GRUCell(2 * h, h)
        self.to_p, self.to_q, self.to_x = layers(h, h, 2 * z), layers(2 * h, h, 2 * z), layers(2 * h, h, self.params)

    def past(self, x_prev: Tensor, carry: Any = None) -> tuple[Tensor, Any]:
        return self.embed_x(x_prev), None

    def context(self, x: Tensor, past: Tensor, lengths: Tensor | None) -> Tensor:
        return self.embed_x(x)

    def start(self, n: int) -> tuple[Tensor, Tensor]:
        zeros = self.cell.weight_hh.new_zeros(n, self.hidden)
        return zeros, zeros

    def advance(self, joint: tuple[Tensor, Tensor], past: Tensor) -> Tensor:
        h, z = joint
        return self.cell(torch.cat([past, z], -1), h)

    def prior_step(self, state: Tensor) -> DiagonalGaussian:
        return DiagonalGaussian.softplus(self.to_p(state))

    def posterior_step(self, state: Tensor, context: Tensor, p: DiagonalGaussian) -> DiagonalGaussian:
        return DiagonalGaussian.softplus(self.to_q(torch.cat([context, state], -1)))

    def join(self, state: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return state, self.embed_z(z)

    def emission(self, joint: tuple[Tensor, Tensor]) -> Family:
        return self.emit(self.to_x(torch.cat(joint, -1)))

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo
