"""A zoo of variational autoencoders: pick a variant by name, train it, compare it, add your own.

    data = zoo.load_dataset("digits")
    model = zoo.create("beta_vae", data.spec, latent_dim=10)
    zoo.fit(model, data, epochs=20)
    images = model.sample(16)

Light to import: no Triton, no plotting, no data library until one is needed.
"""

import importlib
import pkgutil

import kernels

if getattr(kernels, "PROJECT", None) != "vae-zoo":
    raise ImportError(
        f"zoo needs its own package `kernels`, but Python found another one at {getattr(kernels, '__file__', None)} "
        "(Hugging Face's has the same name). Use an environment of its own for the zoo (`make install`), or uninstall that "
        "package, or put the zoo's checkout first on PYTHONPATH."
    )

from . import variants
from .data import Dataset as Dataset
from .data import Split as Split
from .data import list_datasets as list_datasets
from .data import load_dataset as load_dataset
from .registry import Entry as Entry
from .registry import create as create
from .registry import discover
from .registry import entry as entry
from .registry import list_variants as list_variants
from .registry import register as register
from .sequence import SequenceVariant as SequenceVariant
from .spec import DataSpec as DataSpec
from .store import load as load
from .store import save as save
from .training import fit as fit
from .variant import Batch as Batch
from .variant import Contract as Contract
from .variant import Terms as Terms
from .variant import Variant as Variant

__version__ = "0.1.0"

for _module in pkgutil.iter_modules(variants.__path__):
    importlib.import_module(f"{variants.__name__}.{_module.name}")
discover()
