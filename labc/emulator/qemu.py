"""Run the functions of an image on a core that only QEMU or simavr has, through the door for debuggers.

The image starts by itself and stops at `main`; from there functions are called by setting registers. Memory is the chip's own: data
lie at its start, the stack at its end, what `alloc` gives in between.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labc import decode, toolchain
from labc.compiling import link_plugin
from labc.decode import Block
from labc.elf import read_elf
from labc.emulator.call import PAINT, Call, EmulatorFault, EmulatorHang, EmulatorLost, StackOverflow
from labc.emulator.debugger import PROGRAM_ENDED, Debugger
from labc.errors import NOT_HERE, LabcError
from labc.resources import folder
from labc.target import CORES, TARGETS

SECONDS = 60.0  # for one call, unless it says otherwise
_FENCE = 32  # bytes above what was allocated that the stack must leave alone
# What runtime/image says by its exit code: ARMv7-M ARM, B1.5.2; RISC-V Privileged ISA, mcause.
_EXCEPTIONS = {2: "NMI", 3: "HardFault", 4: "MemManage", 5: "BusFault", 6: "UsageFault"}
_TRAPS = {1: "instruction access fault", 2: "illegal instruction", 3: "breakpoint", 5: "load access fault", 7: "store access fault"}
_PACKET = 1000  # bytes of memory in one packet; QEMU takes 4096 characters


@dataclass(frozen=True)
class Machine:
    """A machine of QEMU's, or simavr's.

    `code` is where its code ends, `ram` where its memory starts and ends, `data` what the debugger adds to an address of data. `slot`: of
    RISC-V, the bytes of a register.
    """

    program: str
    options: tuple[str, ...]
    code: int
    ram: tuple[int, int]
    data: int
    package: str
    slot: int = 0
    port: int = 0  # of this machine, where debuggers are answered; 0: on standard input and output
    packet: int = _PACKET


_QUIET = ("-display", "none", "-monitor", "none", "-serial", "none")
MACHINES = {
    # Arm, Application Note AN547: the ITCM and the DTCM. Faults end by semihosting, as runtime/image/startup.c has it.
    "cortex-m55": Machine(
        "qemu-system-arm",
        ("-M", "mps3-an547", *_QUIET, "-semihosting-config", "enable=on,target=native", "-kernel"),
        512 << 10,
        (0x2000_0000, 0x2008_0000),
        0,
        "qemu-system-arm",
    ),
    # ATmega328P data sheet, "AVR Memories". Debuggers see data 8 MiB on.
    "atmega328p": Machine("qemu-system-avr", ("-M", "uno", *_QUIET, "-bios"), 32 << 10, (0x100, 0x900), 0x80_0000, "qemu-system-misc"),
}
# Where pages are that cannot be touched, each above memory that images leave alone: runtime/image/riscv.c.
FENCED: dict[str, tuple[int, ...]] = {}
# QEMU, hw/riscv/virt.c: memory starts at 0x8000_0000; runtime/image/riscv.ld divides it.
for _cpu, _bits, _model in (("rv32imac_zbb", 32, "rv32,zbb=true"), ("rv64gc_zbb", 64, "rv64,zbb=true")):
    _options = ("-M", "virt", "-cpu", _model, *_QUIET, "-bios", "none", "-kernel")
    _ram = (0x8040_0000, 0x8050_0000)
    FENCED[_cpu] = tuple(_ram[1] + i * (128 << 10) for i in range(1, 9))
    MACHINES[_cpu] = Machine(f"qemu-system-riscv{_bits}", _options, _ram[0], _ram, 0, "qemu-system-misc", _bits // 8)
# For machines without QEMU; it counts no instructions. Its door is one fixed port, and its packets have 1,024 bytes. -v: says why it fails.
_OPTIONS = ("-m", "atmega328p", "-f", "16000000", "-v", "-g")
SIMAVR = Machine("simavr", _OPTIONS, 32 << 10, (0x100, 0x900), 0x80_0000, "simavr", port=1234, packet=200)


def machine_of(cpu: str) -> Machine:
    """What runs images for this core here: QEMU, or for AVR simavr where there is only that."""
    machine = MACHINES[cpu]
    return SIMAVR if cpu == "atmega328p" and shutil.which(machine.program) is None and shutil.which(SIMAVR.program) else machine


def available(cpu: str) -> str | None:
    """None if images for this core can be run here, else the reason and the remedy."""
    machine = machine_of(cpu)
    if shutil.which(machine.program) is None:
        other = f", nor is simavr (apt install {SIMAVR.package})" if cpu == "atmega328p" else ""
        return f"{machine.program} is not on PATH (Debian, Ubuntu: apt install {machine.package}){other}"
    try:
        import elftools  # noqa: F401
    except ImportError as error:
        return f"the wheel pyelftools does not load ({error}); pip install 'labc[cross]'"
    return None


class Image:
    """A loaded image on a core of its own. Memory stays as calls leave it.

    Raises LabcError for a file it cannot take, NOT_HERE where QEMU is missing, EmulatorFault if it does not come as far as main.
    """

    def __init__(self, elf: Path | bytes, cpu: str, counter: Sequence[str] = (), machine: Machine | None = None) -> None:
        if reason := available(cpu):
            raise LabcError(f"emulator: {reason}", code=NOT_HERE)
        parsed = read_elf(elf)
        self.cpu, self.symbols, self._machine, self._segments = cpu, parsed.symbols, machine or machine_of(cpu), parsed.segments
        self._elf = elf if isinstance(elf, bytes) else elf.read_bytes()
        low, high = self._machine.ram
        stored = [s.load_address + len(s.data) for s in parsed.segments if s.data and s.load_address < low + self._machine.data]
        if max(stored, default=0) > self._machine.code:
            raise LabcError(
                f"emulator: the image takes {max(stored):,} bytes of flash, {cpu} has {self._machine.code:,} here; make it smaller",
                code=NOT_HERE,
            )
        ends = [s.address - self._machine.data + s.size for s in parsed.segments if s.address - self._machine.data in range(low, high)]
        self._heap, self._end = max([low, *ends]), high
        machine = self._machine
        words = () if machine.port else counter
        self._debugger = Debugger(machine.program, machine.options, self._elf, words, machine.port, machine.packet, machine.data)
        try:
            self._debugger.ask("qXfer:features:read:target.xml:0,ffb")  # else QEMU offers no single registers
            self._main = self.symbols["main"].address
            self._debugger.stop_at(self._main)
            if not machine.data and not machine.slot:
                self._debugger.set(13, high, 4)  # a stack to start with: the vector table's is that of a chip with more memory
            self._run("main", SECONDS)
        except EmulatorLost as lost:  # no fault of the image's: it has not begun
            raise LabcError(f"emulator: {lost.reason}; install {machine.package} again", code=NOT_HERE) from lost
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the emulator."""
        self._debugger.close()

    @property
    def room(self) -> int:
        """How many bytes of memory are left, for `alloc` and the stack."""
        return self._end - self._heap

    def alloc(self, nbytes: int, align: int = 8) -> int:
        """The address of `nbytes` bytes, aligned to `align` and no better; LabcError where the chip has no more memory."""
        at = self._heap + (align - self._heap) % (2 * align)
        if at + nbytes > self._end - 64:  # a stack is needed, too
            room = self._end - self._heap
            why = f"emulator: {nbytes} bytes more do not fit the {room} that {self.cpu} has left; make the network smaller"
            raise LabcError(why, code=NOT_HERE)
        self._heap = at + nbytes
        self.write(at, bytes(nbytes))
        return at

    def write(self, address: int, data: bytes) -> None:
        """Put `data` at `address`; LabcError if not all of it is memory."""
        self._debugger.write(address, data)

    def read(self, address: int, nbytes: int) -> bytes:
        """The `nbytes` bytes at `address`; LabcError if not all of it is memory."""
        return self._debugger.read(address, nbytes)

    def call(self, symbol: str, *args: int, budget: int = 0, seconds: float = SECONDS, measure: bool = False) -> Call:
        """Call the function `symbol` with integers or addresses of the core's own width and run it to its return, or for `seconds`.

        `measure` also counts the instructions it executed, where QEMU can be given a counter that this machine can compile, and the
        stack it used, by paint and scan. `budget` is not looked at. Raises EmulatorFault where it does not return, StackOverflow where
        the stack comes down to what `alloc` gave.
        """
        if symbol not in self.symbols or self.symbols[symbol].kind != "function":
            raise LabcError(f"emulator: the image has no function {symbol!r}; name it in `keep` when linking")
        self._debugger.place = symbol
        self.write(self._heap, bytes([PAINT]) * (self._end - self._heap if measure else _FENCE))
        sp = self._enter(symbol, args)
        self._run(symbol, seconds or SECONDS)
        if self.read(self._heap, _FENCE) != bytes([PAINT]) * _FENCE:
            room = f"{sp - self._heap:,} bytes that data, arena, input and output leave of {self._end - self._machine.ram[0]:,}"
            raise StackOverflow(symbol, f"the {room}")
        depth = None
        if measure:
            depth = len(self.read(self._heap, sp - self._heap).lstrip(bytes([PAINT])))
        counted = self._count(symbol, args) if measure else None
        executed, blocks = counted or (None, ())
        if self.cpu == "atmega328p":
            result = self._debugger.register(24) + self._debugger.register(25)
        else:
            result = self._debugger.register(10 if self._machine.slot else 0)[:4]
        return Call(int.from_bytes(result, "little", signed=True), executed, depth, blocks)

    def _enter(self, symbol: str, args: Sequence[int]) -> int:
        """Registers and stack as a caller leaves them; the stack pointer."""
        at = self.symbols[symbol].address
        if self.cpu == "atmega328p":  # avr-gcc's ABI: words from r24 down; the return address is pushed, high byte first in memory
            for i, arg in enumerate(args):
                for half, byte in enumerate((arg & 0xFFFF).to_bytes(2, "little")):
                    self._debugger.set(24 - 2 * i + half, byte, 1)
            self._debugger.set(1, 0, 1)
            self._debugger.set(32, 0, 1)
            sp = self._end - 3
            self.write(sp + 1, (self._main // 2).to_bytes(2, "big"))
            self._debugger.set(33, sp, 2)
            self._debugger.set(34, at, 4)
            return sp + 1
        if slot := self._machine.slot:  # RISC-V ELF psABI, "Integer Calling Convention"
            words = [arg % (1 << 8 * slot) for arg in args]
            sp = self._end - -(-slot * max(len(args) - 8, 0) // 16) * 16
            for i, word in enumerate(words[:8]):
                self._debugger.set(10 + i, word, slot)
            for i, word in enumerate(words[8:]):
                self.write(sp + slot * i, word.to_bytes(slot, "little"))
            for register, value in ((1, self._main), (2, sp), (32, at)):
                self._debugger.set(register, value, slot)
            return sp
        sp = self._end - -(-4 * max(len(args) - 4, 0) // 8) * 8  # AAPCS32
        for i, arg in enumerate(args[:4]):
            self._debugger.set(i, arg & 0xFFFF_FFFF, 4)
        for i, arg in enumerate(args[4:]):
            self.write(sp + 4 * i, (arg & 0xFFFF_FFFF).to_bytes(4, "little"))
        self._debugger.set(13, sp, 4)
        self._debugger.set(14, self._main | 1, 4)
        self._debugger.set(15, at, 4)
        return sp

    def _count(self, symbol: str, args: Sequence[int]) -> tuple[int, tuple[Block, ...]] | None:
        """The instructions of a call and its blocks: what QEMU counts with it, less what it counts without, each from the same memory."""
        library = None if self._machine.port else _counter()
        if library is None:
            return None
        low = self._machine.ram[0]
        memory, counted = self.read(low, self._heap - low), dict[tuple[int, ...], list[int]]()
        for sign in (1, -1):
            with tempfile.TemporaryDirectory(prefix="labc-count-", ignore_cleanup_errors=True) as name:
                out = Path(name, "count")
                plugin = ",out=".join(str(path).replace(",", ",,") for path in (library, out))  # a comma ends a value, two are one in it
                other = Image(self._elf, self.cpu, ["-plugin", plugin, "-d", "plugin", "-D", os.devnull])
                other.write(low, memory)
                other._enter(symbol, args)
                if sign > 0:
                    other._run(symbol, SECONDS)
                other._debugger.kill()
                if not out.exists():  # this QEMU takes no plugins
                    return None
                for line in out.read_text().splitlines():
                    numbers = [int(word) for word in line.split()]
                    times = counted.setdefault(tuple(numbers[:3]), [0, 0, 0])
                    times[:] = [had + sign * more for had, more in zip(times, numbers[3:], strict=True)]
        run = {block: times for block, times in counted.items() if times[0]}
        blocks = tuple(self._block(address, last, *times) for (address, last, _), times in run.items())
        return sum(n * times[0] for (_, _, n), times in run.items()), blocks

    def _block(self, address: int, last: int, executed: int, near: int, far: int) -> Block:
        """The block whose last instruction is at `last`, behind which by 2 and by 4 bytes it went on as often as said."""
        part = next(s for s in self._segments if s.address <= last < s.address + len(s.data))
        code, at = part.data[address - part.address : last - part.address + 4], last - address
        size = decode.instructions(code[at:], decode.UNITS[CORES[self.cpu].target])[0].size
        return Block(address, code[: at + size], executed, near if size == 2 else far)

    def _run(self, symbol: str, seconds: float) -> None:
        """On to the breakpoint at main; EmulatorFault where it is not reached."""
        try:
            answer = self._debugger.go(seconds)
        except TimeoutError:
            self.close()
            raise EmulatorHang(symbol, 0, "unknown", f"no end after {seconds:g} s; it hangs, or needs more time") from None
        if answer:
            self.close()
            code = re.fullmatch(r"W([0-9a-f]+).*", answer)
            number = int(code[1], 16) - PROGRAM_ENDED if code else 0
            names = _TRAPS if self._machine.slot else _EXCEPTIONS
            kind = names.get(number, f"exception {number}")
            raise EmulatorFault(symbol, 0, "unknown", kind if code else f"the emulator answered {answer!r}")


@cache
def _counter() -> Path | None:
    """QEMU's plugin that counts instructions, compiled for this machine; None where no compiler makes one."""
    out = Path(tempfile.mkdtemp(prefix="labc-counter-"), "counter.so")
    atexit.register(shutil.rmtree, out.parent, True)
    try:
        host = TARGETS["host"]
        return link_plugin(toolchain.find(host), host, folder("runtime") / "image" / "count_instructions.c", out)
    except LabcError:
        return None
