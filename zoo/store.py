"""Weights and what rebuilds them, in one file: safetensors whose header holds a JSON of name, spec and settings.

One file, so that it can be replaced in one step and never be half of an old and half of a new one; no pickle, so that a
foreign file cannot run code.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .registry import create
from .spec import DataSpec
from .variant import Contract

SCHEMA = "vae-zoo.model/1"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: a reader, or a crash, sees the old file or the new one whole.

    Raises: OSError naming the path where the disk is full or the folder cannot be written; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())              # mkstemp's files are private
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        said = f"could not write {len(data):,} bytes ({error.strerror}); what was there before is untouched"
        raise OSError(error.errno, said, str(path)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def describe(model: Contract) -> dict[str, Any]:
    """What rebuilds a model, as JSON allows. Own modules are named by their class: `load` asks for them again."""
    own = {key: f"module:{type(v).__name__}" for key, v in model.settings.items() if isinstance(v, nn.Module)}
    return {"schema": SCHEMA, "name": model.name, "spec": model.spec.to_dict(), "settings": {**model.settings, **own}}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Raises: OSError as write_atomically."""
    kept = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}    # copies: shared memory is refused
    write_atomically(path, to_bytes(kept, metadata={"vae-zoo": json.dumps(header)}))


def read_tensors(path: Path, schema: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """-> tensors, header.  Raises: FileNotFoundError; ValueError for a corrupt or foreign file or another schema."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("vae-zoo", "null"))
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is corrupt or no safetensors file ({error}); "
                         "only what this project wrote can be read") from error
    if not isinstance(header, dict) or "schema" not in header:
        raise ValueError(f"{path} was not written by this project: it has no 'vae-zoo' header; allowed is {schema}")
    if header["schema"] != schema:
        raise ValueError(f"{path} has schema {header['schema']!r}; this version reads {schema!r}")
    return tensors, header


def save(model: Contract, path: str | Path) -> None:
    """Write a model's weights, name, spec and settings to one safetensors file.

    Raises: OSError where the disk is full or the folder cannot be written; an older file at `path` is then untouched.
    """
    write_tensors(Path(path), model.state_dict(), describe(model))


def load(path: str | Path, *, device: torch.device | str = "cpu", **modules: nn.Module) -> Contract:
    """Rebuild the model that `save`, or a training checkpoint's best weights, wrote. `modules`: the own nets it was built with.

    Raises: FileNotFoundError; ValueError for a corrupt or foreign file, for missing own modules, or weights that do not fit.
    """
    tensors, header = read_tensors(Path(path), SCHEMA)
    settings = dict(header["settings"])
    for key, value in settings.items():
        if isinstance(value, str) and value.startswith("module:"):
            if key not in modules:
                kind = value.removeprefix("module:")
                raise ValueError(f"{path} was built with an own {key} ({kind}); pass it: load(path, {key}=...)")
            settings[key] = modules[key]
    own = {k for k, v in header["settings"].items() if str(v).startswith("module:")}
    if unknown := sorted(set(modules) - own):
        raise ValueError(f"{path} was not built with an own {', '.join(unknown)}")
    model = create(header["name"], DataSpec.from_dict(header["spec"]), **settings)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit {header['name']} as it is built now: {error}") from error
    return model.to(device)
