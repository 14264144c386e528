"""Real handwritten digits, as integers: scikit-learn's 8×8 ones, and MNIST from its four IDX files."""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labc.errors import NOT_HERE, LabcError
from labc.train.data.parts import Data, Part, content

# The four files of LeCun, Cortes and Burges, with the sha256 of each archive.
MNIST_FILES = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_SIDE = 28
_MOST = 100_000  # items per file, MNIST has 60,000: no archive is unpacked further
_CLASSES = 10


def digits(split_seed: int = 0) -> Data:
    """The 1797 digits that come with scikit-learn (8×8, values 0…16, from UCI's optdigits test file).

    Stratified: 20 % test (`random_state=split_seed`), then 1/10 of the rest validation, by the same seed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise LabcError("digits: scikit-learn is not installed; pip install 'labc[train]'", code=NOT_HERE) from error
    bunch = load_digits()
    images, labels = torch.from_numpy(bunch.data.astype(np.uint8)), torch.from_numpy(bunch.target.astype(np.int64))
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=split_seed)
    train, validation = train_test_split(rest, test_size=0.1, stratify=labels[rest], random_state=split_seed)
    parts = [Part(images[index], labels[index]) for index in (train, validation, test)]
    return Data(parts[0], parts[1], parts[2])


def mnist(directory: str | os.PathLike[str] | None = None) -> Data:
    """MNIST: the last sixth of the 60,000 training images is the validation part, the 10,000 others the test part (paper, section 4).

    directory: holds the four IDX files, gzip'd (.gz) or not; None fetches them once, with pooch, into the user's cache.
    Raises LabcError naming the file that is missing, truncated, corrupt, of another size or count, or labelled above 9.
    """
    paths = _fetch() if directory is None else _find(Path(directory))
    images, labels = _pair(paths["train-images-idx3-ubyte"], paths["train-labels-idx1-ubyte"])
    test = Part(*_pair(paths["t10k-images-idx3-ubyte"], paths["t10k-labels-idx1-ubyte"]))
    held_out = len(labels) // 6
    if held_out < 1:
        raise LabcError(f"{paths['train-images-idx3-ubyte']}: {len(labels)} images; at least 6 are needed to hold some out for validation")
    return Data(Part(images[:-held_out], labels[:-held_out]), Part(images[-held_out:], labels[-held_out:]), test)


def read_idx(path: Path, dimensions: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The uint8 array [n, …] of an IDX file with 1 (labels) or 3 (28×28 images) dimensions; .gz is unpacked.

    Format: two zero bytes, 8 (unsigned bytes), the number of dimensions, each size as a big-endian uint32, the values.
    Raises LabcError naming the file and what is wrong with it.
    """
    sizes = (_SIDE, _SIDE) if dimensions == 3 else ()
    head = 4 + 4 * dimensions
    file = content(path, head + _MOST * int(np.prod(sizes, dtype=np.int64)))
    kind = "images" if dimensions == 3 else "labels"
    if len(file) < head:
        raise LabcError(f"{path}: {len(file)} bytes, an IDX file of {kind} has a head of {head}; fetch the file again")
    magic, *shape = struct.unpack(f">{1 + dimensions}I", file[:head])
    if magic != 0x800 + dimensions:
        raise LabcError(f"{path}: starts with 0x{magic:08x}, an IDX file of {kind} with 0x{0x800 + dimensions:08x}; is it the right file?")
    if tuple(shape[1:]) != sizes:
        raise LabcError(f"{path}: images of {shape[1]}x{shape[2]}, expected {_SIDE}x{_SIDE}; is it MNIST?")
    expected = head + int(np.prod(shape, dtype=object))
    if not 1 <= shape[0] <= _MOST or len(file) != expected:
        raise LabcError(f"{path}: announces {shape[0]} {kind} ({expected} bytes) and holds {len(file)} bytes; fetch the file again")
    return np.frombuffer(file, np.uint8, offset=head).reshape(shape)


def _pair(images_path: Path, labels_path: Path) -> tuple[Tensor, Tensor]:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise LabcError(
            f"{labels_path}: {len(labels)} labels for {len(images)} images in {images_path.name}; the files belong to different sets"
        )
    if labels.max() >= _CLASSES:
        raise LabcError(f"{labels_path}: label {labels.max()} at item {labels.argmax()}, MNIST has 0 to 9; fetch the file again")
    return torch.from_numpy(images.reshape(len(images), -1).copy()), torch.from_numpy(labels.astype(np.int64))


def _find(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        raise LabcError(f"{directory}: no such directory; give the one that holds the four MNIST files, or none to fetch them")
    found = {}
    for name in MNIST_FILES:
        candidates = [path for path in (directory / name, directory / f"{name}.gz") if path.is_file()]
        if not candidates:
            raise LabcError(
                f"{directory}: {name} (or {name}.gz) is missing; put the four IDX files there, or give no directory to fetch them"
            )
        found[name] = candidates[0]
    return found


def _fetch() -> dict[str, Path]:
    try:
        import pooch
    except ImportError as error:
        raise LabcError(
            "mnist: pooch is not installed; pip install 'labc[train]', or give the directory of the files", code=NOT_HERE
        ) from error
    pooch.get_logger().setLevel(logging.WARNING)
    cache = Path(pooch.os_cache("labc")) / "mnist"
    found = {}
    for name, digest in MNIST_FILES.items():
        try:
            found[name] = Path(pooch.retrieve(f"{_MNIST_URL}{name}.gz", f"sha256:{digest}", fname=f"{name}.gz", path=cache))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
            reason = str(error).splitlines()[0]
            raise LabcError(f"{name}.gz: cannot be fetched ({reason}); get the four files elsewhere and give their directory") from error
    return found
