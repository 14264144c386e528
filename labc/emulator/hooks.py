"""What unicorn calls while a core runs: to count blocks, to note what the core cannot do."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any


class Counted:
    """A basic block while it is counted: where it ends, how many instructions it has, and what `Block` has of it."""

    __slots__ = ("code", "count", "end", "executed", "fell_through")

    def __init__(self, end: int, code: bytes, count: int) -> None:
        self.end, self.code, self.count, self.executed, self.fell_through = end, code, count, 0, 0


def block_counter(blocks: dict[tuple[int, int], Counted], units: Callable[[], str]) -> Callable[..., None]:
    """A hook that counts in `blocks`, by address and size, each basic block run. Its instructions have 4 bytes each, but in "thumb" 2,
    except where the halfword is from 0xE800 on (ARMv7-M A5.1), and in "riscv" 2, except where its lowest two bits are 3 (RISC-V ISA
    manual, 1.5)."""
    before = Counted(-1, b"", 0)

    def block(uc: Any, address: int, size: int, _: object) -> None:
        nonlocal before
        one = blocks.get((address, size))
        if one is None:
            code, at, count, kind = bytes(uc.mem_read(address, size)), 0, 0, units()
            while at < size:
                short = code[at + 1] < 0xE8 if kind == "thumb" else kind == "riscv" and code[at] & 3 != 3
                at += 2 if short else 4
                count += 1
            one = blocks[address, size] = Counted(address + size, code, count)
        one.executed += 1
        if before.end == address:
            before.fell_through += 1
        before = one

    return block


def note_access(events: list[str], u: Any) -> Callable[..., bool]:
    """A hook that notes in `events` each access to what is no memory, or not such memory. `u`: the module unicorn."""

    def note(_uc: Any, access: int, address: int, size: int, _value: int, _: object) -> bool:
        fetch = access in (u.UC_MEM_FETCH_UNMAPPED, u.UC_MEM_FETCH_PROT)
        kind = "jump to" if fetch else "write of" if access in (u.UC_MEM_WRITE_UNMAPPED, u.UC_MEM_WRITE_PROT) else "read of"
        why = "read-only memory" if access == u.UC_MEM_WRITE_PROT else "no code" if fetch else "no memory"
        what = f"{address:#010x}" if fetch else f"{size} bytes at {address:#010x}"
        events.append(f"{kind} {what}, {why}; a pointer is wrong or a buffer too small")
        return False

    return note


def note_exception(events: list[str], r: Any | None) -> Callable[..., None]:
    """A hook that notes exceptions. `r`: register names where start-up code may end by semihosting, else None."""
    # Numbers from QEMU's target/arm/cpu.h.
    names = {
        1: "undefined instruction",
        2: "svc",
        3: "prefetch abort: a jump to where no code can be",
        4: "data abort: an address this core cannot take, on a Cortex-M0 an unaligned one",
        7: "breakpoint",
        17: "an FPU instruction where the FPU is absent or off",
        18: "invalid state: a jump to an address without the Thumb bit",
    }

    def note(uc: Any, number: int, _: object) -> None:
        text = names.get(number, f"exception {number}")
        if r is not None and number == 7 and uc.reg_read(r.UC_ARM_REG_R0) == 0x20:  # SYS_EXIT_EXTENDED, as the start-up code ends
            text = f"semihosting exit, code {struct.unpack('<I', uc.mem_read(uc.reg_read(r.UC_ARM_REG_R1) + 4, 4))[0]}"
        events.append(text)
        uc.emu_stop()

    return note
