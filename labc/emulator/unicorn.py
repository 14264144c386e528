"""Run the functions of an image for another core on its own instruction set, in unicorn, and count what they cost.

The core is modelled strictly: what a Cortex-M0 does not know (Thumb-2, an FPU, unaligned loads) is a fault there. Memory is what
the image and `alloc` asked for and nothing else.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import Any

from labc.decode import Block
from labc.elf import LARGEST, Segment, read_elf
from labc.emulator.call import PAINT, Call, EmulatorFault, EmulatorHang
from labc.emulator.hooks import Counted, block_counter, note_access, note_exception
from labc.errors import NOT_HERE, LabcError

PAGE = 0x1000
HEAP, HEAP_END = 0x6000_0000, 0x7000_0000  # ARMv7-M ARM B3.1: external RAM, above all that an image may occupy
STACK_END = 0x7800_0000
RETURN = 0x7F00_0000  # where a called function returns to
SYSTEM = 0xE000_E000  # System Control Space, ARMv7-M ARM B3.2: plain memory here


@dataclass(frozen=True)
class _Machine:
    """An instruction set and its calling convention: how unicorn names them, and what a call looks like.

    `registers` pass the first arguments, `result` is where the answer is; further arguments lie on the stack in slots of `slot` bytes,
    which is also the size of a pointer, `home` bytes above a stack pointer that is a multiple of `stack_align`. `units`: how long its
    instructions are, "4" bytes or as said in `block_counter`.
    """

    architecture: str
    mode: str
    constants: str  # unicorn's module of register names
    prefix: str  # of those names
    registers: tuple[str, ...]
    link: str
    slot: int
    stack_align: int
    units: str = "4"
    result: str = ""  # the first of `registers` unless named
    home: int = 0
    order: str = "<"

    @property
    def bits(self) -> int:
        """Of an address, and of the ELF file."""
        return 8 * self.slot


_M = _Machine("ARM", "THUMB", "unicorn.arm_const", "UC_ARM_REG_", ("R0", "R1", "R2", "R3"), "LR", 4, 8, "thumb")  # AAPCS32
_A32 = replace(_M, mode="ARM", units="4")
_A64 = _Machine("ARM64", "ARM", "unicorn.arm64_const", "UC_ARM64_REG_", tuple(f"X{i}" for i in range(8)), "X30", 8, 16)  # AAPCS64
_RISCV = tuple(f"A{i}" for i in range(8))  # RISC-V ELF psABI, "Integer Calling Convention"
_RV32 = _Machine("RISCV", "RISCV32", "unicorn.riscv_const", "UC_RISCV_REG_", _RISCV, "RA", 4, 16, "riscv")
_RV64 = replace(_RV32, mode="RISCV64", slot=8)
# System V ABI, MIPS supplement: 16 bytes are set aside for the register arguments.
_MIPS = _Machine("MIPS", "MIPS32", "unicorn.mips_const", "UC_MIPS_REG_", ("A0", "A1", "A2", "A3"), "RA", 4, 8, "4", "V0", 16, ">")

# Each core's machine, unicorn's model of it, and whether it has an FPU to switch on.
_CORES: dict[str, tuple[_Machine, str, bool]] = {
    "cortex-m0": (_M, "UC_CPU_ARM_CORTEX_M0", False),
    "cortex-m0plus": (_M, "UC_CPU_ARM_CORTEX_M0", False),
    "cortex-m3": (_M, "UC_CPU_ARM_CORTEX_M3", False),
    "cortex-m4": (_M, "UC_CPU_ARM_CORTEX_M4", True),
    "cortex-m7": (_M, "UC_CPU_ARM_CORTEX_M7", True),
    "cortex-m33": (_M, "UC_CPU_ARM_CORTEX_M33", True),
    "cortex-a7": (_A32, "UC_CPU_ARM_CORTEX_A7", True),
    "cortex-a53": (_A64, "UC_CPU_ARM64_A53", True),
    "cortex-a72": (_A64, "UC_CPU_ARM64_A72", True),
    "rv32imac": (_RV32, "UC_CPU_RISCV32_SIFIVE_E31", False),
    "rv32imc": (_RV32, "UC_CPU_RISCV32_SIFIVE_E31", False),
    "rv64gc": (_RV64, "UC_CPU_RISCV64_ANY", True),
    "mips32r2": (_MIPS, "UC_CPU_MIPS32_24KC", False),
}
CORES = tuple(_CORES)


def available() -> str | None:
    """None if images can be run here, else the reason and the remedy."""
    try:
        import_module("elftools")
        import_module("unicorn")
    except (ImportError, OSError) as error:
        return f"the wheels unicorn and pyelftools do not load ({error}); pip install 'labc[cross]'"
    return None


class Image:
    """A loaded image on a core of its own. Memory stays as calls leave it; registers start afresh for each call.

    `elf`: an ELF file or its bytes, linked with symbols. `cpu`: the core, in GNU spelling. `stack_bytes`: the stack there is, below
    which every access is a fault. Raises LabcError for a file or core it cannot take, NOT_HERE where unicorn is missing.
    """

    def __init__(self, elf: Path | bytes, cpu: str = "cortex-m4", stack_bytes: int = 64 << 10) -> None:
        if cpu not in _CORES:
            raise LabcError(f"emulator: core {cpu!r} not known; known cores: {', '.join(_CORES)}")
        if reason := available():
            raise LabcError(f"emulator: {reason}", code=NOT_HERE)
        parsed = read_elf(elf)
        self._machine, model, has_fpu = _CORES[cpu]
        machine = self._machine
        if parsed.bits != machine.bits:
            raise LabcError(f"emulator: the image is {parsed.bits}-bit code and {cpu} a {machine.bits}-bit core; name the core it is for")
        unicorn: Any = import_module("unicorn")  # its types are unfinished
        constants: Any = import_module(machine.constants)
        self.cpu = cpu
        self.symbols = parsed.symbols
        self._functions = sorted((s.address, s.size, name) for name, s in parsed.symbols.items() if s.kind == "function")
        self._u, self._constants = unicorn, constants
        # Not UC_MODE_MCLASS: with it unicorn runs every model as a Cortex-M33.
        big = unicorn.UC_MODE_BIG_ENDIAN if machine.order == ">" else 0
        mode = getattr(unicorn, f"UC_MODE_{machine.mode}") | big
        self._uc: Any = unicorn.Uc(getattr(unicorn, f"UC_ARCH_{machine.architecture}"), mode)
        self._uc.ctl_set_cpu_model(getattr(constants, model))
        self._map_image(parsed.segments)
        self._stack = STACK_END - -(-stack_bytes // PAGE) * PAGE
        self._heap = HEAP
        self._uc.mem_map(self._stack, STACK_END - self._stack, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self._uc.mem_map(RETURN, PAGE)
        if machine is _M:
            self._uc.mem_map(SYSTEM, PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        if machine is _A64:  # CPACR_EL1.FPEN: no trap
            self._uc.reg_write(constants.UC_ARM64_REG_CPACR_EL1, 3 << 20)
        elif machine is _RV64:  # mstatus.FS: on
            self._uc.reg_write(constants.UC_RISCV_REG_MSTATUS, 3 << 13)
        elif has_fpu:  # CPACR: full access to CP10 and CP11; FPEXC.EN, which the model also asks for
            self._uc.reg_write(constants.UC_ARM_REG_C1_C0_2, self._uc.reg_read(constants.UC_ARM_REG_C1_C0_2) | 0xF << 20)
            self._uc.reg_write(constants.UC_ARM_REG_FPEXC, 0x4000_0000)
        self._fresh = self._uc.context_save()
        self._events: list[str] = []
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, note_access(self._events, unicorn))
        self._uc.hook_add(unicorn.UC_HOOK_INTR, note_exception(self._events, constants if machine is _M else None))

    def _register(self, name: str) -> Any:
        """Unicorn's number of a register."""
        return getattr(self._constants, self._machine.prefix + name)

    def _units(self) -> str:
        """How long the instructions are that the core runs now."""
        if self._machine is _A32 and self._uc.reg_read(self._constants.UC_ARM_REG_CPSR) & 1 << 5:
            return "thumb"
        return self._machine.units

    def _map_image(self, segments: tuple[Segment, ...]) -> None:
        """Map the pages that segments touch, with the rights of all that share a page, and fill them."""
        u, rights = self._u, dict[int, int]()
        for s in segments:
            copies = {(s.address, s.size, s.writable), (s.load_address, len(s.data), s.writable and s.load_address == s.address)}
            for address, size, writable in copies:
                for page in range(address // PAGE, (address + size + PAGE - 1) // PAGE):
                    rights[page] = rights.get(page, u.UC_PROT_READ | u.UC_PROT_EXEC) | (u.UC_PROT_WRITE if writable else 0)
        start = None
        for page in sorted(rights):  # a run of pages with the same rights is one mapping
            start = page if start is None else start
            if rights.get(page + 1) != rights[page]:
                self._uc.mem_map(start * PAGE, (page + 1 - start) * PAGE, rights[page])
                start = None
        for s in segments:
            self._uc.mem_write(s.load_address, s.data)
            self._uc.mem_write(s.address, s.data)

    def alloc(self, nbytes: int, align: int = 8) -> int:
        """The address of `nbytes` bytes of zeroed memory, aligned to `align` (a power of two up to 4096) and, at a multiple of
        it, no better than it must be: the block ends at a page that cannot be touched, or less than `align` bytes before it."""
        if nbytes < 0 or align < 1 or align > PAGE or align & (align - 1):
            raise LabcError(f"emulator: {nbytes} bytes aligned to {align} cannot be had; align to a power of two up to {PAGE}")
        pages = max(1, -(-nbytes // PAGE))
        if self._heap + (pages + 1) * PAGE > HEAP_END or nbytes > LARGEST:
            raise LabcError(f"emulator: {nbytes} bytes more do not fit; allocate buffers once and use them again", code=NOT_HERE)
        self._uc.mem_map(self._heap, pages * PAGE, self._u.UC_PROT_READ | self._u.UC_PROT_WRITE)
        end = self._heap + pages * PAGE
        self._heap = end + PAGE
        return (end - nbytes) // align * align

    def write(self, address: int, data: bytes) -> None:
        """Put `data` at `address`; LabcError if not all of it is memory."""
        self._access(lambda: self._uc.mem_write(address, data), address, len(data))

    def read(self, address: int, nbytes: int) -> bytes:
        """The `nbytes` bytes at `address`; LabcError if not all of it is memory."""
        return bytes(self._access(lambda: self._uc.mem_read(address, nbytes), address, nbytes))

    def _access(self, do: Callable[[], Any], address: int, nbytes: int) -> Any:
        try:
            return do()
        except self._u.UcError as error:
            raise LabcError(f"emulator: {nbytes} bytes at {address:#x} are not all memory ({error}); use alloc") from error

    def call(self, symbol: str, *args: int, budget: int = 1_000_000_000, seconds: float = 0, measure: bool = False) -> Call:
        """Call the function `symbol` with integers of up to 32 bits or addresses and run it to its return.

        `measure` counts instructions, exactly (about a million basic blocks a second), and the stack it used, by paint and scan;
        without it a hundred million instructions a second. `budget`: instructions after which it is taken to run for ever; with
        `seconds` that time after which it is, and twice as fast.
        Raises EmulatorFault for whatever its core cannot do, LabcError if there is no such function.
        """
        if symbol not in self.symbols or self.symbols[symbol].kind != "function":
            raise LabcError(f"emulator: the image has no function {symbol!r}; name it in `keep` when linking")
        u, uc, machine, function = self._u, self._uc, self._machine, self.symbols[symbol]
        uc.context_restore(self._fresh)
        words = [arg % (1 << machine.bits) for arg in args]
        stacked = words[len(machine.registers) :]
        sp = STACK_END - -(-(machine.home + machine.slot * len(stacked)) // machine.stack_align) * machine.stack_align
        if measure:
            uc.mem_write(self._stack, bytes([PAINT]) * (STACK_END - self._stack))
        for register, word in zip(machine.registers, words, strict=False):
            uc.reg_write(self._register(register), word)
        uc.mem_write(sp + machine.home, struct.pack(f"{machine.order}{len(stacked)}{'I' if machine.slot == 4 else 'Q'}", *stacked))
        uc.reg_write(self._register("SP"), sp)
        uc.reg_write(self._register(machine.link), RETURN | function.thumb)
        self._events.clear()
        blocks: dict[tuple[int, int], Counted] = {}
        reason, hook = None, None
        if measure:
            hook = uc.hook_add(u.UC_HOOK_BLOCK, block_counter(blocks, self._units))
            uc.ctl_flush_tb()  # code translated without the hook would go uncounted; so also with `count` below, hence on every call
        watch = Timer(seconds, uc.emu_stop) if seconds else None  # unicorn's own timer polls every 2 us
        if watch is not None:
            watch.daemon = True
            watch.start()
        try:
            uc.emu_start(function.address | function.thumb, RETURN, count=0 if seconds else budget)
        except u.UcError as error:
            unknown = error.errno == u.UC_ERR_INSN_INVALID
            reason = f"an instruction that {self.cpu} does not have; build for this core" if unknown else str(error)
        finally:
            if watch is not None:
                watch.cancel()
            if hook is not None:
                uc.hook_del(hook)
                uc.ctl_flush_tb()
        pc = uc.reg_read(self._register("PC"))
        if self._events:
            reason = self._events[0]
        if reason is not None:
            raise EmulatorFault(symbol, pc, self._where(pc), reason)
        if pc != RETURN:
            reason = f"no end after {f'{seconds:g} s' if seconds else f'{budget} instructions'}; it hangs, or needs a larger budget"
            raise EmulatorHang(symbol, pc, self._where(pc), reason)
        depth = None
        if measure:
            painted = bytes(uc.mem_read(self._stack, sp - self._stack))
            depth = -(-len(painted.lstrip(bytes([PAINT]))) // 4) * 4
        result = uc.reg_read(self._register(machine.result or machine.registers[0])) & 0xFFFF_FFFF
        signed = result - (result >> 31 << 32)
        if not measure:
            return Call(signed, None, depth)
        seen = tuple(Block(address, one.code, one.executed, one.fell_through) for (address, _), one in blocks.items())
        return Call(signed, sum(one.executed * one.count for one in blocks.values()), depth, seen)

    def _where(self, pc: int) -> str:
        """The function that `pc` lies in, with the offset."""
        i = bisect_right(self._functions, pc, key=lambda f: f[0]) - 1
        if i >= 0 and pc < self._functions[i][0] + max(self._functions[i][1], 2):
            return f"{self._functions[i][2]}+{pc - self._functions[i][0]}"
        return "outside every function"
