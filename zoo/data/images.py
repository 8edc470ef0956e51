"""MNIST, Fashion-MNIST, KMNIST and CIFAR-10, in files laid out as torchvision lays them out.

They are read here, in milliseconds; torchvision, slow to import, serves only to download what is absent.
"""

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..spec import DataSpec
from .core import Dataset, Split, divide, sizes
from .files import Files
from .names import register_dataset

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MNIST_SHA256 = (
    "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
CIFAR10_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
TEST = 10_000                                                   # of all four


def _downloader(class_name: str) -> Callable[[Path], None]:
    def download(folder: Path) -> None:
        from torchvision import datasets

        getattr(datasets, class_name)(str(folder), download=True)

    return download


def _register_idx(name: str, title: str, origin: str, source: str, digests: tuple[str, ...] = ("",) * 4) -> None:
    paths = [f"{title}/raw/{file}" for file in IDX_FILES]
    files = Files(dict(zip(paths, digests, strict=True)), f"{origin} (unpacked: no .gz)", _downloader(title))

    @register_dataset(name, binarise=True)
    def load(root: Path) -> Dataset:
        train_x, train_y, test_x, test_y = (read_idx(path) for path in files.find(root))
        x, y = np.concatenate([train_x, test_x])[:, None], np.concatenate([train_y, test_y])
        return _dataset(name, x, y, valid=10_000, note=f"{title}: grey 28x28 images, ten classes. Source: {source}.")


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes in IDX format: 0, 0, 8, number of axes; sizes; data. Raises: ValueError if it is not one."""
    data = np.fromfile(path, np.uint8)
    axes = int(data[3]) if data[:3].tolist() == [0, 0, 8] and len(data) > 3 else 0
    start = 4 + 4 * axes
    shape = data[4:start].view(">u4").tolist() if len(data) >= start else []
    if not shape or len(data) != start + math.prod(shape):
        raise ValueError(f"{path} is no IDX file of bytes, or is cut short; is it still compressed?")
    return data[start:].reshape(shape)


_register_idx(
    name="mnist",
    title="MNIST",
    origin="https://ossci-datasets.s3.amazonaws.com/mnist/",
    source="LeCun, Cortes & Burges; CC BY-SA 3.0",
    digests=MNIST_SHA256,
)
_register_idx(
    name="fashion_mnist",
    title="FashionMNIST",
    origin="https://github.com/zalandoresearch/fashion-mnist",
    source="Xiao et al. 2017; MIT",
)
_register_idx(
    name="kmnist",
    title="KMNIST",
    origin="http://codh.rois.ac.jp/kmnist/",
    source="Clanuwat et al. 2018; CC BY-SA 4.0",
)

CIFAR10_FILES = Files(
    {f"cifar-10-batches-py/{file}": f"md5:{digest}" for file, digest in CIFAR10_MD5.items()},
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (unpacked)",
    _downloader("CIFAR10"),
)


@register_dataset("cifar10")
def cifar10(root: Path) -> Dataset:
    """Colour images (3, 32, 32)."""
    batches = []
    for path in CIFAR10_FILES.find(root):                       # checks their digests, so that unpickling is safe
        with path.open("rb") as file:
            batches.append(pickle.load(file, encoding="latin1"))
    x = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    y = np.concatenate([batch["labels"] for batch in batches])
    note = "CIFAR-10: colour 32x32 images, ten classes. Source: Krizhevsky 2009; no licence stated."
    return _dataset("cifar10", x, y, valid=5_000, note=note)


def _dataset(name: str, x: np.ndarray, y: np.ndarray, valid: int, note: str) -> Dataset:
    """x and y: the training images in the files' order, of which the last become valid, then the test images."""
    splits = divide(Split(torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))), valid, TEST)
    note = f"{note}\nSplit: valid is the end of the training files; {sizes(*splits)}."
    return Dataset(name, DataSpec(x.shape[1:], "byte", classes=10), *splits, note=note)
