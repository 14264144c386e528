"""Temporary."""

import numpy as np


def pack_signs(s):
    s = np.asarray(s)
    k = s.shape[-1]
    w = -(-k // 32)
    b = np.zeros((*s.shape[:-1], w * 32), np.uint32)
    b[..., :k] = s > 0
    return (b.reshape(*s.shape[:-1], w, 32) << np.arange(32, dtype=np.uint32)).sum(-1, dtype=np.uint32)


def unpack_signs(words, k):
    b = (words[..., None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.where(b.reshape(*words.shape[:-1], -1)[..., :k] > 0, 1, -1).astype(np.int8)
