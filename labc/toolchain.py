"""Find the C compilers of this machine, spell the flags of each, compile, archive and link with them.

Three families are spoken: gcc, clang, and zig (the `ziglang` wheel: clang with a linker and run-time support for every target).
No environment variable changes what comes out: the ones that compilers read are not passed on. The same sources, target and
compiler give the same bytes from any folder. Each command has a time limit and ends, with all it started, when labc ends.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from labc import kernels
from labc.errors import NOT_HERE, LabcError
from labc.flags import WARNINGS as WARNINGS
from labc.flags import Toolchain as Toolchain
from labc.flags import compile_flags as compile_flags
from labc.flags import host_machine as host_machine
from labc.flags import isa_flags as isa_flags
from labc.flags import kind_of, prefix_map_flag
from labc.flags import machine_flags as machine_flags
from labc.process import run
from labc.resources import folder
from labc.target import TARGETS, Target, nearest

_CANDIDATES = {
    "host": ("cc", "gcc", "clang", "zig"),
    "x86-64": ("cc", "gcc", "clang", "zig"),
    "cortex-m": ("arm-none-eabi-gcc", "clang", "zig"),
    "aarch64": ("aarch64-linux-gnu-gcc", "zig"),
    "armv7": ("arm-linux-gnueabihf-gcc", "zig"),
    "riscv32": ("riscv64-unknown-elf-gcc", "zig"),
    "riscv64": ("riscv64-linux-gnu-gcc", "riscv64-unknown-elf-gcc", "zig"),
    "wasm32": ("zig",),
    "avr": ("avr-gcc",),  # zig has no avr/pgmspace.h
    "mips": ("mips-linux-gnu-gcc", "zig"),
}
# How the triple of a compiler begins that makes code for it.
_TRIPLES = {
    "x86-64": "x86_64",
    "cortex-m": "arm-none-eabi",
    "aarch64": "aarch64",
    "armv7": "arm-linux-gnueabihf",
    "riscv32": "riscv64-unknown-elf",
    "riscv64": "riscv64",
    "avr": "avr",
    "mips": "mips-",
}
_WHEEL = "pip install 'labc[cross]' (the ziglang wheel)"
_INSTALL = {
    "host": "a C compiler (Debian, Ubuntu: apt install gcc libc6-dev)",
    "x86-64": "a C compiler (Debian, Ubuntu: apt install gcc libc6-dev)",
    "cortex-m": "arm-none-eabi-gcc (Debian, Ubuntu: apt install gcc-arm-none-eabi)",
    "aarch64": "aarch64-linux-gnu-gcc (Debian, Ubuntu: apt install gcc-aarch64-linux-gnu)",
    "armv7": "arm-linux-gnueabihf-gcc (Debian, Ubuntu: apt install gcc-arm-linux-gnueabihf)",
    "riscv32": "riscv64-unknown-elf-gcc (Debian, Ubuntu: apt install gcc-riscv64-unknown-elf)",
    "riscv64": "riscv64-linux-gnu-gcc (Debian, Ubuntu: apt install gcc-riscv64-linux-gnu)",
    "avr": "avr-gcc (Debian, Ubuntu: apt install gcc-avr avr-libc)",
    "mips": "mips-linux-gnu-gcc (Debian, Ubuntu: apt install gcc-mips-linux-gnu)",
}

# RISC-V cores that unicorn lacks.
_BOARDS_OF_QEMU = ("rv32imac_zbb", "rv64gc_zbb")

# What compilers take from the environment and put into, or look up for, their output (GCC manual, "Environment Variables").
_UNWANTED = re.compile(
    r"ZIG_\w+|(C|LIBRARY_|COMPILER_|LD_RUN_)PATH|\w+_INCLUDE_PATH|GCC_\w+|CCC_\w+|DEPENDENCIES_OUTPUT|SUNPRO_DEPENDENCIES|SOURCE_DATE_EPOCH|_?CL_?"
)


def find(target: Target, force: str | None = None) -> Toolchain:
    """The first compiler that works for `target`; only `force` (a name from `survey`, a command or a path) where it is given.

    Host: cc, gcc, clang on PATH, then the ziglang wheel. Others: GNU's cross compiler, for Cortex-M clang, then the wheel (`_CANDIDATES`).
    Raises LabcError (NOT_HERE) with what was tried and what to install.
    """
    kind = kind_of(target)
    reasons = []
    for name in (force,) if force else _CANDIDATES[kind]:
        found = _inspect(name, target)
        if isinstance(found, Toolchain):
            return found
        reasons.append(f"{name}: {found}")
    ways = [*([_WHEEL] if "zig" in _CANDIDATES[kind] else ()), *([f"install {_INSTALL[kind]}"] if kind in _INSTALL else ())]
    near = nearest(force, _CANDIDATES[kind]) if force and force not in _CANDIDATES[kind] else ""
    remedy = ", or ".join([f"{near}name another compiler", *ways] if force else ways)
    raise LabcError(f"{target.name}: no compiler works here ({'; '.join(reasons)}); {remedy}", code=NOT_HERE)


def survey(target: Target) -> list[tuple[str, Toolchain | str]]:
    """Every compiler labc looks for, best first: its name, and what was found or the reason why not."""
    return [(name, _inspect(name, target)) for name in _CANDIDATES[kind_of(target)]]


def _inspect(name: str, target: Target) -> Toolchain | str:
    """The compiler called `name`, after a trial, or the reason why it will not do."""
    try:
        return _inspect_zig(name) if name == "zig" or Path(name).stem.startswith("zig") else _inspect_cc(name, target)
    except LabcError as error:
        return str(error)


def _inspect_zig(name: str) -> Toolchain | str:
    program = shutil.which(name) if name != "zig" else _wheel_zig()
    if program is None:
        return "the ziglang wheel is not installed" if name == "zig" else "not found"
    version = run([(name, [program, "version"])], _clean_environment())[0].strip()
    return Toolchain("zig", "zig", version, (program, "cc"), (program, "ar"))


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
    env = _clean_environment()
    words = run([(name, [program, "-v"])], env)[0]
    who = re.search(r"\b(gcc|clang) version (\d\S*)", words)
    machine = re.search(r"^Target: (\S+)", words, re.MULTILINE)
    if who is None or machine is None:
        return f"{program} -v answers like neither gcc nor clang"
    kind = kind_of(target)
    family: Literal["gcc", "clang"] = "gcc" if who[1] == "gcc" else "clang"
    crosses = family == "clang" and kind == "cortex-m"  # for every target alike
    if kind != "host" and not crosses and not machine[1].startswith(_TRIPLES[kind]):
        return f"compiles for {machine[1]}, not for {target.cpu or target.machine}"
    ar_name = "llvm-ar" if crosses else "ar"
    ar = shutil.which(run([(name, [program, f"-print-prog-name={ar_name}"])], env)[0].strip())
    if ar is None:
        return f"its {ar_name} is not there"
    shown = family if Path(name).stem in ("cc", "c99", "c11") else Path(name).name
    toolchain = Toolchain(shown, family, who[2], (program,), (ar,))
    return _trial(toolchain, target) or toolchain


def _support_library(toolchain: Toolchain, target: Target) -> str:
    """Where the functions are that clang calls for what a Cortex-M has no instruction for: its own compiler-rt, else the libgcc of a GNU
    compiler for it. Raises LabcError if there is neither, or no linker."""
    env = _clean_environment()
    if shutil.which(run([("clang", [*toolchain.cc, "-print-prog-name=ld.lld"])], env)[0].strip()) is None:
        raise LabcError("its linker, ld.lld, is not there (Debian, Ubuntu: apt install lld)")
    flags = machine_flags(toolchain, target)
    asked = [[*toolchain.cc, *flags, "--rtlib=compiler-rt"]]
    if (gcc := shutil.which("arm-none-eabi-gcc")) is not None:
        asked.append([gcc, *machine_flags(Toolchain("", "gcc", "", (gcc,), ()), target)])
    for command in asked:
        library = run([(command[0], [*command, "-print-libgcc-file-name"])], env)[0].strip()
        if Path(library).is_file():
            return library
    raise LabcError(f"it has no compiler-rt for {target.cpu}, nor is arm-none-eabi-gcc there, whose libgcc would do")


def _trial(toolchain: Toolchain, target: Target) -> str | None:
    """None if a small file compiles, and on the host links and loads; else the reason (a gcc without C headers is common)."""
    try:
        if not_here(target) is None:
            cpu_features(toolchain)
            return None
        with tempfile.TemporaryDirectory(prefix="labc-", ignore_cleanup_errors=True) as name:
            compile_objects(toolchain, target, [folder("runtime") / "cpu.c"], [], Path(name))
        if toolchain.family == "clang" and kind_of(target) == "cortex-m":
            _support_library(toolchain, target)
    except LabcError as error:
        return str(error).partition("; by hand")[0]
    except OSError as error:
        return f"makes a library that does not load here ({error})"
    return None


@cache
def cpu_features(toolchain: Toolchain) -> int:
    """What labc_cpu_features of runtime/cpu.c, compiled, linked and loaded here, says of this processor: a sum of LABC_CPU_*.

    Raises LabcError if the toolchain cannot make it, OSError if what it makes does not load.
    """
    from ctypes import CDLL

    with tempfile.TemporaryDirectory(prefix="labc-", ignore_cleanup_errors=True) as name:
        library = Path(name, shared_name("trial"))
        objects = compile_objects(toolchain, TARGETS["host"], [folder("runtime") / "cpu.c"], [], Path(name))
        link_shared(toolchain, TARGETS["host"], objects, library)
        return int(CDLL(str(library)).labc_cpu_features())


def host_isas(toolchain: Toolchain) -> tuple[str, ...]:
    """The ISAs of runtime/kernels.def that this machine's processor runs, best first. Raises LabcError if it cannot be asked."""
    try:
        return kernels.runnable(host_machine(), cpu_features(toolchain))
    except OSError as error:
        raise LabcError(f"host: {toolchain.name} makes a library that does not load here ({error})", code=NOT_HERE) from error


