"""Photographs, 3×32×32: CIFAR-10 from its binary records, SVHN's cropped digits from its MATLAB files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labc.errors import LabcError
from labc.train.data import matlab
from labc.train.data.parts import Data, Part, content

_SIDE, _CLASSES = 32, 10
_PIXELS = 3 * _SIDE * _SIDE
_RECORD = 1 + _PIXELS
_MOST_RECORDS = 10_000  # of a CIFAR-10 file
_TRAINING = re.compile(r"data_batch_([1-9][0-9]?)\.bin(\.gz)?")
_TEST = re.compile(r"test_(batch|first[1-9][0-9]{0,4})\.bin(\.gz)?")
_MOST_CROPPED = 600_000  # images of an SVHN file; the largest, extra, has 531,131


def cifar10(directory: str | os.PathLike[str]) -> Data:
    """CIFAR-10, uint8 [n, 3, 32, 32] (red, green, blue): the last tenth of the training images is the validation part.

    directory: holds data_batch_1.bin … data_batch_5.bin, or some of them, and test_batch.bin, or a test_firstN.bin with its first N
    images; each gzip'd (.gz) or not. The test file is read for the test part alone. `len()` of the parts says how many images there are.
    Raises LabcError naming the file that is missing, there twice, damaged, of another size, or labelled above 9.
    """
    path = Path(directory)
    if not path.is_dir():
        raise LabcError(f"{path}: no such directory; give the one that holds CIFAR-10's data_batch_1.bin … and test_batch.bin")
    batches: dict[int, Path] = {}
    tests: list[Path] = []
    for file in sorted(path.iterdir()):
        if matched := _TRAINING.fullmatch(file.name):
            number = int(matched[1])
            if number in batches:
                raise LabcError(f"{file}: the same batch as {batches[number].name}; keep one")
            batches[number] = file
        elif _TEST.fullmatch(file.name):
            tests.append(file)
    if not batches:
        raise LabcError(f"{path}: no data_batch_1.bin (or .gz) there; put the files of CIFAR-10's binary version there")
    if len(tests) != 1:
        found = ", ".join(test.name for test in tests) or "none"
        raise LabcError(f"{path}: one test file is needed, test_batch.bin (or .gz); there: {found}")
    training = [read_records(batches[number]) for number in sorted(batches)]
    images, labels = torch.cat([images for images, _ in training]), torch.cat([labels for _, labels in training])
    held_out = len(labels) // 10
    if held_out < 1:
        raise LabcError(f"{path}: {len(labels)} training images; at least 10 are needed to hold some out for validation")
    return Data(Part(images[:-held_out], labels[:-held_out]), Part(images[-held_out:], labels[-held_out:]), Part(*read_records(tests[0])))


def read_records(path: Path) -> tuple[Tensor, Tensor]:
    """uint8 [n, 3, 32, 32] and int64 [n]: a file of CIFAR-10's binary records (a label, then 1024 bytes of each colour); .gz is unpacked.

    Raises LabcError naming the file and what is wrong with it.
    """
    file = content(path, _MOST_RECORDS * _RECORD)
    if not file or len(file) % _RECORD or len(file) > _MOST_RECORDS * _RECORD:
        raise LabcError(
            f"{path}: {len(file)} bytes{' or more' if len(file) > _MOST_RECORDS * _RECORD else ''}; "
            f"a file of CIFAR-10 has 1 to {_MOST_RECORDS} records of {_RECORD}; fetch it again"
        )
    records = np.frombuffer(file, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0]
    if labels.max() >= _CLASSES:
        raise LabcError(f"{path}: label {labels.max()} in record {labels.argmax()}, CIFAR-10 has 0 to 9; is it the binary version?")
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, _SIDE, _SIDE).copy()), torch.from_numpy(labels.astype(np.int64))


def svhn(directory: str | os.PathLike[str]) -> Data:
    """Street View House Numbers, cropped: uint8 [n, 3, 32, 32]; the last tenth of train_32x32.mat is the validation part.

    directory: holds train_32x32.mat, test_32x32.mat and, if wished, extra_32x32.mat, whose images join the training part. Label 10 is
    digit 0. Raises LabcError naming the file that is missing, damaged, or holds other variables, shapes or labels.
    """
    path = Path(directory)
    names = ["train_32x32.mat", "test_32x32.mat"]
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise LabcError(f"{path / missing[0]}: no such file; give the directory with SVHN's cropped digits, {' and '.join(names)}")
    images, labels = read_cropped(path / names[0])
    held_out = len(labels) // 10
    if held_out < 1:
        raise LabcError(f"{path / names[0]}: {len(labels)} images; at least 10 are needed to hold some out for validation")
    validation = Part(images[-held_out:], labels[-held_out:])
    images, labels = images[:-held_out], labels[:-held_out]
    extra = path / "extra_32x32.mat"
    if extra.is_file():
        more = read_cropped(extra)
        images, labels = torch.cat([images, more[0]]), torch.cat([labels, more[1]])
    return Data(Part(images, labels), validation, Part(*read_cropped(path / names[1])))


def read_cropped(path: Path) -> tuple[Tensor, Tensor]:
    """uint8 [n, 3, 32, 32] and int64 [n], 0…9: the variables X (uint8, 32×32×3×n) and y (n×1, 1…10) of a MATLAB file up to version 7.

    Raises LabcError naming the file and what is wrong with it.
    """
    images, numbers = matlab.cropped(path, _MOST_CROPPED)
    if not np.isin(numbers, np.arange(1, _CLASSES + 1)).all():
        raise LabcError(f"{path}: labels other than 1 to {_CLASSES}; fetch it again: SVHN's 'format 2'")
    labels = numbers.reshape(-1).astype(np.int64) % _CLASSES
    return torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1))), torch.from_numpy(labels)
