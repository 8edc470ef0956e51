"""Modifiers of a data set's name: what is left out, what is hidden, and that nothing leaks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import zoo
from zoo import Dataset, DataSpec, Split, load_dataset
from zoo.data.modified import modified, parse
from zoo.noise import Generated

X = torch.arange(60.0).reshape(20, 3)


@pytest.fixture
def digits():
    return load_dataset("digits")


@pytest.mark.parametrize("name, base, modifiers", [
    ("digits", "digits", []),
    ("digits+without=3", "digits", [("without", "3")]),
    ("mnist:dynamic+missing=0.5+without=1", "mnist:dynamic", [("missing", "0.5"), ("without", "1")]),
    ("npz:/a+b/c.npz+missing=.5", "npz:/a+b/c.npz", [("missing", ".5")]),
    ("npz:a+b=2.npz", "npz:a+b=2.npz", []),
    ("folder:x+y=z/", "folder:x+y=z/", []),
    ("cifar10+flip", "cifar10", [("flip", "")]),
    ("folder:x+flip+without=1", "folder:x", [("flip", ""), ("without", "1")]),
    ("folder:x+flip/", "folder:x+flip/", []),
    ("folder:x+flipped", "folder:x+flipped", []),
])
def test_a_name_and_its_modifiers(name, base, modifiers):
    assert parse(name) == (base, modifiers)


@pytest.mark.parametrize("name, error, message", [
    ("digits+mising=0.5", LookupError, "unknown modifier 'mising'; did you mean 'missing'"),
    ("digit+missing=0.5", LookupError, "unknown data set 'digit'; did you mean 'digits'"),
    ("digits+without=1+without=2", ValueError, "without is given twice"),
    ("digits+without=10", ValueError, "the classes of digits are 0 .. 9"),
    ("digits+without=-1", ValueError, "the classes of digits are 0 .. 9"),
    ("digits+without=one", ValueError, "the classes of digits are 0 .. 9"),
    ("lgssm+without=1", ValueError, "lgssm has no labels"),
    ("digits+flip=0.5", ValueError, r"\+flip takes no value"),
    ("digits+flip+flip", ValueError, "flip is given twice"),
    ("wine+flip", ValueError, "no set of images"),
    ("digit_rows+flip", ValueError, "no set of images"),
    ("digits+missing=1", ValueError, "'half' or a share between 0 and 1"),
    ("digits+missing=50%", ValueError, "'half' or a share between 0 and 1"),
    ("digits+missing=nan", ValueError, "'half' or a share between 0 and 1"),
    ("wine+missing=half", ValueError, "no set of images"),
    ("digit_rows+missing=half", ValueError, "no set of images"),
])
def test_what_does_not_fit_is_refused(name, error, message):
    with pytest.raises(error, match=message):
        load_dataset(name)


def test_a_class_is_left_out_of_all_but_test(digits):
    data = load_dataset("digits+without=3")
    data.check()
    assert data.name == "digits+without=3" and data.novel == 3 and data.spec == digits.spec
    for name in ("train", "valid"):
        whole, part = digits.splits[name], data.splits[name]
        assert torch.equal(part.x, whole.x[whole.label != 3]) and 3 not in part.label
    assert torch.equal(data.test.x, digits.test.x) and torch.equal(data.test.label, digits.test.label)


def test_a_class_that_test_lacks_cannot_be_found_there():
    split = Split(X, torch.arange(20) % 2)
    data = Dataset("two", DataSpec((3,), "real", classes=3), split, split, split, note="")
    with pytest.raises(ValueError, match="too small"):
        modified(data, [("without", "2")])


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_numbers_is_missing_at_random(digits, share):
    data = load_dataset(f"digits+missing={share}")
    assert data.hidden and data.sha256 == load_dataset(f"digits+missing={share}").sha256
    for name, split in data.splits.items():
        assert torch.equal(split.x, digits.splits[name].x)              # the truth stays
        gone = ~split.observed
        error = (share * (1 - share) / gone.numel()) ** 0.5
        assert float(gone.float().mean()) == pytest.approx(share, abs=4 * error)
        per_pixel = gone.float().mean(0).flatten()
        assert (per_pixel - share).abs().max() < 5 * (share * (1 - share) / len(split)) ** 0.5
    assert not torch.equal(data.valid.observed, data.test.observed)     # both 250 examples


def test_the_mask_of_test_does_not_depend_on_what_train_holds():
    masks = [load_dataset(f"digits{m}+missing=0.3").test.observed for m in ("", "+without=1", ":dynamic")]
    assert all(torch.equal(m, masks[0]) for m in masks)


def test_one_half_of_an_image_is_missing():
    data = load_dataset("digits+missing=half")
    observed = data.train.observed[:, 0]
    n = torch.arange(8)
    halves = torch.stack([(n < 4)[:, None].expand(8, 8), (n >= 4)[:, None].expand(8, 8),
                          (n < 4).expand(8, 8), (n >= 4).expand(8, 8)])
    which = (observed[:, None] == halves).all(-1).all(-1)
    assert (which.sum(1) == 1).all()
    counts = which.sum(0).float()
    assert ((counts - len(observed) / 4).abs() < 4 * (len(observed) * 3 / 16) ** 0.5).all()


@pytest.mark.parametrize("name", ["digits", "digits:dynamic", "digits+missing=0.5"])
def test_half_of_the_training_images_are_mirrored_and_no_others(name):
    """Every image, at 200 visits: it or its mirror image, with its mask, half the time each and as the batch's noise says."""
    plain, data = load_dataset(name), load_dataset(name + "+flip")
    index = torch.arange(200)
    for other in ("valid", "test"):
        assert torch.equal(data.splits[other].batch().x, plain.splits[other].batch().x)
    x, observed = plain.train.x[index], plain.train.observed
    shares = []
    for step in range(200):
        batch = data.train.batch(index, Generated(0, step))
        again = data.train.batch(index, Generated(0, step))
        assert torch.equal(batch.x, again.x)
        mirrored = Generated(0, step).uniform((200, 1, 1, 1)) < 0.5
        shares.append(mirrored.flatten())
        grey = torch.where(mirrored, x.flip(-1), x) / 16
        if data.train.binarise:
            assert (batch.x[grey == 0] == 0).all() and (batch.x[grey == 1] == 1).all()
        else:
            assert torch.equal(batch.x, grey)
        if observed is not None:
            assert torch.equal(batch.observed, torch.where(mirrored, observed[index].flip(-1), observed[index]))
    share = torch.stack(shares).float()
    assert (share.mean(0) - 0.5).abs().max() < 5 * 0.5 / 200**0.5 and abs(share.mean() - 0.5) < 4 * 0.5 / 200


