"""The feature space of the canonical FID: pool3 of the Inception network of 2015-12-05, from a weight file of the user's.

torch-fidelity (the optional extra `fid`) has the network, with TensorFlow's resizing to 299 pixels. Its weights, 95 MB, are
not shipped and never downloaded: $ZOO_INCEPTION names the file, and only the file with the published SHA-256 is used, because
a distance between other features is no FID.
"""

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from . import Features

NAME, VARIABLE = "inception", "ZOO_INCEPTION"
DIGEST = "6726825d"                                         # the SHA-256 begins so; it is in the file's name too
URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
AT_ONCE = 50                                                # images in one pass


def named() -> bool:
    """Whether the user has named a weight file."""
    return bool(os.environ.get(VARIABLE))


def load(device: torch.device | str = "cpu") -> Features:
    """A function from images (N,C,H,W) in [0, 1], C 1 or 3, to features (N,2048).

    Raises: FileNotFoundError where no file is named or none is there; ValueError for a file of another digest;
    ImportError without torch-fidelity.
    """
    path = Path(os.environ.get(VARIABLE, ""))
    if not named() or not path.is_file():
        found = f"{path}, which ${VARIABLE} names, is no file" if named() else f"${VARIABLE} is not set"
        raise FileNotFoundError(f"{found}: FID and KID need the Inception weights; get {URL} and set ${VARIABLE} to its path")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(DIGEST):
        raise ValueError(f"{path} has SHA-256 {digest}; the weights of FID have {DIGEST}...: nothing from another file may be "
                         f"called FID or KID; get {URL}")
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ImportError("FID and KID need torch-fidelity: pip install 'vae-zoo[fid]'") from None
    torch.load(path, map_location="cpu", weights_only=True)     # refuses code in the file: torch-fidelity would run it
    net = FeatureExtractorInceptionV3(NAME, ["2048"], feature_extractor_weights_path=str(path)).to(device)

    @torch.no_grad()
    def features(x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return torch.cat([net(as_bytes(part).to(device))[0].cpu() for part in x.split(AT_ONCE)])
    return features


def as_bytes(x: Tensor) -> Tensor:
    """Images in [0, 1] as the network takes them: uint8, rounded, (N,3,H,W); grey three times."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
