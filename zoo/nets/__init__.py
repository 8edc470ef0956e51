"""Encoder and decoder pairs by the shape of the data. `auto` chooses: convolutions for images of 32 pixels and more or with
colour, fully connected layers otherwise; recurrent nets belong to the sequence variants (zoo.nets.recurrent).

An encoder maps x (N,*shape), and `condition` more numbers (N,condition) where it has any, to (N,out); a decoder maps
z (N,latent) to (N,params,*shape), `params` numbers for each number of x.
"""

from torch import nn

from ..registry import Registry
from ..spec import DataSpec
from . import conv, mlp

PAIRS: Registry[tuple[type[nn.Module], type[nn.Module]]] = Registry("net")
PAIRS.add("mlp", (mlp.Encoder, mlp.Decoder))
PAIRS.add("conv", (conv.Encoder, conv.Decoder))


def choose(spec: DataSpec) -> str:
    """The net that `auto` means for such data."""
    image = len(spec.shape) == 3
    return "conv" if image and (spec.shape[0] > 1 or min(spec.shape[1:]) >= 32) else "mlp"


def encoder(net: str, spec: DataSpec, out: int, hidden: int, condition: int = 0) -> nn.Module:
    """Raises: LookupError for an unknown net; ValueError where it does not take such data."""
    return PAIRS.get(choose(spec) if net == "auto" else net)[0](spec, out, hidden, condition)


def decoder(net: str, spec: DataSpec, latent: int, params: int, hidden: int) -> nn.Module:
    """Raises: LookupError for an unknown net; ValueError where it does not take such data."""
    return PAIRS.get(choose(spec) if net == "auto" else net)[1](spec, latent, params, hidden)
