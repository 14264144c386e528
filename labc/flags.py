"""What each compiler is told: for which processor and ABI, how strict, how fast; in the spelling of its family."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labc import kernels
from labc.errors import NOT_HERE, LabcError
from labc.target import CORES, Target

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
_PORTABLE = ("-std=c11", "-g0", "-ffp-contract=off", "-fomit-frame-pointer")
_FIRMWARE = ("-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
# core: zig's name, what zig must be told for its hard float ABI, gcc's FPU; from GCC's "ARM Options" and LLVM's processor tables.
# The FPU of a Cortex-M7 is named as single precision: code for that runs where it is double, too. Of MVE only the integer half is used:
# its floats flush subnormals (Armv8-M ARM, "Flush-to-zero mode").
_CORES: dict[str, tuple[str, str | None, str | None]] = {
    "cortex-m0": ("cortex_m0", None, None),
    "cortex-m0plus": ("cortex_m0plus", None, None),
    "cortex-m3": ("cortex_m3", None, None),
    "cortex-m4": ("cortex_m4", "vfp4d16sp", "fpv4-sp-d16"),
    "cortex-m7": ("cortex_m7", "fp_armv8d16sp", "fpv5-sp-d16"),
    "cortex-m33": ("cortex_m33", "fp_armv8d16sp", "fpv5-sp-d16"),
    "cortex-m55": ("cortex_m55", "fp_armv8d16sp+mve", "auto"),
    "cortex-a7": ("cortex_a7", "neon", "neon-vfpv4"),
    "cortex-a53": ("cortex_a53", "neon", None),
    "cortex-a72": ("cortex_a72", "neon", None),
    "rv32imac": ("generic_rv32+m+a+c", None, None),
    "rv32imc": ("generic_rv32+m+c", None, None),
    "rv32imac_zbb": ("generic_rv32+m+a+c+zbb", None, None),
    "rv64gc": ("generic_rv64+m+a+c", "f+d", None),
    "rv64gc_zbb": ("generic_rv64+m+a+c+zbb", "f+d", None),
    "wasm32-simd128": ("generic", "simd128", None),
    "wasm32": ("generic", "", None),
    "atmega328p": ("atmega328p", None, None),
    "mips32r2": ("mips32r2", None, None),
}
# What gcc is told instead of -mcpu for the extensions of a Cortex-M55: MVE without floats, or neither.
_M55 = {"hard": "cortex-m55+nomve.fp", "soft": "cortex-m55+nomve+nofp"}
_ZIG_MACHINES = {
    "aarch64": "aarch64-freestanding-none",
    "armv7": "arm-freestanding-eabihf",
    "riscv32": "riscv32-freestanding-none",
    "riscv64": "riscv64-freestanding-none",
    "wasm32": "wasm32-freestanding-musl",
    "big-endian": "mips-freestanding-eabi",
}
_CLANG_MACHINES = {
    "cortex-m": "arm-none-eabi",
    "aarch64": "aarch64-none-elf",
    "armv7": "armv7a-none-eabi",
    "riscv32": "riscv32-unknown-elf",
    "riscv64": "riscv64-unknown-elf",
    "wasm32": "wasm32-unknown-unknown",
    "big-endian": "mips-none-elf",
}
_MIPS = ("-mno-abicalls", "-fno-pic", "-G0")  # functions are called from outside, without the registers that code for Linux expects
# Of small chips, where size comes first.
_SMALL = ("cortex-m", "riscv32", "avr")


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
    """Which compilers make code for a target: host, cortex-m for arm, else the target's own name."""
    if target.cpu is None:
        return "host" if target.machine is None else "x86-64"
    core = CORES.get(target.cpu)
    return "cortex-m" if core is None or core.target == "arm" else core.target


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
    zig_cpu, zig_fpu, _ = _CORES[target.cpu]
    hard = target.float_abi == "hard"
    if hard and zig_fpu is None:
        raise LabcError(f"{target.name}: {target.cpu} has no FPU; use the soft float ABI")
    kind = kind_of(target)
    if not hard and CORES[target.cpu].float_abis == ("hard",):
        raise LabcError(f"{target.name}: {target.cpu} is built for with the hard float ABI only; use that")
    if toolchain.family == "zig":  # its cores have no FPU until one is named
        machine = _ZIG_MACHINES.get(kind, "thumb-freestanding-eabihf" if hard else "thumb-freestanding-eabi")
        more = {"big-endian": ("-msoft-float", *_MIPS), "riscv64": ("-mabi=lp64d", "-mcmodel=medany")}.get(kind, ())
        return ("-target", machine, f"-mcpu={zig_cpu}" + (f"+{zig_fpu}" if hard and zig_fpu else ""), *more)
    if toolchain.family == "gcc":
        return _processor_flags(target, clang=False)
    # -meabi gnu: memory is copied and cleared by memcpy and memset, as GNU's compiler has it; its libgcc has no __aeabi_memcpy.
    eabi = ("-meabi", "gnu") if kind in ("cortex-m", "armv7") else ()
    return (f"--target={_CLANG_MACHINES[kind]}", *eabi, *_processor_flags(target, clang=True))


