"""Anomaly scores of a model whose log p(x) is known, and areas worked out by hand."""

import math
import zlib

import numpy as np
import pytest
import torch
from ignorant import Ignorant

import zoo
from benchmarks.metrics import METRICS, measure
from benchmarks.metrics.anomaly import auroc, complexity

SPEC = zoo.DataSpec((1, 4, 4), "binary", classes=2)
P = 0.2                                                     # of a pixel being on, by the model


def images(ink):
    """(n,1,4,4) with so many pixels on, from the first."""
    return (torch.arange(16) < torch.tensor(ink)[:, None]).view(-1, 1, 4, 4)


@pytest.fixture
def known(context):
    """known(ink, label) -> Context of test images with so much ink; class 1 is new."""
    def make(ink, label, **evaluation):
        split = zoo.Split(images(ink), torch.tensor(label))
        data = zoo.Dataset("ink", SPEC, split, split, split, note="", novel=1)
        model = Ignorant(spec=SPEC, latent_dim=2, hidden=4)     # -log p(x) rises with the ink, by log((1 - P) / P) a pixel
        model.logits = torch.full(SPEC.shape, math.log(P / (1 - P)))
        return context(model, data, metrics=("anomaly_*",), **evaluation)
    return make


def test_areas_and_their_error_by_hand():
    found = auroc(torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0]), np.array([True, True, False, False, False]))
    assert found.value == pytest.approx((3 + 1.5) / 6) and found.n == 5
    # DeLong: novel examples exceed 1 and 1/2 of the known; known ones are exceeded by 1/2, 3/4 and 1 of the novel
    assert found.stderr == pytest.approx(math.sqrt(0.125 / 2 + 0.0625 / 3))


def test_the_error_is_that_of_repeated_draws():
    generator = torch.Generator().manual_seed(0)
    novel = np.arange(300) < 60
    score = torch.randn(400, 300, generator=generator) + torch.from_numpy(novel)
    found = [auroc(s, novel) for s in score]
    assert np.mean([f.stderr for f in found]) == pytest.approx(np.std([f.value for f in found]), rel=0.15)


def test_scores_of_a_model_that_knows_only_ink(known):
    c = known([3, 2, 4, 3, 8, 9], [0, 0, 0, 0, 1, 1])
    metrics, _ = measure(c)
    value = {name: m["value"] for name, m in metrics.items()}
    assert value["anomaly_auroc_nll"] == value["anomaly_auroc_distortion"] == value["anomaly_auroc_ink"] == 1
    assert value["anomaly_auroc_rate"] == 0.5
    assert value["anomaly_aupr_nll"] == 1 and value["anomaly_fpr95_nll"] == 0
    assert metrics["anomaly_fpr95_nll"]["better"] == "lower"
    exact = torch.tensor([-(n * math.log(P) + (16 - n) * math.log(1 - P)) for n in (3, 2, 4, 3, 8, 9)])
    assert torch.allclose(-c.log_p.float(), exact, atol=1e-5)


def test_what_has_less_ink_looks_likelier_than_what_it_knows(known):
    """The reason for the ink beside it: nll finds nothing new in a class that is thinner."""
    value = {name: m["value"] for name, m in measure(known([3, 4, 5, 1, 2], [0, 0, 0, 1, 1]))[0].items()}
    assert value["anomaly_auroc_nll"] == value["anomaly_auroc_ink"] == 0 and value["anomaly_fpr95_nll"] == 1
    assert value["anomaly_aupr_nll"] == pytest.approx((1 / 4 + 2 / 5) / 2)


def test_thresholds_by_hand(known):
    """From the strangest on: known, novel, known, novel, known, known."""
    value = {name: m["value"] for name, m in measure(known([9, 8, 7, 6, 5, 4], [0, 1, 0, 1, 0, 0]))[0].items()}
    assert value["anomaly_auroc_nll"] == pytest.approx((3 + 2) / 8)
    assert value["anomaly_aupr_nll"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert value["anomaly_fpr95_nll"] == pytest.approx(2 / 4)


def test_complexity_is_the_size_of_the_compressed_bytes():
    x = torch.zeros(2, 1, 8, 8)
    x[1] = torch.randint(17, (8, 8), generator=torch.Generator().manual_seed(0)) / 16
    bits = complexity(x, zoo.DataSpec((1, 8, 8), "byte", levels=17))
    raw = (x * 16).round().byte().numpy()
    assert bits.tolist() == [8 * len(zlib.compress(row.tobytes(), 9)) for row in raw] and bits[1] > bits[0]
    ones = complexity(images([16]).float(), SPEC)
    assert ones.tolist() == [8 * len(zlib.compress(b"\xff\xff", 9))]


def test_the_correction_subtracts_bits(known):
    c = known([3, 2, 8, 9], [0, 0, 1, 1])
    corrected = -c.log_p / math.log(2) - complexity(images([3, 2, 8, 9]).float(), SPEC)
    expected = auroc(corrected, np.array([False, False, True, True])).value
    assert measure(c)[0]["anomaly_auroc_complexity"]["value"] == expected


def test_only_where_it_means_something(context, digits, known):
    def found(name, data):
        model = zoo.create(name, data.spec, latent_dim=2, hidden=8)
        return set(measure(context(model, data, metrics=("anomaly_*",), iwae_examples=100))[0])
    novel = zoo.load_dataset("digits+without=1")
    assert found("vae", digits) == found("cvae", novel) == set()
    assert found("ae", novel) == {f"anomaly_auroc_{s}" for s in ("distortion", "reconstruction", "ink")}
    assert len(found("hvae2", novel)) == 8
    wine = zoo.load_dataset("wine+without=0")
    assert found("vae", wine) == {"anomaly_aupr_nll", "anomaly_fpr95_nll",
                                  *(f"anomaly_auroc_{s}" for s in ("nll", "distortion", "rate", "reconstruction"))}
    with pytest.raises(ValueError, match="raise evaluation.iwae_examples"):
        METRICS.get("anomaly_auroc").measure(known([3, 2, 8], [0, 0, 1], iwae_examples=2))
