"""How work that takes a while says how far it is, or what it waits for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

Ticks = Callable[[str, int, int], None]  # step, done, total (0 = unknown)


def tell(text: str) -> None:
    """One line to standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(f"labc: {text}", file=sys.stderr, flush=True)


def counter(progress: Ticks, step: str, total: int) -> Callable[[int], None]:
    """tick(n): `n` more of the `total` of `step` are done."""
    done = 0
    progress(step, 0, total)

    def tick(n: int) -> None:
        nonlocal done
        done += n
        progress(step, done, total)

    return tick
