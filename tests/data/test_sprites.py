"""Sprites: pixels recomputed one by one from the formula, counts, and that factors mean what they say."""

import hashlib
import math

import numpy as np
import pytest
import torch

from zoo.data import load_dataset
from zoo.data.sprites import COUNTS, canvases, render
from zoo.spec import DataSpec

SPRITES_SHA256 = "88e8a874f13768156f04f6ca55f3933711673c316de87a63a92c7126bef55273"         # of numpy.packbits


@pytest.fixture(scope="module")
def data():
    return load_dataset("sprites")


def pixel(shape, scale, orientation, x, y, row, column):
    """The formula once more, for one pixel."""
    right, up = column - (16 + x), (16 + y) - row
    angle, unit = 2 * math.pi * orientation / 41, 0.139 * 64 * (0.5 + 0.1 * scale)
    a = (math.cos(angle) * right + math.sin(angle) * up) / unit
    b = (math.cos(angle) * up - math.sin(angle) * right) / unit
    if shape == 0:
        return abs(a) <= 1 and abs(b) <= 1
    if shape == 1:
        return (a / 1.4) ** 2 + (b / 0.7) ** 2 <= 1
    return (a**2 + b**2 - 1) ** 3 <= a**2 * b**3


def test_every_image_is_what_its_factors_say(data):
    for split in data.splits.values():
        for image, factors in zip(split.x[:4, 0], split.factors[:4].tolist(), strict=True):
            expected = [[pixel(*factors, row, column) for column in range(64)] for row in range(64)]
            assert torch.equal(image, torch.tensor(expected))
        assert torch.equal(render(split.factors[-50:]), split.x[-50:])


def test_spec_sizes_labels_and_hash(data):
    factors = (("shape", 3), ("scale", 6), ("orientation", 40), ("x", 32), ("y", 32))
    assert data.spec == DataSpec((1, 64, 64), "binary", classes=3, factors=factors)
    assert [len(split) for split in data.splits.values()] == [16000, 2000, 2000]
    assert all(torch.equal(split.label, split.factors[:, 0]) for split in data.splits.values())
    assert data.sha256.startswith("31e5d26cd3a9")


def test_no_example_comes_twice_and_factors_are_uniform(data):
    factors = torch.cat([split.factors for split in data.splits.values()])
    assert len(factors.unique(dim=0)) == len(factors) == 20000
    for column, count in zip(factors.T, COUNTS, strict=True):
        expected = len(factors) / count
        chi2 = ((column.bincount(minlength=count) - expected) ** 2 / expected).sum()
        assert chi2 < count + 5 * math.sqrt(2 * count)


def test_the_720_sprites():
    """The mean is that of 64x64 windows; dSprites' is 0.0425: half-side 0.139, which makes the counts below, gives less."""
    assert hashlib.sha256(np.packbits(canvases()).tobytes()).hexdigest() == SPRITES_SHA256
    area = np.array([4, math.pi * 1.4 * 0.7, 3.66197]) * (0.139 * 64) ** 2 * np.square(np.linspace(0.5, 1, 6)).mean()
    assert canvases().sum((1, 2, 3, 4)) / 240 == pytest.approx(area, rel=0.02)           # of square, ellipse and heart


def test_the_number_of_different_sprites_of_each_shape():
    different = [len({image.tobytes() for image in sprites.reshape(240, 95, 95)}) for sprites in canvases()]
    assert different == [181, 235, 240]
    assert canvases().sum() / (720 * 64 * 64) == pytest.approx(0.0409, abs=1e-4)


def test_no_sprite_is_cut_off():
    """At every extreme position a sprite has as many pixels as in the middle."""
    corners = [[s, 5, o, x, y] for s in range(3) for o in range(40) for x in (0, 16, 31) for y in (0, 16, 31)]
    counts = render(torch.tensor(corners)).flatten(1).sum(1).view(-1, 9)
    assert (counts == counts[:, :1]).all()


def test_x_moves_right_y_moves_down_scale_grows():
    base = [2, 3, 7, 10, 12]
    image, right, down, larger = render(
        torch.tensor([base, [2, 3, 7, 11, 12], [2, 3, 7, 10, 13], [2, 4, 7, 10, 12]])
    )[:, 0]
    assert torch.equal(right, image.roll(1, 1)) and torch.equal(down, image.roll(1, 0))
    assert larger.sum() > image.sum()


def test_factors_out_of_range_are_refused():
    for factors in ([[3, 0, 0, 0, 0]], [[0, 0, -1, 0, 0]], [[0, 0, 0, 0]]):
        with pytest.raises(ValueError, match="factors must be"):
            render(torch.tensor(factors))
