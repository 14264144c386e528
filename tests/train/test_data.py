"""The data sets: the digits' split, the strict IDX reader and every way an MNIST file can be wrong."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from labc.errors import LabcError
from labc.train.data import MNIST_FILES, digits, mnist, read_idx


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(directory: Path, train: int = 60, test: int = 20) -> None:
    """Four small files in MNIST's format: a bright bar in a row per class."""
    random = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        labels = np.arange(count) % 10
        images = random.integers(0, 40, (count, 28, 28))
        images[np.arange(count), 2 * labels + 4, :] = 255
        (directory / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (directory / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))


def test_digits_are_split_once_and_for_all() -> None:
    data, again = digits(3), digits(3)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1293, 144, 360]
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.shape[1] == 64
    assert int(data.train.images.max()) == 16
    assert torch.equal(data.test.images, again.test.images)
    assert not torch.equal(data.test.images, digits(4).test.images)
    rows = torch.cat([data.train.images, data.validation.images, data.test.images])
    assert len(rows) == 1797
    for part in (data.validation, data.test):
        counts = torch.bincount(part.labels)
        assert int(counts.max() - counts.min()) <= 2


def test_mnist_from_a_directory(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = mnist(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [50, 10, 20]
    assert data.train.images.shape == (50, 784)
    assert data.train.labels.dtype == torch.int64
    assert (data.test.images.view(-1, 28, 28)[3, 10] == 255).all()
    assert data.test.labels[3] == 3


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"


def _gz(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda d: (d / IMAGES).write_bytes(gzip.compress(change(gzip.decompress((d / IMAGES).read_bytes()))))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda d: (d / LABELS).unlink(), "train-labels-idx1-ubyte .* is missing; put the four"),
        (lambda d: (d / IMAGES).write_bytes((d / IMAGES).read_bytes()[:300]), "not a whole gzip archive"),
        (lambda d: (d / IMAGES).write_bytes(b"<html>"), "not a whole gzip archive"),
        (lambda d: (d / IMAGES).write_bytes((d / IMAGES).read_bytes()[:-20] + bytes(20)), "not a whole gzip archive"),
        (_gz(lambda b: b[:-1]), "announces 60 images .* holds 47055 bytes"),
        (_gz(lambda b: b + b"x"), "announces 60 images"),
        (_gz(lambda b: b[:10]), "10 bytes, an IDX file of images has a head of 16"),
        (_gz(lambda b: b"\0\0\x08\x01" + b[4:]), "starts with 0x00000801, an IDX file of images with 0x00000803"),
        (_gz(lambda b: b[:8] + struct.pack(">2I", 32, 32) + b[16:]), "images of 32x32, expected 28x28"),
        (_gz(lambda b: b[:4] + struct.pack(">I", 2**32 - 1) + b[8:]), "announces 4294967295 images"),
        (lambda d: (d / LABELS).write_bytes(idx(np.arange(59) % 10)), "59 labels for 60 images"),
        (lambda d: (d / LABELS).write_bytes(idx(np.arange(60) % 11)), "label 10 at item 10"),
        (lambda d: (d / LABELS).write_bytes(b""), "0 bytes, an IDX file of labels has a head of 8"),
        (lambda d: write_mnist(d, train=5), "5 images; at least 6"),
    ],
)
def test_damaged_files(tmp_path: Path, damage: Callable[[Path], object], text: str) -> None:
    write_mnist(tmp_path)
    damage(tmp_path)
    with pytest.raises(LabcError, match=text):
        mnist(tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(bytes(8) + bytes(20_000_000)))
    with pytest.raises(LabcError, match="starts with 0x00000000"):
        read_idx(path, 1)
    path.write_bytes(gzip.compress(struct.pack(">2I", 0x801, 20_000_000) + bytes(20_000_000)))
    with pytest.raises(LabcError, match="holds 100009 bytes"):
        read_idx(path, 1)


def test_directory_errors(tmp_path: Path) -> None:
    with pytest.raises(LabcError, match="no such directory"):
        mnist(tmp_path / "none")
    with pytest.raises(LabcError, match="cannot be read"):
        read_idx(tmp_path / "none.gz", 1)


def test_fetching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    write_mnist(tmp_path)
    asked = []

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        asked.append((url, known_hash))
        plain = tmp_path / fname.removesuffix(".gz")
        return str(plain if plain.exists() else tmp_path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert len(mnist().test) == 20
    assert [digest for _, digest in asked] == [f"sha256:{digest}" for digest in MNIST_FILES.values()]
    assert all(url.startswith("https://") for url, _ in asked)

    def fail(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(LabcError, match=r"train-images-idx3-ubyte.gz: cannot be fetched \(no route to host\)"):
        mnist()
