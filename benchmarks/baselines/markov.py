"""First-order Markov chains, one for each number of a frame, which know nothing of each other.

    log p(x) = sum_d log p(x_1d) + sum_t>1 sum_d log p(x_td | x_t-1,d)        nats

binary, byte, tokens (bigrams): transition frequencies smoothed towards the marginal's, with L pseudo-counts for L levels:
p(b|a) = (n_ab + L p(b)) / (n_a + L). real, unit: x_t = c + f x_t-1 + noise by least squares, with Gaussian noise (AR(1)). The
first frame has the distribution of all frames, as in `marginal`. On JSB chorales at quarter notes: 10.47 nats a frame.

Source: MacKay & Peto 1995 (the smoothing).  Departs from it: the number of pseudo-counts is not learned.
"""

import zoo

from . import baseline
from ._chains import Chain, Levels, counted, independent, pairs_of, regressed


@baseline("markov", takes="sequences", paper="MacKay & Peto, A Hierarchical Dirichlet Language Model, 1995",
          url="https://doi.org/10.1017/S1351324900000218", equation="the predictive distribution")
class Markov(Chain):
    def __init__(self, data: zoo.Dataset, seed: int) -> None:
        first, steps = independent(data, seed), pairs_of(data, seed)
        if isinstance(first, Levels):
            prior = first.log_p.double().exp()
            super().__init__(data.spec, first, counted(steps, prior.shape[-1], prior, data.spec.kind == "tokens"))
        else:
            super().__init__(data.spec, first, regressed(steps, data.spec.size))
