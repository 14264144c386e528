"""Real data as integers, from files that are checked before they are believed."""

from __future__ import annotations

from labc.train.data.handwriting import MNIST_FILES, digits, mnist, read_idx
from labc.train.data.parts import Data, Part
from labc.train.data.photos import cifar10, read_cropped, read_records, svhn
from labc.train.data.speech import recordings, spoken_digits

__all__ = [
    "MNIST_FILES",
    "Data",
    "Part",
    "cifar10",
    "digits",
    "mnist",
    "read_cropped",
    "read_idx",
    "read_records",
    "recordings",
    "spoken_digits",
    "svhn",
]
