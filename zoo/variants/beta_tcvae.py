"""beta-TCVAE: of the KL, weigh the total correlation of the codes alone.

    KL(q(z|x) || p(z)) = I(z; x) + TC(z) + sum_d KL(q(z_d) || p(z_d)) in the mean over x,   TC = KL(q(z) || prod_d q(z_d))
    objective = nll + sum_g kl_g + (beta - 1) log [q(z) / prod_d q(z_d)],  z ~ q(z|x)          nats per example, minimised

q(z) and q(z_d) are estimated by the batch: equally weighted mixtures of its posteriors (DiagonalGaussian.total_correlation).
No critic is trained, unlike FactorVAE; the estimate is the better, the larger the batch (the paper: 2048).

Source: Chen et al. 2018, eq. 2 and 4 with alpha = gamma = 1, appendix C.1 (minibatch weights).  Departs from the paper: the
KL is in closed form, so that beta = 1 is the negative ELBO; a batch of B from N examples weighs each by 1/B, not 1/(N B), a
constant (D - 1) log N less, which has no gradient and makes the estimate the total correlation of the batch's own codes.
"""

from typing import Any

from torch import Tensor

from ..registry import register
from ..variant import Terms, Variant


@register("beta_tcvae", paper="Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, NeurIPS 2018",
          url="https://arxiv.org/abs/1802.04942", equation="eq. 4", plain_at={"beta": 1.0})
class BetaTCVAE(Variant):
    """`beta`: the weight of the total correlation."""

    def __init__(self, *, beta: float = 6.0, **common: Any) -> None:
        super().__init__(**common)
        self.beta = beta

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo + (self.beta - 1) * terms.q.total_correlation(terms.z).mean(0)
