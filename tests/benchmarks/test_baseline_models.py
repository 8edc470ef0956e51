"""Likelihoods of the baselines against brute force, explicit Gaussians, and the numbers of papers."""

import itertools
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import dataset, standard_error
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

import zoo
from benchmarks import baselines
from benchmarks.baselines import cell
from benchmarks.baselines.mixture import bernoullis
from zoo.noise import Generated

REAL_ROOT = Path(os.environ.get("ZOO_DATA") or Path(__file__).parents[3] / "shared" / "data")
F64 = torch.float64


def made(x, kind, **spec):
    """A data set whose splits are all x."""
    sequence = "max_length" in spec
    split = zoo.Split(x, lengths=torch.full((len(x),), x.shape[1]) if sequence else None, levels=spec.get("levels", 256))
    return zoo.Dataset("made", zoo.DataSpec(tuple(x.shape[2 if sequence else 1:]), kind, **spec), split, split, split, note="")


def correlated(n=500, d=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) @ torch.randn(d, d, generator=g) + 1


# -- marginal, markov -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name, nats", [("marginal", 11.0614), ("markov", 10.4696)])
def test_nats_a_frame_on_jsb_chorales(name, nats):
    if not (REAL_ROOT / "polyphonic" / "JSB_Chorales.mat").exists():
        pytest.skip(f"real data not at hand: no polyphonic/JSB_Chorales.mat in {REAL_ROOT} (set $ZOO_DATA)")
    data = zoo.load_dataset("polyphonic/jsb", REAL_ROOT)
    total = baselines.fit(name, data, 0)(data.test.batch()).elbo.double().sum()
    assert -total.item() / int(data.test.lengths.sum()) == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("name", ["marginal", "markov"])
@pytest.mark.parametrize("kind, levels, shape", [("binary", 2, (2,)), ("byte", 3, (2,)), ("tokens", 3, ())])
def test_probabilities_of_all_sequences_sum_to_one(name, kind, levels, shape):
    t, d = 3, math.prod(shape)
    draws = torch.randint(levels, (40, t, *shape), generator=torch.Generator().manual_seed(0))
    x = draws if kind == "tokens" else draws.bool() if kind == "binary" else draws.to(torch.uint8)
    more = {"vocabulary": levels} if kind == "tokens" else {"levels": levels} if kind == "byte" else {}
    model = baselines.fit(name, made(x, kind, max_length=t, **more), 0)
    every = torch.tensor(list(itertools.product(range(levels), repeat=t * d))).view(-1, t, *shape)
    terms = model(zoo.Batch(every if kind == "tokens" else every / (levels - 1)))
    assert terms.elbo.double().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_bigrams_by_hand():
    """Sequences 0 0 1 and 0 1 of two tokens: counts 3, 2; bigrams 00: 1, 01: 2, of 3; 1 is never followed."""
    x, lengths = torch.tensor([[0, 0, 1], [0, 1, 0]]), torch.tensor([3, 2])
    split = zoo.Split(x, lengths=lengths)
    data = zoo.Dataset("made", zoo.DataSpec((), "tokens", max_length=3, vocabulary=2), split, split, split, note="")
    p = [4 / 7, 3 / 7]                                      # add one
    after = {0: [(1 + 2 * p[0]) / 5, (2 + 2 * p[1]) / 5], 1: p}
    found = baselines.fit("markov", data, 0)(zoo.Batch(torch.tensor([[0, 1, 1]]))).elbo.item()
    assert found == pytest.approx(math.log(p[0] * after[0][1] * after[1][1]), abs=1e-6)
    found = baselines.fit("marginal", data, 0)(data.test.batch()).elbo[1].item()
    assert found == pytest.approx(math.log(p[0] * p[1]), abs=1e-6)


def test_draws_follow_the_transitions():
    data = dataset("tokens", n=200)
    model = baselines.fit("markov", data, 0)
    x = model.sample(40_000, noise=Generated(1))
    for a in range(5):
        after = x[:, 1:][x[:, :-1] == a]
        share = torch.stack([(after == b).float().mean() for b in range(5)])
        expected = model.rest.log_p[0, a].exp()
        assert ((share - expected).abs() < 4.5 * (expected * (1 - expected) / len(after)).sqrt()).all()


def test_an_autoregression_is_recovered_and_is_a_gaussian():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 12, 2, generator=g)
    c, f, s = torch.tensor([1.0, -0.5]), torch.tensor([0.8, -0.3]), torch.tensor([0.6, 1.2])
    for t in range(1, 12):
        x[:, t] = c + f * x[:, t - 1] + s * x[:, t]
    model = baselines.fit("markov", made(x, "real", max_length=12), 0)
    torch.testing.assert_close(model.rest.slope, f, atol=0.02, rtol=0)
    torch.testing.assert_close(model.rest.intercept, c, atol=0.04, rtol=0)
    torch.testing.assert_close(model.rest.variance, s**2, atol=0.04, rtol=0)
    expected = torch.zeros(2000, dtype=F64)
    for d in range(2):                                      # x = A (start, noise): the covariance of all of it at once
        slope, v = model.rest.slope[d].double(), model.rest.variance[d].double()
        power = torch.arange(12)[:, None] - torch.arange(12)
        a = torch.where(power >= 0, slope ** power.clamp_min(0), 0.0)
        noise = torch.cat([model.first.variance[d:d + 1].double(), v.expand(11)])
        start = torch.cat([model.first.intercept[d:d + 1].double(), model.rest.intercept[d].double().expand(11)])
        expected += MultivariateNormal(a @ start, a * noise @ a.T).log_prob(x[:, :, d].double())
    torch.testing.assert_close(model(zoo.Batch(x)).elbo.double(), expected, rtol=1e-5, atol=1e-4)


