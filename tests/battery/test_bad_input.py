"""Bad data is refused with a message: by a forward pass what shapes and dtypes tell, at the edges of a program values too."""

from dataclasses import replace

import pytest
import torch
from support import CASES, NAMES, SPECS, dataset, examples, kinds, small, take

import zoo

NOT_TOKENS = [c for c in CASES if SPECS[c[1]].kind != "tokens"]
BOUNDED = [c for c in CASES if SPECS[c[1]].kind != "real"]
SEQUENCES = [c for c in CASES if SPECS[c[1]].sequence]
CONDITIONAL = [n for n in NAMES if "conditional" in zoo.entry(n).tags]


def edges(model):
    """Where values come in and are read."""
    return model.encode, model.reconstruct


def spoilt(kind, value):
    """One number of one example, inside its length and observed, becomes `value`."""
    batch = examples(kind)
    x = batch.x.clone()
    x[2].view(-1)[0] = value
    return replace(batch, x=x)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_wrong_shape(name, kind):
    model, batch = small(name, kind), examples(kind)
    for x in (batch.x.unsqueeze(-1), batch.x[0]):
        for call in (model, *edges(model)):
            with pytest.raises(ValueError, match="shape"):
                call(zoo.Batch(x, lengths=batch.lengths))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_wrong_dtype(name, kind):
    model, batch = small(name, kind), examples(kind)
    x = batch.x.float() if batch.x.dtype == torch.int64 else batch.x.to(torch.uint8)
    for call in (model, *edges(model)):
        with pytest.raises(TypeError, match="int64|floating point"):
            call(replace(batch, x=x))


@pytest.mark.parametrize(("name", "kind"), BOUNDED)
@pytest.mark.parametrize("value", [-1.0, 7.0])
def test_a_value_out_of_range(name, kind, value):
    for call in edges(small(name, kind)):
        with pytest.raises(ValueError, match="in \\["):
            call(spoilt(kind, value))


@pytest.mark.parametrize(("name", "kind"), [c for c in CASES if SPECS[c[1]].kind == "binary"])
def test_grey_where_binary_was_promised(name, kind):
    for call in edges(small(name, kind)):
        with pytest.raises(ValueError, match="0 or 1"):
            call(spoilt(kind, 0.5))


@pytest.mark.parametrize(("name", "kind"), NOT_TOKENS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity(name, kind, value):
    for call in edges(small(name, kind)):
        with pytest.raises(ValueError, match="NaN or Inf in 1 example"):
            call(spoilt(kind, value))


@pytest.mark.parametrize(("name", "kind"), NOT_TOKENS)
def test_nan_where_nothing_was_observed_is_fine(name, kind):
    model, batch = small(name, kind), spoilt(kind, float("nan"))
    for call in edges(model):
        assert call(replace(batch, observed=batch.x.isfinite())).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_that_is_no_mask(name):
    batch = examples(kinds(name)[0])
    for observed in (torch.ones_like(batch.x), torch.ones(len(batch.x), dtype=torch.bool)):
        with pytest.raises(ValueError, match="observed must be bool"):
            small(name, kinds(name)[0])(replace(batch, observed=observed))


@pytest.mark.parametrize("name", NAMES)
def test_labels_out_of_range_or_of_another_number(name):
    model, batch = small(name, kinds(name)[0]), examples(kinds(name)[0])
    for label in (batch.label + 1, batch.label - 1):
        for call in edges(model):
            with pytest.raises(ValueError, match="label lie in"):
                call(replace(batch, label=label))
    with pytest.raises(ValueError, match="label has shape"):
        model(replace(batch, label=batch.label[:2]))
    with pytest.raises(TypeError, match="label must be int64"):
        model(replace(batch, label=batch.label.float()))
    with pytest.raises(ValueError, match="label is"):
        model.sample(2, label=torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="label is"):
        model.sample(2, label=torch.tensor([0]))


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_missing_label(name):
    model, batch = small(name, kinds(name)[0]), examples(kinds(name)[0])
    for call in (model, *edges(model)):
        with pytest.raises(ValueError, match="label"):
            call(replace(batch, label=None))


@pytest.mark.parametrize(("name", "kind"), SEQUENCES)
def test_lengths_out_of_range(name, kind):
    model, batch = small(name, kind), examples(kind)
    for length in (0, 6):
        lengths = batch.lengths.clone()
        lengths[3] = length
        for call in edges(model):
            with pytest.raises(ValueError, match="lengths lie in"):
                call(replace(batch, lengths=lengths))
    for length in (0, 7):
        with pytest.raises(ValueError, match="lengths is"):
            model.sample(2, lengths=torch.tensor([1, length]))
    with pytest.raises(ValueError, match="frames"):
        model(zoo.Batch(torch.cat([batch.x, batch.x], 1), batch.label))


@pytest.mark.parametrize("name", [n for n in NAMES if not SPECS[kinds(n)[0]].sequence])
def test_lengths_of_what_is_no_sequence(name):
    batch = examples(kinds(name)[0])
    with pytest.raises(ValueError, match="not sequences"):
        small(name, kinds(name)[0])(replace(batch, lengths=torch.ones(len(batch.x), dtype=torch.int64)))


@pytest.mark.parametrize("name", NAMES)
def test_no_samples_at_all(name):
    for n in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            small(name, kinds(name)[0]).sample(n)
    with pytest.raises(ValueError, match=r"samples|x"):
        small(name, kinds(name)[0])(zoo.Batch())


@pytest.mark.parametrize("name", NAMES)
def test_training_refuses_bad_data_before_the_first_step(name):
    kind = kinds(name)[0]
    data = dataset(kind)
    model = small(name, kind)
    before = [p.clone() for p in model.parameters()]
    for split in ("train", "valid"):
        good = getattr(data, split)
        x = good.x.clone()
        x[-1].view(-1)[0] = 99
        with pytest.raises(ValueError, match="in \\["):
            zoo.fit(model, replace(data, **{split: replace(good, x=x)}), steps=1, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_training_refuses_data_of_another_spec(name):
    kind = kinds(name)[0]
    narrower = replace(SPECS[kind], shape=(*SPECS[kind].shape[:-1], 3))
    with pytest.raises(ValueError, match="create it with data.spec"):
        zoo.fit(small(name, kind), dataset(narrower), steps=1, progress=False)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_empty_batch_gives_empty_terms(name, kind):
    model, batch = small(name, kind), take(examples(kind), slice(0, 0))
    assert model(batch, 2).elbo.shape == (0,)
