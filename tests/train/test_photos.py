"""CIFAR-10's records and SVHN's MATLAB files: small made-up ones, and every way they can be wrong."""

from __future__ import annotations

import gzip
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from breadth import some
from scipy.io import savemat

from labc import process
from labc.errors import LabcError
from labc.train.data import cifar10, photos, read_cropped, read_records, svhn


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
        (lambda p: _cut(p, 100), "train_32x32.mat: SciPy cannot read it: .*; fetch it again: SVHN's 'format 2'"),
        (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)), "SciPy cannot read it: ValueError Unknown mat file type"),
        (lambda p: _cut(p, 5000), "no array y, but X"),
        (lambda p: _cut(p, -5), "SciPy cannot read it"),
        (lambda p: _garble(p), "SciPy cannot read it"),
        (lambda p: savemat(p, {"X": np.zeros((32, 32, 3, 2), np.uint8)}), "no array y, but X"),
        (lambda p: write_cropped(p, X=np.zeros((32, 32, 3, 20))), "X is double 32x32x3x20, y is uint8 20x1; expected uint8 32x32x3xN"),
        (lambda p: write_cropped(p, X=np.zeros((20, 32, 32, 3), np.uint8)), "X is uint8 20x32x32x3"),
        (lambda p: write_cropped(p, X=np.zeros((32, 32, 3), np.uint8)), "X is uint8 32x32x3, y"),
        (lambda p: write_cropped(p, y=np.ones((19, 1), np.uint8)), "y is uint8 19x1"),
        (lambda p: write_cropped(p, y=np.zeros((20, 1), np.uint8)), "labels other than 1 to 10"),
        (lambda p: write_cropped(p, y=np.full((20, 1), np.nan)), "labels other than 1 to 10"),
        (lambda p: write_cropped(p, y=np.full((20, 1), 1j)), "its data are other than its head says"),
        (lambda p: write_cropped(p, y=np.full((20, 1), "a", dtype=object)), "y is cell 20x1"),
        (lambda p: write_cropped(p, 9), "9 images; at least 10"),
        (lambda p: p.unlink() or p.mkdir(), "no such file"),
        (lambda p: savemat(p, {}), "no array X, but none"),
    ],
)
def test_damaged_svhn(tmp_path: Path, damage: Callable[[Path], object], text: str) -> None:
    write_cropped(tmp_path / "test_32x32.mat", 5)
    write_cropped(tmp_path / "train_32x32.mat")
    damage(tmp_path / "train_32x32.mat")
    with pytest.raises(LabcError, match=text):
        svhn(tmp_path)


def test_sizes_and_time_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_MOST_CROPPED", 100)
    path = tmp_path / "train_32x32.mat"
    write_cropped(path, 101)
    with pytest.raises(LabcError, match="101 images, expected 1 to 100"):
        read_cropped(path)
    write_cropped(path, 1200, compress=False)
    with pytest.raises(LabcError, match=r"train_32x32.mat: 36\d{5} bytes; 100 images take fewer than 3388000; fetch it again"):
        read_cropped(path)
    write_cropped(path, 5)
    monkeypatch.setattr(process, "TIMEOUT_S", 0.01)
    with pytest.raises(LabcError, match=r"train_32x32.mat: python\S* did not end within 0.01 s"):
        read_cropped(path)


@pytest.mark.skipif(sys.platform != "linux", reason="not run here: only Linux bounds a process's memory; needs no tool")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """Numbers that claim 2 GB, under a head that announces one image."""
    path = tmp_path / "train_32x32.mat"
    write_cropped(path, 1, compress=False)
    content = path.read_bytes()
    (nbytes,) = struct.unpack_from("<I", content, 132)
    unpacked, most = content[136 : 136 + nbytes], 2_000_000_000
    packer = zlib.compressobj(1)
    packed = packer.compress(struct.pack("<2I", 14, most + nbytes) + unpacked[:52] + struct.pack("<I", most) + unpacked[56:])
    packed += packer.flush()
    path.write_bytes(content[:128] + struct.pack("<2I", 15, len(packed)) + packed + content[136 + nbytes :])
    with pytest.raises(LabcError, match="SciPy cannot read it: MemoryError"):
        read_cropped(path)


@pytest.mark.skipif(sys.platform != "linux", reason="not run here: only Linux bounds a process's files so; needs no tool")
def test_a_full_disk_is_not_the_files_fault(tmp_path: Path) -> None:
    """A bound on the size of files, which the child inherits, stands for a full disk."""
    import resource

    write_cropped(tmp_path / "train_32x32.mat", 20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(LabcError, match=r"train_32x32.mat: cannot be unpacked: .*X\.npy: cannot be written .*; make room"):
            read_cropped(tmp_path / "train_32x32.mat")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_crash_is_the_childs(tmp_path: Path) -> None:
    """The type of the numbers of X, 2, changed to one that no table has: SciPy 1.17 reads outside its own."""
    path = tmp_path / "train_32x32.mat"
    write_cropped(path, 2, compress=False)
    content = bytearray(path.read_bytes())
    assert struct.unpack_from("<2I", content, 184) == (2, 2 * 32 * 32 * 3)
    content[185] = 8
    path.write_bytes(content)
    with pytest.raises(LabcError, match=r"train_32x32.mat: SciPy('s reader crashed on it| cannot read it: .*); fetch it again"):
        read_cropped(path)


@pytest.mark.parametrize("compress", some([True, False], [True]))
def test_any_byte_may_be_wrong(tmp_path: Path, compress: bool) -> None:
    """Of a packed file never a wrong number, of a plain one at most the one that was changed."""
    path = tmp_path / "train_32x32.mat"
    whole_images = write_cropped(path, 2, compress).transpose(3, 2, 0, 1)
    whole, random = path.read_bytes(), np.random.default_rng(1)
    read = 0
    for place in [
        *random.choice(np.arange(124, 200), 10, False),
        *random.integers(200, len(whole), 3),
        *range(len(whole) - 24, len(whole), 6),
    ]:
        content = bytearray(whole)
        content[place] ^= int(random.integers(1, 256))
        path.write_bytes(content)
        try:
            images, labels = read_cropped(path)
        except LabcError:
            continue
        read += 1
        assert images.shape == whole_images.shape
        assert labels.shape == (2,)
        assert int((images.numpy() != whole_images).sum() + (labels.numpy() != [1, 2]).sum()) <= (0 if compress else 1), place
    assert read < 12
