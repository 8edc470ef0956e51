"""All bounds from one stream of weights: exact values, errors, and independence of how the stream is cut."""

import math
import weakref
from dataclasses import replace

import pytest
import torch
from ppca import GAP, PPCA, drawn
from support import NAMES, examples, kinds, perturbed, small, take
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import zoo
from benchmarks import context as context_module
from benchmarks.importance import UNIT, Bounds, LogMeanExp, Together, ladder, log_weights, stream
from benchmarks.metrics import METRICS, measure
from zoo.noise import Generated

KS = [1, 10, 50, 100, 500]


@pytest.mark.parametrize("pieces", [[7], [3, 4], [1] * 7])
def test_pieces_of_importance_samples_add_up(pieces):
    log_w = torch.randn(7, 5, dtype=torch.float64) * 30 - 1e4
    mean = LogMeanExp()
    for piece in log_w.split(pieces):
        mean.add(piece)
    torch.testing.assert_close(mean.value, log_w.logsumexp(0) - math.log(7), atol=1e-9, rtol=0)
    w = (log_w - log_w.amax(0)).exp()
    torch.testing.assert_close(mean.ess, w.sum(0).square() / w.square().sum(0))


def test_the_ladder_ends_at_k():
    assert ladder(1) == [1] and ladder(7) == [1, 7] and ladder(100) == [1, 10, 50, 100]
    assert ladder(2000) == [1, 10, 50, 100, 500, 1000, 2000] and ladder(5000)[-1] == 5000 and len(ladder(5000)) == 7


@pytest.mark.parametrize("pieces", [[50] * 10, [500], [1] * 500, [7, 93, 1, 399], [450, 450]])
def test_cutting_the_stream_changes_no_bound(pieces):
    log_w = 3 * torch.randn(900, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 100
    found = stream(log_w[:sum(pieces)].split(pieces), KS)
    for i, k in enumerate(KS):
        torch.testing.assert_close(found.log_p[i], log_w[:k].logsumexp(0) - math.log(k), atol=1e-12, rtol=0)
        if k > 1:
            even, odd = (log_w[start:k:2].logsumexp(0) - math.log(k / 2) for start in (0, 1))
            torch.testing.assert_close(found.variance[i], (even - odd).square() / 4)
    assert found.mc(0) is None and found.mc(1) == pytest.approx(float(found.variance[1].sum().sqrt()) / 4)
    torch.testing.assert_close(found.ess, (2 * log_w[:500].logsumexp(0) - (2 * log_w[:500]).logsumexp(0)).exp())
    both = Bounds(KS, *(torch.cat([t, t], -1) for t in found.tensors))
    assert both.log_p.shape == (5, 8) and both.mc(4) == pytest.approx(found.mc(4) / math.sqrt(2))


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_the_monte_carlo_error_is_that_of_repetitions(spread):
    log_w = spread * torch.randn(100, 300, 20, generator=torch.Generator().manual_seed(1))      # 300 runs of 20 examples
    log_p = (log_w.logsumexp(0) - math.log(100)).mean(-1)
    errors = torch.tensor([stream([w], [100]).mc(0) for w in log_w.unbind(1)])
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(log_p.std()), rel=0.15)


def test_the_exact_posterior_gives_log_p_at_every_k(context):
    data, log_p = drawn(20)
    bounds = context(PPCA(exact=True), data, iwae_k=100, iwae_examples=20).importance
    assert bounds.ks == [1, 10, 50, 100]
    torch.testing.assert_close(bounds.log_p, log_p.expand(4, 20), atol=1e-9, rtol=0)
    torch.testing.assert_close(bounds.ess, torch.full((20,), 100.0, dtype=torch.float64))
    assert bounds.mc(3) < 1e-9


