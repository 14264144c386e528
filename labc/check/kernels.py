"""The kernel check of runtime/check, built and run on every machine labc knows; and whether it finds the faults planted there."""

from __future__ import annotations

import re
import struct
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from labc import emulator, toolchain
from labc import kernels as tables
from labc import target as targets
from labc.check import Status, Verdict, pieces
from labc.compiling import compile_objects, link_program, run_program
from labc.emulator import unicorn, wasm
from labc.errors import LabcError
from labc.flags import Toolchain, host_machine, kind_of
from labc.image import image_files, link_image
from labc.resources import folder
from labc.target import CORES, TARGETS, Target

Tick = Callable[[int], None]

BLOCKS = 8  # LABC_CHECK_BLOCKS of runtime/check/check.h
SECONDS = 300.0  # for one kernel on an emulated core; the slowest takes 2 s
_OPS = ("sign", "byte", "affine", "conv", "pool", "point")
# The files of runtime/check that every check is compiled from.
SOURCES = ("check_kernels", *(f"check_{name}" for name in _OPS), "support", "images", "faults", "faults_images")
_CALLED = ("kernel_count", "kernel", "fault_count", "fault", "fault_stops")
_READ = ("output_text", "output_used", "pairs")
_GIVEN = ("blocks", "block_bytes")
# How kernels.def calls the machine of each kind of target, or of a core; of others only plain C is checked.
_MACHINES = {
    "host": host_machine(),
    "x86-64": "x86_64",
    "cortex-m": "arm",
    "aarch64": "aarch64",
    "armv7": "arm_neon",
    "wasm32": "wasm32",
    "rv32imac_zbb": "riscv32_zbb",
    "rv64gc_zbb": "riscv64_zbb",
}
_LINE = re.compile(r"(not )?ok (\d+) - (\w+ \w+)(?:: (.+)| # SKIP not run here: (.+))")


@dataclass(frozen=True)
class Machine:
    """A place to run the check in. `block_bytes`: of each argument's memory in an emulator that can end it at an unreadable page; larger
    cases are left out there. In an emulator that cannot, 0: the check uses memory of its own."""

    name: str
    target: Target
    block_bytes: int = 0

    @property
    def small(self) -> bool:
        """Whether its chip holds less than the check takes, so that there is an image for each kernel and fault."""
        return kind_of(self.target) == "avr"

    @property
    def isas(self) -> tuple[str, ...]:
        """Those whose rows its compiler sees, best first: but those that only other cores of its architecture have."""
        others = {isa for core in CORES.values() for isa in core.isas} - set(self.target.isas)
        seen = tables.seen(_MACHINES.get(self.target.cpu or "") or _MACHINES.get(kind_of(self.target), "any"))
        return tuple(isa for isa in seen if isa not in others)

    @property
    def rows(self) -> list[str]:
        """The kernels there, as "op isa" in the table's order."""
        isas = self.isas
        return [f"{op} {isa}" for op, isa in tables.table().kernels if isa in isas]

    @property
    def sources(self) -> list[Path]:
        """What the check is compiled from, but for its memory and its main."""
        runtime = folder("runtime")
        kernels = [runtime / file for isa in self.isas for file in tables.sources(isa)]
        return [runtime / "cpu.c", *kernels, *(runtime / "check" / f"{name}.c" for name in SOURCES)]


@dataclass(frozen=True)
class Column:
    """One machine: a verdict per kernel ("op isa"), one per planted fault ("op fault"); `reason` says why nothing was run."""

    machine: str
    target: str
    compiler: str
    kernels: tuple[Verdict, ...]
    faults: tuple[Verdict, ...]
    reason: str = ""

    @property
    def found(self) -> str:
        """How many planted faults were found, of how many."""
        return f"{sum(v.status == 'passed' for v in self.faults)} of {len(self.faults)}"


@dataclass(frozen=True)
class Matrix:
    """Kernels by machines. `rows` are "op isa" in the table's order; one that a column lacks does not exist on that machine."""

    seed: int
    rows: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def failed(self) -> bool:
        """Whether a kernel failed or a planted fault was missed, anywhere."""
        return any(v.status == "failed" for column in self.columns for v in (*column.kernels, *column.faults))

    @property
    def counts(self) -> dict[str, int]:
        """How many kernels passed, failed, and were not run here, over all machines."""
        verdicts = [verdict for column in self.columns for verdict in column.kernels]
        return {status: sum(v.status == status for v in verdicts) for status in ("passed", "failed", "not run here")}


