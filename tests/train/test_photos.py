"""CIFAR-10's records and SVHN's MATLAB files: small made-up ones, and every way they can be wrong."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from labc.errors import LabcError
from labc.train.data import cifar10, read_cropped, read_records, svhn


def records(count: int, seed: int = 0) -> bytes:
    """Records whose label is their number's last digit."""
    table = np.random.default_rng(seed).integers(0, 256, (count, 3073), np.uint8)
    table[:, 0] = np.arange(count) % 10
    return table.tobytes()


def write_cifar(directory: Path, batches: int = 2, count: int = 20) -> None:
    for number in range(1, batches + 1):
        content = records(count, number)
        if number % 2:
            (directory / f"data_batch_{number}.bin.gz").write_bytes(gzip.compress(content))
        else:
            (directory / f"data_batch_{number}.bin").write_bytes(content)
    (directory / "test_batch.bin").write_bytes(records(10))


def test_cifar(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    data = cifar10(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [36, 4, 10]
    assert data.train.images.shape == (36, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.validation.labels.tolist() == [6, 7, 8, 9]
    first = np.frombuffer(records(20, 1), np.uint8).reshape(-1, 3073)
    assert int(data.train.images[3, 1, 2, 5]) == first[3, 1 + 1024 + 2 * 32 + 5]  # green, row 2, column 5
    last = np.frombuffer(records(20, 2), np.uint8).reshape(-1, 3073)[-1, 1:]
    assert data.validation.images[-1].flatten().tolist() == last.tolist()


def test_cifar_in_part(tmp_path: Path) -> None:
    write_cifar(tmp_path, batches=1)
    (tmp_path / "test_batch.bin").rename(tmp_path / "test_first10.bin")
    data = cifar10(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [18, 2, 10]


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda d: (d / "test_batch.bin").unlink(), "one test file is needed, test_batch.bin .*there: none"),
        (lambda d: (d / "test_first5.bin").write_bytes(records(5)), "there: test_batch.bin, test_first5.bin"),
        (lambda d: [f.unlink() for f in d.glob("data*")], "no data_batch_1.bin"),
        (lambda d: (d / "data_batch_1.bin").write_bytes(records(5)), "the same batch as data_batch_1.bin"),
        (lambda d: (d / "data_batch_2.bin").write_bytes(records(5)[:-1]), "data_batch_2.bin: 15364 bytes; .* records of 3073"),
        (lambda d: (d / "data_batch_2.bin").write_bytes(b""), "data_batch_2.bin: 0 bytes"),
        (lambda d: (d / "test_batch.bin").write_bytes(b"\x0a" + records(5)[1:]), "test_batch.bin: label 10 in record 0"),
        (lambda d: (d / "data_batch_1.bin.gz").write_bytes(gzip.compress(records(3))[:-9]), "not a whole gzip archive"),
        (lambda d: (d / "data_batch_2.bin").unlink() or (d / "data_batch_2.bin").mkdir(), "data_batch_2.bin: cannot be read"),
        (lambda d: write_cifar(d, count=4), "8 training images; at least 10"),
    ],
)
def test_damaged_cifar(tmp_path: Path, damage: Callable[[Path], object], text: str) -> None:
    write_cifar(tmp_path)
    damage(tmp_path)
    with pytest.raises(LabcError, match=text):
        cifar10(tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin.gz"
    path.write_bytes(gzip.compress(bytes(3073 * 20_000)))
    with pytest.raises(LabcError, match="30730001 bytes or more"):
        read_records(path)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(LabcError, match="no such directory"):
        cifar10(tmp_path / "none")
    with pytest.raises(LabcError, match=r"train_32x32.mat: no such file"):
        svhn(tmp_path)


def write_cropped(path: Path, count: int = 20, compress: bool = True, **changed: np.ndarray) -> np.ndarray:
    """An SVHN file; returns its X."""
    images = np.random.default_rng(count).integers(0, 256, (32, 32, 3, count), np.uint8)
    labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
    savemat(path, {"X": images, "y": labels, **changed}, do_compression=compress)
    return images


@pytest.mark.parametrize("compress", [True, False])
def test_svhn(tmp_path: Path, compress: bool) -> None:
    images = write_cropped(tmp_path / "train_32x32.mat", compress=compress)
    write_cropped(tmp_path / "test_32x32.mat", 5, y=np.array([[10.0], [1], [2], [3], [9]]))
    data = svhn(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [18, 2, 5]
    assert data.train.images[4].numpy().tolist() == images[:, :, :, 4].transpose(2, 0, 1).tolist()
    assert data.train.labels.tolist()[:11] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert data.test.labels.tolist() == [0, 1, 2, 3, 9]
    write_cropped(tmp_path / "extra_32x32.mat", 30)
    assert [len(part) for part in (svhn(tmp_path).train, svhn(tmp_path).validation)] == [48, 2]


def _cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


def _garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda p: _cut(p, 100), "not a whole MATLAB file of version 5 .its head"),
        (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)), "not a whole MATLAB file of version 5 .its head"),
        (lambda p: _cut(p, 5000), "ends within a variable"),
        (lambda p: _garble(p), "not a whole MATLAB file of version 5"),
        (lambda p: savemat(p, {"X": np.zeros((32, 32, 3, 2), np.uint8)}), "no array y, but X"),
        (lambda p: write_cropped(p, X=np.zeros((32, 32, 3, 20))), "X is float64 32x32x3x20, y uint8 20x1; expected"),
        (lambda p: write_cropped(p, X=np.zeros((20, 32, 32, 3), np.uint8)), "X is uint8 20x32x32x3"),
        (lambda p: write_cropped(p, X=np.zeros((32, 32, 3), np.uint8)), "X is uint8 32x32x3, y"),
        (lambda p: write_cropped(p, y=np.ones((19, 1), np.uint8)), "y uint8 19x1"),
        (lambda p: write_cropped(p, y=np.zeros((20, 1), np.uint8)), "labels other than 1 to 10"),
        (lambda p: write_cropped(p, y=np.full((20, 1), 1.5)), "labels other than 1 to 10"),
        (lambda p: write_cropped(p, y=np.full((20, 1), np.nan)), "labels other than 1 to 10"),
        (lambda p: write_cropped(p, y=np.array([["a"]], dtype=object)), "no array y, but X"),
        (lambda p: write_cropped(p, 9), "9 images; at least 10"),
        (lambda p: p.unlink() or p.mkdir(), "no such file"),
        (lambda p: savemat(p, {f"v{i}": 1 for i in range(101)}), "more than 100 variables"),
        (lambda p: savemat(p, {"X": 1j, "y": "text"}), "no array X, but none"),
    ],
)
def test_damaged_svhn(tmp_path: Path, damage: Callable[[Path], object], text: str) -> None:
    write_cropped(tmp_path / "test_32x32.mat", 5)
    write_cropped(tmp_path / "train_32x32.mat")
    damage(tmp_path / "train_32x32.mat")
    with pytest.raises(LabcError, match=text):
        svhn(tmp_path)


