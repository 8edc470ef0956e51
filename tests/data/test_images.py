"""Image files: MNIST's published hashes, and what is said when files are missing, damaged or of another format."""

import gzip
import hashlib
import pickle
import urllib.error

import numpy as np
import pytest

from zoo.data import images, load_dataset
from zoo.data.files import Files

# of numpy.packbits of the images, valid and test, in the protocol of the VampPrior code
DYN777 = {
    "valid": "a5a22bf8d4a175a4403e6e5db0ed8163de851807ebbcd32709b3c66ec2097800",
    "test": "8cc04e23259ba03b15ff0646787146107ac19a204d93333b4fee8220a34a77d0",
}


@pytest.fixture(scope="module")
def fake_kmnist(tmp_path_factory):
    """A data folder with random images in KMNIST's files."""
    root = tmp_path_factory.mktemp("fake")
    (root / "KMNIST" / "raw").mkdir(parents=True)
    rng = np.random.RandomState(0)
    for name, shape in zip(images.IDX_FILES, [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)], strict=True):
        data = rng.bytes(np.prod(shape)) if len(shape) == 3 else rng.randint(10, size=shape).astype(np.uint8).tobytes()
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        (root / "KMNIST" / "raw" / name).write_bytes(header + data)
    return root


def mnist(real, suffix=""):
    return real(f"mnist{suffix}", "MNIST/raw/train-images-idx3-ubyte")


def test_mnist(real):
    data = mnist(real)
    assert data.spec.shape == (1, 28, 28) and data.spec.kind == "byte" and data.spec.levels == 256
    assert [len(split) for split in data.splits.values()] == [50000, 10000, 10000]
    assert data.train.label[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test.label.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.x.sum().item() + data.valid.x.sum().item() == 1567298545
    data.check()


@pytest.mark.parametrize("suffix", [":dynamic", ":fixed"])
def test_binarised_mnist_is_the_canonical_draw(real, suffix):
    data = mnist(real, suffix)
    for name, expected in DYN777.items():
        assert hashlib.sha256(np.packbits(data.splits[name].x.numpy()).tobytes()).hexdigest() == expected
    train = data.train.batch(slice(1000)).x
    assert set(train.unique().tolist()) == {0.0, 1.0} and 0.12 < train.mean() < 0.15


def test_reading_idx_files(fake_kmnist):
    data = load_dataset("kmnist", fake_kmnist)
    raw = (fake_kmnist / "KMNIST" / "raw" / images.IDX_FILES[0]).read_bytes()[16:]
    assert data.train.x[0].numpy().tobytes() == raw[:784]
    assert data.valid.x[0].numpy().tobytes() == raw[784 * 50000 : 784 * 50001]
    assert len(data.test) == 10000 and "KMNIST" in data.note


def test_another_format_is_refused(tmp_path):
    whole = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])
    path = tmp_path / "labels"
    path.write_bytes(whole)
    assert images.read_idx(path).tolist() == [7, 8, 9]
    for other in (b"", whole[:3], whole[:7], whole[:-1], whole + b"0", gzip.compress(whole), b"\0\0\x0d" + whole[3:]):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="labels is no IDX file of bytes, or is cut short; is it still compressed"):
            images.read_idx(path)


@pytest.mark.parametrize(
    ("name", "class_name", "files"),
    [
        ("mnist", "MNIST", [f"MNIST/raw/{file}" for file in images.IDX_FILES]),
        ("fashion_mnist:fixed", "FashionMNIST", [f"FashionMNIST/raw/{file}" for file in images.IDX_FILES]),
        ("cifar10", "CIFAR10", [f"cifar-10-batches-py/{file}" for file in images.CIFAR10_MD5]),
    ],
)
def test_what_is_missing_and_cannot_be_downloaded_is_named(name, class_name, files, tmp_path, monkeypatch):
    from torchvision import datasets

    def no_network(self):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(getattr(datasets, class_name), "download", no_network)
    with pytest.raises(FileNotFoundError) as error:
        load_dataset(name, tmp_path)
    message = str(error.value)
    assert all(str(tmp_path / file) in message for file in files)
    assert "URLError: <urlopen error no network>" in message and "http" in message and "ZOO_DATA" in message
    assert list(tmp_path.iterdir()) == []


def test_damaged_mnist_is_refused(real_root, tmp_path):
    raw = real_root("MNIST/raw") / "MNIST" / "raw"
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for file in images.IDX_FILES:
        (tmp_path / "MNIST" / "raw" / file).symlink_to(raw / file)
    damaged = tmp_path / "MNIST" / "raw" / images.IDX_FILES[3]
    damaged.unlink()
    damaged.write_bytes((raw / images.IDX_FILES[3]).read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match="t10k-labels.* is damaged .*: sha256 expected ff7bcfd4.*, found "):
        load_dataset("mnist", tmp_path)


def test_cifar10(tmp_path, monkeypatch):
    """Six small batches instead of the real ones: order, shape, split."""
    files = Files({f"batches/{name}": "" for name in images.CIFAR10_MD5}, "nowhere")
    monkeypatch.setattr(images, "CIFAR10_FILES", files)
    (tmp_path / "batches").mkdir()
    for number, name in enumerate(images.CIFAR10_MD5):
        batch = {"data": np.full((10000, 3072), number, np.uint8), "labels": [number] * 10000}
        batch["data"][:, 1024] = 100                            # the first pixel of the second channel
        (tmp_path / "batches" / name).write_bytes(pickle.dumps(batch))
    data = load_dataset("cifar10", tmp_path)
    assert data.spec.shape == (3, 32, 32)
    assert [len(split) for split in data.splits.values()] == [45000, 5000, 10000]
    assert data.train.label[::10000].tolist() == [0, 1, 2, 3, 4]
    assert set(data.valid.label.tolist()) == {4} and set(data.test.label.tolist()) == {5}
    assert data.test.x[0, :, 0, 0].tolist() == [5, 100, 5]


def test_damaged_cifar10_is_never_unpickled(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name in images.CIFAR10_MD5:
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(b"cbuiltins\nexit\n(tR.")
    with pytest.raises(ValueError, match="data_batch_1 is damaged or another file: md5 expected c99cafc1"):
        load_dataset("cifar10", tmp_path)


def test_a_download_brings_only_what_is_needed(tmp_path):
    def download(folder):
        for name in ("a/wanted", "a/archive.gz"):
            (folder / "a").mkdir(exist_ok=True)
            (folder / name).write_bytes(b"abc")

    digest = hashlib.sha256(b"abc").hexdigest()
    (path,) = Files({"a/wanted": f"sha256:{digest}"}, "nowhere", download).find(tmp_path / "new")
    assert path.read_bytes() == b"abc"
    assert [file.name for file in (tmp_path / "new").rglob("*") if file.is_file()] == ["wanted"]
