"""Boards: data files that say which core, which clock and how much memory there is, from the maker's data sheet."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labc import resources
from labc import target as targets
from labc.errors import LabcError
from labc.target import Target

_KEYS = ("title", "target", "cpu", "float_abi", "clock_mhz", "flash", "ram", "datasheet")
_NEEDED = ("title", "target", "cpu", "clock_mhz", "ram", "datasheet")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_MOST_MHZ = 10_000
_MOST_TEXT = 1 << 16  # bytes of a file
# Flash and RAM that a target's cores can have: code and SRAM of a Cortex-M (ARMv7-M ARM B3.1), an ATmega328P's own (DS40002061B,
# section 8), else what 32 and 40 bits address.
_MOST_BYTES = {"arm": (1 << 29, 1 << 29), "avr": (1 << 15, 1 << 11), "riscv32": (1 << 32, 1 << 32), "aarch64": (1 << 40, 1 << 40)}


@dataclass(frozen=True)
class Board:
    """One file of boards/: `flash_bytes` is None where programs are loaded into RAM; `datasheet` is where the numbers are from."""

    name: str
    title: str
    target: str
    cpu: str
    float_abi: str
    clock_mhz: float
    flash_bytes: int | None
    ram_bytes: int
    datasheet: str

    @property
    def on(self) -> Target:
        """Its target, with its core, float ABI, memory and name."""
        core = targets.with_core(targets.find(self.target), self.cpu, self.float_abi)
        return replace(core, flash_bytes=self.flash_bytes, ram_bytes=self.ram_bytes, board=self.name)


def names() -> list[str]:
    """The boards labc ships, in alphabetical order."""
    return sorted(path.stem for path in resources.folder("boards").glob("*.toml"))


def find(name: str) -> Board:
    """The board called `name`, or the one in the file `name` where that ends in .toml.

    Raises LabcError for a name that is not known (with the nearest), and for a file that is not a board's.
    """
    if name.endswith(".toml"):
        return read(Path(name))
    if name not in names():
        raise LabcError(f"board {name!r}: not known; {targets.nearest(name, names())}labc boards lists them; or name a .toml file")
    return read(resources.folder("boards") / f"{name}.toml")


def read(path: Path) -> Board:
    """The board in a file. Raises LabcError naming the file, the key and the remedy for anything that is not a board."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device has no end
            raise LabcError(f"{path}: is not a file; give one like those of labc boards")
        with path.open("rb") as file:
            text = file.read(_MOST_TEXT + 1)
        if len(text) > _MOST_TEXT:
            raise LabcError(f"{path}: larger than a board's file can be; give one like those of labc boards")
        table = tomllib.loads(text.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # no TOML, no UTF-8, or a number of more digits than Python reads
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LabcError(f"{path}: not a board's file ({reason}); write one like those in labc's boards folder") from error
    try:
        return _board(path.stem, table)
    except LabcError as error:
        raise LabcError(f"{path}: {error}") from error


def _board(name: str, table: dict[str, Any]) -> Board:
    if unknown := [key for key in table if key not in _KEYS]:
        raise LabcError(f"key {unknown[0]!r}: not known; {targets.nearest(unknown[0], _KEYS)}known keys: {', '.join(_KEYS)}")
    if missing := [key for key in _NEEDED if key not in table]:
        raise LabcError(f"key {missing[0]!r}: missing; a board names {', '.join(_NEEDED)}")
    for key in ("title", "target", "cpu", "float_abi", "datasheet"):
        if not isinstance(table.get(key, "x"), str) or not table.get(key, "x").strip():
            raise LabcError(f"key {key!r}: is not a text; quote it")
    clock = table["clock_mhz"]
    if isinstance(clock, bool) or not isinstance(clock, int | float) or not 0 < clock <= _MOST_MHZ:
        raise LabcError(f"key 'clock_mhz': {_shown(clock)} is not a number of MHz up to {_MOST_MHZ}; take it from the data sheet")
    target = targets.find(table["target"])
    if target.cpu is None:
        raise LabcError(f"key 'target': {target.name} is no target of boards; name one that labc targets says is emulated")
    try:
        core = targets.with_core(target, table["cpu"], table.get("float_abi"))
    except LabcError as error:
        told = str(error).replace("--cpu:", "key 'cpu':").replace("--float-abi:", "key 'float_abi':")
        raise LabcError(told) from error
    cpu = core.cpu or target.cpu
    most_flash, most_ram = _MOST_BYTES.get(target.name, (1 << 40, 1 << 40))
    return Board(
        name=name,
        title=table["title"],
        target=target.name,
        cpu=cpu,
        float_abi=core.float_abi,
        clock_mhz=clock,
        flash_bytes=_bytes("flash", table["flash"], most_flash, cpu) if "flash" in table else None,
        ram_bytes=_bytes("ram", table["ram"], most_ram, cpu),
        datasheet=table["datasheet"],
    )


def _bytes(key: str, value: object, most: int, cpu: str) -> int:
    """512K, 2M, or a number of bytes; LabcError if it is none, or more than the core can have."""
    size = size_of(value) if isinstance(value, str) else value if isinstance(value, int) and not isinstance(value, bool) else 0
    if size > most:
        raise LabcError(f"key {key!r}: {_shown(value)} is more than the {most:,} bytes that {cpu} can have; take it from the data sheet")
    if size <= 0:
        raise LabcError(f'key {key!r}: {_shown(value)} is not a size of memory in bytes, such as 524288 or "512K"')
    return size


def size_of(text: str) -> int:
    """512K, 2M or 524288 as bytes; 0 if it is no size."""
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)", text.upper())
    return int(found[1]) * _UNITS[found[2]] if found else 0


def _shown(value: object) -> str:
    """A value as an error shows it: Python writes no number of thousands of digits."""
    if isinstance(value, list | dict):
        return "a list or table"
    return repr(value)[:40] if not isinstance(value, int) or abs(value) < 1 << 63 else "a number of more than 63 bits"
