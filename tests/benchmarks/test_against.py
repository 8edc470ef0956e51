"""The comparison with pythae: that both train the same thing, which way ratios go, what is said where it is absent."""

import copy
import json
import sys

import pytest
import torch
from torch import nn

from benchmarks import against, timing
from benchmarks.cli import main
from benchmarks.products import operations, products_rate

try:
    from benchmarks.peers import pythae
except ImportError:
    pythae = None
needs_pythae = pytest.mark.skipif(pythae is None, reason="no pythae: pip install -e '.[bench]'")
CPU = torch.device("cpu")


def test_where_it_is_absent_it_is_said_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "benchmarks.peers.pythae", None)
    monkeypatch.delattr("benchmarks.peers.pythae", raising=False)
    assert main(["throughput", "--against", "pythae", "--out", str(tmp_path)]) == 2
    assert "pip install -e '.[bench]'" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_variants_are_not_timed_against_it(capsys):
    with pytest.raises(SystemExit):
        main(["throughput", "vae", "--against", "pythae"])
    assert "not allowed with" in capsys.readouterr().err


def test_data_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"digits is .*images of 28 x 28.*--data mnist"):
        against.images("digits", None)
    said, train, test = against.images(None, None)
    assert "enlarged" in said and train.shape[1:] == test.shape[1:] == (1, 28, 28)
    assert len(test) >= against.BATCH and train.min() >= 0 and train.max() <= 1


def test_a_side_is_as_many_times_as_fast_as_it_takes_less_time():
    turns = timing.Turns([{"theirs": 2.0 * i, "loop": 1.5 * i, "zoo": 0.5 * i} for i in range(1, 12)], None)
    found = against._times(turns, "zoo", ("theirs", "loop"))
    assert (found["theirs"]["median"], found["loop"]["low"], found["loop"]["high"]) == pytest.approx((4, 3, 3))
    assert list(against._times(turns, "loop", ("theirs", "loop"))) == ["theirs"]


def test_operations_of_a_step_are_six_for_each_weight_and_example_but_for_the_gradient_of_x():
    net, x = nn.Sequential(nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(5, 20)
    assert operations(lambda: net(x).sum().backward()) == 2 * 5 * (3 * (20 * 7 + 7 * 3) - 20 * 7)


def test_the_rate_of_products(monkeypatch):
    monkeypatch.setattr("benchmarks.products.SIZE", {"cpu": 8})
    monkeypatch.setattr("benchmarks.products.measure", lambda *a: timing.Timing(1e-6, 0.0, None))
    assert products_rate(CPU, torch.bfloat16) == pytest.approx(2 * 8**3 / 1e-6)


@needs_pythae
@pytest.mark.parametrize("networks", ["mlp", "conv"])
def test_both_models_have_one_loss_one_gradient_and_one_bound(networks):
    model, x = pythae.build(networks), torch.rand(3, *pythae.SHAPE, generator=torch.Generator().manual_seed(0))
    found = against.check(pythae, model, x)
    assert found["theirs"] == pytest.approx(found["zoo"], rel=1e-5) and found["gradients"] < 1e-5
    eps = torch.randn(pythae.COPIES, pythae.LATENT, generator=torch.Generator().manual_seed(1))
    ours = pythae.SameNetworks.of(model.eval())
    assert pythae.log_p(model, x[:1], pythae.COPIES, eps) == pytest.approx(ours.log_p(x[:1], eps), rel=1e-5)
    assert "_sample_gauss" not in vars(model)               # its own noise is back


@needs_pythae
def test_models_that_differ_are_found(monkeypatch):
    model, x = pythae.build("mlp"), torch.rand(3, *pythae.SHAPE)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.decoder.layers[1][0].bias += 0.1
    monkeypatch.setattr(pythae.SameNetworks, "of", lambda m, of=pythae.SameNetworks.of: of(other))
    with pytest.raises(RuntimeError, match="losses of the two models differ"):
        against.check(pythae, model, x)
    with pytest.raises(RuntimeError, match="bounds of the two models differ"):
        against.bounds(pythae, model, x, 1, 100)


@needs_pythae
def test_a_record_and_its_tables(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(timing, "LEAST", 6)
    monkeypatch.setattr(pythae, "NETWORKS", ("mlp",))
    monkeypatch.setattr(against, "BOUND_SIZES", {"mlp": (2, 100)})
    monkeypatch.setattr(against, "products_rate", lambda device, dtype: 1e11)
    monkeypatch.setattr(against, "REFINED", {"mlp": (2, 100, 50)})
    monkeypatch.setattr(against, "LEARNING", {"mlp": (0.1, (4, 5))})
    for seconds in ("BLOCK", "TRAINING", "BOUNDS"):
        monkeypatch.setattr(against, seconds, 0.0)
    assert main(["throughput", "--against", "pythae", "--device", "cpu", "--out", str(tmp_path), "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    (path,) = (tmp_path / "throughput").glob("*.json")
    assert json.loads(path.read_text())["against"]["pythae"] == part
    mlp = part["networks"]["mlp"]
    assert mlp["parameters"] == 829_232 and mlp["batches"] == 1 and mlp["rounds"] == 6
    weights, first = 784 * 512 + 2 * 512 * 16 + 16 * 512 + 512 * 784, 784 * 512
    assert mlp["flops"] == 2 * 128 * (3 * weights - first)
    assert [s["side"] for s in mlp["sides"]] == ["theirs", "loop", "zoo, eager, float32", "zoo, eager, bf16"]
    for side in mlp["sides"]:
        assert side["share"] == pytest.approx(mlp["flops"] * side["value"] / 128 / 1e11)
        assert side["loss"] < mlp["same"]["theirs"]          # all have trained
    assert all(list(s["times"]) == ["theirs", "loop"] for s in mlp["sides"][2:])
    assert mlp["bound"]["same"]["theirs"] == pytest.approx(mlp["bound"]["same"]["zoo"], rel=1e-5)
    refined = mlp["refined"]
    assert (refined["theirs"]["k"], refined["zoo"]["k"], refined["images"]) == (100, 50, 2)
    assert refined["zoo"]["log_p"] == pytest.approx(refined["theirs"]["log_p"], abs=2.0)
    learnt = mlp["learnt"]
    assert learnt["epochs"] == 0.1 and len(set(learnt["float32"])) == len(set(learnt["bf16"])) == 2
    assert learnt["float32"] != learnt["bf16"] and learnt["float32"] == pytest.approx(learnt["bf16"], abs=0.5)
    text = (path.parent / "README.md").read_text()
    assert "fits q to each image" in text and "| bf16 " in text and "after 0.1 epochs" in text
    assert "### The same networks in pythae 0.1.2" in text and "digits, enlarged" in text
