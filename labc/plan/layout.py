"""How constants lie in flash: signs packed in the layout of the kernel that reads them."""

from __future__ import annotations

import numpy as np

from labc.bits import pack_signs
from labc.ir.core import Array
from labc.kernels import Kernel

# C type of a flash array, by NumPy dtype.
FLASH_TYPES = {"uint8": "uint8_t", "uint32": "uint32_t", "int32": "int32_t", "int64": "int64_t", "float32": "float"}


def pack(weights: Array, kernel: Kernel) -> Array:
    """Signs [N, K] → uint32 words in the kernel's layout, `w[N / (lanes·groups)][K / word bits][groups][lanes]` words, flat.

    K is padded to whole words with bits 0, which the inputs' unused bits match, and N to whole blocks with rows of 0.
    A word of more than 32 bits is that many consecutive uint32, least significant first.
    """
    rows, inputs = weights.shape
    block, parts = kernel.lanes * kernel.groups, kernel.word_bits // 32
    words = pack_signs(weights)
    padded = np.zeros((-(-rows // block) * block, -(-inputs // kernel.word_bits) * parts), np.uint32)
    padded[:rows, : words.shape[1]] = words
    shaped = padded.reshape(-1, kernel.groups, kernel.lanes, padded.shape[1] // parts, parts)
    return np.ascontiguousarray(shaped.transpose(0, 3, 1, 2, 4)).reshape(-1)
