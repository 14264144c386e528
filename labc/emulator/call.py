"""What a call of an image's function gave and cost, and how it may fail, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from labc.decode import Block
from labc.errors import FAILED, LabcError

PAINT = 0xA5  # what the stack is filled with, to see how far down it was written


class EmulatorFault(LabcError):  # noqa: N818 (a fault is what the core calls it)
    """The code did what its core cannot: `function` was called, at `pc` (in `symbol`) it stopped for `reason`."""

    def __init__(self, function: str, pc: int, symbol: str, reason: str) -> None:
        super().__init__(f"{function}: stopped at {pc:#010x} ({symbol}): {reason}", code=FAILED)
        self.function, self.pc, self.symbol, self.reason = function, pc, symbol, reason


class EmulatorHang(EmulatorFault):
    """The code did not end within its budget."""


class StackOverflow(EmulatorFault):
    """The stack of `function` came down to what lies below it; `room` says what it had."""

    def __init__(self, function: str, room: str) -> None:
        super().__init__(function, 0, "unknown", f"the stack takes more than {room}")
        self.args = (f"{function}: {self.reason}; make the network smaller",)


class EmulatorLost(EmulatorFault):
    """The emulator ended, or went silent, before `function` had returned: it was killed, or crashed."""

    def __init__(self, function: str, emulator: str, reason: str) -> None:
        super().__init__(function, 0, "unknown", f"{emulator} {reason}")
        self.args = (f"{function}: {self.reason}; run it again",)


@dataclass(frozen=True)
class Call:
    """One call: `result` is r0 or w0 as a signed int. Where it was measured, `instructions` is the exact number issued, those that an IT
    block skips included, `stack_bytes` reaches to the deepest byte of the stack that was written (to 4 bytes), and `blocks` are those that
    make up the instructions."""

    result: int
    instructions: int | None
    stack_bytes: int | None
    blocks: tuple[Block, ...] = field(default=(), compare=False, repr=False)
