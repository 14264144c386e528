"""SVHN's MATLAB files, read by SciPy in a process of its own: a damaged one makes it read outside its tables and crash (scipy 1.17)."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labc import process
from labc.errors import LabcError

_AGAIN = "fetch it again: SVHN's 'format 2'"
_ANY = range(-64, 2**32)  # exit statuses; of a crash, a signal or what Windows has instead


def cropped(path: Path, most: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """uint8 [32, 32, 3, n] and numbers [n, 1], n at most `most`: the variables X and y of a MATLAB file up to version 7.

    Raises LabcError naming the file where it cannot be read, is damaged, holds other variables, or takes too much memory or time.
    """
    bound = (most + 1000) * (3 * 32 * 32 + 8)  # of the data unpacked, and some for heads
    try:
        if (size := path.stat().st_size) > bound:
            raise LabcError(f"{path}: {size} bytes; {most} images take fewer than {bound}; {_AGAIN}")
        with path.open("rb"):
            pass
    except OSError as error:
        raise LabcError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # -P: what this process would import, and nothing from the program's folder.
        command = [sys.executable, "-P", str(Path(__file__).with_name("loadmat.py")), str(path.absolute()), name, str(most)]
        (words,) = process.run([(str(path), command)], os.environ | {"OPENBLAS_NUM_THREADS": "1"}, _ANY)
        if unwritten := re.search(r"^.*: cannot be written \(.*\)$", words, re.MULTILINE):
            raise LabcError(f"{path}: cannot be unpacked: {unwritten[0]}; make room there, or name another folder with TMPDIR")
        try:
            verdict = (folder / "verdict").read_text(encoding="utf-8")
            arrays = [np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("X", "y") if not verdict]
        except (OSError, ValueError, EOFError):
            verdict = "SciPy's reader crashed on it"
    if verdict:
        raise LabcError(f"{path}: {verdict}; {_AGAIN}")
    images, numbers = arrays
    n = images.shape[-1:]
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, *n) or numbers.shape != (*n, 1) or numbers.dtype.kind not in "iuf":
        raise LabcError(f"{path}: its data are other than its head says; {_AGAIN}")
    return images, numbers