def test_a_variable_that_unpacks_to_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labc.train.data import photos

    monkeypatch.setattr(photos, "_MOST_CROPPED", 1000)  # 600,000 take as long as 2 GB take to unpack
    path = tmp_path / "train_32x32.mat"
    write_cropped(path)
    packed = zlib.compress(bytes(5_000_000), 9)
    path.write_bytes(path.read_bytes() + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(LabcError, match="a variable unpacks to more than"):
        read_cropped(path)
    write_cropped(path, 1001)
    with pytest.raises(LabcError, match="1001 images, expected 1 to 1000"):
        read_cropped(path)
    write_cropped(path, 1100, compress=False)
    with pytest.raises(LabcError, match="a variable of 3379256 bytes, too many"):
        read_cropped(path)


@pytest.mark.parametrize("compress", [True, False])
def test_any_byte_may_be_wrong(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "train_32x32.mat"
    write_cropped(path, 2, compress)
    whole, random = path.read_bytes(), np.random.default_rng(1)
    for place in [*range(124, 260), *random.integers(0, len(whole), 50)]:
        content = bytearray(whole)
        content[place] ^= int(random.integers(1, 256))
        path.write_bytes(content)
        try:
            images, labels = read_cropped(path)
        except LabcError:
            continue
        assert images.shape == (2, 3, 32, 32)
        assert labels.shape == (2,)
