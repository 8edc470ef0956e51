"""beta-VAE, Higgins et al. 2017, eq. 4: nll + beta KL."""

import torch
from support import SPECS, examples, perturbed, small

import zoo
from zoo.noise import Generated


def hand_made(nll, kl):
    """Terms of K samples of B examples from nested lists."""
    nll, kl = torch.tensor(nll), torch.tensor(kl)
    return zoo.Terms(zoo.Batch(), nll, None, nll, kl, -nll)


def test_by_hand():
    """K = 2 samples of 2 examples, 3 latents: nll averages over K, the KL adds over latents."""
    terms = hand_made([[10.0, 20.0], [14.0, 22.0]], [[[1.0, 2.0, 3.0], [0.5, 0.0, 0.0]]] * 2)
    loss = small("beta_vae", "binary", beta=4.0).objective(terms, torch.tensor(0.0))
    torch.testing.assert_close(loss, torch.tensor([12 + 4 * 6.0, 21 + 4 * 0.5]))


def test_the_papers_default_weighs_the_kl_by_four():
    assert zoo.entry("beta_vae").settings()["beta"] == 4.0


def test_beta_moves_the_encoder_by_the_kl_alone_and_never_the_decoder():
    def gradient(beta, part):
        model = perturbed(small("beta_vae", "binary", beta=beta))
        loss = model.objective(model(examples("binary"), noise=Generated(0)), torch.tensor(0.0)).mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(getattr(model, part).parameters()))])

    torch.testing.assert_close(gradient(1.0, "decoder"), gradient(9.0, "decoder"))
    at_0, at_1, at_3 = (gradient(beta, "encoder") for beta in (0.0, 1.0, 3.0))
    torch.testing.assert_close(at_3 - at_0, 3 * (at_1 - at_0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(at_0, at_1)


def test_the_reported_elbo_does_not_know_beta():
    one, many = (perturbed(zoo.create("beta_vae", SPECS["binary"], beta=b, seed=0)) for b in (1.0, 50.0))
    batch = examples("binary")
    assert torch.equal(one(batch, noise=Generated(0)).elbo, many(batch, noise=Generated(0)).elbo)
