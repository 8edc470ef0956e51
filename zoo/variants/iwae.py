"""IWAE: maximise the importance-weighted bound of k samples.

    objective = -log 1/k sum_i p(x, z_i) / q(z_i|x),  z_i ~ q(z|x)          nats per example, minimised

Source: Burda et al. 2016, eq. 8.  Departs from the paper: nothing.
"""

from typing import Any

from torch import Tensor

from ..registry import register
from ..variant import Terms, Variant, check_sizes


@register("iwae", paper="Burda et al., Importance Weighted Autoencoders, ICLR 2016", url="https://arxiv.org/abs/1509.00519",
          equation="eq. 8", bound="iwae", plain_at={})
class IWAE(Variant):
    """`k`: samples of a training step."""

    def __init__(self, *, k: int = 5, **common: Any) -> None:
        super().__init__(**common)
        check_sizes(k=k)
        self.train_samples = k

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.iwae
