"""Where the image of each core runs: unicorn, QEMU behind its debugger's door, or wasmtime; all answer alike."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from labc import emulator, remote, wasm
from labc.elf import Symbol
from labc.emulator import EmulatorFault as EmulatorFault
from labc.emulator import EmulatorHang as EmulatorHang
from labc.emulator import StackOverflow as StackOverflow


class Core(Protocol):
    """A loaded image on a core of its own; `emulator.Image` says what each does and raises."""

    symbols: dict[str, Symbol]

    def alloc(self, nbytes: int, align: int = 8) -> int:
        """The address of so many bytes of memory."""

    def write(self, address: int, data: bytes) -> None:
        """Put bytes there."""

    def read(self, address: int, nbytes: int) -> bytes:
        """The bytes there."""

    def call(self, symbol: str, *args: int, budget: int = ..., seconds: float = ..., measure: bool = ...) -> emulator.Call:
        """Call a function and run it to its return."""


def available(cpu: str) -> str | None:
    """None if images for the core can be run here, else the reason and the remedy."""
    if cpu in remote.MACHINES:
        return remote.available(cpu)
    return wasm.available() if cpu in wasm.CPUS else emulator.available()


def name(cpu: str) -> str:
    """What plays the core: unicorn, a QEMU, simavr or wasmtime."""
    if cpu in remote.MACHINES:
        return remote.machine_of(cpu).program
    return "wasmtime" if cpu in wasm.CPUS else "unicorn"


def fences(cpu: str) -> tuple[int, ...]:
    """Where the core has pages that cannot be touched, each above 128 KiB that images leave alone; none where it has no such pages."""
    return remote.FENCED.get(cpu, ())


def load(image: Path | bytes, cpu: str) -> Core:
    """The image on its core. Raises LabcError as `emulator.Image` does."""
    if cpu in remote.MACHINES:
        return remote.Image(image, cpu)
    return wasm.Image(image) if cpu in wasm.CPUS else emulator.Image(image, cpu)
