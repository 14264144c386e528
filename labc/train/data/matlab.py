"""Arrays of numbers from MATLAB files of version 5 (MathWorks, "MAT-File Format", R2024b), the little of the format that data sets use.

Not scipy's reader: a damaged file makes that one read outside its tables and crash the process (scipy 1.17, a type number changed).
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from labc.errors import LabcError

# Types of data elements: int8, uint8, …, single, double, and the two that hold a variable.
_NUMBERS = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMERIC_CLASSES = range(6, 16)  # of arrays: double, single, int8 … uint64; below are cells, objects, text, sparse arrays
_COMPLEX = 0x800
_CHUNK = 2**20
_MOST_VARIABLES = 100


class _DamagedError(ValueError):
    """What is wrong, without the file's name."""


def read(path: Path, most: int) -> dict[str, NDArray[Any]]:
    """The file's arrays of real numbers by name, in the type and shape they are stored in; other variables are passed over.

    At most `most` bytes are read, or unpacked, for all together. Arrays are views in Fortran order, read only.
    Raises LabcError naming the file where it cannot be read, is of another version or big-endian, holds more, or is damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(128)
            if len(head) < 128 or head[124:] != b"\x00\x01IM":
                raise _DamagedError("its head is another")
            found: dict[str, NDArray[Any]] = {}
            for _ in range(_MOST_VARIABLES):
                tag = file.read(8)
                if not tag:
                    return found
                body = _body(file, tag, most)
                most -= len(body)
                name, array = _variable(body)
                if array is not None:
                    found[name] = array
            raise _DamagedError(f"more than {_MOST_VARIABLES} variables")
    except OSError as error:
        raise LabcError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except (_DamagedError, struct.error, zlib.error) as error:
        raise LabcError(f"{path}: not a whole MATLAB file of version 5 ({error}); fetch it again") from error


def _body(file: BinaryIO, tag: bytes, most: int) -> bytes | bytearray:
    """The contents of the variable behind `tag`, unpacked."""
    kind, size = struct.unpack("<2I", tag)
    if kind == _MATRIX:
        if size > most:
            raise _DamagedError(f"a variable of {size} bytes, too many")
        plain = file.read(size)
        if len(plain) < size:
            raise _DamagedError(f"it ends within a variable of {size} bytes")
        return plain
    if kind != _COMPRESSED:
        raise _DamagedError(f"an element of type {kind} in a variable's place")
    unpacker, unpacked = zlib.decompressobj(), bytearray()
    for start in range(0, size, _CHUNK):
        piece = file.read(min(_CHUNK, size - start))
        if len(piece) < min(_CHUNK, size - start):
            raise _DamagedError(f"it ends within a variable of {size} bytes")
        while piece and not unpacker.eof:
            unpacked += unpacker.decompress(piece, _CHUNK)
            piece = unpacker.unconsumed_tail
            if len(unpacked) > most:
                raise _DamagedError(f"a variable unpacks to more than {most} bytes")
    if not unpacker.eof:
        raise _DamagedError("a variable's packed data end too early")
    kind, size = struct.unpack_from("<2I", unpacked)
    if kind != _MATRIX or size != len(unpacked) - 8:
        raise _DamagedError(f"an element of type {kind} and {size} bytes in a variable's place of {len(unpacked) - 8}")
    del unpacked[:8]
    return unpacked


def _variable(body: bytes | bytearray) -> tuple[str, NDArray[Any] | None]:
    """Name and array; None for what is no array of real numbers."""
    _, flags, place = _element(body, 0, _UINT32)
    _, extents, place = _element(body, place, _INT32)
    _, name, place = _element(body, place, _INT8)
    (kind,) = struct.unpack_from("<I", flags)
    shape = struct.unpack(f"<{len(extents) // 4}i", extents)
    text = bytes(name[:64]).decode("ascii", "replace")
    if kind & 0xFF not in _NUMERIC_CLASSES or kind & _COMPLEX:
        return text, None
    stored, data, _ = _element(body, place, *_NUMBERS)
    dtype = np.dtype(_NUMBERS[stored])
    if not 2 <= len(shape) <= 8 or min(shape) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise _DamagedError(f"{text} has extents {list(shape)[:8]} and {len(data)} bytes of {dtype.name}")
    array = np.frombuffer(data, dtype).reshape(shape, order="F")
    array.flags.writeable = False
    return text, array


def _element(body: bytes | bytearray, place: int, *types: int) -> tuple[int, memoryview, int]:
    """Type and data of the element at `place`, which has one of these types, and where the next one starts: at a multiple of 8."""
    kind, size = struct.unpack_from("<2I", body, place)
    start = place + 8
    if kind >> 16:  # up to four bytes stand where the size would
        kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        if size > 4:
            raise _DamagedError(f"an element of {size} bytes in the place of 4")
    if kind not in types:
        raise _DamagedError(f"an element of type {kind}, expected {' or '.join(map(str, types))}")
    if size > len(body) - start:
        raise _DamagedError(f"an element of {size} bytes in the {len(body) - start} that are left")
    return kind, memoryview(body)[start : start + size], (start + size + 7) // 8 * 8
