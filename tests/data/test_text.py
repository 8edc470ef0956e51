"""Text: tokens and back, splits that join to the whole, errors."""

import pytest
import torch

from zoo.data import load_dataset

VERSE = "Über allen Gipfeln\nist Ruh, " * 100


def join(data, split):
    return "".join(data.spec.text(split.x, split.lengths))


def test_the_splits_join_to_the_text(tmp_path):
    (tmp_path / "verse.txt").write_text(VERSE, encoding="utf-8")
    data = load_dataset(f"text:{tmp_path / 'verse.txt'}")
    data.check()
    n = len(VERSE)
    parts = [join(data, split) for split in data.splits.values()]
    assert "".join(parts) == VERSE
    assert [len(part) / n for part in parts] == pytest.approx([0.9, 0.05, 0.05], abs=1 / n)
    assert list(data.spec.symbols) == sorted(set(VERSE))
    assert data.spec.kind == "tokens" and data.spec.vocabulary == len(set(VERSE)) and data.spec.max_length == 64
    for split in data.splits.values():
        assert (split.lengths[:-1] == 64).all() and 1 <= split.lengths[-1] <= 64


def test_text_without_lengths_is_taken_whole(tmp_path):
    (tmp_path / "abc.txt").write_text("abc" * 10)
    data = load_dataset("text:abc.txt", tmp_path)               # found in the data folder
    assert data.name == "text:abc.txt"
    assert data.spec.text(torch.tensor([[0, 1], [2, 2]])) == ["ab", "cc"]


def test_shakespeare(real, real_root):
    name = f"text:{real_root('text/tiny_shakespeare.txt') / 'text' / 'tiny_shakespeare.txt'}"
    data = real(name, "text/tiny_shakespeare.txt")
    assert data.spec.vocabulary == 65 and join(data, data.train).startswith("First Citizen:\nBefore we proceed")
    assert sum(int(split.lengths.sum()) for split in data.splits.values()) == 1115393


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "latin1.txt").write_bytes(b"x" * 30 + b"\xfc")
    with pytest.raises(ValueError, match=r"latin1.txt is not UTF-8 text \(byte 30\)"):
        load_dataset("text:latin1.txt", tmp_path)
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(ValueError, match="short.txt has 9 characters; at least 20"):
        load_dataset("text:short.txt", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is neither .*none.txt nor .*none.txt"):
        load_dataset("text:none.txt", tmp_path)
