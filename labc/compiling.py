"""Compile, archive and link with a compiler that was found: for this machine, and objects for any target.

No environment variable changes what comes out: the ones that compilers read are not passed on. The same sources, target and
compiler give the same bytes from any folder. Each command has a time limit and ends, with all it started, when labc ends.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from labc import cache
from labc.errors import LabcError
from labc.flags import WARNINGS, Toolchain, compile_flags, isa_flags, machine_flags, prefix_map_flag
from labc.process import run
from labc.target import Target

# What compilers take from the environment and put into, or look up for, their output (GCC manual, "Environment Variables").
_UNWANTED = re.compile(
    r"ZIG_\w+|(C|LIBRARY_|COMPILER_|LD_RUN_)PATH|\w+_INCLUDE_PATH|GCC_\w+|CCC_\w+|DEPENDENCIES_OUTPUT|SUNPRO_DEPENDENCIES|SOURCE_DATE_EPOCH|_?CL_?"
)


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
    naming = [*(prefix_map_flag(toolchain, d) for d in seen), *(f"-I{d}" for d in folders)]
    flags = {s: [*compile_flags(toolchain, target), *isa_flags(s), *extra_flags] for s in sources}
    stems = [s.stem for s in sources]
    objects = [out_dir / (f"{stem}.o" if stem not in stems[:i] else f"{stem}-{i}.o") for i, stem in enumerate(stems)]
    kept = cache.ObjectCache(_identity(toolchain))
    keys = {s: kept.key(s, folders, flags[s], extra_flags) for s in sources}
    missing = [(s, o) for s, o in zip(sources, objects, strict=True) if not (key := keys[s]) or not kept.take(key, o, [s.parent, *folders])]
    if not missing:
        return objects
    with environment(toolchain) as env:
        # Not of zig, whose objects are others with -MD; its headers come with it and change with its version.
        listed = [s for s, _ in missing if keys[s] and toolchain.family != "zig"]
        lists = {s: ("-MD", "-MF", str(Path(env["TMPDIR"], f"{i}.d"))) for i, s in enumerate(listed)}
        # Folders first: the flags of the caller come last, so that they win.
        command = [*toolchain.cc, *naming]
        run([(s.name, [*command, *flags[s], *lists.get(s, ()), "-c", str(s), "-o", str(o)]) for s, o in missing], env)
        for source, built in missing:
            key = keys[source]
            if key and key == kept.key(source, folders, flags[source], extra_flags):  # it was not written to meanwhile
                depends = Path(lists[source][-1]) if source in lists else None
                kept.keep(key, built, depends, [source.parent, *folders])
    kept.trim()
    return objects


def _identity(toolchain: Toolchain) -> list[str]:
    """What changes when a compiler or a program it starts is replaced by another version; nothing if it does not say."""
    programs = [toolchain.cc[0]]
    facts = [toolchain.name, toolchain.family, toolchain.version, *toolchain.cc]
    facts += [f"{name}={os.environ.get(name)}" for name in ("MACOSX_DEPLOYMENT_TARGET", "SDKROOT", "DEVELOPER_DIR")]  # Apple's
    try:
        if toolchain.family == "gcc":
            programs += [ask(toolchain.cc, f"-print-prog-name={name}") for name in ("cc1", "as")]
        if toolchain.family != "zig":
            facts.append(ask(toolchain.cc, "--version"))  # with the package's revision, where a distribution changes its libraries alone
        found = [shutil.which(program) for program in programs]
        if None in found:
            return []
        files = cache.fingerprints([str(Path(path).resolve()) for path in found if path])
    except (LabcError, OSError):  # the compilation will tell
        return []
    return facts + [f"{path} {fact}" for path, fact in files.items()]


def archive(toolchain: Toolchain, objects: Sequence[Path], out: Path) -> Path:
    """Pack `objects`, in this order and without dates or owners, into the static library `out` (replaced if it is there)."""
    out.unlink(missing_ok=True)
    how = "rcs" if sys.platform == "darwin" and toolchain.family != "zig" else "rcsD"  # Apple's ar obeys ZERO_AR_DATE instead
    with environment(toolchain) as env:
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
    with environment(toolchain) as env:
        run([(out.name, command)], env)
    return out


def link_program(toolchain: Toolchain, target: Target, objects: Sequence[Path], out: Path, extra_flags: Sequence[str] = ()) -> Path:
    """Link `objects` into the program `out` for this machine; `extra_flags` as they were compiled with (sanitizers)."""
    command = [*toolchain.cc, *machine_flags(toolchain, target), *extra_flags, *map(str, objects), "-o", str(out)]
    with environment(toolchain) as env:
        run([(out.name, command)], env)
    return out


def run_program(program: Sequence[str], fine: Sequence[int] = (0,)) -> str:
    """What a program that was built for this machine writes. Raises LabcError if it ends with a status that is not `fine`."""
    return run([(Path(program[0]).name, program)], clean_environment(), fine)[0]


def link_plugin(toolchain: Toolchain, target: Target, source: Path, out: Path) -> Path:
    """Compile and link `source` into the shared library `out` that a program of this machine loads, whose functions it calls."""
    command = [*toolchain.cc, *machine_flags(toolchain, target), "-O2", "-fPIC", "-shared", *WARNINGS, str(source), "-o", str(out)]
    with environment(toolchain) as env:
        run([(out.name, command)], env)
    return out


def ask(command: tuple[str, ...], option: str) -> str:
    """What a compiler answers to an option that asks about itself: started once, as long as PATH is the same."""
    return _answer((*command, option), os.environ.get("PATH"))


@functools.cache
def _answer(command: tuple[str, ...], path: str | None) -> str:
    return run([(Path(command[0]).name, command)], clean_environment())[0].strip()


def clean_environment() -> dict[str, str]:
    """What a command runs in: this process's environment without what compilers read from it."""
    return {key: value for key, value in os.environ.items() if not _UNWANTED.fullmatch(key)} | {"LC_ALL": "C", "ZERO_AR_DATE": "1"}


@contextmanager
def environment(toolchain: Toolchain) -> Iterator[dict[str, str]]:
    """What a command runs in, with a folder for its temporary files: a compiler that is stopped leaves them lying.

    zig keeps what it builds once per target in the user's cache folder, the rest only for this command.
    """
    with tempfile.TemporaryDirectory(prefix="labc-cc-", ignore_cleanup_errors=True) as local:
        env = clean_environment() | {"TMPDIR": local}
        if toolchain.family == "zig":
            env |= {"ZIG_GLOBAL_CACHE_DIR": str(_zig_cache()), "ZIG_LOCAL_CACHE_DIR": local}
        yield env


def _zig_cache() -> Path:
    """A folder that is ours and can be written: labc/zig in the user's cache folder, else one in the temporary folder."""
    if folder := cache.user_folder("zig"):
        return folder
    owner = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir(), f"labc-zig-{owner}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if not cache.only_ours(folder):
        raise LabcError(f"{folder}: belongs to somebody else; remove it, or set HOME to a folder that can be written") from None
    return folder