def test_missing_values_of_its_own_have_no_truth(tmp_path):
    x = np.random.RandomState(0).randn(20, 3)
    np.savez(tmp_path / "a.npz", x=x, observed=x > 0)
    with pytest.raises(ValueError, match="missing values of its own"):
        load_dataset(f"npz:{tmp_path}/a.npz+missing=0.5")
    np.savez(tmp_path / "b=1.npz", x=x)
    assert load_dataset(f"npz:{tmp_path}/b=1.npz+missing=0.5").hidden


def test_tables_are_standardised_by_what_is_observed():
    whole, data = load_dataset("wine"), load_dataset("wine+missing=0.5")
    x, seen = data.train.x.double().numpy(), data.train.observed.numpy()
    seen_only = np.where(seen, x, np.nan)
    assert np.abs(np.nanmean(seen_only, 0)).max() < 1e-6 and np.abs(np.nanstd(seen_only, 0) - 1).max() < 1e-6
    for before, after in zip(whole.test.x.T, data.test.x.T, strict=True):      # one affine change a column, in every split
        assert np.corrcoef(before, after)[0, 1] == pytest.approx(1, abs=1e-6) and not torch.equal(before, after)


def garbled(data):
    """The same with other numbers where they are hidden."""
    def garble(split):
        return replace(split, x=torch.where(split.observed, split.x, torch.full_like(split.x, float("nan"))))
    return replace(data, **{name: garble(split) for name, split in data.splits.items()})


@pytest.mark.parametrize("variant", ["vae", "miwae", "vamp", "ae"])
def test_training_sees_nothing_of_what_is_hidden(variant):
    data = load_dataset("wine+missing=0.5")
    models, elbos = [], []
    for d in (data, garbled(data)):
        models.append(zoo.create(variant, d.spec, seed=0, latent_dim=2, hidden=8))
        elbos.append(zoo.fit(models[-1], d, steps=6, batch_size=16, progress=False, tensorboard=False).best_elbo)
    first, second = (model.state_dict() for model in models)
    assert elbos[0] == elbos[1] and all(torch.equal(first[name], second[name]) for name in first)


def test_the_scale_sees_nothing_of_what_is_hidden():
    """Standardised again after garbling, the observed numbers are what they were."""
    split = Split(X.clone())
    data = Dataset("line", DataSpec((3,), "real"), split, split, split, note="")
    clean = modified(data, [("missing", "0.4")])
    other = replace(split, x=torch.where(clean.train.observed, X, torch.tensor(1e6)))
    dirty = modified(replace(data, train=other), [("missing", "0.4")])
    assert torch.equal(clean.train.batch().visible.x, dirty.train.batch().visible.x)
    assert torch.equal(clean.test.x, dirty.test.x)
