"""A program: SVHN's `X` and `y` from a MATLAB file, by SciPy, as X.npy and y.npy. `labc.train.data.matlab` runs it.

python -P loadmat.py FILE FOLDER MOST: what was wrong with FILE, or nothing, stands in FOLDER/verdict in the end. It needs nothing of labc.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

NUMBERS = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
IMAGE = (32, 32, 3)


def limit(nbytes: int) -> None:
    """What damaged sizes ask for is not granted: at most this much memory, and 1 GiB for Python and its libraries, which take 0.13."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**30 + nbytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main(file: str, folder: Path, most: int) -> str:
    """Write the two arrays, if the file's head announces them as they should be. What is wrong, or nothing."""
    import numpy as np
    from scipy.io import loadmat, whosmat

    limit(0)
    warnings.simplefilter("error")  # a variable that is there twice
    found = {name: (kind, shape) for name, shape, kind in whosmat(file)}
    for name in ("X", "y"):
        if name not in found:
            return f"no array {name}, but {', '.join(list(found)[:9]) or 'none'}"
    (kind, shape), (kind_y, shape_y) = found["X"], found["y"]
    count = int(shape[-1])
    if kind != "uint8" or shape != (*IMAGE, count) or kind_y not in NUMBERS or shape_y != (count, 1):
        told = (f"{name} is {found[name][0]} {'x'.join(map(str, found[name][1]))}" for name in ("X", "y"))
        return f"{', '.join(told)}; expected uint8 32x32x3xN and Nx1 numbers"
    if not 1 <= count <= most:
        return f"{count} images, expected 1 to {most}"
    limit(2 * count * (int(np.prod(IMAGE)) + 8))  # packed and unpacked
    for name, array in loadmat(file, variable_names=["X", "y"]).items():
        if name in ("X", "y"):
            written(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))
    return ""


def written(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file written. If it cannot be, end and say why: that is not the fault of the file that is read."""
    try:
        write(path)
    except OSError as error:
        sys.exit(f"{path}: cannot be written ({error.strerror})")


if __name__ == "__main__":
    place = Path(sys.argv[2])
    try:
        verdict = main(sys.argv[1], place, int(sys.argv[3]))
    except Exception as error:  # SciPy meets a damaged file with whatever exception comes first
        verdict = f"SciPy cannot read it: {type(error).__name__} {error}".strip()
    written(place / "verdict", lambda path: path.write_text(verdict[:500], encoding="utf-8"))
