"""Find the C compilers of this machine, and try each before it is taken.

Three families are spoken: gcc, clang, and zig (the `ziglang` wheel: clang with a linker and run-time support for every target).
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

from labc import candidates, kernels
from labc.compiling import ask, compile_objects, link_shared, shared_name
from labc.errors import NOT_HERE, LabcError
from labc.flags import Toolchain, host_machine, kind_of
from labc.image import try_image
from labc.resources import folder
from labc.target import TARGETS, Target, nearest

# How the triple of a compiler begins that makes code for it. RISC-V's compilers make code for cores of both widths; the trial tells.
_TRIPLES = {
    "x86-64": "x86_64",
    "cortex-m": "arm-none-eabi",
    "aarch64": "aarch64",
    "armv7": "arm-linux-gnueabihf",
    "riscv32": "riscv",
    "riscv64": "riscv",
    "avr": "avr",
    "big-endian": "mips-",
}
_HOSTS = ("host", "x86-64")


def find(target: Target, force: str | None = None) -> Toolchain:
    """The first compiler that works for `target`; only `force` (a name from `survey`, a command or a path) where it is given.

    In the order of `candidates.NAMES`: for this machine and Cortex-M GNU's compilers come first, else clang, everywhere the wheel last.
    Raises LabcError (NOT_HERE) with what was tried and what to install.
    """
    kind = kind_of(target)
    names = candidates.NAMES[kind]
    reasons = []
    for name in names if force is None else (force,):
        found = _inspect(name, target)
        if isinstance(found, Toolchain):
            return found
        reasons.append(f"{name}: {found}")
    near = nearest(force, names) if force and force not in names else ""
    remedy = ", or ".join([f"{near}name another compiler", *_ways(kind)] if force else _ways(kind))
    raise LabcError(f"{target.name}: no compiler works here ({'; '.join(reasons)}); {remedy}", code=NOT_HERE)


def _ways(kind: str) -> list[str]:
    """What to do for a compiler: the wheel, or one of the system."""
    wheel = [f"{candidates.install('zig')} (the ziglang wheel)"] if "zig" in candidates.NAMES[kind] else []
    if kind in _HOSTS:
        return [*wheel, "install a C compiler (Debian, Ubuntu: apt install gcc libc6-dev)"]
    names = candidates.gnu(kind) or ("clang",)
    return [*wheel, *(f"install {names[0]} (Debian, Ubuntu: {way})" for way in [candidates.install(names[0])] if way)]


def survey(target: Target) -> list[tuple[str, Toolchain | str]]:
    """Every compiler labc looks for, best first: its name, and what was found or the reason why not."""
    return [(name, _inspect(name, target)) for name in candidates.NAMES[kind_of(target)]]


def _inspect(name: str, target: Target) -> Toolchain | str:
    """The compiler called `name`, after a trial, or the reason why it will not do."""
    try:
        zig = name == "zig" or Path(name).stem.startswith("zig")
        return _inspect_zig(name, target) if zig else _inspect_cc(name, target)
    except LabcError as error:
        return str(error)


def _inspect_zig(name: str, target: Target) -> Toolchain | str:
    if "zig" not in candidates.NAMES[kind_of(target)]:
        return "has no C library for AVR; take avr-gcc (apt install gcc-avr avr-libc)"
    program = shutil.which(name) if name != "zig" else _wheel_zig()
    if program is None:
        return "the ziglang wheel is not installed" if name == "zig" else "not found"
    return Toolchain("zig", "zig", ask((program,), "version"), (program, "cc"), (program, "ar"))


def _wheel_zig() -> str | None:
    """The zig program inside the ziglang wheel, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / ("zig.exe" if sys.platform == "win32" else "zig")
    return str(program) if program.is_file() else None


def _inspect_cc(name: str, target: Target) -> Toolchain | str:
    program = shutil.which(name)
    if program is None:
        return "not on PATH"
    words = ask((program,), "-v")
    who = re.search(r"\b(gcc|clang) version (\d\S*)", words)
    machine = re.search(r"^Target: (\S+)", words, re.MULTILINE)
    if who is None or machine is None:
        return f"{program} -v answers like neither gcc nor clang"
    kind = kind_of(target)
    family: Literal["gcc", "clang"] = "gcc" if who[1] == "gcc" else "clang"
    if family == "clang" and kind == "avr":
        return "would take AVR's C library, start-up code, libgcc and linker from avr-gcc; take that (apt install gcc-avr avr-libc)"
    crosses = family == "clang" and kind not in _HOSTS  # for every target alike
    if kind != "host" and not crosses and not machine[1].startswith(_TRIPLES.get(kind, kind)):
        return f"compiles for {machine[1]}, not for {target.cpu or target.machine}"
    ar_name = "llvm-ar" if crosses else "ar"
    ar = shutil.which(ask((program,), f"-print-prog-name={ar_name}"))
    if ar is None:
        return f"its {ar_name} is not there"
    shown = family if Path(name).stem in ("cc", "c99", "c11") else Path(name).name
    toolchain = Toolchain(shown, family, who[2], (program,), (ar,))
    return _trial(toolchain, target) or toolchain


def _trial(toolchain: Toolchain, target: Target) -> str | None:
    """None if a small file compiles, and on the host links and loads, for a core links; else the reason (a gcc without C headers is
    common, a clang too old for a core, or without what finishes an image)."""
    try:
        if not_here(target) is None:
            cpu_features(toolchain)
            return None
        with tempfile.TemporaryDirectory(prefix="labc-", ignore_cleanup_errors=True) as name:
            if target.cpu is None:
                compile_objects(toolchain, target, [folder("runtime") / "cpu.c"], [], Path(name))
            else:
                try_image(toolchain, target, Path(name))
    except LabcError as error:
        return str(error).partition("; by hand")[0]
    return None


@cache
def cpu_features(toolchain: Toolchain) -> int:
    """What labc_cpu_features of runtime/cpu.c, compiled, linked and loaded here, says of this processor: a sum of LABC_CPU_*.

    Raises LabcError if the toolchain cannot make it, or (NOT_HERE) if what it makes does not load.
    """
    from ctypes import CDLL

    with tempfile.TemporaryDirectory(prefix="labc-", ignore_cleanup_errors=True) as name:
        library = Path(name, shared_name("trial"))
        objects = compile_objects(toolchain, TARGETS["host"], [folder("runtime") / "cpu.c"], [], Path(name))
        link_shared(toolchain, TARGETS["host"], objects, library)
        try:
            loaded = CDLL(str(library))
        except OSError as error:
            raise LabcError(f"{toolchain.name}: makes a library that does not load here ({error})", code=NOT_HERE) from error
        return int(loaded.labc_cpu_features())


def host_isas(toolchain: Toolchain) -> tuple[str, ...]:
    """The ISAs of runtime/kernels.def that this machine's processor runs, best first. Raises LabcError if it cannot be asked."""
    return kernels.runnable(host_machine(), cpu_features(toolchain))


def not_here(target: Target) -> str | None:
    """None if what is built for `target` is for processors like this machine's and can be loaded; else the reason why not."""
    if target.cpu is None and target.machine in (None, host_machine()):
        return None
    return f"it is for {target.cpu or target.machine}, this machine is {host_machine()}"
