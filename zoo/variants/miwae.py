"""MIWAE: the importance-weighted bound on what was observed, for data with missing values.

    objective = -log 1/k sum_i p(x_obs|z_i) p(z_i) / q(z_i|x_obs),  z_i ~ q(z|x_obs)          nats per example, minimised

Missing entries are zero for the encoder and cost nothing in the likelihood: `Batch.visible` and the assembly see to both.
A bound on log p(x_obs) if values are missing at random.

Source: Mattei & Frellsen 2019, eq. 4.  Departs from the paper: Gaussian q where its code has Student's t.
"""

from typing import Any

from torch import Tensor

from ..registry import register
from ..variant import Terms, Variant, check_sizes


@register("miwae", paper="Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation, ICML 2019",
          url="https://arxiv.org/abs/1812.02633", equation="eq. 4", bound="iwae", plain_at={}, tags=["missing"])
class MIWAE(Variant):
    """`k`: samples of a training step."""

    def __init__(self, *, k: int = 20, **common: Any) -> None:
        super().__init__(**common)
        check_sizes(k=k)
        self.train_samples = k

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.iwae
