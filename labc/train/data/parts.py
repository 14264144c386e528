"""What every data set is read into, and what the readers share: whole numbers, three parts, and files that may be anything."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from labc.errors import LabcError


@dataclass(frozen=True)
class Part:
    """`images`: uint8 [n, pixels] or [n, channels, …]; `labels`: int64 [n], 0…9."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def shaped(self, *shape: int) -> Part:
        """The same images as [n, *shape]."""
        return Part(self.images.reshape(len(self), *shape), self.labels)


@dataclass(frozen=True)
class Data:
    """A training, a validation and a test part without a common image."""

    train: Part
    validation: Part
    test: Part

    def shaped(self, *shape: int) -> Data:
        """The same images as [n, *shape]."""
        return Data(self.train.shaped(*shape), self.validation.shaped(*shape), self.test.shaped(*shape))


def content(path: Path, most: int) -> bytes:
    """The unpacked bytes, at most `most` and one; .gz is unpacked. Raises LabcError where it cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(most + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise LabcError(f"{path}: not a whole gzip archive ({error}); fetch the file again") from error
    except OSError as error:
        raise LabcError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
