"""The second assembly: latents drawn one step at a time.

    p(x, z) = prod_t p(z_t | x_<t, z_<t) p(x_t | x_<t, z_<=t)        prior_step, emission
    q(z|x)  = prod_t q(z_t | x_<t, z_<t, context_t)                  posterior_step

The state of a rollout alternates between two half-steps, so that no hook of the generative side can be handed x_t too early:

    joint_{t-1} --advance(past_t)--> state_t --join(z_t)--> joint_t       state_t: x_<t, z_<t    joint_t: x_<t, z_<=t

Time comes first in here: (T,N,.), with N = K * B rows, sample-major; one step is (N,.). Hooks see frames as features
(zoo.nets.recurrent.Frames). The loop holds `one_step` and nothing else; emission and densities are one call over all steps.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from .distributions import StandardNormal
from .likelihoods import Family, family
from .nets.recurrent import Frames, shift
from .noise import Default, Noise
from .spec import DataSpec
from .variant import Batch, Contract, Terms, check_sizes, within


class SequenceVariant(Contract):
    """Override the hooks; the assembly is final. Settings: `latent_dim` of each step, `hidden` width, `likelihood`."""

    def __init__(self, *, spec: DataSpec, latent_dim: int = 16, hidden: int = 128, likelihood: str | None = None) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, hidden=hidden)
        self.spec, self.latent_dim, self.hidden, self.family = spec, latent_dim, hidden, family(spec, likelihood)
        self.frames = Frames(spec)
        self.params = self.family.params(spec) * spec.size  # numbers that describe one frame

    # -- the generative side: never sees x_t before it has been emitted -------------------------------------------------
    def past(self, x_prev: Tensor, carry: Any = None) -> tuple[Any, Any]:
        """x_{t-1} (T,B,F) -> what is computed from x_<t without z (T,B,.), carry. One call of T frames is T calls of one."""
        return None, None

    @abstractmethod
    def start(self, n: int) -> Any:
        """-> joint_0 of n rows"""

    def advance(self, joint: Any, past: Any) -> Any:
        """joint_{t-1}, past_t -> state_t"""
        return joint

    def prior_step(self, state: Any) -> Any:
        """-> p(z_t | x_<t, z_<t)"""
        return StandardNormal(self.latent_dim)

    def join(self, state: Any, z: Tensor) -> Any:
        """state_t, z_t -> joint_t"""
        return z

    @abstractmethod
    def emission(self, joint: Any) -> Family:
        """joint_t (T,N,.) -> p(x_t | x_<t, z_<=t), for all t in one call"""

    # -- the inference side ---------------------------------------------------------------------------------------------
    @abstractmethod
    def context(self, x: Tensor, past: Any, lengths: Tensor | None) -> Any:
        """x (T,B,F), zero where missing; past (T,B,.) -> what q(z_t) may know of x (T,B,.)"""

    @abstractmethod
    def posterior_step(self, state: Any, context: Any, p: Any) -> Any:
        """-> q(z_t | x_<t, z_<t, context_t); p is this step's prior, for residual forms"""

    # -- for subclasses -------------------------------------------------------------------------------------------------
    def emit(self, h: Tensor) -> Family:
        """A net's last layer (T,N,params) -> likelihood of the frames."""
        return self.family.of_flat(h, self.spec)

    # -- the assembly ---------------------------------------------------------------------------------------------------
    @final
    def one_step(self, joint: Any, past: Any, context: Any, eps: Tensor) -> tuple[Any, Any, Tensor, Any, Any]:
        """Everything that must be in the loop: (N,.) -> p, q, z, kl (N,D) or None, joint"""
        state = self.advance(joint, past)
        p = self.prior_step(state)
        q = self.posterior_step(state, context, p)
        z, kl = q.pair(p, eps)
        return p, q, z, kl, self.join(state, z)

    @final
    def rollout(self, batch: Batch, k: int, noise: Noise) -> "Steps":
        """Run q and p along the data."""
        x, mask, n = batch.visible.x, batch.mask, k * _rows(batch)
        assert x is not None
        x = x.transpose(0, 1)
        features = self.frames(x, self._like)
        past, _ = self.past(shift(features))
        context = self.context(features, past, batch.lengths)
        eps = noise.normal((len(x), n, self.latent_dim)).to(self._like.dtype)
        joint, steps = self.start(n), []
        for past_t, context_t, eps_t in zip(unstack(past, len(x)), unstack(context, len(x)), eps.unbind(), strict=True):
            steps.append(self.one_step(joint, rows(past_t, k), rows(context_t, k), eps_t))
            joint = steps[-1][-1]
        p, q, z, kl, joint = stack(steps)
        likelihood = self.emission(joint)
        log_px = likelihood.log_prob(rows(x, k, 1), None if mask is None else rows(mask.transpose(0, 1).expand_as(x), k, 1))
        log_ratio = q.log_prob(z) - p.log_prob(z)
        cost = log_ratio if kl is None else kl.sum(-1)
        inside = batch.inside(len(x)).T[:, None]
        terms = (torch.where(inside, v.unflatten(1, (k, -1)), 0.0) for v in (-log_px, cost, log_px - log_ratio))
        return Steps(q, z.unflatten(1, (k, -1)), likelihood, *terms)

    @final  # type: ignore[misc]
    def forward(self, batch: Batch, k: int | None = None, noise: Noise | None = None) -> Terms:
        self.spec.check_form(batch)
        s = self.rollout(batch, self.train_samples if k is None else k, noise or Default(self.device))
        return Terms(batch, s.z.permute(1, 2, 0, 3), s.q, s.nll.sum(0), s.kl.permute(1, 2, 0), s.log_w.sum(0))

    @final
    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """Means of q(z_t) along one rollout, (B,T,D). The latents that feed the recurrence are at their means too."""
        self.spec.check(batch)
        return self.rollout(batch, 1, Zeros(self.device)).q.mean.transpose(0, 1)

    @final
    def decode(self, z: Tensor, label: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        raise NotImplementedError(f"{self.name} has a latent at every step, whose meaning depends on the past: there is no "
                                  "decoder of z alone; use sample or reconstruct")

    @final
    @torch.no_grad()
    def sample(self, n: int, *, label: Tensor | None = None, lengths: Tensor | None = None, noise: Noise | None = None,
               observe: bool = True) -> Tensor:
        """n new sequences (n, max_length, *frame), zero past the end. Free running: every frame drawn is fed back.

        `observe` changes nothing: a mean fed back is no sample. Raises: ValueError for lengths that do not fit.
        """
        noise = noise or Default(self.device)
        given = self.conditions(n, label, lengths, noise)
        joint, carry = self.start(n), None
        previous = self._like.new_zeros(1, n, self.frames.width)
        frames = []
        for _ in range(self.spec.max_length or 0):
            past, carry = self.past(previous, carry)
            state = self.advance(joint, unstack(past, 1)[0])
            p = self.prior_step(state)
            joint = self.join(state, p.at(noise.normal((n, self.latent_dim)).to(self._like.dtype)))
            x = self.emission(stack([joint])).draw(noise)
            frames.append(x[0])
            previous = self.frames(x, self._like)
        return within(torch.stack(frames, 1), given.lengths)

    @final
    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """Mean of p(x_t | x_<t, z_<=t) along the data, z at the posterior's means. Like batch.x."""
        self.spec.check(batch)
        return within(self.rollout(batch, 1, Zeros(self.device)).likelihood.mean.transpose(0, 1), batch.lengths)

    @property
    def _like(self) -> Tensor:
        return next(self.parameters())


class Steps(NamedTuple):
    """A rollout, time first."""

    q: Any
    z: Tensor                                               # (T,K,B,D)
    likelihood: Family                                      # of (T,N,*frame)
    nll: Tensor                                             # (T,K,B), zero past the end; kl and log_w too
    kl: Tensor
    log_w: Tensor


class Zeros(Default):
    """No noise: every latent at its mean."""

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, device=self.device)