def _processor_flags(target: Target, *, clang: bool) -> tuple[str, ...]:
    """Flags for processor and ABI that gcc and clang share."""
    kind, gcc_fpu = kind_of(target), _CORES[target.cpu or ""][2]
    match kind:
        case "aarch64":
            return (f"-mcpu={target.cpu}",)
        case "armv7":  # ARM code, no Thumb: what compilers for Linux are set up for differs
            return (f"-mcpu={target.cpu}", "-marm", "-mfloat-abi=hard", f"-mfpu={gcc_fpu}")
        case "wasm32":
            return (
                "-mcpu=generic",
                "-mmutable-globals",
                *(("-msimd128",) if target.cpu == "wasm32-simd128" else ()),
            )  # it exports its stack pointer
        case "riscv32" | "riscv64":
            abi = "ilp32" if kind == "riscv32" else "lp64d"
            return (f"-march={target.cpu}", f"-mabi={abi}", "-mcmodel=medany", "-msmall-data-limit=0")
        case "avr":
            return (f"-mmcu={target.cpu}",)
        case "big-endian":
            return (f"-march={target.cpu}", "-EB", "-mabi=32", "-msoft-float", *_MIPS)
    cpu = _M55[target.float_abi] if target.cpu == "cortex-m55" else target.cpu
    fpu = () if gcc_fpu == "auto" and clang else (f"-mfpu={gcc_fpu}",)  # clang takes a Cortex-M55's from -mcpu alone
    return (f"-mcpu={cpu}", "-mthumb", *(("-mfloat-abi=hard", *fpu) if target.float_abi == "hard" else ("-mfloat-abi=soft",)))


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
    kind = kind_of(target)
    if kind in _SMALL:
        firmware = ("-Os", *_FIRMWARE)
    else:
        firmware = ("-O2", *(("-fPIE",) if kind in ("aarch64", "armv7") else ()), "-fno-stack-protector", *_FIRMWARE)
    place = firmware if target.cpu is not None else ("-O2",) if sys.platform == "win32" else ("-O2", "-fPIC")
    return (*machine_flags(toolchain, target), *place, *_PORTABLE, *zig, *WARNINGS)


def prefix_map_flag(toolchain: Toolchain, folder: Path) -> str:
    """What keeps the name of a folder out of objects; gcc before 8 knows it for debug information only, and -g0 makes none."""
    old = toolchain.family == "gcc" and int(toolchain.version.partition(".")[0]) < 8
    return f"-f{'debug' if old else 'file'}-prefix-map={folder}=."


def isa_flags(source: Path) -> tuple[str, ...]:
    """The flags of one file beyond `compile_flags`: those of the ISA whose kernels it has; gcc, clang and zig spell them alike."""
    isa = kernels.isa_of(source)
    return isa.flags if isa else ()
