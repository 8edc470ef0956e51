"""p(x|z) = prod_t p(x_t | x_<t, z): an autoregressive decoder *is* a likelihood.

`log_prob` teacher-forces; `draw` and `mean` run free.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .likelihoods import Family
from .nets.recurrent import Frames, shift
from .noise import Noise


@dataclass(frozen=True)
class Autoregressive:
    """A recurrent decoder that reads x_{t-1} and z at every step."""

    frames: Frames
    rnn: nn.Module                                           # over [x_{t-1}, z], time first
    emit: Callable[[Tensor], Family]                    # states (T,N,H) -> likelihood of the frames
    z: Tensor                                               # (K,B,D)
    state: Tensor                                           # (1,N,H): the first hidden state
    max_length: int

    def _run(self, previous: Tensor, state: Tensor) -> tuple[Family, Tensor]:
        """Features of x_{t-1} (T,N,F) -> p(x_t | x_<t, z) for these steps, and the state after them."""
        z = self.z.flatten(0, 1)
        h, state = self.rnn(torch.cat([previous, z.expand(len(previous), *z.shape)], -1), state)
        return self.emit(h), state

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B,T,*frame) -> (K,B), teacher-forced. Entries that `mask` hides cost nothing, but are fed back as zeros."""
        k, b = self.z.shape[:2]
        x = x.transpose(0, 1)
        previous = shift(self.frames(x, self.z)).repeat(1, k, 1)
        if mask is not None:
            mask = _repeat(mask.transpose(0, 1).expand_as(x), k)
        return self._run(previous, self.state)[0].log_prob(_repeat(x, k), mask).sum(0).view(k, b)

    def _free(self, choose: Callable[[Family], Tensor], show: Callable[[Family, Tensor], Tensor]) -> Tensor:
        n = self.z.shape[:2].numel()
        previous, state, out = self.z.new_zeros(1, n, self.frames.width), self.state, []
        for _ in range(self.max_length):
            p, state = self._run(previous, state)
            x = choose(p)
            out.append(show(p, x)[0])
            previous = self.frames(x, self.z)
        return torch.stack(out, 1).unflatten(0, self.z.shape[:2])

    @property
    def mean(self) -> Tensor:
        """(K,B,T,*frame): free running on the mode of each step; shown are the steps' means."""
        return self._free(lambda p: p.mode, lambda p, x: p.mean)

    def draw(self, noise: Noise) -> Tensor:
        """(K,B,T,*frame): free running on draws."""
        return self._free(lambda p: p.draw(noise), lambda p, x: x)


def _repeat(x: Tensor, k: int) -> Tensor:
    """(T,B,.) -> (T,K*B,.), sample-major."""
    return x.repeat(1, k, *[1] * (x.dim() - 2))
