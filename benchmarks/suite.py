"""What a standard benchmark is: data sets, variants, seeds, budgets, metrics. Read from TOML, checked before anything runs.

    title = "..."                                   one line
    seeds = [0, 1]                                  of weights, training and evaluation; baselines: the first
    baselines = ["*"]                               the default: all that take the data; names or shell patterns
    [budget] [evaluation] [settings]                for every trial; see `Budget`, `Evaluation`, `zoo.entry(name).settings()`
    [datasets.digits]
    variants = ["vae", "*vae"]                      names or shell patterns; `baselines` likewise
    [datasets."digits+without=0..9"]                ten data sets: a..b stands for every integer of the range
    [datasets.digits.budget] ...                    overrides, for this data set; evaluation and settings likewise
    [datasets.digits.variant.beta_vae]              overrides, for one variant: budget and settings (what is measured
    settings = { beta = 2.0 }                       must not differ between the rows of one table)
"""

import fnmatch
import math
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import zoo
from zoo.data.modified import parse as parse_modifiers
from zoo.registry import nearest

from .baselines import BASELINES, entry
from .metrics import METRICS
from .protocol import Budget, Evaluation, Trial

FOLDER = Path(__file__).parent / "suites"
T = TypeVar("T")


class SuiteError(ValueError):
    """A suite that cannot be run as it is written: names the key, what it holds, and what is allowed."""


@dataclass(frozen=True)
class Suite:
    name: str
    title: str
    trials: tuple[Trial, ...]

    @property
    def first_seed(self) -> int:
        """The seed whose models are drawn."""
        return self.trials[0].seed


def names() -> list[str]:
    """Suites that come with the harness."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str, *, datasets: Iterable[str] = (), variants: Iterable[str] = (), seeds: Iterable[int] = ()) -> Suite:
    """A suite by name, or by the path of a .toml file: all of it, or what is chosen.

    datasets    names or patterns of the suite's data sets
    variants    names or patterns of the suite's variants and baselines; any other one by its full name
    seeds       in place of the suite's
    Raises: LookupError for an unknown name, with the nearest match; SuiteError naming the key that is wrong.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise LookupError(f"there is no suite {name!r}{nearest(name, names())}; or give the path of a .toml file")
    try:
        return parse(path.stem, tomllib.loads(path.read_text()), tuple(datasets), tuple(variants), tuple(seeds))
    except (SuiteError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"{path}: {error}") from None


def title(name: str) -> str:
    """A suite's title; its name, where it did not come with the harness."""
    return load(name).title if name in names() else f"Suite {name}"


def parse(name: str, table: dict[str, Any], chosen: tuple[str, ...] = (), asked: tuple[str, ...] = (),
          seeds: tuple[int, ...] = ()) -> Suite:
    """A suite from what its file holds, and from the data sets, variants and seeds chosen.  Raises: SuiteError."""
    _check_keys(table, ("title", "seeds", "baselines", "budget", "evaluation", "settings", "datasets"), "")
    drawn = list(seeds) or _require(table.get("seeds", [0]), list, "seeds")
    if not drawn or any(not isinstance(s, int) or s < 0 for s in drawn) or len(set(drawn)) < len(drawn):
        raise SuiteError(f"seeds is {drawn}; it must be a list of different integers, 0 or more")
    written = _require(table.get("datasets", {}), dict, "datasets")
    datasets = {name: here for key, here in written.items() for name in _ranged(key)}
    chosen_here = expand(chosen or ("*",), datasets, "dataset of the suite") if datasets else []
    expand(asked, [*zoo.list_variants(), *BASELINES], "variant or baseline")     # also beside one that is right
    trials: list[Trial] = []
    for dataset, here in datasets.items():
        where = f"datasets.{dataset}"
        _known_dataset(dataset)
        _check_keys(here, ("variants", "baselines", "budget", "evaluation", "settings", "variant"), where)
        variants = _named("variants", zoo.list_variants(), (here, where), default=[])
        baselines = _named("baselines", BASELINES, (here, where), (table, ""), default=["*"])
        for variant in here.get("variant", {}):
            if variant not in variants:
                raise SuiteError(f"{where}.variant.{variant} is not among its variants{nearest(variant, variants)}")
        evaluation = _evaluation(_merge("evaluation", (table, ""), (here, where)), where)
        if dataset not in chosen_here:
            continue
        layers = (table, ""), (here, where)
        for variant in _asked_for(variants, asked, zoo.list_variants()):
            own, inner = here.get("variant", {}).get(variant, {}), f"{where}.variant.{variant}"
            _check_keys(own, ("budget", "settings"), inner)
            settings = _settings(variant, _merge("settings", *layers, (own, inner)))
            budget = _build(Budget, _merge("budget", *layers, (own, inner)))
            trials += [Trial(name, dataset, variant, seed, settings, budget, evaluation) for seed in drawn]
        for baseline in _asked_for(baselines, asked, BASELINES):
            common = {k: v for k, v in _merge("settings", *layers).items() if k in entry(baseline).settings()}
            settings, budget = _settings(baseline, common), _build(Budget, _merge("budget", *layers))
            trials.append(Trial(name, dataset, baseline, drawn[0], settings, budget, evaluation, role="baseline"))
    if not trials and asked:
        raise SuiteError(f"none of its variants is {' or '.join(asked)}; name one of another suite in full")
    if not trials:
        raise SuiteError("datasets is empty: name at least one, with its variants")
    return Suite(name, _require(table.get("title", name), str, "title"), tuple(trials))


