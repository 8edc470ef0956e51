"""VRNN, Chung et al. 2015, eq. 5-11: the recurrence written out frame by frame, with loops and nothing shared."""

import torch
from support import K, Recorded, examples, perturbed, small
from torch.distributions import Bernoulli, Normal, kl_divergence

import zoo
from zoo.distributions import VARIANCE_FLOOR


def gaussian(h):
    mu, spread = h.chunk(2, -1)
    return Normal(mu, (torch.nn.functional.softplus(spread) + VARIANCE_FLOOR).sqrt())


def test_objective_written_out():
    model, batch, noise = perturbed(small("vrnn", "binary-frames")), examples("binary-frames"), Recorded()
    terms = model(batch, K, noise)
    eps = noise.sites[0].view(5, K, 7, 4)
    for k in range(K):
        for b in range(7):
            h, x, z = torch.zeros(1, 16), torch.zeros(1, 5), torch.zeros(1, 16)
            nll, kl, log_w = 0.0, [], 0.0
            for t in range(int(batch.lengths[b])):
                h = model.cell(torch.cat([model.embed_x(x), z], -1), h)
                x = batch.x[b, t][None]
                p, q = gaussian(model.to_p(h)), gaussian(model.to_q(torch.cat([model.embed_x(x), h], -1)))
                drawn = q.mean + q.stddev * eps[t, k, b]
                z = model.embed_z(drawn)
                score = Bernoulli(logits=model.to_x(torch.cat([h, z], -1))).log_prob(x).sum()
                nll, log_w = nll - score, log_w + score + (p.log_prob(drawn) - q.log_prob(drawn)).sum()
                kl.append(kl_divergence(q, p).sum())
            torch.testing.assert_close(terms.nll[k, b], nll)
            torch.testing.assert_close(terms.kl[k, b, : len(kl)], torch.stack(kl))
            torch.testing.assert_close(terms.log_w[k, b], log_w, atol=1e-4, rtol=1e-4)
    loss = model.objective(terms, torch.tensor(0.0))
    torch.testing.assert_close(loss, (terms.nll + terms.kl.sum(-1)).mean(0))


def test_the_prior_is_not_told_the_frame_and_the_emission_does_not_move_the_guide():
    model, batch = perturbed(small("vrnn", "binary-frames")), examples("binary-frames")
    terms = model(zoo.Batch(batch.x[:, :1]), 1)             # one frame: nothing is fed back
    prior, guide, frame = (list(net.parameters()) for net in (model.to_p, model.to_q, model.to_x))
    assert all(g is None for g in torch.autograd.grad(terms.nll.sum(), prior, allow_unused=True, retain_graph=True))
    assert all(g is None for g in torch.autograd.grad(terms.kl.sum(), frame, allow_unused=True, retain_graph=True))
    for loss in (terms.nll.sum(), terms.kl.sum()):
        assert any((g != 0).any() for g in torch.autograd.grad(loss, guide, retain_graph=True))
