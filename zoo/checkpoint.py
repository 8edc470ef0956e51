"""A training run on disk: everything that changes, in one safetensors file that is replaced in one step."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .store import describe, read_tensors, write_tensors

if TYPE_CHECKING:
    from .run import Run

SCHEMA = "vae-zoo.checkpoint/1"


def write_checkpoint(run: "Run", path: Path) -> None:
    """Raises: OSError where the disk is full; the checkpoint before stays."""
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"average.{i}": v for i, v in enumerate(run.average)} | {f"best.{k}": v for k, v in run.best.items()}
    for name, moments in _moments(run).items():
        tensors |= {name.format(i): v for i, v in enumerate(moments)}
    result = {k: v for k, v in vars(run.result).items() if k != "history"}
    result["best_elbo"] = result["best_elbo"] if math.isfinite(result["best_elbo"]) else None
    header = {"schema": SCHEMA, "model": describe(run.model), "recipe": {**asdict(run.recipe), "seed": run.seed},
              "result": result, "since_best": run.since_best, "torch": torch.__version__}
    write_tensors(path, tensors, header)


def read_checkpoint(run: "Run", path: Path) -> None:
    """Put a run into the state that was written.

    Raises: ValueError for a corrupt or foreign file, or one of another model or recipe. A constant learning rate may be
    followed for more steps than were planned.
    """
    tensors, header = read_tensors(path, SCHEMA)
    here: dict[str, Any] = {**describe(run.model), **asdict(run.recipe), "seed": run.seed}
    there: dict[str, Any] = {"noise": "auto", **header["model"], **header["recipe"]}      # older ones do not say
    free = {"schema"} | ({"steps"} if run.recipe.final_lr == run.recipe.lr else set())
    here["spec"], there["spec"] = _plain(here["spec"]), _plain(there["spec"])
    if different := [k for k in here if k not in free and here[k] != there.get(k)]:
        said = "; ".join(f"{k} was {there.get(k)!r}, is now {here[k]!r}" for k in different)
        raise ValueError(f"{path} is of another run ({said}); use another folder, or resume=False to start anew")
    run.model.load_state_dict(_under(tensors, "model"))
    run.average = [v.to(run.device) for _, v in sorted(_under(tensors, "average").items(), key=lambda item: int(item[0]))]
    run.best = {k: v.to(run.device) for k, v in _under(tensors, "best").items()}
    for name, moments in _moments(run).items():
        for i, v in enumerate(moments):
            v.copy_(tensors[name.format(i)])
    result = header["result"]
    result["best_elbo"] = -math.inf if result["best_elbo"] is None else result["best_elbo"]
    for key, value in result.items():
        setattr(run.result, key, value)
    run.since_best = header["since_best"]
    run.count()


def _moments(run: "Run") -> dict[str, list[Tensor]]:
    """By what they are called in the file."""
    return {f"{name}.{{}}.{moment}": tensors for name, optimiser in (("optimiser", run.optimiser), ("critic", run.critic))
            for moment, tensors in (("exp_avg", optimiser.first), ("exp_avg_sq", optimiser.second))}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix + "."): v for k, v in tensors.items() if k.startswith(prefix + ".")}


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    """Tuples as JSON has them."""
    return json.loads(json.dumps(spec))
