"""Name -> thing, with errors that name the nearest match: one class for variants, data sets and metrics; and the variants' own.

A variant is registered by a decorator in a file of its own, whose name is the variant's name:

    @register("beta_vae", paper=..., url=..., equation="eq. 4", plain_at={"beta": 1.0})
    class BetaVAE(Variant): ...
"""

import difflib
import fnmatch
import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from .spec import DataSpec

if TYPE_CHECKING:
    from .variant import Contract

T = TypeVar("T")
C = TypeVar("C", bound="type[Contract]")
BOUNDS = ("elbo", "iwae", "none")
TAGS = {
    "sequence": "takes sequences (others take single examples)",
    "conditional": "needs labels",
    "filtering": "its posterior at t sees x up to t",
    "smoothing": "its posterior at t sees the whole sequence",
    "discrete": "discrete latents",
    "deterministic": "the posterior is a point",
    "hierarchical": "several levels of latents",
    "adversarial": "trains a critic",
    "learned_prior": "the prior has parameters",
    "missing": "made for missing values",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the whole list where nothing is near: the end of an error about an unknown name."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(repr(c) for c in close) + "?"
    return f"; known: {', '.join(known) or 'none'}"


class Registry(Generic[T]):
    """Entries of one kind (`what`, used in errors) by name. `fill`, if any, is called once before the first look-up."""

    def __init__(self, what: str, fill: Callable[[], None] | None = None) -> None:
        self.what, self._fill = what, fill
        self._known: dict[str, T] = {}

    @property
    def _entries(self) -> dict[str, T]:
        if self._fill is not None:
            fill, self._fill = self._fill, None             # first, as filling looks up too
            fill()
        return self._known

    def add(self, name: str, entry: T) -> T:
        """Raises: ValueError if the name is taken."""
        if name in self._entries:                           # filled first: a taken name is refused here, not at some look-up
            raise ValueError(f"{self.what} {name!r} is already registered (as {self._known[name]!r}): choose another name")
        self._known[name] = entry
        return entry

    def get(self, name: str) -> T:
        """Raises: LookupError naming the nearest match."""
        if name not in self._entries:
            raise LookupError(f"unknown {self.what} {name!r}{nearest(name, self._entries)}")
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Sorted names that match a shell pattern such as `*vae`."""
        return sorted(fnmatch.filter(self._entries, pattern))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True)
class Entry:
    """What is known of a variant: read by tests, harness, command line and documentation, never listed anywhere else."""

    name: str
    build: "Callable[..., Contract]"
    paper: str
    url: str
    equation: str
    bound: str = "elbo"                         # what -objective bounds, where plain: "elbo" | "iwae"; "none": no bound at all
    plain_at: Mapping[str, Any] | None = None   # settings at which the objective *is* the negative bound; None: nowhere
    tags: frozenset[str] = frozenset()

    @property
    def summary(self) -> str:
        """The first line of its file."""
        return self.documentation.split("\n", 1)[0].rstrip(".")

    @property
    def documentation(self) -> str:
        """Its file's docstring: formula, source, departures."""
        return inspect.getdoc(sys.modules[self.build.__module__]) or ""

    def settings(self) -> dict[str, Any]:
        """Keyword -> default, up the chain of constructors as far as they pass on **keywords."""
        found: dict[str, Any] = {}
        for cls in inspect.getmro(self.build):  # type: ignore[arg-type]
            if "__init__" not in vars(cls):
                continue
            parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
            found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "spec"} | found
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
        return found

    def why_not(self, spec: DataSpec) -> str | None:
        """Why this variant does not take such data; None if it does."""
        if "sequence" in self.tags and not spec.sequence:
            return f"{self.name} takes sequences; these data are single examples of shape {spec.shape}"
        if "sequence" not in self.tags and spec.sequence:
            return f"{self.name} takes single examples; these data are sequences of up to {spec.max_length} frames"
        if "conditional" in self.tags and not spec.classes:
            return f"{self.name} is conditional on a label; these data have none"
        return None


def _discover() -> None:
    """Import every file of zoo/variants, and what other packages offer through the entry-point group `vae_zoo.variants`."""
    from . import variants
    for module in pkgutil.iter_modules(variants.__path__):
        importlib.import_module(f"{variants.__name__}.{module.name}")
    for point in entry_points(group="vae_zoo.variants"):
        try:
            point.load()
        except Exception as error:                          # someone else's code: one broken plug-in must not close the zoo
            warnings.warn(f"variant plug-in {point.name} = {point.value} failed to load: {error!r}", stacklevel=2)


VARIANTS: Registry[Entry] = Registry("variant", _discover)


def register(name: str, *, paper: str, url: str, equation: str, bound: str = "elbo",
             plain_at: Mapping[str, Any] | None = None, tags: Iterable[str] = ()) -> Callable[[C], C]:
    """Class decorator: enter a variant under `name`.

    Raises: ValueError for a taken name, a missing source, an unknown bound, tag or plain setting.
    """
    def enter(cls: C) -> C:
        entry = Entry(name, cls, paper, url, equation, bound, None if plain_at is None else MappingProxyType(dict(plain_at)),
                      frozenset(tags))
        if not (paper and equation and url.startswith("https://")):
            raise ValueError(f"{name}: name the paper, the equation and an https:// address; "
                             f"got {paper!r}, {equation!r}, {url!r}")
        if bound not in BOUNDS:
            raise ValueError(f"{name}: bound is {bound!r}; it must be one of {', '.join(BOUNDS)}")
        for tag in entry.tags:
            if tag not in TAGS:
                raise ValueError(f"{name}: unknown tag {tag!r}{nearest(tag, TAGS)}")
        for key in plain_at or {}:
            if key not in entry.settings():
                raise ValueError(f"{name}: plain_at names {key!r}, which is no setting{nearest(key, entry.settings())}")
        cls.entry = VARIANTS.add(name, entry)
        return cls
    return enter


def list_variants(pattern: str = "*") -> list[str]:
    """Names of all variants, or of those that match a shell pattern such as `*beta*`."""
    return VARIANTS.names(pattern)


def entry(name: str) -> Entry:
    """What is known of a variant.  Raises: LookupError naming the nearest match."""
    return VARIANTS.get(name)


def create(name: str, spec: DataSpec, *, seed: int | None = None, **settings: Any) -> "Contract":
    """Build a variant for data of `spec`. `seed` fixes the initial weights without touching torch's global generator.

    Raises: LookupError for an unknown name; TypeError for an unknown setting; ValueError where the data do not fit.
    """
    found, known = entry(name), entry(name).settings()
    for key in settings:
        if key not in known:
            raise TypeError(f"{name} has no setting {key!r}{nearest(key, known)} (it takes {', '.join(known)})")
    if reason := found.why_not(spec):
        raise ValueError(reason)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = found.build(spec=spec, **settings)
    model.settings = {**known, **settings}
    return model
