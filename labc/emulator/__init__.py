"""Where the image of each core runs: unicorn, QEMU or simavr behind its door for debuggers, or wasmtime; all answer alike."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from labc.elf import Symbol
from labc.emulator import qemu, unicorn, wasm
from labc.emulator.call import Call as Call
from labc.emulator.call import EmulatorFault as EmulatorFault
from labc.emulator.call import EmulatorHang as EmulatorHang
from labc.emulator.call import EmulatorLost as EmulatorLost
from labc.emulator.call import StackOverflow as StackOverflow


class Core(Protocol):
    """A loaded image on a core of its own; `unicorn.Image` says what each does and raises."""

    symbols: dict[str, Symbol]

    def alloc(self, nbytes: int, align: int = 8) -> int:
        """The address of so many bytes of memory."""

    def write(self, address: int, data: bytes) -> None:
        """Put bytes there."""

    def read(self, address: int, nbytes: int) -> bytes:
        """The bytes there."""

    def call(self, symbol: str, *args: int, budget: int = ..., seconds: float = ..., measure: bool = ...) -> Call:
        """Call a function and run it to its return."""


def available(cpu: str) -> str | None:
    """None if images for the core can be run here, else the reason and the remedy."""
    if cpu in qemu.MACHINES:
        return qemu.available(cpu)
    return wasm.available() if cpu in wasm.CPUS else unicorn.available()


def name(cpu: str) -> str:
    """What plays the core: unicorn, a QEMU, simavr or wasmtime."""
    if cpu in qemu.MACHINES:
        return qemu.machine_of(cpu).program
    return "wasmtime" if cpu in wasm.CPUS else "unicorn"


def fences(cpu: str) -> tuple[int, ...]:
    """Where the core has pages that cannot be touched, each above 128 KiB that images leave alone; none where it has no such pages."""
    return qemu.FENCED.get(cpu, ())


def load(image: Path | bytes, cpu: str) -> Core:
    """The image on its core. Raises LabcError as `unicorn.Image` does."""
    if cpu in qemu.MACHINES:
        return qemu.Image(image, cpu)
    return wasm.Image(image) if cpu in wasm.CPUS else unicorn.Image(image, cpu)
