"""What a model gives back: samples, codes, reconstructions, and itself from a file."""

import pytest
import torch
from support import CASES, FORMS, NAMES, B, examples, form_id, kinds, other, perturbed, small, with_x

import zoo
from zoo.noise import Generated

GLOBAL = [n for n in NAMES if not issubclass(zoo.entry(n).build, zoo.SequenceVariant)]      # one z for all of x


def some_lengths(spec, n):
    return 1 + torch.arange(n) % spec.max_length if spec.sequence else None


def past_the_end(x, lengths):
    return x[torch.arange(x.shape[1]) >= lengths[:, None]]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_draws_are_valid_data(name, kind):
    model = perturbed(small(name, kind))
    lengths = some_lengths(model.spec, 20)
    x = model.sample(20, observe=True, lengths=lengths, noise=Generated(0))
    assert x.shape == (20, *((model.spec.max_length,) if model.spec.sequence else ()), *model.spec.shape)
    model.spec.check(zoo.Batch(x, lengths=lengths))
    if model.spec.kind == "byte":
        grey = x * (model.spec.levels - 1)
        torch.testing.assert_close(grey, grey.round(), atol=1e-4, rtol=0)
    if lengths is not None:
        assert (past_the_end(x, lengths) == 0).all()
    assert len(x.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_means_have_the_shape_and_range_of_data(name, kind):
    model = perturbed(small(name, kind))
    if model.spec.sequence:
        pytest.skip("sequences are always drawn")
    x = model.sample(5)
    assert x.shape == (5, *model.spec.shape) and x.isfinite().all()
    if model.spec.kind != "real":
        assert (x >= 0).all() and (x <= 1).all()


@pytest.mark.parametrize(("name", "kind", "form"), [f for f in FORMS if f[0] in GLOBAL], ids=form_id)
def test_samples_come_from_the_prior(name, kind, form):
    """z ~ prior(given), and nothing else, is decoded."""
    model = perturbed(small(name, kind, **form))
    label = torch.arange(9) % 3
    given, noise = zoo.Batch(label=label), Generated(5)
    with torch.no_grad():
        p = model.likelihood(model.prior(given).sample(9, noise).unsqueeze(0), given)
        expected = (p.draw(noise) if model.spec.sequence else p.mean)[0]
    assert torch.equal(model.sample(9, label=label, noise=Generated(5)), expected)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_codes_and_reconstructions_have_their_shapes(name, kind):
    model, batch = perturbed(small(name, kind)), examples(kind)
    z, x = model.encode(batch), model.reconstruct(batch)
    steps = () if name in GLOBAL else (batch.x.shape[1],)
    assert z.shape == (B, *steps, model.latent_dim) and z.isfinite().all()
    assert x.shape[0] == B and x.shape[2:] == batch.x.shape[2:]
    assert model.spec.sequence or x.shape == batch.x.shape
    assert not z.requires_grad and not x.requires_grad
    if model.spec.kind == "tokens":
        assert x.dtype == torch.int64
    if model.spec.sequence:
        assert x.shape[1] >= batch.x.shape[1] and (past_the_end(x, batch.lengths) == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_codes_follow_the_data(name):
    model, batch = perturbed(small(name, kinds(name)[0])), examples(kinds(name)[0])
    assert not torch.equal(model.encode(batch), model.encode(with_x(batch, other(model.spec, batch.x))))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_decoding_codes_reconstructs(name, kind):
    """And a model with a latent a step, which cannot, says what to use instead."""
    model, batch = perturbed(small(name, kind)), examples(kind)
    if name not in GLOBAL:
        with pytest.raises(NotImplementedError, match="sample or reconstruct"):
            model.decode(torch.zeros(2, model.latent_dim))
    else:
        decoded = model.decode(model.encode(batch), label=batch.label, lengths=batch.lengths)
        torch.testing.assert_close(decoded, model.reconstruct(batch))


@pytest.mark.parametrize(("name", "kind", "form"), FORMS, ids=form_id)
def test_a_saved_model_comes_back_bit_for_bit(name, kind, form, tmp_path):
    model, batch = perturbed(small(name, kind, **form)), examples(kind)
    with torch.no_grad():                                   # buffers too, away from where they began
        for key, value in model.updated_buffers(model(batch, noise=Generated(3))).items():
            model.get_buffer(key).copy_(value)
    zoo.save(model, tmp_path / "model.safetensors")
    again = zoo.load(tmp_path / "model.safetensors")
    assert (again.name, again.spec, again.settings) == (model.name, model.spec, model.settings)
    for a, b in ((m(batch, 2, Generated(1)) for m in (model, again)),):
        assert torch.equal(a.nll, b.nll) and torch.equal(a.log_w, b.log_w) and torch.equal(a.kl, b.kl)
    assert torch.equal(model.sample(3, noise=Generated(2)), again.sample(3, noise=Generated(2)))
