"""What must not matter: the order and company of examples, padding, missing values, hidden random state."""

import pytest
import torch
from support import (
    CASES,
    FORMS,
    NAMES,
    B,
    K,
    Recorded,
    dataset,
    examples,
    form_id,
    kinds,
    other,
    perturbed,
    small,
    take,
    with_x,
)

import zoo
from zoo.noise import Generated, Philox

SEQUENCES = [c for c in CASES if "sequence" in zoo.entry(c[0]).tags]
NAN = float("nan")


def double(name, kind, **form):
    return perturbed(small(name, kind, **form)).double(), examples(kind, dtype=torch.float64)


def same(a, b, rows=slice(None)):
    """The terms `a` are those of these rows of `b`; groups beyond the common ones are empty."""
    groups = min(a.kl.shape[-1], b.kl.shape[-1])
    pairs = (a.nll, b.nll), (a.log_w, b.log_w), (a.kl.sum(-1), b.kl.sum(-1)), (a.kl[..., :groups], b.kl[..., :groups])
    for one, two in pairs:
        torch.testing.assert_close(one, two[:, rows], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_the_order_of_examples(name, kind, form):
    model, batch = double(name, kind, **form)
    noise, order = Recorded(), torch.tensor([2, 0, 3, 1, 6, 5, 4])
    terms = model(batch, K, noise)
    same(model(take(batch, order), K, noise.replay(order)), terms, order)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_company_of_an_example(name, kind):
    model, batch = double(name, kind)
    noise = Recorded()
    terms = model(batch, K, noise)
    for i in (0, 3):
        row = torch.tensor([i])
        same(model(take(batch, row), K, noise.replay(row)), terms, row)


@pytest.mark.parametrize(("name", "kind"), SEQUENCES)
@pytest.mark.parametrize("junk", [0.0, 1e6, NAN])
def test_what_lies_past_the_end(name, kind, junk):
    model, batch = double(name, kind)
    if model.spec.kind == "tokens":
        junk = 4 if junk else 0
    inside = batch.inside(5).view(B, 5, *[1] * len(model.spec.shape))
    noise = Recorded()
    terms = model(batch, K, noise)
    same(model(with_x(batch, torch.where(inside, batch.x, junk)), K, noise.replay()), terms)
    assert (terms.kl.shape[-1] != 5) or (terms.kl[~batch.inside(5).expand(K, B, 5)] == 0).all()


@pytest.mark.parametrize(("name", "kind"), SEQUENCES)
def test_how_far_a_batch_is_padded(name, kind):
    model, batch = double(name, kind)
    noise, more = Recorded(), batch.x[:, :1]
    terms = model(batch, K, noise)
    same(model(with_x(batch, torch.cat([batch.x, more], 1)), K, noise.replay()), terms)
    for i in range(B):                                      # and each alone, without padding
        n = int(batch.lengths[i])
        row = torch.tensor([i])
        alone = zoo.Batch(batch.x[row, :n], batch.label[row])
        same(model(alone, K, noise.replay(row)), terms, row)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_a_missing_value_would_have_been(name, kind):
    model, batch = double(name, kind)
    observed = torch.rand(batch.x.shape) > 0.3
    noise, hidden = Recorded(), other(model.spec, batch.x)
    terms = model(zoo.Batch(batch.x, batch.label, observed, batch.lengths), K, noise)
    assert not torch.equal(terms.nll, model(batch, K, noise.replay()).nll)
    for junk in [hidden] if model.spec.kind == "tokens" else [hidden, NAN]:
        x = torch.where(observed, batch.x, junk)
        same(model(zoo.Batch(x, batch.label, observed, batch.lengths), K, noise.replay()), terms)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_is_not_observed_costs_nothing(name, kind):
    model, batch = double(name, kind)
    nothing = torch.zeros_like(batch.x, dtype=torch.bool)
    assert (model(zoo.Batch(batch.x, batch.label, nothing, batch.lengths), K).nll == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_missing_values_leave_gradients_finite(name):
    kind = kinds(name)[-1]
    model, batch = perturbed(small(name, kind)), examples(kind)
    observed = torch.rand(batch.x.shape) > 0.3
    counts = zoo.Batch(batch.x, batch.label, observed, batch.lengths)
    x = batch.x if model.spec.kind == "tokens" else torch.where(counts.mask, batch.x, NAN)
    terms = model(with_x(counts, x))
    model.objective(terms, torch.tensor(0.0)).mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [Generated, lambda seed: Philox(torch.tensor(seed))], ids=["Generated", "Philox"])
def test_the_same_noise_gives_the_same_terms_and_another_seed_others(name, make):
    kind = kinds(name)[0]
    model, batch = perturbed(small(name, kind)), examples(kind)
    one, again, another = (model(batch, K, make(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.z, again.z) and torch.equal(one.nll, again.nll) and torch.equal(one.log_w, again.log_w)
    assert torch.equal(one.nll, another.nll) == ("deterministic" in zoo.entry(name).tags)
    x, again, another = (model.sample(9, noise=make(seed)) for seed in (1, 1, 2))
    assert torch.equal(x, again) and not torch.equal(x, another)


@pytest.mark.parametrize("name", NAMES)
def test_the_samples_of_one_example_differ(name):
    if "deterministic" in zoo.entry(name).tags:
        pytest.skip("a point is a point")
    z = perturbed(small(name, kinds(name)[0]))(examples(kinds(name)[0]), K).z
    assert not torch.isclose(z[0], z[1]).any() and not torch.isclose(z[:, 0], z[:, 1]).any()


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_torchs_global_generator_is_left_alone(name, kind, form):
    before = torch.get_rng_state()
    model, batch, noise = small(name, kind, seed=3, **form), examples(kind), Generated(0)
    terms = model(batch, noise=noise)
    model.objective(terms, torch.tensor(0.0))
    model.adversary_loss(terms, noise)
    model.encode(batch)
    model.reconstruct(batch)
    model.sample(2, noise=noise, observe=True)
    zoo.fit(model, dataset(kind, 8), steps=2, evaluate_every=1, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_the_initial_weights(name):
    def weights(seed):
        return torch.cat([p.flatten() for p in small(name, kinds(name)[0], seed=seed).parameters()])

    one, again, another = (weights(seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, another)
