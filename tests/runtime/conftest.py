"""What the tests of the runtime share: the compilers of this machine, and the runtime built as a shared library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cffi
import pytest

from labc import emulator, kernels, toolchain
from labc.resources import folder
from labc.target import TARGETS, Target
from labc.toolchain import Toolchain

RUNTIME = folder("runtime")
CHECK = RUNTIME / "check"
CHECK_SOURCES = [CHECK / f"{name}.c" for name in ("check_kernels", "check_sign", "check_byte", "check_affine", "support", "faults")]
HOST = TARGETS["host"]
CORTEX_M = {
    "m4-hard": replace(TARGETS["arm"], cpu="cortex-m4", float_abi="hard"),
    "m4-soft": replace(TARGETS["arm"], cpu="cortex-m4", float_abi="soft"),
    "m0": replace(TARGETS["arm"], cpu="cortex-m0", float_abi="soft"),
}


def compilers(target: Target) -> list[Toolchain]:
    """Every compiler for `target`, each once."""
    found = {t.version + t.family: t for _, t in toolchain.survey(target) if isinstance(t, Toolchain)}
    return list(found.values())


def host_compilers() -> list[Toolchain]:
    return compilers(HOST)


def cortex_m_compilers() -> list[Toolchain]:
    return compilers(CORTEX_M["m4-hard"])


def named(tool: Toolchain) -> str:
    return f"{tool.name}-{tool.version}"


@pytest.fixture(scope="session")
def shared_library(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """shared_library(sources, flags, tool): their path as a shared library; the first host compiler unless named."""

    def build(sources: Sequence[Path], flags: Sequence[str] = (), tool: Toolchain | None = None) -> Path:
        tool = tool or toolchain.find(HOST)
        place = tmp_path_factory.mktemp("library")
        objects = toolchain.compile_objects(tool, HOST, sources, [RUNTIME], place, flags)
        return toolchain.link_shared(tool, HOST, objects, place / toolchain.shared_name("tested"))

    return build


def load(library: Path) -> tuple[cffi.FFI, Any]:
    """The kernels of a shared library, declared from the table."""
    ffi = cffi.FFI()
    table = kernels.table()
    for (op, _), kernel in table.kernels.items():
        parameters = ", ".join(f"{p.ctype} {p.name}" for p in table.ops[op].parameters)
        ffi.cdef(f"void {kernel.function}({parameters});")
    return ffi, ffi.dlopen(str(library))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """image(target, tool, sources, keep, flags): the ELF image with what `keep` needs of `sources`."""

    def build(target: Target, tool: Toolchain, sources: Sequence[Path], keep: Sequence[str], flags: Sequence[str] = ()) -> Path:
        reason = emulator.available()
        if reason is not None:
            pytest.skip(f"not run here: {reason}")
        place = tmp_path_factory.mktemp("image")
        start, script = toolchain.image_files()
        objects = toolchain.compile_objects(tool, target, start, [], place / "start")
        kernels_, others = [s for s in sources if s.parent == RUNTIME], [s for s in sources if s.parent != RUNTIME]
        objects += toolchain.compile_objects(tool, target, kernels_, [RUNTIME], place / "kernels", flags)
        # The check itself may be fast: emulation takes long enough.
        objects += toolchain.compile_objects(tool, target, others, [RUNTIME], place / "others", [*flags, "-O2"])
        return toolchain.link_image(tool, target, objects, script, place / "image.elf", keep=keep)

    return build
