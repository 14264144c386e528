"""Link an image for an emulated core, without a C library: what goes into each, and where clang's linker and support library are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from labc import candidates
from labc.compiling import ask, compile_objects, environment
from labc.errors import LabcError
from labc.flags import Toolchain, kind_of, machine_flags
from labc.process import run
from labc.resources import folder
from labc.target import Target

# RISC-V cores that unicorn lacks.
_BOARDS_OF_QEMU = ("rv32imac_zbb", "rv64gc_zbb")
# What zig has too: below the stack is nothing, so that an overflow traps.
_WASM_STACK = ("--stack-first", "-z", f"stack-size={1 << 20}")


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
            return [image / "memory.c"], None
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
    with environment(toolchain) as env:
        if kind == "wasm32":
            options = ["--no-entry", "--export=__stack_pointer", *(f"--export={name}" for name in keep)]
            run([(out.name, [*_linking(toolchain, target, files, options), "-o", str(out)])], env)
            return out
        kind = "virt" if target.cpu in _BOARDS_OF_QEMU else kind
        entry = entry or {"cortex-m": "Reset_Handler", "avr": "main", "virt": "labc_image_start"}.get(kind) or keep[0]
        names = (entry, *keep)
        # Quoted: GNU ld takes a bare `add` or `bad` for a number with a radix suffix.
        externs = " ".join(f'"{name}"' for name in names)
        asserts = "".join(f'ASSERT(DEFINED("{name}"), "{name}: defined nowhere")\n' for name in names)
        script = out.with_name(f"{out.name}.ld")
        script.write_text(f"{linker_script.read_text() if linker_script else ''}\nEXTERN({externs})\n{asserts}")
        if linker_script is None:  # added to the compiler's own script
            # More memory than there is, so that it can be said by how much what is linked exceeds it.
            undefined = [
                *(f"-Wl,-u,{name}" for name in names),
                "-Wl,--defsym=__TEXT_REGION_LENGTH__=4M,--defsym=__DATA_REGION_LENGTH__=60K",
            ]
            command = [*toolchain.cc, *machine_flags(toolchain, target), "-Wl,--gc-sections", *undefined, *files, str(script)]
        else:
            command = _linking(toolchain, target, files, ["--gc-sections", f"--entry={entry}", "-z", "max-page-size=4"], script)
        run([(out.name, [*command, "-o", str(out)])], env)
    return out


def _linking(toolchain: Toolchain, target: Target, files: Sequence[str], options: Sequence[str], script: Path | None = None) -> list[str]:
    """The command that links `files` with the support library, but for where to; `options` in the words of a linker."""
    scripted = [] if script is None else ["-T", str(script)]
    if toolchain.family == "clang":  # not by its driver, which for some targets asks a gcc to link, or does more than it is told
        more = _WASM_STACK if kind_of(target) == "wasm32" else ("-static", "--build-id=none")
        return [_linker(toolchain, target), *options, *more, *scripted, *files, *_support_library(toolchain, target)[1]]
    start, through = [*toolchain.cc, *machine_flags(toolchain, _plain(target))], f"-Wl,{','.join(options)}"
    if toolchain.family == "zig":  # -g: without it zig leaves no symbols in the image
        return [*start, "-Os", "-g", *files, through, *scripted]
    return [
        *start,
        "-nostdlib",
        "-static",
        "-no-pie",
        through,
        *scripted,
        "-Wl,--build-id=none,--start-group",
        *files,
        "-lgcc",
        "-Wl,--end-group",
    ]


def _plain(target: Target) -> Target:
    """The target on its core without extensions: gcc finds its support library by the name of -march, and has none for others."""
    return replace(target, cpu=(target.cpu or "").partition("_")[0])


def _linker(toolchain: Toolchain, target: Target) -> str:
    """The linker of LLVM that goes with a clang. Raises LabcError without one."""
    name = "wasm-ld" if kind_of(target) == "wasm32" else "ld.lld"
    found = shutil.which(ask(toolchain.cc, f"-print-prog-name={name}"))
    if found is None:
        raise LabcError(f"its linker, {name}, is not there (Debian, Ubuntu: apt install lld)")
    return found


def _support_library(toolchain: Toolchain, target: Target) -> tuple[str, list[str]]:
    """Where the functions are that clang calls for what a core has no instruction for, as whose and which file: its own compiler-rt, else
    the libgcc of a GNU compiler for the target. No file where neither is there: a core with an FPU and 64-bit registers needs none."""
    asked = [("compiler-rt", (*toolchain.cc, *machine_flags(toolchain, target), "--rtlib=compiler-rt"))]
    for name in candidates.gnu(kind_of(target)):
        if (gcc := shutil.which(name)) is not None:
            asked.append((name, (gcc, *machine_flags(Toolchain(name, "gcc", "", (gcc,), ()), _plain(target)))))
    for name, command in asked:
        library = ask(command, "-print-libgcc-file-name")
        if Path(library).is_file():
            return name, [library]
    return "", []


def try_image(toolchain: Toolchain, target: Target, work: Path) -> None:
    """Compile and link a small image in the folder `work`. Raises LabcError with what is missing and what would bring it."""
    start, script = image_files(target)
    sources = [folder("runtime") / "image" / "trial.c", *(start if script is None else ())]
    if toolchain.family == "clang":
        _linker(toolchain, target)
    objects = compile_objects(toolchain, target, sources, [], work)
    entry = None if script is None else "labc_trial"
    try:
        link_image(toolchain, target, objects, script, work / "trial.elf", entry, ["labc_trial"])
    except LabcError as error:
        names = candidates.gnu(kind_of(target))
        whose = _support_library(toolchain, target)[0]
        if toolchain.family != "clang" or whose == "compiler-rt" or not names:
            raise
        ways = [way for name in names if (way := candidates.install(name))]
        lacks = "nor a libgcc without an FPU"
        if whose:
            lacks = f"and the libgcc of {whose} will not do"
        elif ways:
            lacks = f"nor is {' or '.join(names)} there, whose libgcc would do (Debian, Ubuntu: {' or '.join(ways)})"
        complaint = str(error).partition("; by hand")[0].partition("\n")[0]
        raise LabcError(f"it has no compiler-rt for {target.cpu}, {lacks}: {complaint}") from error
