"""VAE: maximise the evidence lower bound.

    objective = nll + sum_g kl_g = -ELBO          nats per example, minimised

Source: Kingma & Welling 2014, eq. 10; Rezende et al. 2014.  Departs from the paper: nothing.
"""

from torch import Tensor

from ..registry import register
from ..variant import Terms, Variant


@register("vae", paper="Kingma & Welling, Auto-Encoding Variational Bayes, ICLR 2014", url="https://arxiv.org/abs/1312.6114",
          equation="eq. 10", plain_at={})
class VAE(Variant):
    """q(z|x) is a diagonal Gaussian, p(z) = N(0, I)."""

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo
