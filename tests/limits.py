"""Limits of flash and RAM that are just met: taken from measured builds, since each compiler makes another size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def least(what: str, build: Callable[[int], Path], enough: int) -> int:
    """The bytes of "flash" or "ram" that `build` takes to the last one when that is its limit: with one byte less it is refused.

    A limit may choose other kernels, which take less; so the next is tried, from `enough` down.
    """
    while True:
        used: int = json.loads((build(enough) / "manifest.json").read_text())["measured"][what]
        assert used <= enough
        if used == enough:
            return used
        enough = used
