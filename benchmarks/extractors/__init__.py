"""Feature spaces, by name, to compare samples with data in. Weights are files with a SHA-256; none is ever trained when used.

    digits8-v1, mnist28-v1     the last hidden layer of a small classifier (see train.py), for 8x8 digits and for MNIST
    random_projection          64 rectified random projections, for any data; no weights, the same everywhere

A card, NAME.json, says what a classifier is: architecture, preprocessing, layer, training data, accuracy, digest.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.noise import Philox
from zoo.registry import nearest

FOLDER = Path(__file__).parent
WIDTH = 64                                                  # of the projection
PROJECTION = {
    "name": "random_projection", "d": WIDTH, "layer": "relu(P x)",
    "preprocessing": "none; of sequences the mean and the deviation over frames",
    "architecture": "P Gaussian, (64,D), variance 1/D, from Philox with key 0",
}
AT_ONCE = 2000                                              # examples in one pass

Features = Callable[[Tensor, Tensor | None], Tensor]        # x (N,*shape), lengths -> (N,d) float32


def names() -> list[str]:
    return sorted([*(path.stem for path in FOLDER.glob("*.json")), "random_projection"])


def card(name: str) -> dict[str, Any]:
    """What is known of an extractor.  Raises: LookupError naming the nearest match."""
    if name not in names():
        raise LookupError(f"unknown extractor {name!r}{nearest(name, names())}")
    return PROJECTION if name == "random_projection" else json.loads((FOLDER / f"{name}.json").read_text())


def classifies(name: str) -> bool:
    """Whether `classifier` has it.  Raises: as `card`."""
    return "accuracy" in card(name)


@cache
def load(name: str) -> Features:
    """A function from data to features.  Raises: LookupError for an unknown name; ValueError for weights of another digest."""
    if name == "random_projection":
        return random_projection
    net = classifier(name)

    @torch.no_grad()
    def features(x: Tensor, lengths: Tensor | None = None) -> Tensor:
        expected = tuple(card(name)["shape"])
        if tuple(x.shape[1:]) != expected:
            raise ValueError(f"{name} takes examples of shape {expected}; got {tuple(x.shape[1:])}: choose another extractor")
        return torch.cat([net[:-1](part.float()) for part in x.cpu().split(AT_ONCE)])
    return features


def classifier(name: str, folder: Path = FOLDER) -> nn.Sequential:
    """The whole net: its last layer gives the classes, the layer before it the features.

    Raises: ValueError where the digest of the weights is not the card's: distances would mean something else.
    """
    from safetensors.torch import load as from_bytes
    known = json.loads((folder / f"{name}.json").read_text())
    data = (folder / f"{name}.safetensors").read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != known["sha256"]:
        raise ValueError(f"{folder / name}.safetensors has SHA-256 {found}, its card says {known['sha256']}: the file is "
                         "damaged or another one; get it again from the repository (retrained weights would not compare)")
    net = build(name)
    net.load_state_dict({k: v.float() for k, v in from_bytes(data).items()})
    return net.eval()


def build(name: str) -> nn.Sequential:
    """An untrained net of a classifier's architecture."""
    if name == "digits8-v1":
        body = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
                nn.Linear(32 * 4 * 4, 64)]
    elif name == "mnist28-v1":
        body = [nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU(),
                nn.Flatten(), nn.Linear(32 * 7 * 7, 64)]
    else:
        raise LookupError(f"no architecture is known under {name!r}")
    return nn.Sequential(*body, nn.ReLU(), nn.Linear(64, 10))


def random_projection(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """64 rectified random projections of flattened data; of sequences (N,T,*frame), of their frames' mean and deviation.

        relu(P x),  P (64,D) with independent entries N(0, 1/D)

    Sees first and second moments of x and little of its structure: a yardstick for data that have no classifier.
    """
    x = x.float()
    if lengths is None:
        h = x.flatten(1)
    else:
        frames = x.flatten(2) if x.dim() > 2 else x.unsqueeze(-1)
        inside = (torch.arange(x.shape[1]) < lengths[:, None]).unsqueeze(-1)
        n = lengths[:, None]
        mean = torch.where(inside, frames, 0.0).sum(1) / n
        deviation = (torch.where(inside, frames - mean[:, None], 0.0).square().sum(1) / n).sqrt()
        h = torch.cat([mean, deviation], 1)
    p = Philox(torch.tensor(0)).normal((WIDTH, h.shape[1])) / h.shape[1] ** 0.5
    return (h @ p.T).relu()
