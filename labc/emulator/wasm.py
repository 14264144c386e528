"""Run the functions of a WebAssembly module in wasmtime, and count what they cost in its fuel: one per instruction, some for none."""

from __future__ import annotations

import atexit
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from labc.elf import LARGEST, Symbol
from labc.emulator.call import PAINT, Call, EmulatorFault, EmulatorHang
from labc.errors import NOT_HERE, LabcError

CPUS = ("wasm32-simd128", "wasm32")
PAGE = 0x10000  # WebAssembly Core Specification, 4.2.8
_SPARE = 16  # bytes between two allocations
_BUDGET = 1_000_000_000


def available() -> str | None:
    """None if modules can be run here, else the reason and the remedy."""
    try:
        import_module("wasmtime")
    except (ImportError, OSError) as error:
        return f"the wheel wasmtime does not load ({error}); pip install 'labc[cross]'"
    return None


class Image:
    """A module with its memory; both stay as calls leave them. Only functions and addresses that were exported are known.

    Raises LabcError for a file that is no module, NOT_HERE where wasmtime is missing.
    """

    def __init__(self, module: Path | bytes) -> None:
        if reason := available():
            raise LabcError(f"emulator: {reason}", code=NOT_HERE)
        self._w: Any = import_module("wasmtime")
        data = module if isinstance(module, bytes) else module.read_bytes()
        if len(data) > LARGEST:
            raise LabcError(f"module: larger than {LARGEST >> 20} MiB; give one that labc linked")
        try:
            engine, compiled = _compiled(data)
            self._store = self._w.Store(engine)
            self._store.set_fuel(_BUDGET)
            self._exports = self._w.Instance(self._store, compiled, []).exports(self._store)
            self._memory = self._exports["memory"]
        except (self._w.WasmtimeError, KeyError) as error:
            raise LabcError(f"module: not one that labc linked ({str(error).splitlines()[0]}); link it again") from error
        self.symbols: dict[str, Symbol] = {}
        for export in compiled.exports:
            if isinstance(export.type, self._w.FuncType):
                self.symbols[export.name] = Symbol(0, 0, "function")
            elif isinstance(export.type, self._w.GlobalType):
                self.symbols[export.name] = Symbol(self._exports[export.name].value(self._store), 0, "object")
        # clang's linker puts the stack first, below all data, so that an overflow traps at address 0.
        self._stack = self._exports["__stack_pointer"].value(self._store)
        self._heap: int = self._memory.data_len(self._store)

    def alloc(self, nbytes: int, align: int = 8) -> int:
        """The address of `nbytes` bytes of zeroed memory, aligned to `align` and no better."""
        if nbytes < 0 or align < 1 or align & (align - 1):
            raise LabcError(f"emulator: {nbytes} bytes aligned to {align} cannot be had; align to a power of two")
        start: int = self._heap + _SPARE
        start += (align - start) % (2 * align)
        self._heap = start + nbytes
        missing = self._heap - self._memory.data_len(self._store)
        if missing > 0:
            try:
                self._memory.grow(self._store, -(-missing // PAGE))
            except self._w.WasmtimeError as error:
                why = f"emulator: {nbytes} bytes more do not fit; allocate buffers once and use them again"
                raise LabcError(why, code=NOT_HERE) from error
        return start

    def write(self, address: int, data: bytes) -> None:
        """Put `data` at `address`; LabcError if not all of it is memory."""
        self._within(address, len(data))
        self._memory.write(self._store, data, address)

    def read(self, address: int, nbytes: int) -> bytes:
        """The `nbytes` bytes at `address`; LabcError if not all of it is memory."""
        self._within(address, nbytes)
        return bytes(self._memory.read(self._store, address, address + nbytes))

    def _within(self, address: int, nbytes: int) -> None:
        if not 0 <= address <= address + nbytes <= self._memory.data_len(self._store):
            raise LabcError(f"emulator: {nbytes} bytes at {address:#x} are not all memory; use alloc")

    def call(self, symbol: str, *args: int, budget: int = _BUDGET, seconds: float = 0, measure: bool = False) -> Call:
        """Call an exported function. `measure`: its fuel, wasmtime's deterministic count of instructions, and the bytes of the stack
        in memory that it wrote; `budget`: instructions after which it is taken to run for ever, `seconds` likewise.

        Raises EmulatorFault where the module traps, LabcError if there is no such function.
        """
        if symbol not in self.symbols or self.symbols[symbol].kind != "function":
            raise LabcError(f"emulator: the module has no function {symbol!r}; name it in `keep` when linking")
        if measure:
            self.write(0, bytes([PAINT]) * self._stack)
        budget = int(seconds * 1e9) or budget
        self._store.set_fuel(budget)
        try:
            result = self._exports[symbol](self._store, *(arg - (arg >> 31 << 32) if arg >= 0 else arg for arg in args))
        except (self._w.Trap, self._w.WasmtimeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            if self._store.get_fuel() == 0:
                reason = f"no end after {budget} instructions; it hangs, or needs a larger budget"
                raise EmulatorHang(symbol, 0, "the module", reason) from error
            raise EmulatorFault(symbol, 0, "the module", lines[-1]) from error
        depth = len(self.read(0, self._stack).lstrip(bytes([PAINT]))) if measure else None
        return Call(int(result or 0), budget - self._store.get_fuel() if measure else None, depth)


@lru_cache(maxsize=1)
def _compiled(data: bytes) -> tuple[Any, Any]:
    """The engine, and the module in it: the check of kernels loads one a hundred times."""
    w: Any = import_module("wasmtime")
    config = w.Config()
    config.consume_fuel = True
    if hasattr(w.Config, "signals_based_traps"):  # versions before it have no choice
        # Else a trap is a SIGSEGV, for which wasmtime sets a handler once: it ends the process if that was replaced since, as Lightning
        # does after each training.
        config.signals_based_traps = False
    engine = w.Engine(config)
    return engine, w.Module(engine, data)


atexit.register(_compiled.cache_clear)  # while wasmtime is still there to free it


def sections(module: bytes) -> dict[str, int]:
    """Bytes of a module as `elf.sections` gives them: "flash" is code and data as stored, "ram" nothing but what the caller gives."""
    data, at, found = module, 8, {"flash": 0, "ram": 0, "image": 0}
    names = {10: "code", 11: "data"}  # Core Specification, 5.5.2
    while at < len(data):
        kind = data[at]
        size, at = _leb128(data, at + 1)
        if kind in names:
            found[names[kind]] = size
            found["flash"] += size
        at += size
    return found


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the place after it (Core Specification, 5.2.2)."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