def _rows(batch: Batch) -> int:
    assert batch.x is not None
    return len(batch.x)


# -- trees: tensors, None, tuples and the distributions' dataclasses --------------------------------------------------------
def each(f: Callable[..., Any], trees: Sequence[Any]) -> Any:
    """f over the tensors of alike trees."""
    first = trees[0]
    if isinstance(first, Tensor):
        return f(trees)
    if isinstance(first, tuple):
        return tuple(each(f, leaves) for leaves in zip(*trees, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        return type(first)(*(each(f, [getattr(t, c.name) for t in trees]) for c in fields(first)))
    return first


def stack(trees: Sequence[Any]) -> Any:
    return each(torch.stack, trees)


def unstack(tree: Any, n: int) -> list[Any]:
    """(T,.) -> n trees. Not v[t] in a loop: the backward of every v[t] fills a whole (T,.) with zeros."""
    if isinstance(tree, Tensor):
        return list(tree.unbind())
    if isinstance(tree, tuple):
        return list(zip(*(unstack(v, n) for v in tree), strict=True))
    return [tree] * n


def rows(tree: Any, k: int, dim: int = 0) -> Any:
    """(.., B, ..) -> (.., K*B, ..), sample-major."""
    return tree if k == 1 else each(lambda v: torch.cat([v[0]] * k, dim), [tree])