def test_a_state_space_process_lies_above_markov_above_marginal():
    data = zoo.load_dataset("lgssm")
    batch = data.test.batch()
    truth, markov, marginal = data.log_likelihood(batch).mean(), *(baselines.fit(n, data, 0)(batch).elbo.mean()
                                                                    for n in ("markov", "marginal"))
    assert truth > markov + 5 and markov > marginal + 5


def test_the_marginal_density_of_values_between_0_and_1():
    """Its mean is the smoothed mean, and it integrates to one, also where all values are 0."""
    x = torch.stack([torch.rand(300, generator=torch.Generator().manual_seed(0)) ** 3, torch.zeros(300)], 1)
    model = baselines.fit("marginal", made(x, "unit"), 0)
    torch.testing.assert_close(model.decode(torch.zeros(1, 0))[0], (x.sum(0) + 1) / 302, atol=1e-5, rtol=1e-4)
    grid = (torch.arange(20_000) + 0.5) / 20_000
    for d in range(2):
        points = torch.full((len(grid), 2), 0.3)
        points[:, d] = grid
        other = model.first.log_prob(torch.zeros(1, 2), points[:1])[0, 1 - d].exp()
        assert (model(zoo.Batch(points)).elbo.exp().mean() / other).item() == pytest.approx(1, abs=1e-3)


# -- probabilistic PCA ------------------------------------------------------------------------------------------------------
def gaussian(model):
    w = model.weight.double()
    return MultivariateNormal(model.centre.double(), w @ w.T + model.rest.double() * torch.eye(len(w), dtype=F64))


def test_ppca_is_the_gaussian_of_maximum_likelihood():
    x = correlated()
    model = baselines.fit("ppca", made(x, "real"), 0, latent_dim=2)
    terms = model(zoo.Batch(x), 2, Generated(1))
    torch.testing.assert_close(terms.elbo.double(), gaussian(model).log_prob(x.double()), rtol=1e-5, atol=1e-4)
    values = torch.linalg.eigvalsh(torch.cov(x.double().T, correction=0)).flip(0)
    best = -0.5 * (5 * math.log(2 * math.pi) + values[:2].log().sum() + 3 * values[2:].mean().log() + 5)
    assert -1e-4 < terms.elbo.double().mean() - best < 2e-6                     # FLOOR, and n - 1 for n
    p_x_given_z = Normal(model._mean(terms.z.flatten(0, 1)), model.rest.sqrt()).log_prob(x.repeat(2, 1)).sum(1).view(2, -1)
    log_w = p_x_given_z + Normal(0.0, 1.0).log_prob(terms.z).sum(-1) - terms.q.log_prob(terms.z)
    torch.testing.assert_close(log_w, terms.log_w, rtol=1e-4, atol=1e-3)         # the posterior is exact: for every z
    many = model(zoo.Batch(x[:1].expand(50_000, -1)), 1, Generated(3))
    drawn = -Normal(model._mean(many.z[0]), model.rest.sqrt()).log_prob(x[0]).sum(1)
    assert abs(drawn.mean() - many.nll[0, 0]) < 4 * standard_error(drawn)


def test_ppca_of_bytes_bounds_their_probability():
    """log P(v) >= D log w + E_u log p(x + u), looser by what a posterior that does not see u costs; and sums to less than 1."""
    levels = 6
    every = torch.tensor(list(itertools.product(range(levels), repeat=3)))
    peaked = every[(every[:, 0] - every[:, 1]).abs() + (every[:, 2] - 2).abs() <= 2].to(torch.uint8)
    data = made(peaked, "byte", levels=levels)
    model = baselines.fit("ppca", data, 0, latent_dim=1)
    x, w = every[::11] / (levels - 1), 1 / (levels - 1)
    bound = model(zoo.Batch(x)).elbo.double()
    u = (torch.rand(20_000, 1, 3, generator=torch.Generator().manual_seed(0), dtype=F64) - 0.5) * w
    inner = gaussian(model).log_prob(x.double() + u) + 3 * math.log(w)
    looser = cell(data.spec) / 2 * (3 / model.rest - gaussian(model).precision_matrix.trace())
    assert looser > 0 and ((inner.mean(0) - looser - bound).abs() < 5 * standard_error(inner)).all()
    assert (inner.exp().mean(0).log() > bound).all()
    assert model(zoo.Batch(every / (levels - 1))).elbo.exp().sum() < 1


