"""What a package is made from, and what a format is."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from labc import __version__, candidates, emit, flags, kernels, resources
from labc.errors import LabcError
from labc.plan.core import C_TYPES, Plan
from labc.target import Target

Files = dict[str, str | bytes]

# The compiler that a package's Makefile takes unless told otherwise, where there is no cross compiler of GNU's to take.
_COMPILERS = {"host": "cc", "x86-64": "cc", "wasm32": "zig cc"}


@dataclass(frozen=True)
class Contents:
    """What a package is made from: a plan, the files of its source tree (path → text), and of formats that hold one its shared library.

    `measured` is what the network costs on a chip, as the manifest has it; None where it is for none."""

    plan: Plan
    tree: Mapping[str, str]
    library_name: str | None = None
    library: bytes | None = None
    measured: Mapping[str, Any] | None = None

    @property
    def sources(self) -> list[str]:
        """Paths of the C files, in alphabetical order."""
        return sorted(path for path in self.tree if path.endswith(".c"))

    @property
    def file_flags(self) -> dict[str, tuple[str, ...]]:
        """The flags of single C files, beyond those of all: path → flags."""
        return {path: isa.flags for path in self.sources if (isa := kernels.isa_of(Path(path))) and isa.flags}

    @property
    def stack_check(self) -> Files:
        """The part of a linker script that `emit.stack_check` makes, if any."""
        return dict(emit.stack_check(self.plan, self.measured))

    @property
    def machine_flags(self) -> tuple[str, ...]:
        """What the compiler is told of processor and ABI, as gcc spells it; as zig does for WebAssembly."""
        wasm = flags.kind_of(self.plan.target) == "wasm32"
        speaker = flags.Toolchain("zig" if wasm else "gcc", "zig" if wasm else "gcc", "", (), ())
        return flags.machine_flags(speaker, self.plan.target)

    @property
    def values(self) -> dict[str, Any]:
        """What every template of a package may name."""
        kind = flags.kind_of(self.plan.target)
        cc = _COMPILERS.get(kind) or candidates.gnu(kind)[0]
        isas = [kernels.table().isas[isa] for isa in self.plan.isas]
        return {
            "plan": self.plan,
            "measured": self.measured,
            "name": self.plan.name,
            "NAME": self.plan.name.upper(),
            "version": __version__,
            "input_type": C_TYPES[self.plan.input_element],
            "any_processor": self.plan.target.name == "host" and self.plan.isas == ("scalar",),
            "runs_here": self.plan.target.cpu is None,
            "sources": self.sources,
            "stack_check": bool(self.stack_check),
            "file_flags": self.file_flags,
            # Not needed, but what the kernels' speed was measured with.
            "tuning": [flag for isa in isas for flag in isa.flags if not flag.startswith("-m")],
            "machine_flags": self.machine_flags,
            "cc": cc,
            "ar": "zig ar" if cc == "zig cc" else "ar" if cc == "cc" else cc.removesuffix("gcc") + "ar",
            "summary": f"Binarized neural network {self.plan.name}: {' x '.join(map(str, self.plan.input_shape))} values in, "
            f"{self.plan.output_size} scores out",
        }


@dataclass(frozen=True)
class Format:
    """One packaging format: its name, what it is, the function that makes its files, and which programs its test validates them with.

    `targets`: those it is for, None: all. `flags_per_file`: it can say how a single file is compiled, so kernels that need instructions
    beyond the common ones may be in it. `portable`: on the target host it is plain C for any processor, not for this machine's.
    `compiled`: it holds the shared library, so a compiler is needed to make it. `folder_is_name`: the build system calls it as its folder
    is called. `default`: its target unless one is named, None: host.
    """

    name: str
    title: str
    files: Callable[[Contents], Files]
    validators: tuple[str, ...] = ()
    targets: tuple[str, ...] | None = None
    flags_per_file: bool = True
    portable: bool = False
    compiled: bool = False
    folder_is_name: bool = False
    default: Callable[[], str | None] = lambda: None

    def needs_compiler(self, target: Target) -> bool:
        """Whether a compiler is needed to make it: for the library in it, or to ask this machine's processor what it has."""
        return self.compiled or (target.name == "host" and not self.portable)


def suited(form: Format, target: Target, levels_named: bool = False) -> Target:
    """`target` with the ISAs that a package of this format can use. Raises LabcError where the format is not for the target."""
    if form.targets is not None and target.name not in form.targets:
        raise LabcError(f"package {form.name}: is not for target {target.name}; name one of {', '.join(form.targets)}, or another format")
    if form.flags_per_file:
        return target
    if levels_named:
        raise LabcError(
            f"package {form.name}: has one C file, compiled for every processor alike, so no levels to choose from; leave out --levels"
        )
    plain = [isa for isa in target.isas if not any(flag.startswith("-m") for flag in kernels.table().isas[isa].flags)]
    return replace(target, isas=("scalar",) if form.portable and target.name == "host" else tuple(plain), levels=())


def render(contents: Contents, template: str, **more: Any) -> str:
    """A template below templates/package/."""
    text: str = _environment().get_template(f"package/{template}").render(contents.values | more)
    return text


@cache
def _environment() -> Any:
    made = emit.environment()
    made.trim_blocks = made.lstrip_blocks = True
    return made


def common(contents: Contents, form: str, example: str | None = None, **more: str) -> Files:
    """What every package holds: LICENSE, README.md, and at `example` the main program that runs the self-test. `more`: what use.md.j2 of
    the format may name besides."""
    files: Files = {
        "LICENSE": (resources.folder("templates").parent / "LICENSE").read_text(encoding="utf-8"),
        "README.md": render(contents, "README.md.j2", use=render(contents, f"{form}/use.md.j2", **more)),
    }
    if example is not None:
        files[example] = render(contents, "main.c.j2")
    return files


def here(form: Format) -> dict[str, str | None]:
    """The programs that validate a format: name → where it is on this machine, None: nowhere."""
    return {program: which(program) for program in form.validators}


def which(program: str) -> str | None:
    """Where a program is: in build/tools of a checkout (tests/package/tools.txt), else on PATH."""
    own = resources.folder("templates").parent / "build" / "tools" / ("Scripts" if sys.platform == "win32" else "bin")
    return shutil.which(program, path=os.pathsep.join([str(own), os.environ.get("PATH", os.defpath)]))
