"""What code is made for: an instruction set, its float ABI, its byte order, the width of its `int`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from labc.errors import LabcError


@dataclass(frozen=True)
class Target:
    """One row of `TARGETS`; a variant is made with `dataclasses.replace(target, cpu=…, float_abi=…)`.

    `isas` names rows of runtime/kernels.def, best first, `scalar` last. `cpu` is a Cortex-M core in GNU spelling, or None for
    this machine. `float_abi`: "hard" passes floats in FPU registers, "soft" uses no FPU at all, "native" is the platform's own.
    `int_bits` is the width of C's `int`. `flash_bytes` and `ram_bytes` are the memory there is, None where no board says.
    """

    name: str
    description: str
    isas: tuple[str, ...]
    cpu: str | None
    float_abi: Literal["native", "hard", "soft"]
    endian: Literal["little", "big"]
    int_bits: int
    flash_bytes: int | None
    ram_bytes: int | None


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("host", "this machine", ("scalar",), None, "native", sys.byteorder, 32, None, None),
        Target("arm", "Arm Cortex-M4 with FPU, hard-float", ("scalar",), "cortex-m4", "hard", "little", 32, None, None),
    )
}


def find(name: str) -> Target:
    """The target called `name`; LabcError names the nearest and all that are known."""
    if name in TARGETS:
        return TARGETS[name]
    from difflib import get_close_matches

    near = get_close_matches(name, TARGETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise LabcError(f"target {name!r}: not known; {hint}known targets: {', '.join(TARGETS)}")
