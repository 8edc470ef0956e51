"""VQ-VAE: discrete latents, the nearest of a set of codes that follow the encoder by moving averages.

    z_e = f(x) in G groups;  z_g = nearest code to z_e,g;  p(z) uniform over the C codes of each group
    objective = -log p(x|z) + G log C + commitment * |z_e - sg(z)|^2          nats per example, minimised
    codes:  N_c <- decay N_c + (1 - decay) n_c,   m_c <- decay m_c + (1 - decay) sum of z_e assigned to c,   e_c = m_c / N_c

The gradient of z passes straight through to z_e. -log p(x|z) + G log C bounds -log p(x): the KL is that of a point against
uniform codes, a constant.

Source: van den Oord et al. 2017, eq. 3 and appendix A.1 (moving averages).  Departs from the paper: fully connected nets give
G groups of one vector where convolutions give a map; counts are smoothed by 1e-5 as in the authors' code.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..distributions import NearestCode, UniformCodes
from ..registry import register
from ..variant import Batch, Terms, Variant


@register("vq_vae", paper="van den Oord et al., Neural Discrete Representation Learning, NeurIPS 2017",
          url="https://arxiv.org/abs/1711.00937", equation="eq. 3", plain_at={"commitment": 0.0},
          tags=["discrete", "deterministic"])
class VQVAE(Variant):
    """`codes` of each group; `groups`, which share out latent_dim; `commitment` and `decay` of the formulas above."""

    codebook: Tensor                                        # (C,d)
    counts: Tensor                                          # (C,)
    sums: Tensor                                            # (C,d)

    def __init__(self, *, codes: int = 512, groups: int = 16, commitment: float = 0.25, decay: float = 0.99,
                 latent_dim: int = 64, **common: Any) -> None:
        if latent_dim % groups:
            raise ValueError(f"latent_dim is {latent_dim}; it must be a multiple of groups, {groups}")
        super().__init__(0, latent_dim, latent_dim=latent_dim, **common)
        self.groups, self.commitment, self.decay = groups, commitment, decay
        self.register_buffer("codebook", nn.init.normal_(torch.empty(codes, latent_dim // groups), std=groups / latent_dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codebook.clone())

    def posterior(self, batch: Batch) -> NearestCode:
        return NearestCode.of(self.encoder(batch.x).unflatten(-1, (self.groups, -1)), self.codebook)

    def prior(self, given: Batch) -> UniformCodes:
        return UniformCodes(self.codebook, self.groups)

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo + self.commitment * (terms.q.encoded - terms.q.chosen).square().sum((-2, -1))

    def updated_buffers(self, terms: Terms) -> dict[str, Tensor]:
        encoded, index = terms.q.encoded.detach().flatten(0, 1), terms.q.index.flatten()
        hot = (index[:, None] == torch.arange(len(self.codebook), device=index.device)).to(encoded.dtype)    # (B*G,C)
        counts = self.decay * self.counts + (1 - self.decay) * hot.sum(0)
        sums = self.decay * self.sums + (1 - self.decay) * hot.T @ encoded
        total = counts.sum()
        smoothed = (counts + 1e-5) / (total + 1e-5 * len(counts)) * total           # never divide by zero
        return {"counts": counts, "sums": sums, "codebook": sums / smoothed[:, None]}
