"""How constants lie in flash: signs packed in the layout of the kernel that reads them."""

from __future__ import annotations

import numpy as np

from labc.bits import pack_signs
from labc.ir.core import Array
from labc.kernels import Kernel

# C type of a flash array, by NumPy dtype.
FLASH_TYPES = {
    "uint8": "uint8_t",
    "uint32": "uint32_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float32": "float",
}


def pack(weights: Array, kernel: Kernel) -> Array:
    """Signs [N, K] → uint32 words in the kernel's layout, `w[N / (lanes·groups)][K / word bits][groups][lanes]` words, flat.

    Signs [N, taps, C] have each tap filled up to whole words, and then are rows like others. The last block of rows has only as many
    groups as it needs. K is padded to whole words with bits 0, which the inputs' unused bits match, and N to whole groups with rows of
    0. A word of 64 or 128 bits is that many consecutive uint32, least significant first; words of 16 or 8 bits lie in a uint32 in the
    same order.
    """
    if weights.ndim == 3:
        fill = -weights.shape[2] % kernel.word_bits
        weights = np.pad(weights, ((0, 0), (0, 0), (0, fill)), constant_values=-1).reshape(len(weights), -1)
    rows = weights.shape[0]
    block = kernel.lanes * kernel.groups
    whole = rows // block * block
    parts = [_block(weights[:whole], kernel, kernel.groups), _block(weights[whole:], kernel, -(-(rows - whole) // kernel.lanes))]
    return pack_signs(np.concatenate(parts))


def _block(weights: Array, kernel: Kernel, groups: int) -> Array:
    """Blocks of `groups` groups as signs in the order of their bits, padding −1, flat; filled up to whole uint32 at the end."""
    rows, inputs = weights.shape
    if rows == 0:
        return np.empty(0, np.int8)
    bits, lanes = kernel.word_bits, kernel.lanes
    padded = np.full((-(-rows // (groups * lanes)) * groups * lanes, -(-inputs // bits) * bits), -1, np.int8)
    padded[:rows, :inputs] = weights
    shaped = padded.reshape(-1, groups, lanes, padded.shape[1] // bits, bits)
    return np.ascontiguousarray(shaped.transpose(0, 3, 1, 2, 4)).reshape(-1)
