"""The public face, which `import zoo` shows: what a user needs is here, by name, and nothing else is promised."""

import kernels

if getattr(kernels, "PROJECT", None) != "vae-zoo":
    raise ImportError(
        f"zoo needs its own package `kernels`, but Python found another one at {getattr(kernels, '__file__', None)} "
        "(Hugging Face's has the same name). Use an environment of its own for the zoo (`make install`), or uninstall that "
        "package, or put the zoo's checkout first on PYTHONPATH."
    )

from .data import Dataset as Dataset
from .data import Split as Split
from .data import list_datasets as list_datasets
from .data import load_dataset as load_dataset
from .data import register_dataset as register_dataset
from .registry import Entry as Entry
from .registry import create as create
from .registry import entry as entry
from .registry import list_variants as list_variants
from .registry import register as register
from .sequence import SequenceVariant as SequenceVariant
from .spec import DataSpec as DataSpec
from .store import load as load
from .store import save as save
from .training import fit as fit
from .training import fit_many as fit_many
from .variant import Batch as Batch
from .variant import Contract as Contract
from .variant import Joint as Joint
from .variant import Terms as Terms
from .variant import Variant as Variant
