"""dSprites: the official file of 737,280 binary 64x64 images, every combination of five factors once.

The file is known by its MD5, as published with the loaders of several projects; it is neither shipped nor downloaded. Numbers
are not comparable with those on `sprites`, which it inspired: rasteriser, heart and sizes are others. Orientations 0 and 39 are
the same here, 0 and 2 pi, so that no code can tell them apart.
"""

from pathlib import Path

import numpy as np
import torch

from ..spec import DataSpec
from .core import Dataset, Split, divide, shuffle, sizes
from .files import Files
from .names import register_dataset
from .sprites import FACTORS, SEED, SIDE

PATH = "dsprites/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
FILES = Files({PATH: "md5:7da33b31b13a06f4b04a70402ce90c2e"}, "https://github.com/google-deepmind/dsprites-dataset")
VALID, TEST = 10_000, 10_000


@register_dataset("dsprites")
def dsprites(root: Path) -> Dataset:
    """All images; label: the shape. Takes 6 GB of memory while it is read, and then 3.

    Raises: FileNotFoundError saying where to put the file; ValueError for another one.
    """
    (path,) = FILES.find(root)
    with np.load(path) as file:
        images, classes = torch.from_numpy(file["imgs"]), torch.from_numpy(file["latents_classes"])
    factors = classes[:, 1:]                                        # the first is the colour, always white
    whole = Split(images.view(torch.bool)[:, None], label=factors[:, 0].clone(), factors=factors)
    splits = divide(shuffle(whole, SEED), VALID, TEST)
    note = f"""dSprites: 3 shapes x 6 scales x 40 orientations x 32 x positions x 32 y positions.
Source: Matthey, Higgins, Hassabis & Lerchner 2017, {FILES.origin}.
Split: in the order of RandomState({SEED}).permutation, {sizes(*splits)}."""
    return Dataset("dsprites", DataSpec((1, SIDE, SIDE), "binary", classes=3, factors=FACTORS), *splits, note=note)
