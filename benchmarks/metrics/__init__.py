"""Metrics by name. One metric, or one family, a file here; a new file needs no other edit.

    @metric("elbo", unit="nats", better="higher", needs=["bound"])
    def elbo(context: Context) -> Measured:
        '''What, in one line; formula; source.'''

A metric reads the `Context` of one trained model: what several of them need (terms, codes, samples) is computed there once.
"""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zoo.registry import Registry, nearest

from ..context import Context

BETTER = ("higher", "lower", "none")
NEEDS: dict[str, tuple[str, Callable[[Context], bool]]] = {
    "bound": ("a model whose terms bound log p(x)", lambda c: c.model.entry.bound != "none"),
    "steps": ("sequences", lambda c: c.data.spec.sequence),
    "discrete": ("discrete data", lambda c: c.data.spec.discrete),
    "oracle": ("data whose log-likelihood is known", lambda c: c.data.log_likelihood is not None),
}


@dataclass(frozen=True)
class Measured:
    """A value; its standard error over `n` examples, or the interquartile range of a timing, where there is one."""

    value: float
    stderr: float | None = None
    n: int | None = None
    iqr: float | None = None


@dataclass(frozen=True)
class Metric:
    """`label` is the name in records: `name`, or a template of the suite's numbers such as `nll_iwae_{iwae_k}`."""

    name: str
    unit: str
    better: str
    label: str
    needs: tuple[str, ...]
    measure: Callable[[Context], Measured]

    @property
    def documentation(self) -> str:
        return inspect.getdoc(self.measure) or ""

    def applies(self, context: Context) -> bool:
        return all(NEEDS[need][1](context) for need in self.needs)


METRICS: Registry[Metric] = Registry("metric")


def metric(name: str, *, unit: str, better: str, needs: Iterable[str] = (),
           label: str | None = None) -> Callable[[Callable[[Context], Measured]], Callable[[Context], Measured]]:
    """Decorator: enter a metric. It is absent from the record of a trial that lacks one of its `needs`.

    Raises: ValueError for a taken name, an unknown direction or need, or a missing docstring.
    """
    if better not in BETTER:
        raise ValueError(f"{name}: better is {better!r}; it must be one of {', '.join(BETTER)}")
    for need in needs:
        if need not in NEEDS:
            raise ValueError(f"{name}: unknown need {need!r}{nearest(need, NEEDS)}")

    def enter(measure: Callable[[Context], Measured]) -> Callable[[Context], Measured]:
        if not measure.__doc__:
            raise ValueError(f"{name}: say in a docstring what it measures, its formula and its source")
        METRICS.add(name, Metric(name, unit, better, label or name, tuple(needs), measure))
        return measure
    return enter


def measure(context: Context) -> dict[str, dict[str, float | str | int | None]]:
    """The metrics of the trial's suite that apply to it, as a record holds them.  Raises: FloatingPointError for NaN or Inf."""
    found: dict[str, dict[str, float | str | int | None]] = {}
    for name in dict.fromkeys(name for pattern in context.evaluation.metrics for name in METRICS.names(pattern)):
        m = METRICS.get(name)
        if m.applies(context):
            measured = m.measure(context)
            label = m.label.format(iwae_k=context.evaluation.iwae_k, extractor=context.evaluation.extractor)
            if not math.isfinite(measured.value):
                raise FloatingPointError(f"{label} is {measured.value}")
            found[label] = {"unit": m.unit, "better": m.better, **vars(measured)}
    return found


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
