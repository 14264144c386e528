"""What a network costs on a chip: bytes of the linked image, stack and instructions of one inference on its emulated core."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labc import cycles, emulator
from labc.check import Verdict
from labc.check.runners import ChipRunner, images
from labc.errors import NOT_HERE, LabcError
from labc.flags import Toolchain
from labc.ir.core import Array
from labc.plan import Plan, largest

_INPUTS = {"u8": np.uint8, "i8": np.int8}


def example(made: Plan) -> Array:
    """The input that all costs are those of: the first golden vector's, as [size]."""
    return np.array(made.golden[0].inputs, _INPUTS[made.input_element])


@dataclass(frozen=True)
class ChipCost:
    """What a network costs on a chip, in bytes and executed instructions; flash and RAM from the linked ELF.

    Where nothing was run, for the reason `not_run`, `ram` is without a stack, and that and the counts are None.
    """

    flash: int  # text and read-only data of the network: no vectors, no start-up code, no self-test
    ram: int  # arena + stack + data + bss
    arena: int
    stack: int | None
    instructions: int | None  # of one NAME_run; None where the emulator cannot count
    predict_instructions: int | None
    self_test: int = 0  # flash that calling NAME_self_test takes besides, its golden vectors included
    layers: tuple[tuple[str, int], ...] = ()  # executed instructions of each step of NAME_run, where they were counted
    cycles: cycles.Estimate | None = None  # of one NAME_run
    no_cycles: str = ""  # why there is no such estimate
    layer_cycles: tuple[tuple[str, float, float], ...] = ()  # least and most of each step, where there is one
    not_run: str = ""


def linked(made: Plan, sections: dict[str, int], not_run: str = "") -> ChipCost:
    """What is known of an image of `sections` (`runners.images`) that was not run."""
    return ChipCost(
        flash=sections["flash"] - sections["image"],
        ram=made.arena_bytes + sections["ram"],
        arena=made.arena_bytes,
        stack=None,
        instructions=None,
        predict_instructions=None,
        self_test=sections["self_test"],
        no_cycles=not_run,
        not_run=not_run,
    )


def run(runner: ChipRunner, x: Array, sections: dict[str, int]) -> ChipCost:
    """What one inference on `x` [size] costs besides."""
    ran, predict = runner.measured(x)
    still, stack = linked(runner.made, sections), max(ran.stack_bytes or 0, predict.stack_bytes or 0)
    estimate = cycles.of(ran.blocks, runner.made.target.cpu or "")
    return replace(
        still,
        ram=still.ram + stack,
        stack=stack,
        instructions=ran.instructions,
        predict_instructions=predict.instructions,
        cycles=None if isinstance(estimate, str) else estimate,
        no_cycles=estimate if isinstance(estimate, str) else "",
    )


def measure(folder: Path, made: Plan, tools: Toolchain, work: Path) -> ChipCost | str:
    """The library in `folder`, linked in the folder `work` and run on the first golden vector; or why its image cannot be read here.

    It is not run where it does not fit its target, where there is no emulator, or where that takes too long. Raises EmulatorFault where
    the core stops.
    """
    try:
        whole, sections = images(folder, made, tools, work)
    except LabcError as error:
        if error.code != NOT_HERE:
            raise
        return str(error)
    still, cpu = linked(made, sections), made.target.cpu or ""
    if any(verdict.status == "failed" for verdict in fit(made, still, "")):
        return still
    if (reason := emulator.available(cpu)) is None:
        try:
            runner = ChipRunner(emulator.load(whole, cpu), made)
        except emulator.EmulatorFault:
            raise
        except LabcError as error:  # the emulator has less memory than the network and its input take
            if error.code != NOT_HERE:
                raise
            return linked(made, sections, str(error))
        try:
            return run(runner, example(made), sections)
        except emulator.EmulatorHang as hang:
            reason = hang.reason
    return linked(made, sections, reason)


def fit(made: Plan, cost: ChipCost, where: str) -> list[Verdict]:
    """Whether what was linked, and run, fits the memory there is; nothing where no limit is known."""
    found = []
    layer, nbytes = largest(made)
    arena = f"the arena takes {made.arena_bytes:,} of it, set by {made.arena_layer}"
    stack = f"the stack {cost.stack or 0:,}, which no layer sets; name more RAM"
    code = cost.flash - made.packed_bytes
    shrink_flash = f"{layer} takes {nbytes:,} of it; make it narrower"
    if made.target.flash_bytes is not None and code > made.target.flash_bytes:
        shrink_flash = f"the code takes {code:,} of it, which no layer sets; name more flash"
    limits = (
        ("flash", cost.flash, made.target.flash_bytes, shrink_flash),
        (
            "RAM",
            cost.ram,
            made.target.ram_bytes,
            f"{arena}, {stack}" if (cost.stack or 0) > made.arena_bytes else f"{arena}; make it narrower",
        ),
    )
    for what, used, there, shrink in limits:
        if there is not None:
            share = f"{used:,} of {there:,} bytes"
            over = f"{share}, {used - there:,} too many; {shrink}"
            more = used + cost.self_test - there if what == "flash" else 0
            share += f"; with the self-test {more:,} too many" if more > 0 else ""
            found.append(Verdict(f"{what} ({where})", "failed" if used > there else "passed", over if used > there else share))
    return found
