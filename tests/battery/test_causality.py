"""Who may see which part of a sequence. Weights are strong: a weak dependence on x_{t-1} hides a wrong lag."""

import pytest
import torch
from support import CASES, SPECS, B, K, Recorded, examples, other, perturbed, small, with_x

import zoo
from zoo.distributions import DiagonalGaussian

T = 5
CHAINS = [c for c in CASES if issubclass(zoo.entry(c[0]).build, zoo.SequenceVariant)]          # a latent a step
WHOLES = [c for c in CASES if c not in CHAINS and SPECS[c[1]].sequence]                        # one z for all of it


def model_and_batch(name, kind):
    batch = examples(kind, dtype=torch.float64)
    return perturbed(small(name, kind), 1.0).double(), zoo.Batch(batch.x, batch.label)


def changed_after(model, batch, t):
    """x_{t+1} and all later frames replaced by others."""
    x = torch.cat([batch.x[:, : t + 1], other(model.spec, batch.x[:, t + 1 :])], 1)
    return with_x(batch, x)


def at(v, t):
    return v[t].abs().sum()


@pytest.mark.parametrize(("name", "kind"), [c for c in CHAINS if "filtering" in zoo.entry(c[0]).tags])
@pytest.mark.parametrize("t", range(T - 1))
def test_a_filtering_posterior_does_not_see_the_future(name, kind, t):
    model, batch = model_and_batch(name, kind)
    noise = Recorded()
    here = model.rollout(batch, K, noise)
    there = model.rollout(changed_after(model, batch, t), K, noise.replay())
    for a, b in ((here.nll, there.nll), (here.kl, there.kl), (here.log_w, there.log_w), (here.z, there.z)):
        assert torch.equal(a[: t + 1], b[: t + 1]) and not torch.equal(a[t + 1], b[t + 1])


@pytest.mark.parametrize(("name", "kind"), [c for c in CHAINS if "smoothing" in zoo.entry(c[0]).tags])
def test_a_smoothing_posterior_does_see_the_future(name, kind):
    model, batch = model_and_batch(name, kind)
    noise = Recorded()
    here = model.rollout(batch, K, noise)
    there = model.rollout(changed_after(model, batch, T - 2), K, noise.replay())
    assert all(not torch.equal(here.kl[t], there.kl[t]) for t in range(T))


@pytest.mark.parametrize(("name", "kind"), CHAINS)
@pytest.mark.parametrize("t", range(T - 1))
def test_given_z_a_chain_is_generated_forwards(name, kind, t):
    """With z held still, p(x_<=t | z) and p(z_{<=t+1} | x_<=t) stay when x_{>t} changes."""
    model, batch = model_and_batch(name, kind)
    zeros = torch.zeros(K * B, model.latent_dim, dtype=torch.float64)
    model.posterior_step = lambda state, context, p: DiagonalGaussian(zeros, zeros)            # z = eps, whatever x is
    noise = Recorded()
    here = model.rollout(batch, K, noise)
    there = model.rollout(changed_after(model, batch, t), K, noise.replay())
    assert torch.equal(here.nll[: t + 1], there.nll[: t + 1]) and not torch.equal(here.nll[t + 1], there.nll[t + 1])
    assert torch.equal(here.kl[: t + 2], there.kl[: t + 2])


@pytest.mark.parametrize(("name", "kind"), WHOLES)
@pytest.mark.parametrize("t", range(T - 1))
def test_given_z_a_whole_sequence_is_generated_forwards(name, kind, t):
    """log p(x_<=t | z), with the rest masked, stays when x_{>t} changes: no frame is told of itself or of a later one."""
    model, batch = model_and_batch(name, kind)
    p = model.likelihood(torch.randn(K, B, model.latent_dim, dtype=torch.float64), batch.given)

    def score(batch, frames):
        inside = (torch.arange(T) < frames).view(1, T, *[1] * len(model.spec.shape))
        return p.log_prob(batch.x, inside.expand(B, T, *[1] * len(model.spec.shape)))

    other_end = changed_after(model, batch, t)
    assert torch.equal(score(batch, t + 1), score(other_end, t + 1))
    assert not torch.equal(score(batch, t + 2), score(other_end, t + 2))


@pytest.mark.parametrize(("name", "kind"), CHAINS)
def test_the_past_is_the_same_in_one_call_and_frame_by_frame(name, kind):
    """Training asks for all of it, free running for one frame after the other."""
    model, _ = model_and_batch(name, kind)
    x = torch.randn(T, B, model.frames.width, dtype=torch.float64)
    whole, carry, parts = model.past(x)[0], None, []
    if whole is None:
        pytest.skip("no past")
    for frame in x.split(1):
        part, carry = model.past(frame, carry)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)


@pytest.mark.parametrize(("name", "kind"), CHAINS)
def test_reconstruction_is_teacher_forced(name, kind):
    """Frame t of a reconstruction may use x_<=t through z and x_<t; a chain's frame 0 hears of no other frame if it filters."""
    model, batch = model_and_batch(name, kind)
    here, there = (model.reconstruct(b) for b in (batch, changed_after(model, batch, T - 2)))
    if "filtering" in zoo.entry(name).tags:
        assert torch.equal(here[:, : T - 1], there[:, : T - 1])
    assert here.shape == batch.x.shape
