"""Where files are looked for, how they are checked, and what is said when they are missing or damaged."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


def data_root(root: str | Path | None = None) -> Path:
    """The data folder: the argument, else $ZOO_DATA, else ./data. It need not exist."""
    return Path(root or os.environ.get("ZOO_DATA") or "data").expanduser()


def user_path(path: str, root: Path) -> Path:
    """A path in a data set's name: relative to the working directory, or else to the data folder.

    Raises: FileNotFoundError naming both places.
    """
    here = Path(path).expanduser()
    for candidate in (here, root / here):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(
        f"there is neither {here.absolute()} nor {(root / here).absolute()}: the path in a data set's name is relative "
        "to the working directory or to the data folder"
    )


@dataclass(frozen=True)
class Files:
    """The files a data set is read from.

    digests: path under the data folder -> "sha256:<hex>" or "md5:<hex>", or "" where none is known.
    origin: where a person gets them. download: fetches them into a folder that it is given.
    """

    digests: Mapping[str, str]
    origin: str
    download: Callable[[Path], object] | None = None

    def find(self, root: Path) -> list[Path]:
        """The files' paths, present and undamaged. Writes under `root` only after a successful download.

        Raises: FileNotFoundError saying which files to put where; ValueError for a digest that differs.
        """
        failure = ""
        if self._missing(root) and self.download is not None:
            try:
                self._fetch(root)
            except (OSError, RuntimeError) as error:
                failure = f"\nThe download failed ({type(error).__name__}: {error})."
        if missing := self._missing(root):
            names = "".join(f"\n    {root / name}" for name in missing)
            raise FileNotFoundError(
                f"missing files:{names}{failure}\nGet them from {self.origin} and put them there, "
                "or name another data folder with root=... or $ZOO_DATA."
            )
        for name, digest in self.digests.items():
            _check_digest(root / name, digest, self.origin)
        return [root / name for name in self.digests]

    def _missing(self, root: Path) -> list[str]:
        return [name for name in self.digests if not (root / name).is_file()]

    def _fetch(self, root: Path) -> None:
        """By way of a temporary folder: a download that breaks off leaves nothing behind."""
        assert self.download is not None
        with tempfile.TemporaryDirectory() as temporary:
            self.download(Path(temporary))
            for name in self._missing(root):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(temporary) / name, root / name)


def _check_digest(path: Path, digest: str, origin: str) -> None:
    if not digest:
        return
    algorithm, _, expected = digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is damaged or another file: {algorithm} expected {expected}, found {found}. "
            f"Delete it and get it again from {origin}."
        )
