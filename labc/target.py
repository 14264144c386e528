"""What code is made for: an instruction set, its float ABI, its byte order, the width of its `int`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from labc.errors import LabcError


@dataclass(frozen=True)
class Target:
    """One row of `TARGETS`; a variant is made with `dataclasses.replace(target, cpu=…, float_abi=…)`.

    `isas` names rows of runtime/kernels.def, best first, `scalar` last. `cpu` is an Arm core in GNU spelling, or None for
    this machine. `float_abi`: "hard" passes floats in FPU registers, "soft" uses no FPU at all, "native" is the platform's own.
    `int_bits` is the width of C's `int`. `flash_bytes` and `ram_bytes` are the memory there is, None where no board says.

    The host's `isas` are those of every processor; `labc.toolchain.host_isas` knows what this one adds. `levels`, some of `isas`: the
    library holds a network for each and chooses when it runs, on the architecture `machine` (a name of runtime/kernels.def).
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
    levels: tuple[str, ...] = ()
    machine: str | None = None


_X86 = ("avx512", "avx512bw", "avx2", "scalar")

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("host", "this machine", ("scalar",), None, "native", sys.byteorder, 32, None, None),
        Target("arm", "Arm Cortex-M4 with FPU, hard-float", ("cortexm", "scalar"), "cortex-m4", "hard", "little", 32, None, None),
        Target("aarch64", "64-bit Arm with NEON, from Cortex-A53 on", ("neon", "scalar"), "cortex-a53", "hard", "little", 32, None, None),
        Target("armv7", "32-bit Arm with NEON, from Cortex-A7 on", ("neon", "scalar"), "cortex-a7", "hard", "little", 32, None, None),
        Target("x86-64", "any x86-64: uses up to AVX-512 if it is there", _X86, None, "native", "little", 32, None, None, _X86, "x86_64"),
    )
}


def with_levels(target: Target, levels: Sequence[str] | None) -> Target:
    """`target` with those of its levels that are named, and always `scalar`; None: as it is.

    Raises LabcError for a level that the target does not have, or if it has none to choose from.
    """
    if levels is None:
        return target
    if not target.levels:
        raise LabcError(f"--levels: target {target.name} has none to choose from; leave it out, or name --target x86-64")
    if unknown := [level for level in levels if level not in target.levels]:
        raise LabcError(f"--levels: level {unknown[0]!r} not known; {target.name} has {', '.join(target.levels)}")
    return replace(target, levels=tuple(level for level in target.levels if level in levels or level == "scalar"))


def find(name: str) -> Target:
    """The target called `name`; LabcError names the nearest and all that are known."""
    if name in TARGETS:
        return TARGETS[name]
    from difflib import get_close_matches

    near = get_close_matches(name, TARGETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise LabcError(f"target {name!r}: not known; {hint}known targets: {', '.join(TARGETS)}")