def test_the_best_diagonal_posterior_misses_log_p_by_known_gaps(context):
    """-0.217, -0.032 and -0.004 nats at K = 1, 10 and 100: the first in closed form, the others measured once, apart."""
    data, log_p = drawn(600)
    bounds = context(PPCA(), data, iwae_k=100, iwae_examples=600).importance
    gaps = log_p - bounds.log_p
    errors = gaps.std(1) / math.sqrt(600)
    assert pytest.approx(0.217, abs=1e-3) == GAP
    for i, expected in ((0, GAP), (1, 0.032), (3, 0.004)):
        assert abs(gaps[i].mean() - expected) < 3 * errors[i]
    tightening = bounds.log_p.diff(dim=0)
    assert tightening[0].mean() > 3 * tightening[0].std() / math.sqrt(600) and (tightening.mean(1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_those_of_passes_of_a_unit_each(name):
    """However many units are decoded at once; the encoder is run once, but where it is part of the rollout."""
    model, kind, encoded = perturbed(small(name, kinds(name)[0])).eval(), kinds(name)[0], []
    batch = take(examples(kind), slice(3, 4))
    expected = torch.cat([model(batch, UNIT, Generated(5, unit)).log_w for unit in range(4)]).detach()
    joint = model.joint(batch)
    if joint is not None:
        posterior = model.posterior
        model.posterior = lambda given: encoded.append(len(given.x)) or posterior(given)
    for rows, pieces in ((1, 4), (3 * UNIT + 7, 2), (1000, 1)):
        encoded.clear()
        found = list(log_weights(model, batch, lambda unit: Generated(5, unit), 3 * UNIT + 1, rows))
        assert len(found) == pieces and encoded.count(1) == (0 if joint is None else 1)
        torch.testing.assert_close(torch.cat(found), expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("shape, axis", [((100, 1, 3), 0), ((1, 100, 1, 3), 1), ((100, 100, 3), 1), ((100, 1, 100), 0)])
def test_units_together_lie_on_the_axis_of_samples(shape, axis):
    its = tuple(UNIT if i == axis else n for i, n in enumerate(shape))
    together = Together([Generated(0, 1), Generated(0, 2)], UNIT)
    for draw in (lambda noise, s: noise.latent(s)[0], lambda noise, s: noise.uniform(s), lambda noise, s: noise.integers(9, s)):
        alone = [Generated(0, 1), Generated(0, 2)]
        for noise in alone:
            noise.site = together.parts[0].site
        assert torch.equal(draw(together, shape), torch.cat([draw(noise, its) for noise in alone], axis))


def test_neither_k_nor_the_number_of_examples_nor_memory_moves_a_sample(context, digits, monkeypatch):
    model = zoo.create("vae", digits.spec, latent_dim=2, hidden=8, seed=0)
    full = context(model, digits, iwae_k=120, iwae_examples=5).importance
    assert full.ks == [1, 10, 50, 100, 120] and full.ess.max() < 119
    fewer = context(model, digits, iwae_k=10, iwae_examples=3).importance
    torch.testing.assert_close(fewer.log_p, full.log_p[:2, :3], atol=1e-9, rtol=0)
    monkeypatch.setattr(context_module, "PIECE", 1)
    little = context(model, digits, iwae_k=120, iwae_examples=5).importance
    torch.testing.assert_close(little.log_p, full.log_p, atol=1e-9, rtol=0)
    c = context(model, digits, iwae_k=120, iwae_examples=5)
    assert not torch.allclose(replace(c, seed=4).importance.log_p, full.log_p)
    assert full.log_p[0].std() > 0 and not torch.equal(full.log_p[0], full.log_p[1])


def test_the_family_in_a_record(context, digits):
    model = zoo.create("vae", digits.spec, latent_dim=2, hidden=8, seed=0)
    found, items = measure(context(model, digits, iwae_k=60, metrics=("nll_iwae", "ess", "rate", "distortion", "elbo")))
    assert set(found) == {"nll_iwae_1", "nll_iwae_10", "nll_iwae_50", "nll_iwae_60", "ess_median", "ess_q05", "rate",
                          "distortion", "elbo"}
    assert set(items) == {"nll_iwae_60", "rate", "distortion", "elbo"} and len(items["nll_iwae_60"]) == 11
    assert found["nll_iwae_1"]["mc"] is None and 0 < found["nll_iwae_60"]["mc"] < found["nll_iwae_10"]["mc"]
    assert all(found[name]["stderr"] > 0 for name in found if "ess" not in name)
    assert 1 <= found["ess_q05"]["value"] <= found["ess_median"]["value"] <= 60
    assert found["elbo"]["value"] == pytest.approx(-found["rate"]["value"] - found["distortion"]["value"])
    assert found["rate"]["value"] > 0


class Live(TorchDispatchMode):
    """The most bytes of tensors that were alive at once, of those made inside."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.seen = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for storage in (v.untyped_storage() for v in tree_leaves(out) if isinstance(v, torch.Tensor)):
            if storage._cdata not in self.seen:
                self.seen.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return out

    def _gone(self, key, size):
        self.seen.discard(key)
        self.now -= size


def test_memory_does_not_grow_with_k(context, digits, monkeypatch):
    monkeypatch.setattr(context_module, "PIECE", 128 * 2 * UNIT)
    model = zoo.create("vae", digits.spec, latent_dim=2, hidden=8, seed=0)

    def peak(k, n):
        c = context(model, digits, iwae_k=k, iwae_examples=n)
        assert len(c.test) == 250                                              # made before: the data are not counted
        with Live() as live:
            assert len(c.importance.ess) == n
        return live.peak

    few = peak(200, 4)
    assert few > 64 * 4 * UNIT                                                 # the meter sees the decoder's output
    assert peak(2000, 4) < few + 1000 and peak(200, 40) < few + 40 * 200


@pytest.mark.parametrize("name", ["nll_iwae", "ess"])
def test_there_is_no_importance_without_a_bound(context, digits, name):
    assert not METRICS.get(name).applies(context(zoo.create("ae", digits.spec, latent_dim=2, hidden=8), digits))
