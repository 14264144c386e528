"""What each compiler is told: for which processor and ABI, how strict, how fast; in the spelling of its family."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labc import kernels
from labc.errors import NOT_HERE, LabcError
from labc.target import Target

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
_PORTABLE = ("-std=c11", "-g0", "-ffp-contract=off", "-fomit-frame-pointer")
_FIRMWARE = ("-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
# core: zig's name, zig's FPU feature, gcc's FPU; the sources are GCC's "ARM Options" and LLVM's ARMProcessors.td.
_CORES: dict[str, tuple[str, str | None, str | None]] = {
    "cortex-m0": ("cortex_m0", None, None),
    "cortex-m0plus": ("cortex_m0plus", None, None),
    "cortex-m3": ("cortex_m3", None, None),
    "cortex-m4": ("cortex_m4", "vfp4d16sp", "fpv4-sp-d16"),
    "cortex-m7": ("cortex_m7", "fp_armv8d16", "fpv5-d16"),
    "cortex-m33": ("cortex_m33", "fp_armv8d16sp", "fpv5-sp-d16"),
    "cortex-a7": ("cortex_a7", "neon", "neon-vfpv4"),
    "cortex-a53": ("cortex_a53", "neon", None),
}
# The application cores among them, and their kind.
_A_CORES = {"cortex-a7": "armv7", "cortex-a53": "aarch64"}


@dataclass(frozen=True)
class Toolchain:
    """One compiler that was found: `cc` and `ar` are command lines to which arguments are appended.

    `name` is what users call it (gcc, clang, zig, arm-none-eabi-gcc), `family` decides how flags are spelled, `version` is the
    compiler's own ("12.2.0").
    """

    name: str
    family: Literal["gcc", "clang", "zig"]
    version: str
    cc: tuple[str, ...]
    ar: tuple[str, ...]


def kind_of(target: Target) -> str:
    """Which compilers make code for a target: host, x86-64, cortex-m, aarch64 or armv7."""
    if target.cpu is None:
        return "host" if target.machine is None else "x86-64"
    return _A_CORES.get(target.cpu, "cortex-m")


def host_machine() -> str:
    """The architecture of this process, as rows of runtime/kernels.def name it: x86_64, aarch64; another as the system calls it."""
    import platform

    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine) if sys.maxsize > 2**32 else f"{machine}, 32-bit"


def machine_flags(toolchain: Toolchain, target: Target) -> tuple[str, ...]:
    """Flags that say for which processor and ABI; the compiler and the linker both need them."""
    if target.cpu is None:
        # Without -target zig takes every instruction of the machine it runs on.
        if toolchain.family == "zig":
            return ("-target", _zig_host(target.machine or host_machine()))
        return () if target.machine is None else ("-march=x86-64",)  # compilers may be set up for more
    if target.cpu not in _CORES:
        raise LabcError(f"{target.name}: core {target.cpu!r} not known; known cores: {', '.join(_CORES)}")
    zig_cpu, zig_fpu, gcc_fpu = _CORES[target.cpu]
    hard = target.float_abi == "hard"
    if hard and zig_fpu is None:
        raise LabcError(f"{target.name}: {target.cpu} has no FPU; use the soft float ABI")
    kind = kind_of(target)
    if kind != "cortex-m" and not hard:
        raise LabcError(f"{target.name}: {target.cpu} is built for with the hard float ABI only; use that")
    if toolchain.family == "zig":  # its cores have no FPU until one is named
        machine = {"aarch64": "aarch64-freestanding-none", "armv7": "arm-freestanding-eabihf"}.get(
            kind, "thumb-freestanding-eabihf" if hard else "thumb-freestanding-eabi"
        )
        return ("-target", machine, f"-mcpu={zig_cpu}" + (f"+{zig_fpu}" if hard else ""))
    if kind == "aarch64":
        return (f"-mcpu={target.cpu}",)
    if kind == "armv7":  # ARM code, no Thumb: what compilers for Linux are set up for differs
        return (f"-mcpu={target.cpu}", "-marm", "-mfloat-abi=hard", f"-mfpu={gcc_fpu}")
    return (f"-mcpu={target.cpu}", "-mthumb", *(("-mfloat-abi=hard", f"-mfpu={gcc_fpu}") if hard else ("-mfloat-abi=soft",)))


def _zig_host(machine: str) -> str:
    """This system on `machine` as zig spells it. Only Linux runs our tests; glibc 2.17 is the oldest zig has."""
    import platform

    libc = "gnu.2.17" if platform.libc_ver()[0] == "glibc" else "musl"
    system = {"linux": f"linux-{libc}", "darwin": "macos", "win32": "windows-gnu"}.get(sys.platform)
    if machine not in ("x86_64", "aarch64") or system is None:
        raise LabcError(f"host: zig's name of {machine} on {sys.platform} is not known to labc; install gcc or clang", code=NOT_HERE)
    return f"{machine}-{system}"


def compile_flags(toolchain: Toolchain, target: Target) -> tuple[str, ...]:
    """All flags of one compilation but files and folders. No family may fuse a product into a sum, anywhere."""
    zig = ("-fno-sanitize=undefined",) if toolchain.family == "zig" else ()
    firmware = ("-Os", *_FIRMWARE) if kind_of(target) == "cortex-m" else ("-O2", "-fPIE", "-fno-stack-protector", *_FIRMWARE)
    place = firmware if target.cpu is not None else ("-O2",) if sys.platform == "win32" else ("-O2", "-fPIC")
    return (*machine_flags(toolchain, target), *place, *_PORTABLE, *zig, *WARNINGS)


def isa_flags(source: Path) -> tuple[str, ...]:
    """The flags of one file beyond `compile_flags`: those of the ISA whose kernels it has; gcc, clang and zig spell them alike."""
    isa = kernels.isa_of(source)
    return isa.flags if isa else ()
