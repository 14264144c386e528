"""What a network is checked on: extremes, sparse and random inputs from a seed, and the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labc.errors import LabcError
from labc.ir.core import DTYPES, Array, Type

MOST_BYTES = 1 << 30


def draw(entry: Type, samples: int, seed: int) -> Array:
    """`samples` inputs [n, *shape] of an integer type: all least, all zero, all greatest, alternating, then random ones of many ranges.

    Raises LabcError for a negative seed.
    """
    if seed < 0:
        raise LabcError(f"seed {seed}: is negative; give 0 or a larger number with --seed")
    rng = np.random.default_rng(seed)
    info = np.iinfo(DTYPES[entry.element])
    x = np.empty((samples, entry.size), DTYPES[entry.element])
    for i, value in enumerate((info.min, 0, info.max)[:samples]):
        x[i] = value
    for i in range(3, samples):
        # Ranges from ±1 to everything: real data rarely fills its type, and small inputs put sums near thresholds.
        top = min(int(info.max), 1 << int(rng.integers(0, 9)))
        x[i] = rng.integers(max(int(info.min), -top), top, entry.size, endpoint=True)
        if i % 4 == 3:
            x[i] *= rng.random(entry.size) < rng.random()
    if samples > 3:
        x[3] = np.where(np.arange(entry.size) % 2, info.min, info.max)
    return x.reshape(samples, *entry.shape)


def from_file(path: Path, entry: Type) -> Array:
    """The user's inputs from a .npy file, [n, *shape] or [n, size] of the network's dtype.

    Raises LabcError naming the file for anything else, pickles included.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise LabcError(f"{path}: more than {MOST_BYTES >> 20} MiB; check fewer inputs at a time")
        x = np.load(path, allow_pickle=False)
    except LabcError:
        raise
    except OSError as error:
        raise LabcError(f"{path}: {error.strerror or 'not a .npy file'}; save inputs with numpy.save") from error
    except Exception as error:  # NumPy meets a damaged header with whatever exception comes first, MemoryError included
        raise LabcError(f"{path}: not a plain .npy array; save inputs with numpy.save") from error
    if not isinstance(x, np.ndarray) or x.dtype != DTYPES[entry.element]:
        raise LabcError(f"{path}: holds {getattr(x, 'dtype', 'several arrays')}, the network takes {DTYPES[entry.element]}; convert it")
    if x.ndim < 2 or len(x) == 0 or x.shape[1:] not in (entry.shape, (entry.size,)):
        raise LabcError(f"{path}: has shape {list(x.shape)}, the network takes [n, {', '.join(map(str, entry.shape))}]; reshape it")
    return x.reshape(len(x), *entry.shape)
