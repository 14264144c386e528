"""The kernel check on a chip with less memory than the check takes: an image per kernel and per planted fault."""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from labc.check import Verdict
from labc.compiling import compile_objects
from labc.emulator import EmulatorFault, StackOverflow, qemu
from labc.flags import Toolchain
from labc.image import image_files, link_image
from labc.resources import folder
from labc.target import Target

QEMU_SECONDS, SECONDS = 60.0, 300.0  # for one kernel or fault in QEMU, where the slowest takes 6 s, and in simavr
# Texts are short, cases share what memory there is; and constants, which the check makes as it goes, are read from RAM.
_FLAGS = ("-DLABC_CHECK_SMALL", "-DLABC_CONSTANTS_IN_RAM")
_SHALLOW = ("-fno-inline",)  # of the check itself: a function that is part of its caller has its variables there all the time
# Bytes that are left for the stack, by op: what was used, by paint and scan, and a fence; of an op that is not known the most.
_STACKS = {
    "^affine": 416,
    "^sign_matvec": 512,
    "^byte_matvec_sums": 656,
    "^$|^byte_matvec|conv|depthwise": 992,
    "pool": 704,
    "^sign_pad": 784,
    "": 560,
}
_DATA = 0x80_0000  # what avr-gcc adds to an address of data
_SIZES = (1, 31, 32, 33)  # labc_check_seen of runtime/check/pool.c


@dataclass(frozen=True)
class Told:
    """What one image wrote, how many cases it ran and left out, the least bytes that one of these needs, and which of `_SIZES` it ran, of
    inputs and of rows."""

    text: str
    tried: int
    left_out: int
    lacked: int
    seen: tuple[tuple[int, ...], tuple[int, ...]]


class Pieces:
    """The images of one target, compiled in the folder `work`: what all share once. `pairs`: they run the cases of labc_check_pairs."""

    def __init__(self, sources: list[Path], target: Target, tools: Toolchain, work: Path, *, pairs: bool = False) -> None:
        check, self._pairs = folder("runtime") / "check", pairs
        start, self._script = image_files(target)
        self._target, self._tools, self._work, self._each = target, tools, work, [check / "check_kernels.c", check / "faults.c"]
        kernels = [*start, *(s for s in sources if s.parent != check)]
        shared = [*(s for s in sources if s.parent == check and s not in self._each), check / "pool.c", check / "piece_main.c"]
        self._shared = compile_objects(tools, target, kernels, [], work / "kernels", _FLAGS)
        self._shared += compile_objects(tools, target, shared, [], work / "shared", [*_FLAGS, *_SHALLOW])

    def image(self, number: int, entry: str) -> Path:
        """The image of kernel or fault `number`, which the function `entry` runs."""
        out = self._work / f"{entry}-{number}"
        flags = [*_FLAGS, *_SHALLOW, f"-DLABC_CHECK_NUMBER={number}"]
        own = compile_objects(self._tools, self._target, self._each, [], out, flags)
        return link_image(
            self._tools, self._target, [*own, *self._shared], self._script, out / "piece.elf", keep=[f"labc_check_piece_{entry}"]
        )

    def faults(self) -> int:
        """How many faults are planted."""
        return qemu.Image(self.image(1, "faults"), self._target.cpu or "").call("labc_check_piece_faults").result

    def run(self, number: int, entry: str, seed: int, op: str = "") -> Told | str:
        """Run kernel or fault `number`, of `op` if that is known, on a fresh core; what it tells, or why it cannot be run here.

        Raises EmulatorFault where it does not end. QEMU, 7.2 at least, does not where a skip leaves out a return, as in libgcc's
        __mulhisi3: it goes on at the old address. Then simavr runs it.
        """
        image, machine = self.image(number, entry), qemu.machine_of(self._target.cpu or "")
        stack = next(nbytes for pattern, nbytes in _STACKS.items() if re.search(pattern, op))
        try:
            return self._once(image, machine, entry, seed, stack)
        except EmulatorFault:
            if machine is qemu.SIMAVR:
                raise
        if shutil.which(qemu.SIMAVR.program) is None:
            return f"QEMU does not end, simavr may (apt install {qemu.SIMAVR.package})"
        return self._once(image, qemu.SIMAVR, entry, seed, stack)

    def _once(self, image: Path, machine: qemu.Machine, entry: str, seed: int, stack: int) -> Told | str:
        with contextlib.closing(qemu.Image(image, self._target.cpu or "", machine=machine)) as core:
            seconds = SECONDS if machine is qemu.SIMAVR else QEMU_SECONDS
            return _run(core, entry, seed, stack, seconds, pairs=self._pairs)


def _run(core: qemu.Image, entry: str, seed: int, stack: int, seconds: float, *, pairs: bool) -> Told | str:
    """What an image tells whose cases have all memory but `stack` bytes, or that these are too few."""

    def at(name: str) -> int:
        return core.symbols[f"labc_check_{name}"].address % _DATA

    def word(name: str) -> int:
        return int.from_bytes(core.read(at(name), 4), "little")

    pool = core.alloc(nbytes := core.room - stack, 1)
    core.write(at("pool"), struct.pack("<H", pool))
    core.write(at("block_bytes"), struct.pack("<I", nbytes))
    core.write(at("seed"), struct.pack("<I", seed))
    core.write(at("pairs"), struct.pack("<I", pairs))
    try:
        core.call(f"labc_check_piece_{entry}", seconds=seconds)
    except StackOverflow:
        return f"it needs more than {stack} bytes of stack"
    text = core.read(at("output_text"), word("output_used")).decode("ascii")
    seen = core.read(at("seen"), 2)
    inputs, rows = (tuple(size for i, size in enumerate(_SIZES) if bits >> i & 1) for bits in seen)
    return Told(text, word("tried"), word("left_out"), word("lacked"), (inputs, rows))


def judged(verdict: Verdict, told: Told) -> Verdict:
    """The verdict on a kernel, with what was left out for want of memory: all of it, or some sizes."""
    if verdict.status != "passed":
        return verdict
    if told.tried == 0:
        return Verdict(verdict.what, "not run here", f"no case fits; the smallest needs {told.lacked:,} bytes")
    detail = verdict.detail + (f"; {told.left_out} left out, which need {told.lacked:,} bytes or more" if told.left_out else "")
    kinds = ("rows",) if verdict.what.startswith("affine") else ("inputs", "rows")
    for kind, sizes in zip(kinds, told.seen[-len(kinds) :], strict=True):
        if missing := [str(size) for size in _SIZES if size not in sizes]:
            detail += f"; none with {', '.join(missing)} {kind}"
    return Verdict(verdict.what, "passed", detail)


def judged_fault(verdict: Verdict, told: Told) -> Verdict:
    """The verdict on a planted fault: nothing found is no failure where the cases that show it may be among those left out."""
    if verdict.status == "failed" and "found: nothing" in verdict.detail and told.left_out:
        reason = f"none of the {told.tried} cases that fit shows it; {told.left_out} need {told.lacked:,} bytes or more"
        return Verdict(verdict.what, "not run here", reason)
    return verdict
