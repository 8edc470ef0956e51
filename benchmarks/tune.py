"""Choose a variant's settings, the number of latents above all, by a cross-validated search on Optuna.

    value(settings) = 1/F sum_f 1/|D_f| sum_{x in D_f} ELBO_f(x)        nats per example; model f was trained without fold D_f

The folds D_1 .. D_F part training and validation split together; the test split is never read. Lists of values are tried in all
combinations; ranges are searched by tree-structured Parzen estimators. Trial n follows from the seed, n and the trials before
it, so that a search that was killed goes on to the same end.

Chosen are not the settings of the highest value but, among those that fall behind it by at most one standard error, the ones
with the fewest latents: beyond what the data need, more of them change the ELBO by noise only.

Source: Stone 1974 (cross-validation); Bergstra et al. 2011 (the estimators); Breiman et al. 1984, section 3.4.3 (one standard
error; departs from it: the error is that of the difference from the best, fold by fold).
"""

import ast
import itertools
import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

import zoo
from zoo.noise import fold
from zoo.registry import nearest
from zoo.store import write_atomically
from zoo.training import choose_device

from .folds import folds
from .protocol import Budget
from .record import safe

TUNED = "latent_dim"


@dataclass(frozen=True)
class Axis:
    """A setting and where to look for it: in a list of values, or from `low` to `high`, on a log scale if above 0."""

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """"latent_dim=2:64", "beta=0.5:4.0", "net=mlp,conv".  Raises: ValueError."""
        name, _, wanted = text.partition("=")
        low, colon, high = wanted.partition(":")
        if not colon:
            axis = cls(name, tuple(dict.fromkeys(_value(part) for part in wanted.split(",") if part)))
            if name and axis.values:
                return axis
        elif name and all(type(_value(end)) in (int, float) for end in (low, high)) and _value(low) < _value(high):
            return cls(name, low=_value(low), high=_value(high))
        raise ValueError(f"--search takes KEY=LOW:HIGH or KEY=A,B,C, such as latent_dim=2:64; got {text!r}")

    def suggest(self, trial: Any) -> Any:
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.low > 0)
        return trial.suggest_float(self.name, self.low, self.high, log=self.low > 0)


@dataclass(frozen=True)
class Plan:
    """What a search's result depends on besides the data. `trials` does not count: a search may always go on."""

    variant: str
    search: tuple[Axis, ...]
    settings: dict[str, Any]
    budget: Budget
    folds: int
    seed: int

    def __post_init__(self) -> None:
        if zoo.entry(self.variant).bound == "none":
            raise ValueError(f"{self.variant} has no bound on log p(x), so there is nothing to choose by")
        known, searched = zoo.entry(self.variant).settings(), [axis.name for axis in self.search]
        for name in (*searched, *self.settings):
            if name not in known:
                raise LookupError(f"{self.variant} has no setting {name!r}{nearest(name, known)}")
            if (searched + list(self.settings)).count(name) > 1:
                raise ValueError(f"{name} is given twice, searched or set; give it once")
        if self.budget.warmup > self.budget.steps:
            raise ValueError(f"warmup is {self.budget.warmup}; it must end within the {self.budget.steps} steps")

    @property
    def grid(self) -> list[dict[str, Any]]:
        """All combinations, in order, where every axis is a list; else none."""
        if not all(axis.values for axis in self.search):
            return []
        return [dict(zip((a.name for a in self.search), c, strict=True))
                for c in itertools.product(*(a.values for a in self.search))]


@dataclass(frozen=True)
class Tried:
    """Settings that were tried, and the mean ELBO of each held-out fold."""

    settings: dict[str, Any]
    folds: list[float]

    @property
    def value(self) -> float:
        return float(np.mean(self.folds))

    @property
    def stderr(self) -> float:
        return float(np.std(self.folds, ddof=1) / len(self.folds) ** 0.5)


def best(tried: Iterable[Tried]) -> Tried:
    """Of the highest value; the first of equals."""
    return max(tried, key=lambda t: t.value)


def chosen(tried: list[Tried]) -> Tried:
    """The fewest latents among those at most one standard error behind the best; of these the highest value."""
    top = best(tried)

    def close(t: Tried) -> bool:
        behind = Tried({}, [a - b for a, b in zip(top.folds, t.folds, strict=True)])
        return behind.value <= behind.stderr
    return min((t for t in tried if close(t)), key=lambda t: (t.settings.get(TUNED, 0), -t.value))


def search(plan: Plan, data: zoo.Dataset, trials: int, *, device: str = "auto", out: Path = Path("results"),
           progress: bool = True) -> list[Tried]:
    """Try what has not been tried, up to `trials` in all, and return all, in order; a grid is tried as a whole.

    The study is kept in OUT/tune/<data set>-<variant>/study.log; one process at a time may write to it.
    Settings that are proposed again are not trained again.
    Raises: ValueError without Optuna, for a number of folds that the data do not allow, for training that diverges, and where
    the study that is there was made by another plan or from other data.
    """
    optuna, place = _optuna(), choose_device(device)
    folds(data, plan.folds, plan.seed)                      # a wrong number is refused before anything is kept
    study = _study(optuna, plan, data, folder_of(out, data.name, plan.variant))
    trials = len(plan.grid) or trials
    with tqdm(total=trials * plan.folds, unit="fold", disable=not progress, dynamic_ncols=True) as bar:
        while len(done := _done(optuna, study)) < trials:
            bar.n = len(done) * plan.folds
            study.sampler = _sampler(optuna, plan, len(done))
            trial = study.ask()
            settings = {axis.name: axis.suggest(trial) for axis in plan.search}
            bar.set_postfix_str(", ".join(f"{k}={v}" for k, v in settings.items()))
            before = next((t.folds for t in done if t.settings == settings), None)
            values = before or [_fit(plan, settings, part, place, bar)
                                for part in folds(data, plan.folds, plan.seed)]
            trial.set_user_attr("folds", values)
            study.tell(trial, float(np.mean(values)))
        bar.n = len(done) * plan.folds
    return done


