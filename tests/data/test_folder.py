"""Users' images: order, labels, colours, and errors that name the file."""

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data import load_dataset

RNG = np.random.RandomState(0)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def draw(path, shape=(6, 5)):
    """Write a random image and return its pixels."""
    return write(path, RNG.randint(256, size=shape).astype(np.uint8))


def in_file_order(data):
    """All images, put back into the sorted order of their files."""
    x = torch.cat([split.x for split in data.splits.values()])
    return x[torch.from_numpy(np.random.RandomState(0).permutation(len(x))).argsort()]


def test_grey_images(tmp_path):
    pixels = [draw(tmp_path / f"{i:02}.png") for i in range(20)]
    (tmp_path / "notes.txt").write_text("not an image")
    data = load_dataset(f"folder:{tmp_path}")
    data.check()
    assert data.spec.shape == (1, 6, 5) and data.spec.kind == "byte" and data.spec.classes is None
    assert [len(split) for split in data.splits.values()] == [16, 2, 2]
    assert torch.equal(in_file_order(data), torch.from_numpy(np.stack(pixels))[:, None])


def test_one_colour_image_makes_all_of_them_colour(tmp_path):
    grey, colour = draw(tmp_path / "a.png"), draw(tmp_path / "b.png", (6, 5, 3))
    transparent = draw(tmp_path / "c.png", (6, 5, 4))
    x = in_file_order(load_dataset(f"folder:{tmp_path}"))
    expected = np.stack([np.stack([grey] * 3, -1), colour, transparent[..., :3]]).transpose(0, 3, 1, 2)
    assert torch.equal(x, torch.from_numpy(expected))


def test_subfolders_are_labels(tmp_path):
    for name in ("cat", "ant", "bee"):
        for i in range(4):
            write(tmp_path / name / f"{i}.png", np.full((6, 5), ord(name[0]), np.uint8))
    data = load_dataset(f"folder:{tmp_path}")
    assert data.spec.classes == 3 and "classes ant, bee, cat" in data.note
    for split in data.splits.values():
        assert (split.x[:, 0, 0, 0] - ord("a")).tolist() == split.label.tolist()


def test_images_of_different_sizes_are_refused(tmp_path):
    for i in range(3):
        draw(tmp_path / f"{i}.png")
    draw(tmp_path / "odd.png", (5, 6))
    with pytest.raises(ValueError, match="odd.png has 5 rows and 6 columns, .*0.png 6 and 5; all"):
        load_dataset(f"folder:{tmp_path}")


def test_a_damaged_image_is_named(tmp_path):
    for i in range(3):
        draw(tmp_path / f"{i}.png")
    whole = (tmp_path / "1.png").read_bytes()
    for content in (whole[:40], b"words"):
        (tmp_path / "1.png").write_bytes(content)
        with pytest.raises(ValueError, match="1.png cannot be read as an image"):
            load_dataset(f"folder:{tmp_path}")


def test_sixteen_bits_are_refused(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.png", np.full((4, 4), 1000, np.uint16))
    with pytest.raises(ValueError, match="0.png cannot be read as an image: its mode is I;16"):
        load_dataset(f"folder:{tmp_path}")


def test_folders_that_make_no_data_set_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        load_dataset(f"folder:{tmp_path}")
    draw(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"1 example\(s\); at least 3"):
        load_dataset(f"folder:{tmp_path}")
    draw(tmp_path / "sub" / "b.png")
    with pytest.raises(ValueError, match="a.png lies beside subfolders"):
        load_dataset(f"folder:{tmp_path}")
