"""Independent numbers: each has the distribution it has in the training split, whatever the others and the past are.

    log p(x) = sum_t sum_d log p_d(x_td)        nats; the same p_d in every frame of a sequence

binary, byte, tokens: frequencies, p(v) = (n_v + 1) / (n + L) of L levels (Laplace's rule). real: a Gaussian. unit: a continuous
Bernoulli, the density that the zoo's own models have of such data, with the smoothed mean. Missing values do not count. On JSB
chorales this is the 11.06 nats a frame that papers on polyphonic music begin with.

Source: Boulanger-Lewandowski et al. 2012, section 6; Loaiza-Ganem & Cunningham 2019, eq. 6-8.  Departs from it: nothing.
"""

import zoo

from . import baseline
from ._chains import Chain, independent


@baseline("marginal", takes="both", paper="Boulanger-Lewandowski et al., Modeling Temporal Dependencies in High-Dimensional "
          "Sequences, ICML 2012", url="https://arxiv.org/abs/1206.6392", equation="section 6", tags=["missing"])
class Marginal(Chain):
    def __init__(self, data: zoo.Dataset, seed: int) -> None:
        numbers = independent(data, seed)
        super().__init__(data.spec, numbers, numbers)