def machines(target: str | None = None) -> tuple[Machine, ...]:
    """Every machine the check knows, or those of one target. Raises LabcError for a target that is not known.

    The Cortex-M cores stand for their instruction sets; x86-64 stands for itself where this machine is another. AVR, whose memory holds few
    of the cases, is there only where it is named.
    """
    arm = TARGETS["arm"]
    found = [Machine("host", TARGETS["host"]), Machine("x86-64", TARGETS["x86-64"])]
    found += [emulated(f"cortex-{core}", targets.with_core(arm, core)) for core in ("m0", "m3", "m4", "m7", "m33", "m55")]
    found += [emulated(name, TARGETS[name]) for name in ("aarch64", "armv7", "riscv32", "riscv64")]
    found += [emulated(core, targets.with_core(TARGETS["wasm32"], core)) for core in wasm.CPUS]
    found += [emulated(name, TARGETS[name]) for name in ("avr", "big-endian")]
    zbb = (("riscv32", "rv32imac_zbb"), ("riscv64", "rv64gc_zbb"))
    found += [emulated(f"{name}-zbb", targets.with_core(TARGETS[name], core)) for name, core in zbb]
    if target is not None:
        return tuple(machine for machine in found if machine.target.name == targets.find(target).name)
    covered = host_machine() == "x86_64"
    return tuple(machine for machine in found if machine.name != "avr" and not (covered and machine.name == "x86-64"))


def emulated(name: str, target: Target) -> Machine:
    """The machine called `name` with the core of `target`."""
    fenced = target.cpu in unicorn.CORES or emulator.fences(target.cpu or "")
    return Machine(name, target, (32 << 10 if kind_of(target) == "cortex-m" else 68 << 10) if fenced else 0)


def check(
    where: Sequence[Machine],
    seed: int,
    progress: Callable[[str, int], Tick] = lambda step, total: lambda n: None,
    pairs: Collection[str] = (),
) -> Matrix:
    """Build and run the check on each machine with its first compiler; a machine without one is not run here, with the reason.

    `pairs`: the ISAs whose kernels are run on a subset of the cases, which has every pair of values; of `scalar` the planted faults too.
    """

    def one(machine: Machine) -> Column:
        tick = progress(machine.name, len(machine.rows))
        reason = toolchain.not_here(machine.target) if machine.target.cpu is None else emulator.available(machine.target.cpu)
        try:
            tools = toolchain.find(machine.target)
        except LabcError as error:
            return _not_run(machine, "", str(error))
        return _not_run(machine, _named(tools), reason) if reason else column(machine, tools, seed, tick, pairs)

    there = {row for machine in where for row in machine.rows}
    rows = tuple(row for row in (f"{op} {isa}" for op, isa in tables.table().kernels) if row in there)
    return Matrix(seed, rows, tuple(one(machine) for machine in where))


