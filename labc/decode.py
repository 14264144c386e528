"""Which class each executed instruction is of: enough of Thumb, RISC-V and AVR to look up what it takes, exact in number.

From the encodings, as no disassembler that comes as a wheel knows all of them: ARMv7-M ARM, A5, and for MVE, low-overhead loops and the
rest of ARMv8.1-M that manual's C2.3; RISC-V ISA manual, "Instruction Set Listings"; AVR Instruction Set Manual.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# The classes of each instruction set. Those of `MULTIPLE` also have a number of registers or words.
CLASSES = {
    "thumb": (
        *("alu", "multiply", "multiply_accumulate", "multiply_long", "multiply_accumulate_long", "divide"),
        *("load", "store", "load_multiple", "store_multiple"),
        *("branch", "branch_taken", "branch_not_taken", "branch_register", "call", "return", "load_pc"),
        *("if_then", "loop", "system", "float", "float_core", "float_accumulate", "float_divide", "vector", "other"),
    ),
    "riscv": (
        *("alu", "multiply", "divide", "load", "load_narrow", "store"),
        *("branch_taken", "branch_not_taken", "jump", "jump_register", "system", "float", "other"),
    ),
    "avr": (
        *("alu", "alu_word", "multiply", "load", "store", "load_flash", "io_bit", "skip", "skipped", "after_skip"),
        *("branch", "branch_taken", "branch_not_taken", "branch_long", "branch_register"),
        *("call", "call_long", "call_register", "return", "system", "other"),
    ),
}
UNITS = {"arm": "thumb", "riscv32": "riscv", "riscv64": "riscv", "avr": "avr"}  # the instruction set of a target's cores
MULTIPLE = ("load_multiple", "store_multiple", "return", "skipped")

_BRANCH_IF = "branch_if"  # becomes branch_taken or branch_not_taken
_LEAVE = (_BRANCH_IF, "branch", "branch_register", "branch_long", "call", "call_long", "call_register", "return", "load_pc")
_AS_SKIPPED = {("alu", 2), ("skip", 2), ("load", 4), ("store", 4)}  # of AVR's: a cycle a word, whether executed or skipped


@dataclass(frozen=True)
class Block:
    """A run of instructions without a branch but at its end: their `code` at `address`, how often it was executed, and how often what was
    executed next was what follows it in memory."""

    address: int
    code: bytes
    executed: int
    fell_through: int


@dataclass(frozen=True)
class Tally:
    """How many instructions of a class were executed, and, of those of `MULTIPLE`, on how many registers or words in all."""

    executed: int
    words: int


@dataclass(frozen=True)
class Instruction:
    """One instruction: its class, of `CLASSES` or "branch_if", its size in bytes, the registers or words of one of `MULTIPLE`; `falls`: its
    target is what follows."""

    kind: str
    size: int
    words: int = 0
    falls: bool = False


def instructions(code: bytes, units: str) -> list[Instruction]:
    """The instructions in `code`, of which the last may be cut off; `units` is a key of `CLASSES`."""
    one, found, at = {"thumb": _thumb, "riscv": _riscv, "avr": _avr}[units], [], 0
    while at < len(code):
        found.append(one(int.from_bytes(code[at : at + 2], "little"), int.from_bytes(code[at + 2 : at + 4], "little")))
        at += found[-1].size
    return found


def tally(blocks: Iterable[Block], units: str) -> dict[str, Tally]:
    """The classes of all that was executed, in the order of `CLASSES`. What an IT block or a skip leaves out is counted as executed.

    A branch at a block's end was taken as often as something else than what follows was executed next. AVR: what stands behind a skip and
    is no branch may have been executed or not; it is "after_skip" where that matters.
    """
    executed, words = dict.fromkeys(CLASSES[units], 0), dict.fromkeys(CLASSES[units], 0)

    def add(kind: str, times: int, each: int) -> None:
        executed[kind] += times
        words[kind] += times * each

    decoded = [(block, instructions(block.code, units)) for block in blocks]
    behind = {block.address + len(block.code) for block, code in decoded if code[-1].kind == "skip"}
    for block, code in decoded:
        for i, one in enumerate(code):
            skipped = code[i - 1].kind == "skip" if i else block.address in behind  # AVR only
            if i == len(code) - 1 and one.kind in _LEAVE and not one.falls:
                taken = "branch_taken" if one.kind == _BRANCH_IF else one.kind
                left_out = "skipped" if skipped or (units == "avr" and one.kind != _BRANCH_IF) else "branch_not_taken"
                stayed = min(block.fell_through, block.executed)
                add(taken, block.executed - stayed, one.words)
                add(left_out, stayed, one.size // 2)
            elif one.kind == _BRANCH_IF:  # only where a block is cut short
                add("branch_not_taken", block.executed, 0)
            else:
                matters = skipped and (one.kind, one.size) not in _AS_SKIPPED
                add("after_skip" if matters else one.kind, block.executed, one.words)
    return {kind: Tally(n, words[kind] if kind in MULTIPLE else 0) for kind, n in executed.items() if n}


def _thumb(first: int, second: int) -> Instruction:
    if first >= 0xE800:
        return _thumb32(first, second)
    kind, words = "alu", 0
    match first >> 12:
        case 4 if first & 0xFC00 == 0x4000:
            kind = "multiply" if first >> 6 & 15 == 13 else "alu"
        case 4 if first & 0xFC00 == 0x4400:  # high registers
            to_pc = first & 0x87 == 0x87 and first & 0x300 in (0x000, 0x200)  # ADD and MOV
            kind = "branch_register" if to_pc or first & 0x300 == 0x300 else "alu"
        case 4:
            kind = "load"
        case 5:
            kind = "load" if first >> 9 & 7 >= 3 else "store"
        case 6 | 7 | 8 | 9:
            kind = "load" if first & 0x800 else "store"
        case 11 if first & 0xF500 == 0xB100:
            kind = _BRANCH_IF
        case 11 if first & 0xFE00 == 0xB400:
            kind, words = "store_multiple", (first & 0x1FF).bit_count()
        case 11 if first & 0xFE00 == 0xBC00:
            kind, words = "return" if first & 0x100 else "load_multiple", (first & 0x1FF).bit_count()
        case 11 if first & 0xFF00 == 0xBF00:
            kind = "if_then" if first & 15 else "alu"
        case 11 if first & 0xFF00 in (0xB600, 0xBE00):
            kind = "system"
        case 12:
            kind, words = "load_multiple" if first & 0x800 else "store_multiple", (first & 0xFF).bit_count()
        case 13:
            kind = "system" if first & 0xE00 == 0xE00 else _BRANCH_IF
        case 14:
            kind = "branch"
    return Instruction(kind, 2, words)


def _thumb32(first: int, second: int) -> Instruction:
    kind, words, op = "alu", 0, first >> 4 & 0x7F
    match first >> 11 & 3:
        case 1 if op & 0x64 == 0x00:
            load = bool(op & 1)
            kind, words = ("return" if second >> 15 else "load_multiple") if load else "store_multiple", second.bit_count()
        case 1 if op & 0x64 == 0x04:
            if op & 0x12:  # indexed or written back
                kind, words = "load_multiple" if op & 1 else "store_multiple", 2
            elif op & 0x0F == 0x0D and second >> 5 & 7 == 0:
                kind = "load_pc"  # TBB, TBH
            else:
                kind = "load" if op & 1 else "store"
        case 2 if second >> 15:
            match second >> 12 & 5:
                case 0 if first >> 7 & 7 == 7:  # MSR, MRS, barriers; hints
                    kind = "alu" if first & 0xFFF0 == 0xF3A0 else "system"
                case 0:
                    kind = _BRANCH_IF
                case 1:
                    kind = "branch"
                case 4:
                    kind = "loop"  # DLS, WLS, LE, their vector forms, VCTP
                case 5:
                    kind = "call"
        case 3 if op & 0x71 == 0x00:
            kind = "store"
        case 3 if op & 0x61 == 0x01:
            to_pc = op & 0x67 == 0x05 and second >> 12 == 15
            kind = "load_pc" if to_pc else "load"
        case 3 if op & 0x78 == 0x30:
            kind = "multiply" if second >> 12 == 15 else "multiply_accumulate"
        case 3 if op & 0x78 == 0x38:
            kind = "divide" if op & 5 == 1 else "multiply_accumulate_long" if op & 4 else "multiply_long"
        case 1 | 3 if op & 0x40:
            return _coprocessor(first, second)
    return Instruction(kind, 4, words)


def _coprocessor(first: int, second: int) -> Instruction:
    """FPU and MVE: ARMv7-M ARM, A6; the vectors of MVE lie where that has Advanced SIMD, and in coprocessors 14 and 15."""
    number = second >> 8 & 15
    if first & 0xEF00 == 0xEF00 or number >= 14:
        return Instruction("vector", 4)
    if number not in (9, 10, 11):
        return Instruction("other", 4)
    if first & 0xFE00 == 0xEC00:
        if first & 0x1A0 == 0:
            return Instruction("float_core", 4)
        single = first & 0x120 == 0x100
        words = (2 if number == 11 else 1) if single else second & 0xFF
        return Instruction("load_multiple" if first & 0x10 else "store_multiple", 4, words)
    if first & 0xFFE0 == 0xEE00 and second & 0xF7F == 0xA10:
        return Instruction("float_core", 4)  # VMOV between a core register and a single
    if first & 0xFF00 == 0xEE00 and not second & 0x10:
        op = first >> 4 & 11
        if op == 8 or (op == 11 and first & 15 == 1 and second & 0xC0 == 0xC0):
            return Instruction("float_divide", 4)  # VDIV, VSQRT
        if op in (0, 1, 9, 10):
            return Instruction("float_accumulate", 4)
    return Instruction("float", 4)


def _riscv(first: int, second: int) -> Instruction:
    if first & 3 != 3:
        return _compressed(first)
    match first & 0x7F:
        case 0x03:
            kind = "load" if first >> 12 & 7 in (2, 3) else "load_narrow"
        case 0x07:
            kind = "load"
        case 0x23 | 0x27:
            kind = "store"
        case 0x63:
            kind = _BRANCH_IF
        case 0x6F:
            kind = "jump"
        case 0x67:
            kind = "jump_register"
        case 0x33 | 0x3B if second >> 9 == 1:
            kind = "divide" if first & 0x4000 else "multiply"
        case 0x13 | 0x17 | 0x1B | 0x33 | 0x37 | 0x3B:
            kind = "alu"
        case 0x0F | 0x2F | 0x73:
            kind = "system"
        case 0x43 | 0x47 | 0x4B | 0x4F | 0x53:
            kind = "float"
        case _:
            kind = "other"
    return Instruction(kind, 4)


def _compressed(word: int) -> Instruction:
    """RV32C; the C.JAL of 32 bits is C.ADDIW in 64, of which there are no tables."""
    match word & 3, word >> 13:
        case 0, 4:
            kind = "other"
        case 0 | 2, (1 | 2 | 3):
            kind = "load"
        case 0 | 2, (5 | 6 | 7):
            kind = "store"
        case 1, (1 | 5):
            kind = "jump"
        case 1, (6 | 7):
            kind = _BRANCH_IF
        case 2, 4 if not word & 0x7C:
            kind = "jump_register" if word & 0xF80 else "system"
        case _:
            kind = "alu"
    return Instruction(kind, 2)


def _avr(first: int, second: int) -> Instruction:
    kind, size, falls = "alu", 2, False
    match first >> 12:
        case 0 if first & 0xFE00 == 0x0200 or first & 0xFF00 == 0x0300:
            kind = "multiply"
        case 1 if first & 0xFC00 == 0x1000:
            kind = "skip"
        case 8 | 10:
            kind = "store" if first & 0x200 else "load"
        case 9:
            return _avr_nine(first)
        case 12 | 13:
            kind, falls = "branch" if first >> 12 == 12 else "call", not first & 0xFFF
        case 15:
            kind = "skip" if first & 0xFC00 == 0xFC00 else "alu" if first & 0x800 else _BRANCH_IF
    return Instruction(kind, size, falls=falls)


def _avr_nine(first: int) -> Instruction:
    kind, size, low = "alu", 2, first & 15
    match first >> 8 & 15:
        case 0 | 1:
            kind, size = "load_flash" if low in (4, 5, 6, 7) else "load", 4 if low == 0 else 2
        case 2 | 3:
            kind, size = "other" if low in (4, 5, 6, 7) else "store", 4 if low == 0 else 2
        case 4 | 5 if low in (12, 13):
            kind, size = "branch_long", 4
        case 4 | 5 if low in (14, 15):
            kind, size = "call_long", 4
        case 4 if low == 9:
            kind = "branch_register"
        case 5 if low == 9:
            kind = "call_register"
        case 5 if low == 8:
            kind = {0x00: "return", 0x10: "return", 0xC0: "load_flash"}.get(first & 0xF0, "system")
        case 4 if low == 11:
            kind = "other"  # DES
        case 6 | 7:
            kind = "alu_word"
        case 8 | 10:
            kind = "io_bit"
        case 9 | 11:
            kind = "skip"
        case 12 | 13 | 14 | 15:
            kind = "multiply"
    return Instruction(kind, size)
