"""Spoken digits: the recordings of the Free Spoken Digit Dataset, from a folder or a tar archive, which is never unpacked to disk."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import tarfile
import wave
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from labc.errors import LabcError
from labc.train.data.logmel import BANDS, FRAMES, RATE, fitted, levels
from labc.train.data.parts import Data, Part

_NAME = re.compile(r"([0-9])_([A-Za-z]{1,40})_([0-9]{1,4})\.wav")
_MOST_BYTES = 20 * 2 * RATE  # of a file: 20 s; the longest recording has 2.3 s
_MOST_FILES = 20_000  # the set has 3000
_MOST_UNPACKED = 2**28  # bytes of an archive, unpacked; the set has 23 MB
_TEST, _VALIDATION = range(5), range(5, 10)  # indices; the first is the set's own split, the others train


@dataclass(frozen=True)
class Recording:
    """`samples`: int16 [n], 8 kHz; `digit` 0…9, `speaker` and `index` from the file's name."""

    digit: int
    speaker: str
    index: int
    samples: NDArray[np.int16]


def spoken_digits(source: str | os.PathLike[str]) -> Data:
    """The Free Spoken Digit Dataset as log-mel levels (`labc.train.data.logmel`), uint8 [n, 32, 64] each.

    The set's own split by the index in each name: 0…4 is the test part, the others train; of these, 5…9 are the validation part here.
    source: see `recordings`. Raises LabcError as it does, and where a part would be empty.
    """
    found = recordings(source)
    parts = []
    for what, members in (
        ("training (index 10 and above)", [r for r in found if r.index not in _TEST and r.index not in _VALIDATION]),
        ("validation (index 5 to 9)", [r for r in found if r.index in _VALIDATION]),
        ("test (index 0 to 4)", [r for r in found if r.index in _TEST]),
    ):
        if not members:
            raise LabcError(f"{source}: {len(found)} recordings, none of them for {what}; give the whole set")
        images = np.empty((len(members), BANDS, FRAMES), np.uint8)
        for number, recording in enumerate(members):
            images[number] = levels(fitted(recording.samples))
        parts.append(Part(torch.from_numpy(images), torch.tensor([r.digit for r in members])))
    return Data(*parts)


def recordings(source: str | os.PathLike[str]) -> list[Recording]:
    """All recordings, ordered by digit, speaker and index: files <digit>_<speaker>_<index>.wav of 8 kHz, one channel, 16 bits.

    source: the folder that holds them, or a .tar, .tar.gz or .tgz of it (read in memory: nothing is unpacked, folders and links in it
    mean nothing). Other files are passed over. Raises LabcError naming the file that is missing, damaged, too large, of another format,
    there twice, or called otherwise.
    """
    path = Path(source)
    if not path.exists():
        raise LabcError(f"{path}: no such file or folder; give the folder of recordings, or its .tar.gz")
    found: dict[str, Recording] = {}
    for place, name, content in _folder(path) if path.is_dir() else _archive(path):
        if name in found:
            raise LabcError(f"{place}: {name} is there twice; keep one")
        if len(found) == _MOST_FILES:
            raise LabcError(_too_many(path))
        found[name] = _recording(place, name, content)
    if not found:
        raise LabcError(f"{path}: no recording <digit>_<speaker>_<index>.wav; give the folder 'recordings' of the data set, or its .tar.gz")
    return sorted(found.values(), key=lambda recording: (recording.digit, recording.speaker, recording.index))


def _folder(path: Path) -> Iterator[tuple[str, str, bytes]]:
    try:
        for file in sorted(path.iterdir()):
            if _is_recording(file.name) and file.is_file():
                with file.open("rb") as stream:
                    yield str(file), file.name, stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise LabcError(f"{error.filename or path}: cannot be read ({error.strerror}); check the path and its permissions") from error


class _Limited(io.BytesIO):
    """A stream that refuses to give more than so many bytes, however it was packed. Only `read` is ever called."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, path: Path) -> None:
        super().__init__()
        self._stream, self._path, self._left = stream, path, _MOST_UNPACKED

    def read(self, size: int | None = -1) -> bytes:
        # tarfile asks for as much as a header claims; asking gzip for that much would be granted.
        piece = self._stream.read(self._left + 1 if size is None or size < 0 else min(size, self._left + 1))
        self._left -= len(piece)
        if self._left < 0:
            raise LabcError(f"{self._path}: more than {_MOST_UNPACKED >> 20} MiB unpacked; is it the Free Spoken Digit Dataset?")
        return piece


def _archive(path: Path) -> Iterator[tuple[str, str, bytes]]:
    packed = path.name.endswith((".gz", ".tgz"))
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            # A stream ("r|"), so that nothing seeks: members are read once, in order.
            with tarfile.open(fileobj=_Limited(stream, path), mode="r|") as archive:
                for number, member in enumerate(archive):
                    if number > _MOST_FILES:
                        raise LabcError(_too_many(path))
                    name = PurePosixPath(member.name).name
                    content = archive.extractfile(member) if member.isreg() and _is_recording(name) else None
                    if content is not None:
                        yield f"{path}: {name}", name, content.read(_MOST_BYTES + 1)
            while stream.read(2**16):  # gzip's checksum stands at the end
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise LabcError(f"{path}: not a whole {'.tar.gz' if packed else '.tar'} archive ({error}); fetch the file again") from error
    except OSError as error:
        raise LabcError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions") from error


def _too_many(path: Path) -> str:
    return f"{path}: more than {_MOST_FILES} recordings; is it the Free Spoken Digit Dataset?"


def _is_recording(name: str) -> bool:
    return name.endswith(".wav") and not name.startswith(".")


def _recording(place: str, name: str, content: bytes) -> Recording:
    matched = _NAME.fullmatch(name)
    if matched is None:
        raise LabcError(f"{place}: not called <digit>_<speaker>_<index>.wav; rename or remove it")
    if len(content) > _MOST_BYTES:
        raise LabcError(f"{place}: more than {_MOST_BYTES} bytes (20 s); cut it, or remove it")
    try:
        with wave.open(io.BytesIO(content)) as file:
            found = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            announced = file.getnframes()
            data = file.readframes(announced)
    except (wave.Error, EOFError, struct.error) as error:
        raise LabcError(f"{place}: not a whole WAV file ({error or 'it ends too early'}); fetch it again") from error
    if found != (1, 2, RATE):
        raise LabcError(f"{place}: {found[0]} channel(s), {8 * found[1]} bits, {found[2]} Hz; convert it to 1 channel, 16 bits, {RATE} Hz")
    if announced < 1 or len(data) != 2 * announced:
        raise LabcError(f"{place}: announces {announced} samples and holds {len(data) // 2}; fetch it again")
    return Recording(int(matched[1]), matched[2], int(matched[3]), np.frombuffer(data, "<i2").astype(np.int16))
