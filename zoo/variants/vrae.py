"""VRAE: one latent for the whole sequence, and a recurrent decoder.

    p: z ~ N(0, I);  x_t | x_<t, z          q: z | x_1:T          objective = nll + sum_g kl_g, nats per sequence, minimised

The encoder reads the sequence backwards to its first frame; the decoder reads x_{t-1} and z at every step, the truth while
training (teacher forcing), its own output in `sample`.

Source: Fabius & van Amersfoort 2014, eq. 5-9; for text Bowman et al. 2016.
Departs from the paper: GRU for tanh units; z enters every step, not only the first state; no word dropout.
"""

from torch import Tensor, nn

from ..autoregressive import Autoregressive
from ..distributions import DiagonalGaussian
from ..likelihoods import Family
from ..nets.mlp import layers
from ..nets.recurrent import Frames, backwards
from ..registry import register
from ..spec import DataSpec
from ..variant import Batch, Terms, Variant


@register("vrae", paper="Fabius & van Amersfoort, Variational Recurrent Auto-Encoders, 2014", url="https://arxiv.org/abs/1412.6581",
          equation="eq. 9", plain_at={}, tags=["sequence"])
class VRAE(Variant):
    """Settings as everywhere; `encoder` and `decoder` are GRUs over features (time first), of `hidden` units."""

    def __init__(self, *, spec: DataSpec, latent_dim: int = 16, hidden: int = 128, encoder: nn.Module | None = None,
                 decoder: nn.Module | None = None, likelihood: str | None = None) -> None:
        frames = Frames(spec)
        super().__init__(spec=spec, latent_dim=latent_dim, hidden=hidden, likelihood=likelihood,
                         encoder=encoder or nn.GRU(frames.width, hidden),
                         decoder=decoder or nn.GRU(frames.width + latent_dim, hidden))
        self.frames = frames
        self.to_q, self.to_state = nn.Linear(hidden, 2 * latent_dim), nn.Linear(latent_dim, hidden)
        self.to_x = layers(hidden, hidden, self.family.params(spec) * spec.size)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        assert batch.x is not None
        features = self.frames(batch.x.transpose(0, 1), self.to_q.weight)
        return DiagonalGaussian.of(self.to_q(backwards(self.encoder, features, batch.lengths)[0]))

    def likelihood(self, z: Tensor, given: Batch) -> Autoregressive:
        state = self.to_state(z.flatten(0, 1)).tanh().unsqueeze(0)
        return Autoregressive(self.frames, self.decoder, self._frame, z, state, self.spec.max_length or 0)

    def objective(self, terms: Terms, step: Tensor) -> Tensor:
        return -terms.elbo

    def _frame(self, h: Tensor) -> Family:
        return self.family.of_flat(self.to_x(h), self.spec)
