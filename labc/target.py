"""What code is made for: an instruction set, its float ABI, its byte order, the width of its `int`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from labc.errors import LabcError

FloatAbi = Literal["native", "hard", "soft"]


@dataclass(frozen=True)
class Target:
    """One row of `TARGETS`; a variant is made with `with_core`.

    `isas` names rows of runtime/kernels.def, best first, `scalar` last. `cpu` is a core of `CORES`, or None for
    this machine. `float_abi`: "hard" passes floats in FPU registers, "soft" uses no FPU at all, "native" is the platform's own.
    `int_bits` is the width of C's `int`. `flash_bytes` and `ram_bytes` are the memory there is, None where nobody says; `board` is the
    board that does. `linker_script`: its programs are linked by a script that says where memory is, not for an operating system.

    The host's `isas` are those of every processor; `labc.toolchain.host_isas` knows what this one adds. `levels`, some of `isas`: the
    library holds a network for each and chooses when it runs, on the architecture `machine` (a name of runtime/kernels.def).
    """

    name: str
    description: str
    isas: tuple[str, ...]
    cpu: str | None
    float_abi: FloatAbi
    endian: Literal["little", "big"]
    int_bits: int
    flash_bytes: int | None
    ram_bytes: int | None
    levels: tuple[str, ...] = ()
    machine: str | None = None
    board: str | None = None
    linker_script: bool = False


@dataclass(frozen=True)
class Core:
    """A core of a target: the float ABIs it has, the default first; the rows of runtime/kernels.def that this core has beyond those
    of every core of its target, with its default float ABI, best first."""

    target: str
    float_abis: tuple[FloatAbi, ...]
    isas: tuple[str, ...] = ()


_X86 = ("avx512", "avx512bw", "avx2", "scalar")

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("host", "this machine", ("scalar",), None, "native", sys.byteorder, 32, None, None),
        Target(
            "arm",
            "Arm Cortex-M4 with FPU, hard-float",
            ("cortexm", "scalar"),
            "cortex-m4",
            "hard",
            "little",
            32,
            None,
            None,
            linker_script=True,
        ),
        Target("aarch64", "64-bit Arm with NEON, from Cortex-A53 on", ("neon", "scalar"), "cortex-a53", "hard", "little", 32, None, None),
        Target("armv7", "32-bit Arm with NEON, from Cortex-A7 on", ("neon", "scalar"), "cortex-a7", "hard", "little", 32, None, None),
        Target("riscv32", "32-bit RISC-V, RV32IMAC", ("scalar",), "rv32imac", "soft", "little", 32, None, None, linker_script=True),
        Target("riscv64", "64-bit RISC-V, RV64GC", ("scalar",), "rv64gc", "hard", "little", 32, None, None, linker_script=True),
        Target("wasm32", "WebAssembly with simd128", ("simd128", "scalar"), "wasm32-simd128", "hard", "little", 32, None, None),
        Target(
            "avr",
            "8-bit AVR with a 16-bit int, ATmega328P",
            ("scalar",),
            "atmega328p",
            "soft",
            "little",
            16,
            None,
            None,
            linker_script=True,
        ),
        Target("big-endian", "MIPS32, to test byte order", ("scalar",), "mips32r2", "soft", "big", 32, None, None),
        Target("x86-64", "any x86-64: uses up to AVX-512 if it is there", _X86, None, "native", "little", 32, None, None, _X86, "x86_64"),
    )
}

# The default of each target comes first. Which have an FPU: the cores' technical reference manuals; the single-precision one
# that a Cortex-M7, M33 or M55 may be made without is taken to be there.
CORES: dict[str, Core] = {
    "cortex-m4": Core("arm", ("hard", "soft")),
    "cortex-m0": Core("arm", ("soft",)),
    "cortex-m0plus": Core("arm", ("soft",)),
    "cortex-m3": Core("arm", ("soft",)),
    "cortex-m7": Core("arm", ("hard", "soft")),
    "cortex-m33": Core("arm", ("hard", "soft")),
    "cortex-m55": Core("arm", ("hard", "soft"), ("mve",)),
    "cortex-a53": Core("aarch64", ("hard",)),
    "cortex-a72": Core("aarch64", ("hard",)),
    "cortex-a7": Core("armv7", ("hard",)),
    "rv32imac": Core("riscv32", ("soft",)),
    "rv32imc": Core("riscv32", ("soft",)),
    "rv32imac_zbb": Core("riscv32", ("soft",), ("zbb32",)),
    "rv64gc": Core("riscv64", ("hard",)),
    "rv64gc_zbb": Core("riscv64", ("hard",), ("zbb64",)),
    "wasm32-simd128": Core("wasm32", ("hard",), ("simd128",)),
    "wasm32": Core("wasm32", ("hard",)),
    "atmega328p": Core("avr", ("soft",)),
    "mips32r2": Core("big-endian", ("soft",)),
}


# Processors whose byte order one target stands for.
_BIG_ENDIAN = (
    "mips",
    "mips32",
    "mips32r2",
    "mips64",
    "powerpc",
    "powerpc64",
    "ppc",
    "ppc64",
    "s390x",
    "sparc",
    "sparc64",
    "aarch64_be",
    "armeb",
)


def with_core(target: Target, cpu: str | None = None, float_abi: str | None = None) -> Target:
    """`target` on its core `cpu` (short names too: m0plus), with a float ABI that this core has; None: the default.

    Raises LabcError for a core that is not the target's, or a float ABI that is not the core's.
    """
    if cpu is None and float_abi is None:
        return target
    cores = [name for name, core in CORES.items() if core.target == target.name]
    if not cores:
        what = "--cpu" if cpu is not None else "--float-abi"
        raise LabcError(f"{what}: target {target.name} has no choice of it; leave it out, or name another --target")
    name = cpu or target.cpu or cores[0]
    name = f"cortex-{name}" if f"cortex-{name}" in cores else name
    if name not in cores:
        raise LabcError(f"--cpu: core {cpu!r} not known for target {target.name}; {nearest(name, cores)}its cores: {', '.join(cores)}")
    abis = CORES[name].float_abis
    default = target.float_abi if name == target.cpu else abis[0]
    chosen = next((abi for abi in abis if abi == (float_abi or default)), None)
    if chosen is None:
        if float_abi in ("hard", "soft"):
            raise LabcError(f"--float-abi: {name} is built for with the {abis[0]} float ABI only; leave it out")
        raise LabcError(f"--float-abi: {float_abi!r} is none; {nearest(str(float_abi), abis)}{name} has {' and '.join(abis)}")
    more = CORES[name].isas if chosen == abis[0] else ()
    own = {isa for core in cores for isa in CORES[core].isas}
    common = tuple(isa for isa in TARGETS[target.name].isas if isa not in own)
    return replace(target, cpu=name, float_abi=chosen, isas=(*more, *common))


def with_levels(target: Target, levels: Sequence[str] | None) -> Target:
    """`target` with those of its levels that are named, and always `scalar`; None: as it is.

    Raises LabcError for a level that the target does not have, or if it has none to choose from.
    """
    if levels is None:
        return target
    if not target.levels:
        raise LabcError(f"--levels: target {target.name} has none to choose from; leave it out, or name --target x86-64")
    if unknown := [level for level in levels if level not in target.levels]:
        near = nearest(unknown[0], target.levels)
        raise LabcError(f"--levels: level {unknown[0]!r} not known; {near}{target.name} has {', '.join(target.levels)}")
    return replace(target, levels=tuple(level for level in target.levels if level in levels or level == "scalar"))


def find(name: str) -> Target:
    """The target called `name`; LabcError names the nearest and all that are known."""
    if name in TARGETS:
        return TARGETS[name]
    core = next((core for core in (name, f"cortex-{name}") if core in CORES), None)
    if core is not None and CORES[core].target != name:
        raise LabcError(f"target {name!r}: is a core; name it with --target {CORES[core].target} --cpu {core}")
    meant = "big-endian" if name in _BIG_ENDIAN else name
    raise LabcError(f"target {name!r}: not known; {nearest(meant, TARGETS)}known targets: {', '.join(TARGETS)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'? " where one of `known` is like `name`, or has it in it, else nothing."""
    from difflib import get_close_matches

    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5) or [one for one in known if len(name) > 1 and name in one]
    return f"did you mean {near[0]!r}? " if near else ""
