"""What this machine can build and run, and what to install for the rest."""

from __future__ import annotations

import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from labc import candidates, emulator, target, toolchain
from labc.cache import Usage
from labc.emulator import qemu
from labc.errors import LabcError
from labc.flags import Toolchain, kind_of


@dataclass(frozen=True)
class TargetRow:
    """One target: with what it is built here and where it runs, or the reason it is not."""

    target: str
    description: str
    builds: bool
    with_: str
    runs: bool
    on: str


@dataclass(frozen=True)
class Tool:
    """One thing labc can use: found (with its version) or not, what it is for, and how to get it."""

    tool: str
    found: bool
    detail: str
    purpose: str
    remedy: str


# Wheels: what each is for, and the extra that brings it.
_WHEELS = (
    ("onnxruntime", "referee of labc check", "pip install 'labc[referee]'"),
    ("unicorn", "emulator for Arm, RISC-V and MIPS", "pip install 'labc[cross]'"),
    ("elftools", "sizes from ELF files", "pip install 'labc[cross]'"),
    ("wasmtime", "emulator for WebAssembly", "pip install 'labc[cross]'"),
    ("torch", "training", "pip install 'labc[train]'"),
    ("pytorch_lightning", "training", "pip install 'labc[train]'"),
)


def targets() -> list[TargetRow]:
    """One row per target. Compilers are tried beside each other: a target's trial is two processes."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_target, target.TARGETS.values()))


def _target(wanted: target.Target) -> TargetRow:
    reason = emulator.available(wanted.cpu) if wanted.cpu is not None else toolchain.not_here(wanted)
    place = f"this machine ({platform.machine()})" if wanted.cpu is None else f"emulated {wanted.cpu} ({emulator.name(wanted.cpu)})"
    try:
        tools = toolchain.find(wanted)
    except LabcError:
        return TargetRow(wanted.name, wanted.description, False, "no compiler found; see labc doctor", reason is None, reason or place)
    return TargetRow(wanted.name, wanted.description, True, f"{tools.name} {tools.version}", reason is None, reason or place)


def survey() -> list[Tool]:
    """Every compiler, emulator and wheel labc can use."""
    found = []
    for wanted in target.TARGETS.values():
        for name, tools in toolchain.survey(wanted):
            there = isinstance(tools, Toolchain)
            detail = tools.version if isinstance(tools, Toolchain) else tools
            missing = name == "zig" or shutil.which(name) is None  # what is here and will not do is not mended by installing it
            own = candidates.install(name)
            remedy = own if own and (missing or "zig" not in candidates.NAMES[kind_of(wanted)]) else candidates.install("zig")
            found.append(Tool(name, there, detail, f"compiler for {wanted.name}", remedy))
    for cpu, machine in (*qemu.MACHINES.items(), ("atmega328p", qemu.SIMAVR)):
        there = shutil.which(machine.program) is not None
        found.append(Tool(machine.program, there, "" if there else "not on PATH", f"emulator for {cpu}", f"apt install {machine.package}"))
    found += [Tool(wheel, find_spec(wheel) is not None, "", purpose, remedy) for wheel, purpose, remedy in _WHEELS]
    return found


def data(rows: list[TargetRow] | list[Tool] | list[Usage]) -> list[dict[str, Any]]:
    """Rows as plain JSON data."""
    return [{key.rstrip("_"): str(value) if isinstance(value, Path) else value for key, value in asdict(row).items()} for row in rows]


def show_targets(console: Any, rows: list[TargetRow]) -> None:
    """The table of targets."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("target", "what it is", "built with", "checked on", title="targets", title_justify="left")
    for row in rows:
        built, run = (f"[{'green' if fine else 'yellow'}]{escape(text)}[/]" for fine, text in ((row.builds, row.with_), (row.runs, row.on)))
        table.add_row(row.target, row.description, built, run)
    console.print(table)


def show_survey(console: Any, rows: list[Tool]) -> None:
    """The table of tools; a missing one says what to do."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("tool", "for", "here", "if it is missing", title="tools", title_justify="left")
    for row in rows:
        here = (
            f"[green]{escape(row.detail) or 'yes'}[/]"
            if row.found
            else f"[yellow]no[/] ({escape(row.detail)})"
            if row.detail
            else "[yellow]no[/]"
        )
        table.add_row(row.tool, row.purpose, here, "" if row.found else escape(row.remedy))
    console.print(table)


def show_cache(console: Any, held: list[Usage], done: str = "") -> None:
    """A line for each folder of the cache: what it holds, or what was `done` with that."""
    for one in held:
        most = "" if one.limit is None or done else f" of at most {one.limit >> 20:,} MiB"
        size = f"{one.files:,} files, {one.bytes / (1 << 20):.1f} MiB{most}"
        console.print(
            f"cache of {one.name}: {size}{f', {done}' if done else ''}; {one.folder}", highlight=False, markup=False, soft_wrap=True
        )
    if not held:
        console.print("no cache: the user's cache folder cannot be written", highlight=False)