def test_ppca_of_binary_data_has_no_likelihood():
    data = dataset("binary", n=60)
    model = baselines.fit("ppca", data, 0, latent_dim=40)
    assert model.entry.bound == "none" and baselines.entry("ppca").bound == "elbo" and model.latent_dim == 15
    x = data.train.batch().x
    missed = (model.reconstruct(data.train.batch()) - x).square().sum()
    least = torch.linalg.eigvalsh(torch.cov(x.flatten(1).double().T))[0] * 59   # of the projection, before it is clipped
    assert 0.5 * least < missed <= least * (1 + 1e-5)


# -- mixtures ---------------------------------------------------------------------------------------------------------------
def test_em_climbs_and_finds_two_components():
    g = torch.Generator().manual_seed(0)
    p = torch.tensor([[0.9, 0.8, 0.1, 0.2, 0.5], [0.1, 0.3, 0.7, 0.9, 0.5]])
    which = (torch.rand(4000, generator=g) < 0.3).long()
    x = (torch.rand(4000, 5, generator=g) < p[which]).float()
    log_pi, parts, climbed = bernoullis(x, 2, seed=0)
    assert len(climbed) > 5 and all(b >= a - 1e-6 for a, b in itertools.pairwise(climbed))
    order = parts.means[:, 0].argsort(descending=True)
    torch.testing.assert_close(parts.means[order], p, atol=0.06, rtol=0)
    torch.testing.assert_close(log_pi.exp()[order], torch.tensor([0.7, 0.3]), atol=0.05, rtol=0)


def test_one_component_is_the_marginal_and_probabilities_sum_to_one():
    data = made(torch.rand(120, 6, generator=torch.Generator().manual_seed(0)) < torch.linspace(0, 0.9, 6), "binary")
    marginal, one = baselines.fit("marginal", data, 0), baselines.fit("mixture", data, 0, components=1)
    torch.testing.assert_close(one(data.test.batch()).elbo, marginal(data.test.batch()).elbo)
    several = baselines.fit("mixture", data, 0, components=2)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    assert several(zoo.Batch(every)).elbo.exp().sum().item() == pytest.approx(1, abs=1e-5)


def two_clouds():
    return torch.cat([correlated(300, seed=1), correlated(200, seed=2) - 6])


def mixture_of(model):
    """The same density from full covariances."""
    p = model.parts
    space, rest = p.space.double(), p.rest.double()
    inner = torch.linalg.inv(p.factors.double() @ p.factors.double().mT)
    outside = rest * (torch.eye(len(space), dtype=F64) - space @ space.T)
    return MixtureSameFamily(Categorical(logits=model.log_pi.double()),
                             MultivariateNormal(p.means.double(), space @ inner @ space.T + outside))


def test_the_gaussian_mixture_is_one_and_finds_two_clouds():
    x = two_clouds()
    model = baselines.fit("mixture", made(x, "real"), 0, components=2, latent_dim=3)
    torch.testing.assert_close(model(zoo.Batch(x)).elbo.double(), mixture_of(model).log_prob(x.double()), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(model.log_pi.exp().sort().values, torch.tensor([0.4, 0.6]), atol=0.03, rtol=0)
    drawn, wide = (model.sample(50_000, noise=Generated(1), observe=observe) for observe in (False, True))
    torch.testing.assert_close(wide.mean(0), x.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(torch.cov(wide.T), torch.cov(x.T), atol=0.6, rtol=0.05)
    off = drawn - model.parts.centre
    torch.testing.assert_close(off @ model.parts.space @ model.parts.space.T, off, atol=1e-4, rtol=0)


def test_one_gaussian_is_ppca():
    data = made(two_clouds(), "real")
    one, ppca = baselines.fit("mixture", data, 0, components=1, latent_dim=2), baselines.fit("ppca", data, 0, latent_dim=2)
    torch.testing.assert_close(one(data.test.batch()).elbo, ppca(data.test.batch()).elbo, rtol=0.01, atol=0)   # n for n - 1


def test_the_mixture_of_bytes_bounds_their_probability():
    g = torch.Generator().manual_seed(0)
    v = torch.cat([torch.randint(0, 4, (150, 3), generator=g), torch.randint(3, 9, (150, 3), generator=g)]).to(torch.uint8)
    model = baselines.fit("mixture", made(v, "byte", levels=9), 0, components=2, latent_dim=2)
    x = v[::30].double() / 8
    u = (torch.rand(20_000, 1, 3, generator=g, dtype=F64) - 0.5) / 8
    inner = mixture_of(model).log_prob(x + u) - 3 * math.log(8)
    bound, exact = model(zoo.Batch(x.float())).elbo.double(), inner.exp().mean(0).log()
    assert (bound < inner.mean(0) + 4 * standard_error(inner)).all() and (exact - bound < 0.2).all()


def test_few_examples_make_few_components():
    data = dataset("real", n=120)
    assert len(baselines.fit("mixture", data, 0).log_pi) == 2
    assert len(baselines.fit("mixture", replace(data, train=data.train.head(20)), 0).log_pi) == 1
    with pytest.raises(ValueError, match="components is 0"):
        baselines.fit("mixture", data, 0, components=0)
