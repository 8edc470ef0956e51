"""The digits: counts, hashes, splits, and that rows are the same images."""

import torch

from zoo.data import load_dataset
from zoo.spec import DataSpec


def whole(data):
    splits = data.splits.values()
    return torch.cat([split.x for split in splits]), torch.cat([split.label for split in splits])


def test_the_spec_and_the_split():
    data = load_dataset("digits")
    assert data.spec == DataSpec((1, 8, 8), "byte", classes=10, levels=17)
    assert [len(split) for split in data.splits.values()] == [1297, 250, 250]
    assert data.sha256.startswith("28c1bee9f18a"), "the split is part of every published number: it may not change"
    batch = data.test.batch()
    assert batch.x.dtype == torch.float32 and batch.x.min() == 0 and batch.x.max() == 1


def test_every_digit_is_in_exactly_one_split():
    from sklearn.datasets import load_digits

    original = load_digits()
    x, label = whole(load_dataset("digits"))
    ours = sorted((*row, y) for row, y in zip(x.flatten(1).tolist(), label.tolist(), strict=True))
    theirs = sorted((*map(int, row), int(y)) for row, y in zip(original.data, original.target, strict=True))
    assert ours == theirs


def test_rows_are_the_images_from_top_to_bottom():
    images, rows = load_dataset("digits"), load_dataset("digit_rows")
    assert rows.spec == DataSpec((8,), "byte", classes=10, max_length=8, levels=17)
    for name, split in rows.splits.items():
        assert torch.equal(split.x, images.splits[name].x[:, 0])
        assert torch.equal(split.label, images.splits[name].label)
        assert split.lengths.tolist() == [8] * len(split)


def test_binarised_digits_share_valid_and_test_and_follow_the_grey_values():
    grey, dynamic, fixed = (load_dataset(f"digits{suffix}") for suffix in ("", ":dynamic", ":fixed"))
    assert dynamic.spec.kind == fixed.spec.kind == "binary"
    assert torch.equal(dynamic.valid.x, fixed.valid.x) and torch.equal(dynamic.test.x, fixed.test.x)
    assert torch.equal(dynamic.train.x, grey.train.x) and dynamic.train.binarise and not fixed.train.binarise
    for name in grey.splits:
        p, x = grey.splits[name].batch().x, fixed.splits[name].batch().x
        score = (x - p).sum() / (p * (1 - p)).sum().sqrt()      # standard normal if x ~ Bernoulli(p), independently
        assert abs(score) < 4
        assert (x[p == 0] == 0).all() and (x[p == 1] == 1).all()
