"""Metrics by name. One metric, or one family, a file here; a new file needs no other edit.

    @metric("elbo", unit="nats", better="higher", group="likelihood", needs=["bound"])
    def elbo(context: Context) -> Measured:
        '''What, in one line; formula; source.'''

A family whose values come from one pass returns a dictionary, label -> Measured; every label begins with the metric's name.

A metric reads the `Context` of one trained model: what several of them need (terms, codes, samples) is computed there once.
"""

import importlib
import inspect
import math
import pkgutil
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from zoo.registry import Registry, nearest

from ..context import Context
from ..needs import IMPLIED, NEEDS

BETTER = ("higher", "lower", "none")
GROUPS = ("likelihood", "distribution", "reconstruction", "latent space", "disentanglement", "application", "cost")


@dataclass(frozen=True)
class Measured:
    """A value and, where there are any: its standard error over `n` examples; the interquartile range of a timing; the
    Monte-Carlo error `mc`, the standard error over the noise that was drawn; `items`, its values (n,) for single test examples,
    in the split's order, which are kept for comparisons in pairs; and of a timing, whether the machine was `busy`."""

    value: float
    stderr: float | None = None
    n: int | None = None
    iqr: float | None = None
    mc: float | None = None
    items: Tensor | None = None
    busy: bool | None = None

    @classmethod
    def mean(cls, repetitions: Iterable[float], n: int) -> "Measured":
        """Over repetitions that draw their own noise; `mc` is the standard error over them."""
        values = list(repetitions)
        mc = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(statistics.fmean(values), n=n, mc=mc)


@dataclass(frozen=True)
class Metric:
    """`label` is the name in records: `name`, or a template of the suite's numbers such as `fcd_{extractor}`. `version` counts
    the changes of what is measured under this name."""

    name: str
    unit: str
    better: str
    group: str
    label: str
    needs: tuple[str, ...]
    version: int
    measure: "Measure"

    @property
    def documentation(self) -> str:
        return inspect.getdoc(self.measure) or ""

    def applies(self, context: Context) -> bool:
        return all(NEEDS[need][1](context) for need in self.needs)


Measure = Callable[[Context], Measured | dict[str, Measured]]
Entries = dict[str, dict[str, float | str | int | None]]    # label -> what a record says of it
METRICS: Registry[Metric] = Registry("metric")


def metric(name: str, *, unit: str, better: str, group: str, needs: Iterable[str] = (), label: str | None = None,
           version: int = 1) -> Callable[[Measure], Measure]:
    """Decorator: enter a metric. It is absent from the record of a trial that lacks one of its `needs`, or of
    those that its group implies.

    Raises: ValueError for a taken name, an unknown direction, group or need, or a missing docstring.
    """
    for what, value, known in (("better", better, BETTER), ("group", group, GROUPS)):
        if value not in known:
            raise ValueError(f"{name}: {what} is {value!r}; it must be one of {', '.join(known)}")
    for need in needs:
        if need not in NEEDS:
            raise ValueError(f"{name}: unknown need {need!r}{nearest(need, NEEDS)}")

    def enter(measure: Measure) -> Measure:
        if not measure.__doc__:
            raise ValueError(f"{name}: say in a docstring what it measures, its formula and its source")
        METRICS.add(name, Metric(name, unit, better, group, label or name, (*needs, *IMPLIED.get(group, ())),
                                  version, measure))
        return measure
    return enter


def measure(context: Context) -> tuple[Entries, dict[str, Tensor]]:
    """The metrics of the trial's suite that apply to it, as a record holds them; and the values of single examples, by label.
    Each is kept in `context.kept`, and taken from there.

    Raises: FloatingPointError for NaN or Inf; OSError where what is kept cannot be written.
    """
    found: Entries = {}
    items: dict[str, Tensor] = {}
    names = list(dict.fromkeys(name for pattern in context.evaluation.metrics for name in METRICS.names(pattern)))
    for i, name in enumerate(names, 1):
        m, key = METRICS.get(name), f"metric {name}"
        if key not in context.kept:
            context.begin(f"{name} {i}/{len(names)}")
            if m.applies(context):
                context.kept.put(key, *_entries(m, context))
        if key in context.kept:
            entries, its = context.kept.get(key)
            found |= entries
            items |= its
    return found, items


def _entries(m: Metric, context: Context) -> tuple[Entries, dict[str, Tensor]]:
    found: Entries = {}
    items: dict[str, Tensor] = {}
    measured = m.measure(context)
    several = measured if isinstance(measured, dict) else {m.label.format(**vars(context.evaluation)): measured}
    for label, one in several.items():
        if not math.isfinite(one.value):
            raise FloatingPointError(f"{label} is {one.value}")
        numbers = {k: v for k, v in vars(one).items() if k != "items"}
        found[label] = {"unit": m.unit, "better": m.better, "group": m.group, "version": m.version, **numbers}
        if one.items is not None:
            items[label] = one.items
    return found, items


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
