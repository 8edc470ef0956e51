"""Nats, bounds and gradients, of perturbed models."""

import pytest
import torch
from support import (
    CASES,
    FORMS,
    NAMES,
    SPECS,
    B,
    K,
    dataset,
    examples,
    form_id,
    kinds,
    perturbed,
    small,
    standard_error,
)

import zoo
from zoo.noise import Generated

LATE = torch.tensor(1e6)                                    # a step after every schedule has ended


def stochastic(name):
    return "deterministic" not in zoo.entry(name).tags


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_terms_are_finite_and_per_example(name, kind):
    model = perturbed(small(name, kind))
    terms = model(examples(kind), K)
    assert terms.nll.shape == terms.log_w.shape == (K, B) == terms.kl.shape[:2] and terms.kl.dim() == 3
    assert terms.elbo.shape == terms.iwae.shape == (B,)
    assert terms.z.shape[:2] == (K, B)
    objective = model.objective(terms, LATE)
    assert objective.shape == (B,)
    assert all(v.isfinite().all() for v in (terms.nll, terms.kl, terms.log_w, terms.z, objective))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_probability_costs_something(name, kind):
    """-log p of discrete data is positive."""
    if not SPECS[kind].discrete:
        pytest.skip("a density may exceed 1")
    assert (perturbed(small(name, kind))(examples(kind), K).nll > 0).all()


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_a_gradient_reaches_every_parameter(name, kind, form):
    model = perturbed(small(name, kind, **form))
    noise = Generated(0)
    terms = model(examples(kind), noise=noise)
    critic = model.adversary_loss(terms, noise)
    ours = {n: p for n, p in model.named_parameters() if not n.startswith("adversary.")}
    theirs = {n: p for n, p in model.named_parameters() if n.startswith("adversary.")}
    assert (critic is None) == (not theirs) == ("adversarial" not in zoo.entry(name).tags)
    losses = [(model.objective(terms, LATE).mean(), ours)] + ([(critic, theirs)] if theirs else [])
    for loss, parameters in losses:
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
        dead = [n for n, g in zip(parameters, found, strict=True) if g is None or not g.abs().sum() > 0]
        assert not dead, f"no gradient reaches {dead}"
        assert all(g.isfinite().all() for g in found)


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_where_plain_the_objective_is_the_negative_bound(name, kind, form):
    entry = zoo.entry(name)
    if entry.plain_at is None:
        pytest.skip("plain nowhere")
    model = perturbed(small(name, kind, **{**form, **entry.plain_at})).double()
    terms = model(examples(kind, dtype=torch.float64))
    for step in (torch.tensor(0.0), LATE):
        torch.testing.assert_close(model.objective(terms, step), -(terms.iwae if entry.bound == "iwae" else terms.elbo))


def away(name, key):
    """A value of a setting that is not the plain one."""
    plain, default = zoo.entry(name).plain_at[key], zoo.entry(name).settings()[key]
    return default if default != plain else (not plain if isinstance(plain, bool) else plain + 1)


@pytest.mark.parametrize(("name", "key"), [(n, key) for n in NAMES for key in zoo.entry(n).plain_at or {}])
def test_away_from_plain_the_loss_and_the_gradient_of_q_differ(name, key):
    kind, plain = kinds(name)[0], zoo.entry(name).plain_at

    def loss_and_gradient(settings):
        model = perturbed(small(name, kind, **settings)).double()
        terms = model(examples(kind, dtype=torch.float64), noise=Generated(1))
        reach = torch.autograd.grad(terms.z.sum(), list(model.parameters()), allow_unused=True, retain_graph=True)
        q = [p for p, g in zip(model.parameters(), reach, strict=True) if g is not None]       # what z depends on
        loss = model.objective(terms, LATE).mean()
        return loss.detach(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, q)])

    here, there = loss_and_gradient(plain), loss_and_gradient({**plain, key: away(name, key)})
    for a, b in zip(here, there, strict=True):
        assert not torch.allclose(a, b, rtol=1e-3)


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_the_closed_form_elbo_is_the_sampled_one(name, kind, form):
    """E[log p(z) - log q(z|x)] = -KL: the likelihood cancels, so that the standard error is small."""
    if not stochastic(name):
        pytest.skip("a point has no density")
    terms = perturbed(small(name, kind, **form)).double()(examples(kind, 3, dtype=torch.float64), 4000, Generated(0))
    difference = terms.log_w + terms.nll + terms.kl.sum(-1)
    assert (difference.mean(0).abs() <= 5 * standard_error(difference) + 1e-9).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_more_samples_tighten_the_bound(name, kind):
    terms = perturbed(small(name, kind))(examples(kind), 256, Generated(0))

    def bound(k):
        """Mean bound of k samples: log-means over groups of the same 256."""
        return (terms.log_w.unflatten(0, (-1, k)).logsumexp(1) - torch.tensor(k).log()).mean(0)

    slack = 5 * standard_error(terms.log_w + terms.nll + terms.kl.sum(-1)) + 1e-4
    torch.testing.assert_close(bound(256), terms.iwae)
    if stochastic(name):
        assert (bound(1) < bound(8)).all() and (bound(8) < bound(64)).all() and (bound(64) < terms.iwae).all()
        assert (terms.iwae >= terms.elbo - slack).all()
    elif zoo.entry(name).bound != "none":
        torch.testing.assert_close(terms.iwae, terms.elbo)


@pytest.mark.parametrize("name", NAMES)
def test_tempering_by_one_changes_nothing_and_by_zero_leaves_the_nll(name):
    terms = perturbed(small(name, kinds(name)[0])).double()(examples(kinds(name)[0], dtype=torch.float64), K)
    one, none = terms.tempered(1.0), terms.tempered(0.0)
    torch.testing.assert_close((one.elbo, one.iwae), (terms.elbo, terms.iwae))
    torch.testing.assert_close((none.elbo, none.log_w), (-terms.nll.mean(0), -terms.nll))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_learns_a_few_examples(name, kind):
    model, data = perturbed(small(name, kind)), dataset(kind, 8)

    def nll():
        with torch.no_grad():
            return model(data.train.batch(), 16, Generated(0)).nll.mean()

    before = nll()
    zoo.fit(model, data, steps=60, lr=1e-2, evaluate_every=60, progress=False)
    assert nll() < before - 0.02 * before.abs()