def folder_of(out: Path, data: str, variant: str) -> Path:
    return out / "tune" / f"{safe(data)}-{variant}"             # no path of a record


def write(tried: list[Tried], plan: Plan, data: str, out: Path) -> dict[str, Any]:
    """Write trials.json and value.png beside the study, and return what the first holds."""
    from matplotlib.figure import Figure
    folder, axis, top, pick = folder_of(out, data, plan.variant), plan.search[0].name, best(tried), chosen(tried)
    rows = [{"settings": t.settings, "value": t.value, "stderr": t.stderr, "folds": t.folds} for t in tried]
    found = {"data": data, **_protocol(plan), "unit": "nats", "trials": rows, "best": top.settings, "chosen": pick.settings}
    write_atomically(folder / "trials.json", (json.dumps(found, indent=1) + "\n").encode())
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    words = any(isinstance(t.settings[axis], str) for t in tried)

    def at(ts: list[Tried]) -> list[Any]:
        return [str(t.settings[axis]) if words else t.settings[axis] for t in ts]
    ordered = tried if words else sorted(tried, key=lambda t: t.settings[axis])
    ax.errorbar(at(ordered), [t.value for t in ordered], [t.stderr for t in ordered], color="0.4", capsize=2,
                fmt="o-" if len(plan.search) == 1 else "o", label=f"mean and standard error of {plan.folds} folds")
    ax.plot(at([pick]), [pick.value], "s", color="tab:orange", markersize=9, label="chosen")
    ax.set(xlabel=axis, ylabel="held-out ELBO, nats", title=f"{plan.variant} on {data}")
    if not words and min(at(tried)) > 0:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
    ax.legend()
    figure.savefig(folder / "value.png", dpi=120)
    return found


def terminal(tried: list[Tried], plan: Plan) -> str:
    """A table, best first, of different settings."""
    top, pick = best(tried), chosen(tried)
    names = [axis.name for axis in plan.search]
    different = {json.dumps(t.settings): t for t in tried}.values()
    rows = [[*names, "ELBO, nats", "+-", ""]]
    for t in sorted(different, key=lambda t: -t.value):
        mark = " and ".join(w for w, which in (("best", top), ("chosen", pick)) if t.settings == which.settings)
        rows.append([*(f"{t.settings[n]:.4g}" if isinstance(t.settings[n], float) else str(t.settings[n]) for n in names),
                     f"{t.value:.2f}", f"{t.stderr:.2f}", mark])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def setting(text: str) -> tuple[str, Any]:
    """"hidden=64" -> ("hidden", 64).  Raises: ValueError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes KEY=VALUE, such as hidden=64; got {text!r}")
    return name, _value(value)


# -- parts --------------------------------------------------------------------------------------------------------------
def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text                                         # a word: net=conv


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ValueError("`zoo-bench tune` needs Optuna: pip install 'vae-zoo[tune]', or in a checkout pip install -e '.[tune]'"
                         ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _protocol(plan: Plan) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(plan)))


def _study(optuna: Any, plan: Plan, data: zoo.Dataset, folder: Path) -> Any:
    """The study of this folder; what a killed process left half done is marked as failed."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "study.log"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    study = optuna.create_study(storage=storage, study_name=plan.variant, direction="maximize", load_if_exists=True)
    now = {**_protocol(plan), "data_sha256": replace(data, test=data.valid).sha256}
    then = study.user_attrs.get("protocol", now)
    if changed := sorted(key for key in now if now[key] != then[key]):
        said = "; ".join(f"{key} was {then[key]}, is now {now[key]}" for key in changed)
        raise ValueError(f"{log} was made by another search: {said}. Give the same, or another folder with --out, or delete it")
    study.set_user_attr("protocol", now)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _done(optuna: Any, study: Any) -> list[Tried]:
    return [Tried(t.params, t.user_attrs["folds"]) for t in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))]


def _sampler(optuna: Any, plan: Plan, n: int) -> Any:
    """Of trial n, seeded by it: no state of a sampler's need survive a kill."""
    sampler = optuna.samplers.TPESampler(seed=fold(plan.seed, n) % 2**32)
    if not plan.grid:
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(plan.grid[n], sampler)


def _fit(plan: Plan, settings: dict[str, Any], data: zoo.Dataset, device: torch.device, bar: tqdm) -> float:
    """The mean ELBO of the fold, after training: it is evaluated once, so that no luck is picked."""
    model = zoo.create(plan.variant, data.spec, seed=plan.seed, **{**plan.settings, **settings})
    budget = replace(plan.budget, evaluate_every=plan.budget.steps)
    try:
        result = zoo.fit(model, data, **asdict(budget), seed=plan.seed, device=device, progress=False, tensorboard=False)
    except FloatingPointError as error:
        raise ValueError(f"{settings}: {error}") from None
    bar.update()
    return result.best_elbo
