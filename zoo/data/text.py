"""Your own text as sequences of characters: `text:PATH`."""

from pathlib import Path

import numpy as np

from ..spec import DataSpec
from .core import Dataset, Split, pad, sizes
from .names import register_dataset

LENGTH = 64                                                     # characters in a sequence
SHORTEST = 20                                                   # characters in a text: no split may be empty


@register_dataset("text:PATH")
def text(path: Path) -> Dataset:
    """A UTF-8 file: tokens are its characters, in sequences of 64, of which the last of each split may be shorter.

    The vocabulary is the sorted characters of the whole file; `DataSpec.text` turns tokens into strings. The first 90 %
    of the characters are train, the next 5 % valid, the last 5 % test.
    Raises: ValueError for a file that is not UTF-8 or is too short.
    """
    try:
        characters = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}): convert it first") from None
    n = len(characters)
    if n < SHORTEST:
        raise ValueError(f"{path} has {n} characters; at least {SHORTEST} are needed for train, valid and test")
    points, tokens = np.unique(np.frombuffer(characters.encode("utf-32-le"), np.uint32), return_inverse=True)
    train, valid, test = (_sequences(part) for part in np.split(tokens, [n * 90 // 100, n * 95 // 100]))
    note = f"""{path}: {n} characters, {len(points)} of them different, in sequences of {LENGTH}.
Split: contiguous, 90 / 5 / 5 % of the characters, {sizes(train, valid, test)}."""
    symbols = tuple(map(chr, points.tolist()))
    spec = DataSpec((), "tokens", max_length=LENGTH, vocabulary=len(symbols), symbols=symbols)
    return Dataset(f"text:{path}", spec, train, valid, test, note)


def _sequences(tokens: np.ndarray) -> Split:
    return pad(np.split(tokens.astype(np.int64), range(LENGTH, len(tokens), LENGTH)), LENGTH)
