"""beta-TCVAE, Chen et al. 2018, eq. 4 and appendix C.1: against the paper's sums in two loops, and batches whose total
correlation is known."""

import math

import pytest
import torch
from support import B, K, examples, perturbed, small
from torch.distributions import Normal

from zoo.distributions import DiagonalGaussian
from zoo.noise import Generated

STEP = torch.tensor(0.0)


def model_and_terms(beta, k=K):
    model = perturbed(small("beta_tcvae", "binary", beta=beta)).double()
    return model, model(examples("binary", dtype=torch.float64), k, Generated(0))


def papers_objective(terms, beta, n):
    """E[-log p(x|z)] + I + beta TC + sum_d KL_d, for each example, all by minibatch-weighted sampling from n examples."""
    total = []
    for i in range(B):
        mine = []
        for z in terms.z[:, i]:
            each = torch.stack([Normal(terms.q.mu[j], (terms.q.logvar[j] / 2).exp()).log_prob(z) for j in range(B)])     # (B,D)
            log_q = each.sum(1).exp().sum().log() - math.log(n * B)
            log_marginals = each.exp().sum(0).log() - math.log(n * B)
            information, correlation = each[i].sum() - log_q, log_q - log_marginals.sum()
            dimensions = (log_marginals - Normal(0.0, 1.0).log_prob(z)).sum()
            mine.append(information + beta * correlation + dimensions)
        total.append(terms.nll[:, i].mean() + torch.stack(mine).mean())
    return torch.stack(total)


@pytest.mark.parametrize("beta", [0.5, 6.0])
def test_it_is_the_papers_objective_but_for_a_constant_and_the_kls_sampling_error(beta):
    """Value and gradient of every parameter, for a data set of any size."""
    model, terms = model_and_terms(beta)
    sampled = (-(terms.log_w + terms.nll) - terms.kl.sum(-1)).mean(0)                    # log q(z|x) - log p(z) - KL
    ours = model.objective(terms, STEP) + sampled
    for n in (B, 60_000):
        paper = papers_objective(terms, beta, n)
        torch.testing.assert_close(ours, paper - (beta - 1) * (model.latent_dim - 1) * math.log(n))
        parameters = list(model.parameters())
        got, want = (torch.autograd.grad(o.sum(), parameters, retain_graph=True) for o in (ours, paper))
        torch.testing.assert_close(got, want)


def far_apart(points):
    """Narrow posteriors at these points, and three codes drawn from each: (3,B,D)."""
    mu = 100.0 * torch.tensor(points, dtype=torch.float64)
    return DiagonalGaussian(mu, torch.zeros_like(mu)), mu + torch.randn(3, *mu.shape, dtype=torch.float64)


def test_independent_codes_have_no_total_correlation():
    """All pairs of two values: q(z) is the product of its marginals."""
    q, z = far_apart([[0, 0], [0, 1], [1, 0], [1, 1]])
    torch.testing.assert_close(q.total_correlation(z), torch.zeros(3, 4, dtype=torch.float64))


def test_codes_that_repeat_one_another_have_all_of_it():
    """Five codes, each of three latents telling which: (D - 1) log B."""
    q, z = far_apart([[i, -i, 2 * i] for i in range(5)])
    torch.testing.assert_close(q.total_correlation(z), torch.full((3, 5), 2 * math.log(5), dtype=torch.float64))


def test_a_batch_of_one_is_correlated_with_nothing():
    q, z = far_apart([[1, 2, 3]])
    torch.testing.assert_close(q.total_correlation(z), torch.zeros(3, 1, dtype=torch.float64))


def test_the_penalty_moves_the_encoder_and_not_the_decoder():
    model, terms = model_and_terms(6.0)
    penalty = (model.objective(terms, STEP) + terms.elbo).mean()
    for part, moves in ((model.encoder, True), (model.decoder, False)):
        gradients = torch.autograd.grad(penalty, list(part.parameters()), allow_unused=True, retain_graph=True)
        assert all((g is not None and bool((g.abs() > 1e-9).any())) == moves for g in gradients)


def test_training_lowers_the_total_correlation():
    """Of codes that all follow one number."""

    def trained(beta):
        torch.manual_seed(0)
        source = torch.randn(256, 1)
        mu, log_sd = (source * torch.ones(1, 3)).requires_grad_(), torch.full((256, 3), -1.0).requires_grad_()
        optimiser = torch.optim.Adam([mu, log_sd], 1e-2)
        for _ in range(60):
            q = DiagonalGaussian(mu, 2 * log_sd)
            z = q.at(torch.randn(1, 256, 3))
            correlation = q.total_correlation(z).mean()
            optimiser.zero_grad()
            (beta * correlation).backward()
            optimiser.step()
        return float(correlation.detach())

    assert trained(1.0) < 0.7 * trained(0.0)