def column(machine: Machine, tools: Toolchain, seed: int, tick: Tick = lambda n: None, pairs: Collection[str] = ()) -> Column:
    """Both checks on one machine with one compiler; this machine's processor runs all of them on pairs, or none.

    Raises LabcError if they cannot be built or answer unlike TAP.
    """
    with tempfile.TemporaryDirectory(prefix="labc-kernels-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        if machine.target.cpu is None:
            found, faults = _on_host(program(machine, tools, work), machine.rows, seed, pairs)
            tick(len(machine.rows))
        elif machine.small:
            made = pieces.Pieces(machine.sources, machine.target, tools, work, pairs="scalar" in pairs)
            found, faults = _in_pieces(made, machine.rows, seed, tick)
        else:
            found, faults = _emulated(image(machine, tools, work).read_bytes(), machine, seed, tick, pairs)
    return Column(machine.name, machine.target.name, _named(tools), tuple(found), tuple(faults))


def program(machine: Machine, tools: Toolchain, out: Path, *, fence: bool = True, flags: Sequence[str] = ()) -> Path:
    """The check as a program of this machine in the folder `out`. `fence`: inputs end at an unreadable page, where the system has them."""
    check_folder = folder("runtime") / "check"
    memory = "fence_mmap" if fence and sys.platform != "win32" else "fence_none"
    sources = [*machine.sources, check_folder / f"{memory}.c", check_folder / "host_main.c"]
    objects = compile_objects(tools, machine.target, sources, [], out / "objects", flags)
    return link_program(tools, machine.target, objects, out / "kernel-check", flags)


def image(machine: Machine, tools: Toolchain, out: Path) -> Path:
    """The check as an image for an emulated core; whoever runs it gives it its memory."""
    check_folder = folder("runtime") / "check"
    start, script = image_files(machine.target)
    fence = "fence_given" if machine.block_bytes else "fence_none"
    sources = [*machine.sources, check_folder / f"{fence}.c", check_folder / "memory_main.c"]
    shipped = [source for source in sources if source.parent != check_folder]
    objects = compile_objects(tools, machine.target, [*start, *shipped], [], out / "objects")
    # The kernels with the flags they are shipped with; the check itself for speed, where others are for size.
    objects += compile_objects(tools, machine.target, [s for s in sources if s.parent == check_folder], [], out / "check", ("-O3",))
    keep = [f"labc_check_{name}" for name in (*_CALLED, *_READ, *(_GIVEN if machine.block_bytes else ()))]
    return link_image(tools, machine.target, objects, script, out / "kernel-check.elf", keep=keep)


def read_tap(text: str, rows: Sequence[str] | None = None) -> list[Verdict]:
    """The verdicts of a TAP text; a comment before a failure is its detail.

    Raises LabcError unless each line is TAP, the lines are as many as planned and numbered in order, and are `rows` where given.
    """
    planned, found, comment = None, list[Verdict](), ""
    for line in text.splitlines():
        if plan := re.fullmatch(r"1\.\.(\d+)", line):
            planned = int(plan[1])
        elif match := _LINE.fullmatch(line):
            if int(match[2]) != len(found) + 1:
                raise LabcError(f"kernel check: line {line!r} is not number {len(found) + 1}; it is no TAP")
            status: Status = "failed" if match[1] else "not run here" if match[5] else "passed"
            detail = match[5] or (f"{match[4]}; {comment}" if match[1] and comment else match[4])
            found.append(Verdict(match[3], status, detail))
            comment = ""
        elif line.startswith("# "):
            comment = line[2:]
        elif line not in ("", "TAP version 13"):
            raise LabcError(f"kernel check: it wrote {line!r}, which is no TAP; run it by hand")
    if planned != len(found):
        raise LabcError(f"kernel check: {len(found)} results of {planned} planned; it ended early:\n{text[-500:]}")
    if rows is not None and [verdict.what for verdict in found] != list(rows):
        raise LabcError(f"kernel check: its rows are not those of the table: {', '.join(v.what for v in found)}; build it again")
    return found


def _on_host(path: Path, rows: Sequence[str], seed: int, pairs: Collection[str]) -> tuple[list[Verdict], list[Verdict]]:
    words = [str(path), *(["--pairs"] if pairs else []), str(seed)]
    kernels, faults = (run_program([*words, *more], fine=(0, 1)) for more in ((), ("--faults",)))
    return read_tap(kernels, rows), read_tap(faults)


def _emulated(elf: bytes, machine: Machine, seed: int, tick: Tick, pairs: Collection[str]) -> tuple[list[Verdict], list[Verdict]]:
    """Each kernel, on one core as long as all pass, and each fault on its own: what touches memory it must not stops only itself."""
    kernels, faults, cores = list[Verdict](), list[Verdict](), _Cores(elf, machine)
    for number, row in enumerate(machine.rows, start=1):
        try:
            kernels.append(_only(cores.call("kernel", seed, number, row.split()[1] in pairs), machine, number, row))
            if kernels[-1].status == "failed":  # it may have written where the check keeps its own
                cores.renew()
        except emulator.EmulatorFault as fault:
            kernels.append(Verdict(row, "failed", str(fault)))
        tick(1)
    count = _core(elf, machine)  # not one that a kernel or a fault may have written to
    if (rows := count.call("labc_check_kernel_count").result) != len(machine.rows):
        raise LabcError(f"kernel check: the image has {rows} rows, the table {len(machine.rows)} for {machine.name}; build it again")
    for number in range(1, count.call("labc_check_fault_count").result + 1):
        try:
            cores.renew()  # a planted fault writes where it must not
            faults.append(_only(cores.call("fault", seed, number, "scalar" in pairs), machine, number))
        except emulator.EmulatorFault as fault:
            planted = count.call("labc_check_fault_stops", number).result
            faults.append(Verdict(f"fault {number} in {fault.symbol}", "passed" if planted else "failed", f"found: {fault.reason}"))
    return kernels, faults


class _Cores:
    """A core with the image, started again after a call that stopped it."""

    def __init__(self, elf: bytes, machine: Machine) -> None:
        self._elf, self._machine = elf, machine
        self._core: emulator.Core | None = None

    def renew(self) -> None:
        """Take another core for the next call."""
        self._core = None

    def call(self, entry: str, seed: int, number: int, pairs: bool) -> emulator.Core:
        """Call labc_check_`entry` with nothing written yet; the core it ran on. Raises EmulatorFault if it stopped that."""
        core, self._core = self._core or _core(self._elf, self._machine), None
        given = (("block_bytes", self._machine.block_bytes),) if self._machine.block_bytes else ()
        for name, value in (("output_used", 0), ("pairs", int(pairs)), *given):  # what a kernel before may have written to
            core.write(core.symbols[f"labc_check_{name}"].address, struct.pack(f"{_order(self._machine)}I", value))
        core.call(f"labc_check_{entry}", seed, number, seconds=SECONDS)
        self._core = core
        return core


def _in_pieces(made: pieces.Pieces, rows: Sequence[str], seed: int, tick: Tick) -> tuple[list[Verdict], list[Verdict]]:
    kernels, faults = [], []
    for number, row in enumerate(rows, start=1):
        kernels.append(piece(made, number, "kernel", seed, row))
        tick(1)
    for number in range(1, made.faults() + 1):
        faults.append(piece(made, number, "fault", seed))
    return kernels, faults


def piece(made: pieces.Pieces, number: int, entry: str, seed: int, row: str | None = None) -> Verdict:
    """The verdict on one image; of a fault that is not found, once its op is known, with what that leaves of the memory."""
    what, op = row or f"fault {number}", row.split()[0] if row else ""
    try:
        told = made.run(number, entry, seed, op)
        if not isinstance(told, str) and row is None and told.left_out and (line := _line(told.text, 0, None)).status == "failed":
            told = made.run(number, entry, seed, line.what.split()[0])
    except emulator.EmulatorFault as fault:
        return Verdict(what, "failed", str(fault))
    if isinstance(told, str):
        return Verdict(what, "not run here", told)
    return (pieces.judged if row else pieces.judged_fault)(_line(told.text, 0, row), told)


def _core(elf: bytes, machine: Machine) -> emulator.Core:
    """A core with the image, and the blocks it is given, where it is: each ends at a page that cannot be touched."""
    core = emulator.load(elf, machine.target.cpu or "")
    if machine.block_bytes:
        fenced = [fence - machine.block_bytes for fence in emulator.fences(machine.target.cpu or "")]
        blocks = fenced or [core.alloc(machine.block_bytes, 128) for _ in range(BLOCKS)]
        pointer, order = "Q" if kind_of(machine.target) in ("aarch64", "riscv64") else "I", _order(machine)
        core.write(core.symbols["labc_check_blocks"].address, struct.pack(f"{order}{BLOCKS}{pointer}", *blocks))
        core.write(core.symbols["labc_check_block_bytes"].address, struct.pack(f"{order}I", machine.block_bytes))
    return core


def _order(machine: Machine) -> str:
    return "<" if machine.target.endian == "little" else ">"


def _only(core: emulator.Core, machine: Machine, number: int, row: str | None = None) -> Verdict:
    """The verdict of one call: its line, with the plan and those before it filled in so that it reads as TAP."""
    (used,) = struct.unpack(f"{_order(machine)}I", core.read(core.symbols["labc_check_output_used"].address, 4))
    text = core.read(core.symbols["labc_check_output_text"].address, used).decode("ascii")
    return _line(text, number, row)


def _line(text: str, number: int, row: str | None) -> Verdict:
    one = re.sub(rf"^((?:not )?ok ){number} - ", r"\g<1>1 - ", text, flags=re.MULTILINE)
    return read_tap(f"1..1\n{one}", None if row is None else [row])[0]


def _named(tools: Toolchain) -> str:
    return f"{tools.name} {tools.version}"


def _not_run(machine: Machine, compiler: str, reason: str) -> Column:
    verdicts = tuple(Verdict(row, "not run here", reason) for row in machine.rows)
    return Column(machine.name, machine.target.name, compiler, verdicts, (), reason)
