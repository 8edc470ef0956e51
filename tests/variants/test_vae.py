"""VAE: objective = nll + KL(q || N(0, I)), worked out by torch.distributions from the nets' raw outputs."""

import torch
from support import B, Recorded, examples, perturbed, small
from torch.distributions import Bernoulli, Normal, kl_divergence


def test_objective_from_the_nets_outputs():
    model, batch, noise = perturbed(small("vae", "binary")), examples("binary"), Recorded()
    loss = model.objective(model(batch, noise=noise), torch.tensor(0.0))
    mu, logvar = model.encoder(batch.x).chunk(2, -1)
    z = mu + (logvar / 2).exp() * noise.sites[0][0]
    nll = -Bernoulli(logits=model.decoder(z)[:, 0]).log_prob(batch.x).sum((1, 2, 3))
    kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    assert loss.shape == (B,)
    torch.testing.assert_close(loss, nll + kl)
