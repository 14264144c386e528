"""Estimates of time: cycles of each class of instruction by a core's table (boards/cores), times how often it was executed.

No more than that: memory without wait states or cache misses, no other pipeline effects than the table says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labc import decode, resources
from labc import target as targets
from labc.errors import LabcError

Range = tuple[float, float]  # least and most

_KEYS = ("instructions", "source", "cycles", "cycles_per_word", "none")


@dataclass(frozen=True)
class Table:
    """One file of boards/cores: cycles of an instruction of a class, and more for each of its words. `source` says where they are from; or
    `none` why there are none."""

    core: str
    instructions: str
    source: str
    cycles: Mapping[str, Range]
    per_word: Mapping[str, Range]
    none: str = ""


@dataclass(frozen=True)
class Estimate:
    """What one call takes: `least` and `most` cycles, equal where the table leaves no choice; `classes` are (class, executed)."""

    least: float
    most: float
    source: str
    classes: tuple[tuple[str, int], ...]


def find(core: str) -> Table:
    """The table of a core. Raises LabcError for a core that has no file, or where that is not a table."""
    path = resources.folder("boards") / "cores" / f"{core}.toml"
    if not path.is_file():
        known = sorted(other.stem for other in path.parent.glob("*.toml"))
        raise LabcError(f"cycles: no table for core {core!r}; {targets.nearest(core, known)}there are: {', '.join(known)}")
    return read(path)


def read(path: Path) -> Table:
    """The table in a file. Raises LabcError naming the file, the key and the remedy for anything that is none."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LabcError(f"{path}: not a table of cycles ({error}); write one like those in labc's boards/cores") from error
    try:
        return _table(path.stem, table)
    except LabcError as error:
        raise LabcError(f"{path}: {error}") from error


def _table(core: str, table: dict[str, Any]) -> Table:
    if core not in targets.CORES:
        raise LabcError(f"core {core!r}: not known; {targets.nearest(core, targets.CORES)}name the file after one of labc/target.py")
    if unknown := [key for key in table if key not in _KEYS]:
        raise LabcError(f"key {unknown[0]!r}: not known; {targets.nearest(unknown[0], _KEYS)}known keys: {', '.join(_KEYS)}")
    texts = ("none",) if "none" in table else ("instructions", "source")
    for key in texts:
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise LabcError(f"key {key!r}: is not a text; a table has instructions, source and cycles, or says with none why it has not")
    if "none" in table:
        if len(table) > 1:
            raise LabcError("key 'none': stands beside others; leave it out, or them")
        return Table(core, "", "", {}, {}, table["none"])
    units = table["instructions"]
    if units not in decode.CLASSES or units != decode.UNITS.get(targets.CORES[core].target):
        raise LabcError(f"key 'instructions': {units!r} is not what {core} executes; say one of {', '.join(decode.CLASSES)}")
    cycles = _classes("cycles", table.get("cycles"), decode.CLASSES[units])
    per_word = _classes("cycles_per_word", table.get("cycles_per_word", {}), decode.MULTIPLE)
    return Table(core, units, table["source"], cycles, per_word)


def _classes(key: str, table: object, classes: Iterable[str]) -> dict[str, Range]:
    """A number or [least, most] for each class that is named."""
    if not isinstance(table, dict):
        raise LabcError(f"key {key!r}: is no table; give a number of cycles for each class")
    found, known = {}, [name for name in classes if name != "other"]
    for name, value in table.items():
        if name not in known:
            raise LabcError(f"key '{key}.{name}': not a class; {targets.nearest(name, known)}classes: {', '.join(known)}")
        pair = value if isinstance(value, list) else [value, value]
        if len(pair) != 2 or not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= 1000 for n in pair):
            raise LabcError(f"key '{key}.{name}': {value!r} is neither a number of cycles nor [least, most]")
        if pair[0] > pair[1]:
            raise LabcError(f"key '{key}.{name}': {value!r} has the least last; turn it round")
        found[name] = (float(pair[0]), float(pair[1]))
    return found


def of(blocks: Sequence[decode.Block], core: str) -> Estimate | str:
    """What the executed `blocks` take on a core, or the reason there is no estimate."""
    if not (resources.folder("boards") / "cores" / f"{core}.toml").is_file():
        return f"there is no table of cycles for {core}"
    return estimate(blocks, find(core)) if blocks else "its instructions were not counted"


def estimate(blocks: Iterable[decode.Block], table: Table) -> Estimate | str:
    """What the executed `blocks` take by a table, or the reason there is no estimate."""
    if table.none:
        return table.none
    found = decode.tally(blocks, table.instructions)
    if missing := [kind for kind in found if kind not in table.cycles]:
        return f"boards/cores/{table.core}.toml has no cycles for {', '.join(missing)}"
    least, most = (
        sum(tally.executed * table.cycles[kind][i] + tally.words * table.per_word.get(kind, (0, 0))[i] for kind, tally in found.items())
        for i in (0, 1)
    )
    return Estimate(least, most, table.source, tuple((kind, tally.executed) for kind, tally in found.items()))


def number(least: float, most: float) -> str:
    """Cycles as text: "81,210", or from least to most."""
    return f"{most:,.0f}" if least == most else f"{least:,.0f} to {most:,.0f}"


def time(least: float, most: float, clock_mhz: float) -> str:
    """Cycles at a clock as text, to two or three digits: "4.6 ms", or from least to most."""
    unit, scale = next((u, s) for u, s in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)) if most / clock_mhz >= s or s == 1.0)
    low, high = (_digits(n / clock_mhz / scale) for n in (least, most))
    return f"{high} {unit}" if low == high else f"{low} to {high} {unit}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