def _named(key: str, known: Iterable[str], *tables: tuple[dict[str, Any], str], default: list[str]) -> list[str]:
    """The names that match the patterns of the first table that has this key."""
    wanted, where = next(((table[key], where) for table, where in tables if key in table), (default, ""))
    path = f"{where}.{key}".lstrip(".")
    return expand([wanted] if isinstance(wanted, str) else _require(wanted, list, path), known, f"{key[:-1]} in {path}")


def _asked_for(listed: list[str], asked: tuple[str, ...], known: Iterable[str]) -> list[str]:
    """What the suite lists and the user asked for; and what the user named in full, wherever it is from."""
    if not asked:
        return listed
    others = [v for v in asked if v in known and v not in listed]
    return [v for v in listed if any(fnmatch.fnmatchcase(v, p) for p in asked)] + others


def expand(patterns: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """Names, or all that match a shell pattern, in the order given.  Raises: SuiteError naming the nearest match."""
    known, found = sorted(known), {}
    for pattern in patterns:
        matches = fnmatch.filter(known, pattern)
        if not matches:
            raise SuiteError(f"unknown {what}: {pattern!r}{nearest(pattern, known)}")
        found.update(dict.fromkeys(matches))
    return list(found)


Value = tuple[Any, str]                                     # and the key it was written under


def _merge(key: str, *layers: tuple[dict[str, Any], str]) -> dict[str, Value]:
    """Tables of this key, later ones over earlier ones."""
    merged: dict[str, Value] = {}
    for table, where in layers:
        path = f"{where}.{key}".lstrip(".")
        merged |= {k: (v, f"{path}.{k}") for k, v in _require(table.get(key, {}), dict, path).items()}
    return merged


def _build(cls: type[T], values: dict[str, Value]) -> T:
    """A dataclass whose fields all have defaults, the types of which are what is allowed."""
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    arguments = {}
    for key, (value, path) in values.items():
        if key not in known:
            raise SuiteError(f"unknown key {path}{nearest(key, known)}")
        kind: type = type(known[key].default)
        value = tuple(value) if kind is tuple and isinstance(value, list) else value
        value = float(value) if kind is float and type(value) is int else value
        _require(value, kind, path)
        least = 0 if key == "warmup" else 1
        if isinstance(value, int) and value < least:
            raise SuiteError(f"{path} is {value}; it must be at least {least}")
        arguments[key] = value
    return cls(**arguments)


def _evaluation(values: dict[str, Value], where: str) -> Evaluation:
    from . import extractors
    patterns, path = values.get("metrics", (["*"], "evaluation.metrics"))
    values["metrics"] = (expand(_require(patterns, list, path), METRICS, f"metric in {path}"), path)
    evaluation = _build(Evaluation, values)
    for key, kinds, least, allowed in (("batch_sizes", (int,), 1, "integers of at least 1"),
                                       ("elbo_targets", (int, float), -sys.float_info.max, "numbers")):
        given = getattr(evaluation, key)
        if any(type(v) not in kinds or not least <= v < math.inf for v in given):
            raise SuiteError(f"{values[key][1]} is {list(given)}; it must be a list of {allowed}")
    try:
        extractors.card(evaluation.extractor)
    except LookupError as error:
        raise SuiteError(f"{values['extractor'][1]}: {error}") from None
    return evaluation


def _settings(variant: str, values: dict[str, Value]) -> dict[str, Any]:
    defaults = entry(variant).settings()
    for key, (_, path) in values.items():
        if key not in defaults:
            raise SuiteError(f"{path}: {variant} has no setting {key!r}{nearest(key, defaults)}")
    return {**defaults, **{k: v for k, (v, _) in values.items()}}


def _ranged(key: str) -> list[str]:
    """"digits+without=0..9" as the ten names that it stands for; any other key as it is."""
    found = re.fullmatch(r"(.*\+\w+=)(\d+)\.\.(\d+)", key)
    if found is None:
        return [key]
    first, last = int(found[2]), int(found[3])
    if last < first:
        raise SuiteError(f"datasets.{key}: the range is empty; write the smaller number first")
    return [f"{found[1]}{i}" for i in range(first, last + 1)]


def _known_dataset(name: str) -> None:
    known = zoo.list_datasets()
    try:
        base, _ = parse_modifiers(name)
    except (LookupError, ValueError) as error:
        raise SuiteError(f"datasets.{name}: {error}") from None
    if base not in known and f"{base.partition(':')[0]}:PATH" not in known:
        raise SuiteError(f"datasets.{name}: unknown data set{nearest(base, known)}")


def _check_keys(table: Any, known: Iterable[str], where: str) -> None:
    for key in _require(table, dict, where or "the file"):
        if key not in known:
            raise SuiteError(f"unknown key {f'{where}.{key}'.lstrip('.')}{nearest(key, known)}")


def _require(value: Any, kind: type[T], path: str) -> T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise SuiteError(f"{path} is {value!r}; it must be a {'table' if kind is dict else kind.__name__}")
    return value
