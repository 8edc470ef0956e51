"""Data sets by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..registry import Registry
from .binarise import binarised
from .core import Dataset
from .files import data_root, user_path
from .modified import modified, parse

Load = Callable[[Path], Dataset]

_loaders: Registry[Load] = Registry("data set")


def register_dataset(name: str, *, binarise: bool = False) -> Callable[[Load], Load]:
    """Decorate a function from the data folder to a `Dataset`; for a name ending in ":PATH", from the user's path.

    `binarise` (byte or unit data) also registers `name:dynamic` and `name:fixed`.
    Raises: ValueError if the name is taken.
    """

    def decorate(load: Load) -> Load:
        _loaders.add(name, load)
        if binarise:
            _loaders.add(f"{name}:dynamic", lambda root: binarised(load(root), fixed=False))
            _loaders.add(f"{name}:fixed", lambda root: binarised(load(root), fixed=True))
        return load

    return decorate


def load_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """The data set of this name, the same at every call. `root`: the data folder; else $ZOO_DATA, else ./data.

    The name may end in modifiers, such as +without=3 or +missing=0.5: see `modified.py`.

    Raises: LookupError for an unknown name or modifier, with the nearest match; FileNotFoundError saying which files to put
    where; ValueError for files that are damaged or hold what no model can take, and for a modifier that does not fit.
    """
    base, modifiers = parse(name)
    place = data_root(root)
    family, colon, path = base.partition(":")
    if colon and f"{family}:PATH" in _loaders:
        if not path:
            raise LookupError(f"{base!r} has no path after the colon: write {family}:PATH")
        load, place = _loaders.get(f"{family}:PATH"), user_path(path, place)
    else:
        load = _loaders.get(base)
    return replace(modified(replace(load(place), name=base), modifiers), name=name)


def list_datasets(pattern: str = "*") -> list[str]:
    """Sorted names that match a shell pattern such as `polyphonic/*`."""
    return _loaders.names(pattern)
