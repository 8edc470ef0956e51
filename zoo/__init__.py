"""A zoo of variational autoencoders: pick a variant by name, train it, compare it, add your own.

    data = zoo.load_dataset("digits")
    model = zoo.create("beta_vae", data.spec, latent_dim=10)
    zoo.fit(model, data, epochs=20)
    images = model.sample(16)

Names resolve at their first use (zoo.face), so that `zoo --help` need not wait for torch.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .face import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f".{name}", __name__)
    face = importlib.import_module(".face", __name__)
    try:
        return getattr(face, name)
    except AttributeError:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}; it has {', '.join(__dir__())}") from None


def __dir__() -> list[str]:
    face = importlib.import_module(".face", __name__)
    return sorted(n for n in vars(face) if not n.startswith("_") and n != "kernels")
