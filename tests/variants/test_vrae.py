"""VRAE, Fabius & van Amersfoort 2014: encoder and decoder written out frame by frame, one example at a time."""

import torch
from support import K, Recorded, examples, perturbed, small
from torch.distributions import Bernoulli, Normal, kl_divergence


def test_objective_written_out():
    model, batch, noise = perturbed(small("vrae", "binary-frames")), examples("binary-frames"), Recorded()
    terms = model(batch, K, noise)
    for b in range(7):
        frames = batch.x[b, : int(batch.lengths[b])]
        state = model.encoder(frames.flip(0))[1][0]                             # from its own last frame to its first
        mu, logvar = model.to_q(state).chunk(2, -1)
        kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum()
        torch.testing.assert_close(terms.kl[:, b].sum(-1), kl.expand(K))
        for k in range(K):
            z = mu + (logvar / 2).exp() * noise.sites[0][k, b]
            h, x, nll = model.to_state(z).tanh(), torch.zeros(5), 0.0
            for frame in frames:                                                # teacher forcing: the truth is fed back
                h = model.decoder(torch.cat([x, z])[None], h[None])[1][0]
                nll = nll - Bernoulli(logits=model.to_x(h)).log_prob(frame).sum()
                x = frame
            torch.testing.assert_close(terms.nll[k, b], nll)
    torch.testing.assert_close(model.objective(terms, torch.tensor(0.0)), (terms.nll + terms.kl.sum(-1)).mean(0))


def test_the_code_reads_the_whole_sequence():
    model, batch = perturbed(small("vrae", "binary-frames")), examples("binary-frames")
    q = model.posterior(batch).mu
    for t in range(5):
        x = batch.x.clone()
        x[0, t] = 1 - x[0, t]                                                   # the first example is full
        assert not torch.equal(model.posterior(type(batch)(x, lengths=batch.lengths)).mu[0], q[0])
