"""Scores of samples: real data in the place of samples, broken generators, and which scores apply to what."""

from dataclasses import replace

import pytest
import torch
from support import dataset, small

import zoo
from benchmarks import extractors
from benchmarks.metrics import METRICS, measure

NAMES = tuple(name for name in METRICS if METRICS.get(name).group == "distribution")
STILL = {"fcd_aggregate_random_projection", "fcd_gap_random_projection", "kcd_random_projection", "precision", "recall",
         "density", "coverage"}
ANY = {"fcd_random_projection", "fcd_floor_random_projection"}
LONG = {f"sequence_{kind}_{what}" for kind in ("distance", "floor")
        for what in ("frames", "transitions", "autocorrelation", "spectrum")}
TOKENS = {f"sequence_{kind}_{what}" for kind in ("distance", "floor") for what in ("unigrams", "bigrams")}


@pytest.fixture
def scored(context, digits):
    """scored(x) -> the scores of x (n,1,8,8) in place of a model's samples, in the digits classifier's feature space."""
    def make(x, **evaluation):
        names = [n for n in NAMES if n not in ("fcd_aggregate", "fcd_gap")]
        c = context(small("vae", digits.spec), digits, samples=len(x), extractor="digits8-v1", metrics=names, **evaluation)
        c.samples = zoo.Batch(x)
        return {name.removesuffix("_digits8-v1"): m for name, m in measure(c)[0].items()}
    return make


def half(digits, which):
    """Every other training image: two sets of 648 that share none."""
    return digits.train.take(slice(which, 1296, 2)).batch(slice(None))


@pytest.mark.parametrize("kind, names", [("unit", ANY | STILL), ("real", ANY | STILL), ("real-frames", ANY | LONG),
                                         ("binary-frames", ANY | LONG), ("tokens", TOKENS)])
def test_what_applies(context, kind, names):
    data = dataset(kind)
    for name in (n for n in zoo.list_variants() if zoo.entry(n).why_not(data.spec) is None):
        assert set(measure(context(small(name, data.spec), data, metrics=NAMES))[0]) == names


def test_real_data_in_the_place_of_samples(scored, digits):
    """The reference holds them: distances are smaller than for strangers, and small."""
    measured = scored(half(digits, 0).x)
    found = {name: m["value"] for name, m in measured.items()}
    assert abs(found["kcd"]) < 3 * measured["kcd"]["stderr"] < 3
    assert found["fcd"] < 1.5 * found["fcd_floor"]
    assert min(found[name] for name in ("precision", "recall", "coverage")) > 0.85
    assert found["density"] == pytest.approx(1, abs=0.1) and found["class_tv"] < 0.05
    assert found["confident"] == pytest.approx(found["confident_real"], abs=0.03)


def test_one_class_again_and_again(scored, digits):
    """What a collapsed generator makes is precise, and misses nine tenths of everything."""
    ones = digits.train.take(digits.train.label == 1).batch(slice(None)).x
    found = scored(ones.repeat(5, 1, 1, 1)[:500])
    assert found["precision"]["value"] > 0.9 and found["recall"]["value"] < 0.3 and found["coverage"]["value"] < 0.3
    share = float((digits.train.label == 1).double().mean())
    assert found["class_tv"]["value"] == pytest.approx(1 - share, abs=0.01)
    assert found["fcd"]["value"] > 20 * found["fcd_floor"]["value"] and found["kcd"]["value"] > 10 * found["kcd"]["stderr"]


def test_class_balance_by_hand(scored, digits):
    """Three quarters of the classes 0-4, a quarter of the others; the error is that of a share, as both signs are +-1/2."""
    images, label = half(digits, 0).x, half(digits, 0).label
    few = torch.cat([images[label < 5][:300], images[label > 4][:100]])
    tv = scored(few)["class_tv"]
    share = float((digits.train.label < 5).double().mean())
    assert tv["value"] == pytest.approx(0.75 - share, abs=0.02)             # classes within the halves differ a little
    assert tv["stderr"] == pytest.approx((0.75 * 0.25 / 399) ** 0.5, rel=0.02)


def test_the_floor_is_the_expected_distance_of_a_perfect_model(context, digits):
    """Strangers to the reference, as many as samples: random thirds of the training split against one another."""
    model, floors, real = small("vae", digits.spec), [], []
    for seed in range(6):
        third = torch.randperm(1297, generator=torch.Generator().manual_seed(seed)).split(432)
        c = context(model, replace(digits, train=digits.train.take(third[0])), samples=432, extractor="digits8-v1")
        for other in third[1:3]:
            c.features.samples = c.features.of(digits.train.batch(other).x)
            real.append(METRICS.get("fcd").measure(c).value)
        floors.append(METRICS.get("fcd_floor").measure(c).value)
    error = float(torch.tensor(real).std()) / 6**0.5
    assert sum(floors) / 6 == pytest.approx(sum(real) / 12, abs=3 * error) and error < 0.1 * sum(real) / 12


def test_the_gap_is_at_equal_n(context, digits):
    """250 test examples, 400 samples: the aggregate's distance, and that of the first 250 samples less it."""
    c = context(small("cvae", digits.spec), digits, samples=400, extractor="digits8-v1")
    gap, aggregate = (METRICS.get(f"fcd_{name}").measure(c) for name in ("gap", "aggregate"))
    first = context(c.model, digits, samples=250, extractor="digits8-v1")
    first.samples = zoo.Batch(c.samples.x[:250])
    prior = METRICS.get("fcd").measure(first)
    assert gap.n == aggregate.n == 250 and METRICS.get("fcd").measure(c).n == 400
    assert gap.value == pytest.approx(prior.value - aggregate.value, rel=1e-9)
    assert gap.stderr == pytest.approx((prior.stderr**2 + aggregate.stderr**2) ** 0.5)


def test_the_aggregate_is_what_the_decoder_makes_of_drawn_codes(context, digits):
    """Labels of a conditional model are the examples' own; blocks change nothing."""
    c = context(small("cvae", digits.spec), digits, samples=100, extractor="digits8-v1")
    x = c.model.decode(c.draws[:100], label=digits.test.label[:100])
    expected = extractors.load("digits8-v1")(torch.round(x * 255) / 255, None)
    assert torch.allclose(c.features.aggregate, expected, atol=1e-5)
    other = c.model.decode(c.draws[:100], label=digits.test.label[:100].roll(1))
    assert not torch.allclose(c.features.aggregate, extractors.load("digits8-v1")(other, None), atol=1e-2)


def test_real_features_are_computed_once_for_all_models(context, digits):
    data = replace(digits, name="another")
    first = context(small("vae", data.spec), data, extractor="digits8-v1").features.real
    assert context(small("ae", data.spec), data, extractor="digits8-v1").features.real is first
    assert context(small("vae", data.spec), data).features.real is not first
    assert context(small("vae", data.spec), replace(data, train=data.train.head(99)),
                   extractor="digits8-v1").features.real is not first


def test_directions():
    """What is a property of the data, or good at neither end, has no best."""
    none = {"fcd_floor", "fcd_gap", "density", "confident", "sequence_floor"}
    assert {name for name in NAMES if METRICS.get(name).better == "none"} == none
    assert {name for name in NAMES if METRICS.get(name).better == "higher"} == {"precision", "recall", "coverage"}
