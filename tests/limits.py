"""Limits of flash and RAM that are just met: taken from measured builds, since each compiler makes another size."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from labc.errors import LabcError


def just_met(what: str, build: Callable[[int], Path], limit: int) -> int:
    """The bytes of "flash" or "ram" that what `build` makes for this limit takes to the last one.

    A limit may choose other kernels, which take less or more than those before; so what they take is tried next, from `limit` on.
    """
    tried: list[int] = []
    while limit not in tried:
        tried.append(limit)
        try:
            used = int(json.loads((build(limit) / "manifest.json").read_text())["measured"][what])
        except LabcError as refused:
            told = re.search(rf"([\d,]+) of {limit:,} bytes, [\d,]+ too many", str(refused))
            if told is None:
                raise
            used = int(told[1].replace(",", ""))
        if used == limit:
            return limit
        limit = used
    raise AssertionError(f"no limit is just met, of {tried}")
