"""Signs ↔ words: the only module that knows a bit order.

Element k of a vector of signs is bit k % 32, counted from the least significant, of 32-bit word k // 32; +1 is 1, −1 is 0, and
the unused bits of the last word are 0 (runtime/kernels.def). Shifts on numbers, no views: the same on any byte order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 32
_PLACES = np.arange(WORD_BITS, dtype=np.uint32)


def words(count: int) -> int:
    """How many words `count` signs take."""
    return -(-count // WORD_BITS)


def pack_signs(signs: NDArray[Any]) -> NDArray[np.uint32]:
    """Signs [..., K] of +1 and −1 → words uint32 [..., ⌈K/32⌉]."""
    count = signs.shape[-1]
    padded = np.zeros((*signs.shape[:-1], words(count) * WORD_BITS), np.uint32)
    padded[..., :count] = signs > 0
    bits = padded.reshape(*signs.shape[:-1], words(count), WORD_BITS)
    packed: NDArray[np.uint32] = np.bitwise_or.reduce(bits << _PLACES, axis=-1)
    return packed


def unpack_signs(packed: NDArray[np.uint32], count: int) -> NDArray[np.int8]:
    """Words uint32 [..., ⌈K/32⌉] → signs int8 [..., K] of +1 and −1, with K = `count`."""
    bits = packed[..., None] >> _PLACES & np.uint32(1)
    flat = bits.reshape(*packed.shape[:-1], packed.shape[-1] * WORD_BITS)
    return np.where(flat[..., :count] != 0, np.int8(1), np.int8(-1))
