"""Training: AdamW on `objective`, for every variant the same. `run.py` is what one run is, `engines.py` who makes its steps."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .data import Dataset
from .engines import Engine
from .log import Log
from .recipe import Recipe, arithmetic, plan
from .registry import create
from .run import DivergenceError, Result, Run
from .variant import Contract


def fit(model: Contract, data: Dataset, *, steps: int | None = None, epochs: float | None = None, batch_size: int = 128,
        lr: float = 1e-3, final_lr: float | None = None, weight_decay: float = 0.0, warmup: int = 0, clip: float = 1000.0,
        ema: float = 0.0, seed: int = 0, device: torch.device | str = "auto", precision: str = "float32",
        engine: str = "auto", noise: str = "auto", evaluate_every: int | None = None, early_stopping: int | None = None,
        out: str | Path | None = None, checkpoint_every: int = 1000, resume: bool = False,
        on_log: Callable[[dict[str, float]], None] | None = None, progress: bool = True, tensorboard: bool = True) -> Result:
    """Train a model in place.

    steps | epochs    how long (20 epochs where neither is given)
    lr, final_lr      AdamW's rate, on a cosine to final_lr (default: constant)
    warmup            steps over which the KL's weight rises from 0 to 1; no metric sees it
    clip              largest norm of the gradient
    ema               decay of an average of the weights, which is then what is evaluated, saved and left in the model
    precision         "float32"; "tf32", a GPU's products; "bf16": nets in bfloat16, densities and optimiser in float32
    engine            who makes the steps (`zoo.engines`): "eager", "compile", "cudagraph", "compile+cudagraph", or "auto": the
                      fastest for so many steps, by measuring. Equal to rounding; only one and the same gives equal bits
    noise             "auto"; or "philox": on a CPU the numbers that a GPU makes, so that both runs are one, to rounding; slower
    evaluate_every    steps between validation ELBOs (default: an epoch, at least 100 steps)
    early_stopping    evaluations without a better validation ELBO to bear; the best weights are left in the model
    out               folder for checkpoint.safetensors, model.safetensors, log.jsonl and, where installed, TensorBoard's files
    resume            continue from out's checkpoint, if there is one; "auto" is then the engine that it was made with
    on_log            called with every row of the log

    Where torch.distributed's process group stands, its ranks share every batch out (see `zoo.ranks`); the first one writes.

    Raises: ValueError where data and model do not fit, or for a setting out of range; DivergenceError for NaN or Inf in the
    loss; OSError where `out` cannot be written.
    """
    recipe = plan(len(data.train), steps=steps, epochs=epochs, batch_size=batch_size, lr=lr, final_lr=final_lr,
                  weight_decay=weight_decay, warmup=warmup, clip=clip, ema=ema, precision=precision,
                  evaluate_every=evaluate_every, early_stopping=early_stopping, noise=noise)
    run = model, seed, None if out is None else Path(out)
    return _train([run], data, recipe, engine, device, checkpoint_every, resume, on_log, progress, tensorboard)[0]


def fit_many(name: str, data: Dataset, *, seeds: Sequence[int], settings: dict[str, Any] | None = None,
             device: torch.device | str = "auto", engine: str = "auto",
             out: str | Path | Sequence[str | Path] | None = None, checkpoint_every: int = 1000, resume: bool = False,
             progress: bool = True, tensorboard: bool = True,
             **recipe: Any) -> list[tuple[Contract, Result]]:
    """Train a variant from several seeds at once, as one batched program; what `fit` gives for each, to rounding.

    For a GPU, which one small model leaves idle; on a CPU seeds one after the other take the same time. Each seed has its own
    initial weights, data order and noise, is clipped, evaluated and stopped by itself, and writes to out/<seed>, or its own of
    several folders. `settings` are the variant's; `recipe` and the rest as in `fit`.

    Raises: as `fit`; TypeError for a recipe's setting that there is not; ValueError for no seeds, or the same one twice.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {list(seeds)}; give at least one, and each once")
    outs = [None if out is None else Path(out) / str(seed) for seed in seeds] if isinstance(out, str | Path | None) else out
    runs = [(create(name, data.spec, seed=seed, **(settings or {})), seed, None if place is None else Path(place))
            for seed, place in zip(seeds, outs, strict=True)]
    results = _train(runs, data, plan(len(data.train), **recipe), engine, device, checkpoint_every, resume, None, progress,
                     tensorboard)
    return [(model, result) for (model, _, _), result in zip(runs, results, strict=True)]


def _train(planned: "list[tuple[Contract, int, Path | None]]", data: Dataset, recipe: Recipe, engine: str,
           device: torch.device | str, checkpoint_every: int, resume: bool, on_log: Callable[[dict[str, float]], None] | None,
           progress: bool, tensorboard: bool) -> list[Result]:
    """Runs (model, seed, out) of one recipe, in step with one another."""
    for model, _, out in planned:
        if data.spec != model.spec:
            raise ValueError(f"the model was built for {model.spec}, but {data.name} is {data.spec}; create it with data.spec")
        if resume and out is None:
            raise ValueError("resume=True needs `out`, the folder of the run to continue")
    data.check()
    place = choose_device(device)
    data = replace(data, train=data.train.to(place), valid=data.valid.to(place))           # once, for all runs
    with arithmetic(recipe.precision, place), ExitStack() as logs:
        runs = [Run(model.to(place), data, recipe, seed, out) for model, seed, out in planned]
        for run in runs:
            logs.callback(run.close)
        for run in runs:
            if resume:
                run.restore()
            first = run.ranks.first
            run.ranks.agree(run.result.steps, run.device)
            run.begin(logs.enter_context(Log(run.out if first else None, run.result.steps, recipe.steps, run.result.history,
                                             on_log if first else None, progress and first and run is runs[0], tensorboard)))
        if any(run.result.steps != runs[0].result.steps for run in runs):
            raise ValueError(f"the seeds would begin at the steps {[run.result.steps for run in runs]}: finish each alone")
        going, lost = [run for run in runs if run.going], dict[int, DivergenceError]()
        stepper = Engine(runs, engine, runs[0].log.say) if going else None
        while stepper and going:
            stepper.step(going[0].unnoted(checkpoint_every))
            for run in going:
                try:
                    run.note(checkpoint_every)
                except DivergenceError as error:            # the other seeds go on
                    lost[run.seed] = error
            going = [run for run in going if run.going and run.seed not in lost]
        results = [run.finish() for run in runs if run.seed not in lost]
    if lost:
        raise DivergenceError("; ".join(f"seed {seed}: {error}" for seed, error in lost.items()))
    return results


def choose_device(name: torch.device | str) -> torch.device:
    """The device of this name; `auto` is a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
