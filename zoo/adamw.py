"""AdamW for the parameters that one loss moves: by torch's fused kernel, or written out, where the step is a program.

    g <- g min(1, clip / |g|),   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    p <- (1 - lr decay) p - lr / (1 - b1^n) m / (sqrt(v / (1 - b2^n)) + eps)           in the n-th step

torch's function is called, not its optimiser's class: it clips in the same pass over the gradients, and spares the Python that
takes as long as a small model's kernel.

Source: Loshchilov & Hutter 2019, algorithm 2.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim.adamw import adamw

EPS = 1e-8


class AdamW:
    """Moments `first` and `second` of `weights`, in their order."""

    def __init__(self, weights: Mapping[str, Tensor], betas: tuple[float, float] = (0.9, 0.999), decay: float = 0.0) -> None:
        self.weights, self.betas, self.decay = dict(weights), betas, decay
        self.first, self.second = ([torch.zeros_like(p) for p in weights.values()] for _ in range(2))
        self.counts = [torch.zeros((), device=p.device) for p in weights.values()]          # the kernel wants one each

    def after(self, steps: int) -> None:
        """Go on after so many steps."""
        for count in self.counts:
            count.fill_(steps)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], lr: float, clip: float) -> Tensor:
        """By the fused kernel; parameters without a gradient stay. -> the norm before clipping"""
        moved = [(p, g.contiguous(), m, v, n) for p, g, m, v, n in     # the kernel misreads any other layout, silently
                 zip(self.weights.values(), gradients, self.first, self.second, self.counts, strict=True) if g is not None]
        weights, gradients, first, second, counts = map(list, zip(*moved, strict=True))
        norm = get_total_norm(gradients)
        adamw(weights, gradients, first, second, [], counts, fused=True, grad_scale=((norm + 1e-6) / clip).clamp(min=1),
              amsgrad=False, beta1=self.betas[0], beta2=self.betas[1], lr=lr, weight_decay=self.decay, eps=EPS, maximize=False)
        return norm

    def written_out(self, gradients: Sequence[Tensor], lr: Tensor, clip: float, n: Tensor, many: bool) -> Tensor:
        """The n-th step in plain torch. many: all tensors are stacks of several models', each of which is clipped by itself.

        Returns the norm before clipping, of each model.
        """
        if not gradients:
            return torch.zeros_like(n)
        b1, b2 = self.betas
        first, root = -torch.expm1(n * math.log(b1)), (-torch.expm1(n * math.log(b2))).sqrt()
        norm = torch.stack([(g.reshape(len(g), -1) if many else g.flatten()).square().sum(-1) for g in gradients]).sum(0).sqrt()
        scale = (clip / (norm + 1e-6)).clamp(max=1)
        made = made_once(torch.cat([torch.stack([lr / first, 1 / root, 1 - lr * self.decay]), scale.view(-1)]))
        (size, spread, kept), scale = made[:3], made[3:].view_as(scale)
        for p, g, m, v in zip(self.weights.values(), gradients, self.first, self.second, strict=True):
            g = g * scale.view(-1, *[1] * (g.dim() - 1)) if many else g * scale
            m.lerp_(g, 1 - b1)
            v.lerp_(g.square(), 1 - b2)
            p.mul_(kept).sub_(size * m / (v.sqrt() * spread + EPS))
        return norm


@torch.library.custom_op("vae_zoo::made_once", mutates_args=())
def made_once(x: Tensor) -> Tensor:
    """x; which a compiled program keeps in memory. Without it scalars are made anew in every loop that takes them, on a CPU for
    every few elements: a schedule's cosine and its like cost four times as much as the update itself."""
    return x.clone()


@made_once.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)
