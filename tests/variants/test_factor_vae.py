"""FactorVAE, Kim & Mnih 2018, eq. 2 and 3: a total correlation known in closed form is what the critic must find."""

import math

import pytest
import torch
import torch.nn.functional as F
from support import examples, perturbed, small

import zoo
from zoo.noise import Generated


def terms_of(z):
    zeros = torch.zeros(z.shape[:2])
    return zoo.Terms(zoo.Batch(), z, None, zeros, zeros.unsqueeze(-1), zeros)


def correlated(n, rho, generator):
    eps = torch.randn(n, 2, generator=generator)
    return torch.stack([eps[:, 0], rho * eps[:, 0] + math.sqrt(1 - rho**2) * eps[:, 1]], -1)[None]


def test_a_trained_critics_mean_logit_is_the_total_correlation():
    """Two normals with correlation rho: TC = -1/2 log(1 - rho^2). A critic with the classes swapped finds its negative."""
    model = small("factor_vae", "binary", latent_dim=2, critic_width=32, critic_layers=2, gamma=1.0)
    generator, optimiser = torch.Generator().manual_seed(0), torch.optim.Adam(model.adversary.parameters(), 3e-3)
    for step in range(600):
        optimiser.zero_grad()
        model.adversary_loss(terms_of(correlated(1024, 0.8, generator)), Generated(0, step)).backward()
        optimiser.step()
    with torch.no_grad():
        penalty = model.objective(terms_of(correlated(20_000, 0.8, generator)), torch.tensor(0.0)).mean()
    assert abs(penalty - -0.5 * math.log(1 - 0.64)) < 0.08


def test_objective_by_hand():
    model = perturbed(small("factor_vae", "binary", gamma=3.0))
    terms = model(examples("binary"), 2)
    logit = model.adversary(terms.z)[..., 0]
    torch.testing.assert_close(model.objective(terms, torch.tensor(0.0)), (terms.nll + terms.kl.sum(-1) + 3 * logit).mean(0))


def test_critic_by_hand():
    """-log D of the first half, -log(1 - D) of the second with each latent permuted on its own."""
    model = perturbed(small("factor_vae", "binary"))
    z, noise = torch.randn(1, 8, 4), Generated(3)
    order = [noise.permutation(4) for _ in range(4)]
    factored = torch.stack([z[0, 4:, d][order[d]] for d in range(4)], -1)
    assert len({tuple(o.tolist()) for o in order}) > 1
    expected = -F.logsigmoid(model.adversary(z[0, :4])).mean() - (1 - model.adversary(factored).sigmoid()).log().mean()
    torch.testing.assert_close(model.adversary_loss(terms_of(z), Generated(3)), expected)


def test_the_critic_moves_nothing_else():
    model = perturbed(small("factor_vae", "binary"))
    loss = model.adversary_loss(model(examples("binary")), Generated(0))
    others = [p for n, p in model.named_parameters() if not n.startswith("adversary.")]
    assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True))


def test_the_penalty_moves_the_encoder_and_not_the_decoder():
    model = perturbed(small("factor_vae", "binary"))
    terms = model(examples("binary"))
    penalty = (model.objective(terms, torch.tensor(0.0)) + terms.elbo).mean()

    def gradients(part):
        return torch.autograd.grad(penalty, list(getattr(model, part).parameters()), allow_unused=True, retain_graph=True)

    assert all((g != 0).any() for g in gradients("encoder"))
    assert all(g is None or (g.abs() < 1e-6).all() for g in gradients("decoder"))


def test_one_example_cannot_be_permuted():
    with pytest.raises(ValueError, match="at least 2"):
        small("factor_vae", "binary").adversary_loss(terms_of(torch.randn(1, 1, 4)), Generated(0))