def not_here(target: Target) -> str | None:
    """None if what is built for `target` is for processors like this machine's and can be loaded; else the reason why not."""
    if target.cpu is None and target.machine in (None, host_machine()):
        return None
    return f"it is for {target.cpu or target.machine}, this machine is {host_machine()}"


def shared_name(name: str) -> str:
    """The file name of the shared library `name` on this machine."""
    return {"win32": f"{name}.dll", "darwin": f"lib{name}.dylib"}.get(sys.platform, f"lib{name}.so")


def compile_objects(
    toolchain: Toolchain,
    target: Target,
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out_dir: Path,
    extra_flags: Sequence[str] = (),
) -> list[Path]:
    """Compile each source to an object in `out_dir` (made if need be), as many at once as there are cores; objects in order.

    A file named like an ISA of runtime/kernels.def gets that row's flags too (`isa_flags`). `extra_flags` come last, so they win.
    Raises LabcError with the first lines a compiler complains in.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    sources, folders = [s.absolute() for s in sources], [d.absolute() for d in include_dirs]
    seen = dict.fromkeys([*(s.parent for s in sources), *folders])
    flags = [*compile_flags(toolchain, target), *(prefix_map_flag(toolchain, d) for d in seen), *(f"-I{d}" for d in folders)]
    stems = [s.stem for s in sources]
    objects = [out_dir / (f"{stem}.o" if stem not in stems[:i] else f"{stem}-{i}.o") for i, stem in enumerate(stems)]
    jobs = [
        (s.name, [*toolchain.cc, *flags, *isa_flags(s), *extra_flags, "-c", str(s), "-o", str(o)])
        for s, o in zip(sources, objects, strict=True)
    ]
    with _environment(toolchain) as env:
        run(jobs, env)
    return objects


def archive(toolchain: Toolchain, objects: Sequence[Path], out: Path) -> Path:
    """Pack `objects`, in this order and without dates or owners, into the static library `out` (replaced if it is there)."""
    out.unlink(missing_ok=True)
    how = "rcs" if sys.platform == "darwin" and toolchain.family != "zig" else "rcsD"  # Apple's ar obeys ZERO_AR_DATE instead
    with _environment(toolchain) as env:
        run([(out.name, [*toolchain.ar, how, str(out), *map(str, objects)])], env)
    return out


def link_shared(toolchain: Toolchain, target: Target, objects: Sequence[Path], out: Path) -> Path:
    """Link `objects` into the shared library `out` for this machine; an undefined symbol is an error, not a surprise at load time."""
    if target.cpu is not None:
        raise LabcError(f"{out.name}: {target.name} has no shared libraries; link an image instead")
    # -Bsymbolic: a library calls its own runtime, also in a program that holds another one of another labc version.
    name = {"darwin": [f"-Wl,-install_name,@rpath/{out.name}"], "win32": []}.get(
        sys.platform, [f"-Wl,-soname,{out.name}", "-Wl,-z,defs", "-Wl,-Bsymbolic"]
    )
    command = [*toolchain.cc, *machine_flags(toolchain, target), "-O2", "-shared", *map(str, objects), *name, "-o", str(out)]
    with _environment(toolchain) as env:
        run([(out.name, command)], env)
    return out


def link_program(toolchain: Toolchain, target: Target, objects: Sequence[Path], out: Path, extra_flags: Sequence[str] = ()) -> Path:
    """Link `objects` into the program `out` for this machine; `extra_flags` as they were compiled with (sanitizers)."""
    command = [*toolchain.cc, *machine_flags(toolchain, target), *extra_flags, *map(str, objects), "-o", str(out)]
    with _environment(toolchain) as env:
        run([(out.name, command)], env)
    return out


def run_program(program: Sequence[str], fine: Sequence[int] = (0,)) -> str:
    """What a program that was built for this machine writes. Raises LabcError if it ends with a status that is not `fine`."""
    return run([(Path(program[0]).name, program)], _clean_environment(), fine)[0]


def link_plugin(toolchain: Toolchain, target: Target, source: Path, out: Path) -> Path:
    """Compile and link `source` into the shared library `out` that a program of this machine loads, whose functions it calls."""
    command = [*toolchain.cc, *machine_flags(toolchain, target), "-O2", "-fPIC", "-shared", *WARNINGS, str(source), "-o", str(out)]
    with _environment(toolchain) as env:
        run([(out.name, command)], env)
    return out


def image_files(target: Target) -> tuple[list[Path], Path | None]:
    """The sources that every image for `target` needs, to be compiled with its others, and the linker script that goes with them.

    A Cortex-M image starts by itself, and so does one for RISC-V with Zbb, which runs on a board of QEMU's, and one for AVR, by its C
    library's start-up code and linker script. The functions of others are called from outside, by the emulator.
    """
    image = folder("runtime") / "image"
    if target.cpu in _BOARDS_OF_QEMU:
        return [image / "riscv.c", image / "memory.c"], image / "riscv.ld"
    match kind_of(target):
        case "cortex-m":
            return [image / "startup.c", image / "memory.c"], image / "cortexm.ld"
        case "avr":
            return [image / "main.c"], None
        case "wasm32":
            return [], None
    return [image / "memory.c"], image / "called.ld"


def link_image(
    toolchain: Toolchain,
    target: Target,
    inputs: Sequence[Path],
    linker_script: Path | None,
    out: Path,
    entry: str | None = None,
    keep: Sequence[str] = (),
) -> Path:
    """Link objects and archives into the image `out`, with its symbols, of what `entry` and the symbols in `keep` reach.

    `entry`: the start-up code's of `image_files`, else the first of `keep`, unless named.
    No C library is used but AVR's: the compiler's own support library is. A symbol in `keep` that nothing defines is an error. The linker
    script it used, which says so, stays beside `out`. For wasm32 `out` is a module that exports the symbols in `keep`.
    """
    if target.cpu is None:
        raise LabcError(f"{out.name}: an image is for an emulated core; link a shared library for the host")
    kind = kind_of(target)
    files = [str(path) for path in inputs]
    with _environment(toolchain) as env:
        # gcc finds its support library by the name of -march, and has none for a core with an extension.
        start = [*toolchain.cc, *machine_flags(toolchain, replace(target, cpu=target.cpu.partition("_")[0]))]
        if kind == "wasm32":
            exports = [f"-Wl,--export={name}" for name in keep]
            command = [*start, "-Os", "-g", *files, "-Wl,--no-entry", "-Wl,--export=__stack_pointer", *exports, "-o", str(out)]
            run([(out.name, command)], env)
            return out
        kind = "virt" if target.cpu in _BOARDS_OF_QEMU else kind
        entry = entry or {"cortex-m": "Reset_Handler", "avr": "main", "virt": "labc_image_start"}.get(kind) or keep[0]
        names = (entry, *keep)
        # Quoted: GNU ld takes a bare `add` or `bad` for a number with a radix suffix.
        externs = " ".join(f'"{name}"' for name in names)
        asserts = "".join(f'ASSERT(DEFINED("{name}"), "{name}: defined nowhere")\n' for name in names)
        script = out.with_name(f"{out.name}.ld")
        script.write_text(f"{linker_script.read_text() if linker_script else ''}\nEXTERN({externs})\n{asserts}")
        options = ["-Wl,--gc-sections"]
        if linker_script is None:  # added to the compiler's own script
            command = [*start, *options, *(f"-Wl,-u,{name}" for name in names), *files, str(script), "-o", str(out)]
            run([(out.name, command)], env)
            return out
        options += [f"-Wl,--entry={entry}", "-Wl,-z,max-page-size=4", "-T", str(script)]
        if toolchain.family == "zig":  # -g: without it zig leaves no symbols in the image
            tail = ["-Os", "-g", *files, *options]
        elif toolchain.family == "clang":
            tail = ["-nostdlib", "-static", "-fuse-ld=lld", *options, "-Wl,--build-id=none", *files, _support_library(toolchain, target)]
        else:
            tail = ["-nostdlib", "-static", "-no-pie", *options, "-Wl,--build-id=none,--start-group", *files, "-lgcc", "-Wl,--end-group"]
        run([(out.name, [*start, *tail, "-o", str(out)])], env)
    return out


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not _UNWANTED.fullmatch(key)} | {"LC_ALL": "C", "ZERO_AR_DATE": "1"}


@contextmanager
def _environment(toolchain: Toolchain) -> Iterator[dict[str, str]]:
    """What a command runs in, with a folder for its temporary files: a compiler that is stopped leaves them lying.

    zig keeps what it builds once per target in the user's cache folder, the rest only for this command.
    """
    with tempfile.TemporaryDirectory(prefix="labc-cc-", ignore_cleanup_errors=True) as local:
        env = _clean_environment() | {"TMPDIR": local}
        if toolchain.family == "zig":
            env |= {"ZIG_GLOBAL_CACHE_DIR": str(_zig_cache()), "ZIG_LOCAL_CACHE_DIR": local}
        yield env


def _zig_cache() -> Path:
    """A folder that is ours and can be written: labc/zig in the user's cache folder, else one in the temporary folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        cache = (base if base.is_absolute() else Path.home() / ".cache") / "labc" / "zig"
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        owner = os.getuid() if hasattr(os, "getuid") else 0
        cache = Path(tempfile.gettempdir(), f"labc-zig-{owner}")
        cache.mkdir(mode=0o700, exist_ok=True)
        facts = cache.lstat()
        if cache.is_symlink() or (hasattr(os, "getuid") and (facts.st_uid != owner or facts.st_mode & 0o022)):
            raise LabcError(f"{cache}: belongs to somebody else; remove it, or set HOME to a folder that can be written") from None
        return cache
