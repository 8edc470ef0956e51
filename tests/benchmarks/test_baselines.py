"""Baselines keep the contract that metrics read, on every kind of data; and the harness gives them rows of their own."""

from dataclasses import replace

import pytest
import torch
from support import SPECS, dataset

import zoo
from benchmarks import baselines, record
from benchmarks.baselines import BASELINES, Baseline, baseline
from benchmarks.cli import main
from benchmarks.metrics import METRICS, measure
from zoo.noise import Generated

CASES = [(name, kind) for name in BASELINES for kind, spec in SPECS.items() if baselines.entry(name).why_not(spec) is None]


def fitted(name, data):
    known = baselines.entry(name).settings()
    return baselines.fit(name, data, 0, **({"latent_dim": 2} if "latent_dim" in known else {}))


@pytest.mark.parametrize("name, kind", CASES)
def test_the_contract(name, kind):
    data = dataset(kind, n=60)
    model, batch = fitted(name, data), data.test.batch()
    terms = model(batch, 3, Generated(1))
    d = model.latent_dim
    assert terms.nll.shape == (3, 8) and terms.kl.shape == (3, 8, d) and terms.z.shape == (3, 8, d)
    assert torch.equal(terms.log_w, terms.log_w[:1].expand(3, -1))              # exact: the same for every sample
    torch.testing.assert_close(terms.elbo, terms.iwae, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(terms.elbo, model.log_prob(batch), rtol=1e-5, atol=1e-4)
    one = data.test.batch(slice(2, 3))
    torch.testing.assert_close(model(one).elbo, terms.elbo[2:3], rtol=1e-5, atol=1e-4)
    assert model.encode(batch).shape == (8, d) and not any(p.requires_grad for p in model.parameters())
    shown = [model.reconstruct(batch), model.decode(torch.zeros(8, d), lengths=batch.lengths)]
    for x in (*shown, model.sample(8, noise=Generated(2))):
        lead = (8, data.spec.max_length) if data.spec.sequence else (8,)
        assert x.dtype == batch.x.dtype and x.shape == ((*lead, *data.spec.shape) if x is not shown[0] else batch.x.shape)
        assert x.isfinite().all() and (data.spec.kind in ("real", "tokens") or (x.min() >= 0 and x.max() <= 1))
    if data.spec.sequence:
        drawn = model.sample(8, lengths=batch.lengths, noise=Generated(2))
        data.spec.check(zoo.Batch(drawn, lengths=batch.lengths))
        assert not drawn[~batch.inside(drawn.shape[1])].any() and not shown[0][~batch.inside(shown[0].shape[1])].any()
    assert torch.equal(model.sample(5, noise=Generated(2)), model.sample(5, noise=Generated(2)))
    assert torch.equal(fitted(name, data).sample(5, noise=Generated(2)), model.sample(5, noise=Generated(2)))


@pytest.mark.parametrize("name, kind", [(name, kind) for name, kind in CASES if SPECS[kind].sequence])
def test_padding_is_ignored(name, kind):
    data = dataset(kind, n=60)
    model, batch = fitted(name, data), data.test.batch()
    junk = torch.where(batch.mask, batch.x, torch.full_like(batch.x, 7 if kind == "tokens" else torch.nan))
    torch.testing.assert_close(model(replace(batch, x=junk)).elbo, model(batch).elbo)


@pytest.mark.parametrize("name", list(BASELINES))
def test_missing_values_are_taken_or_declined(name):
    kind = "real-frames" if BASELINES.get(name).takes == "sequences" else "real"
    data = dataset(kind, n=60)
    seen = torch.rand(data.train.x.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    holes = replace(data, train=replace(data.train, observed=seen, x=torch.where(seen, data.train.x, torch.nan)))
    if "missing" not in BASELINES.get(name).tags:
        assert baselines.why_not(name, holes) == f"{name} takes no missing values"
        with pytest.raises(ValueError, match="no missing values"):
            fitted(name, holes)
        with pytest.raises(ValueError, match="no missing values"):
            fitted(name, data)(holes.train.batch())
        return
    model = fitted(name, holes)
    mean = torch.stack([x[s].mean() for x, s in zip(data.train.x.T, seen.T, strict=True)])
    torch.testing.assert_close(model.decode(torch.zeros(1, 0))[0], mean)
    whole, part = model(data.train.batch()).elbo, model(holes.train.batch()).elbo
    assert part.isfinite().all() and not torch.allclose(whole, part)


def test_registering():
    source = {"paper": "a test", "url": "https://example.org", "equation": "none"}
    with pytest.raises(ValueError, match="has the name of a variant"):
        baseline(zoo.list_variants()[0], takes="both", **source)
    with pytest.raises(ValueError, match="takes is 'all'; it must be one of examples, sequences, both"):
        baseline("new", takes="all", **source)
    with pytest.raises(LookupError, match="did you mean 'ppca'"):
        baselines.fit("pcca", dataset("real"), 0)
    with pytest.raises(ValueError, match="markov takes sequences; these data are single examples"):
        baselines.fit("markov", dataset("real"), 0)
    assert not set(BASELINES) & set(zoo.list_variants())
    for name in BASELINES:
        found = baselines.entry(name)
        assert "Source:" in found.documentation and "nats" in found.documentation and issubclass(found.build, Baseline)


def test_metrics_that_mean_nothing_are_left_out(context, digits):
    found = {name: measure(context(fitted(name, digits), digits))[0] for name in ("marginal", "mixture", "ppca")}
    for name, metrics in found.items():
        assert {"elbo", "nll_iwae_7", "bits_per_dim", "fcd_random_projection", "sample_throughput"} <= set(metrics)
        assert not {"train_throughput", "peak_memory"} & set(metrics)
        assert ("active_units" in metrics) == ("encode_throughput" in metrics) == (name == "ppca")
    binary = zoo.load_dataset("digits:fixed")
    assert "elbo" not in measure(context(fitted("ppca", binary), binary))[0]
    assert all("latents" in m.needs for m in map(METRICS.get, METRICS) if m.group in ("latent space", "disentanglement"))


# -- in the harness ---------------------------------------------------------------------------------------------------------
def test_rows_of_their_own(tiny, capsys):
    path, out = tiny
    path.write_text(path.read_text().replace("baselines = []", "") + '[datasets.lgssm]\nbaselines = ["mark*", "ppca"]\n')
    command = ["run", str(path), "--out", str(out), "--device", "cpu"]
    assert main([*command, "--variants", "vae,m*,ppca"]) == 0
    said = capsys.readouterr()
    made = {(r["dataset"], r["variant"]): r for r in record.read_all(out / "tiny")}
    assert set(made) == {*(("digits", name) for name in ("vae", "marginal", "mixture", "ppca")), ("lgssm", "markov")}
    assert all(r["status"] == "ok" and record.is_baseline(r) == (v != "vae") for (_, v), r in made.items())
    ppca = made["digits", "ppca"]
    assert ppca["settings"] == {"latent_dim": 2} and ppca["budget"] == {"batch_size": 32} and ppca["curve"] == []
    assert ppca["training"]["seconds"] >= 0 and "elbo" in ppca["metrics"]
    assert [p.name.split("-")[1] for p in (out / "tiny/models").iterdir()] == ["vae"]
    assert "ppca (baseline)" in said.out and "vae (" not in said.out and "skipped" not in said.err
    kinds = {p.name for p in (out / "tiny/figures").glob("digits-m*-*.png")}
    assert kinds == {f"digits-{m}-{what}.png" for m in ("marginal", "mixture") for what in ("samples", "reconstructions")}
    assert "| *ppca (baseline)* |" in (out / "tiny/README.md").read_text()

    assert main([*command, "--variants", "ppca"]) == 0                         # finished: not fitted again
    assert record.read(out / "tiny/digits/ppca/0-cpu.json") == ppca
    path.write_text(path.read_text().replace("steps = 5\n", "steps = 6\n"))  # a baseline takes none
    assert main([*command, "--variants", "ppca"]) == 0
    assert main([*command, "--variants", "vae"]) == 2
