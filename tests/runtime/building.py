"""What the tests of the runtime are built from: the compilers of this machine, its sources, and its kernels loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cffi

from labc import kernels, toolchain
from labc.check import kernels as kernel_check
from labc.flags import Toolchain
from labc.resources import folder
from labc.target import TARGETS, Target, with_core

RUNTIME = folder("runtime")
CHECK = RUNTIME / "check"
CHECK_SOURCES = [CHECK / f"{name}.c" for name in kernel_check.SOURCES]
CHECK_SOURCES.append(RUNTIME / "cpu.c")  # asked before a kernel is run
HOST = TARGETS["host"]
CORTEX_M = {
    "m4-hard": replace(TARGETS["arm"], cpu="cortex-m4", float_abi="hard"),
    "m4-soft": replace(TARGETS["arm"], cpu="cortex-m4", float_abi="soft"),
    "m0": replace(TARGETS["arm"], cpu="cortex-m0", float_abi="soft"),
}
M55 = with_core(TARGETS["arm"], "cortex-m55")
# Every row of the table that a Cortex-M compiler sees, but for a Cortex-M55; check_kernels.c names them all.
CORTEX_M_KERNELS = [RUNTIME / file for isa in TARGETS["arm"].isas for file in kernels.sources(isa)]


def compilers(target: Target) -> list[Toolchain]:
    """Every compiler for `target`, each once."""
    found = {t.version + t.family: t for _, t in toolchain.survey(target) if isinstance(t, Toolchain)}
    return list(found.values())


def host_compilers() -> list[Toolchain]:
    return compilers(HOST)


def cortex_m_compilers() -> list[Toolchain]:
    return compilers(CORTEX_M["m4-hard"])


def zigs(tools: list[Toolchain]) -> list[Toolchain]:
    """The wheel's compiler among them: the first compilation or link of each kind takes it seconds, so most of its tests are sweeps."""
    return [tool for tool in tools if tool.family == "zig"]


def named(tool: Toolchain) -> str:
    return f"{tool.name}-{tool.version}"


def load(library: Path) -> tuple[cffi.FFI, Any]:
    """The kernels of a shared library, declared from the table."""
    ffi = cffi.FFI()
    ffi.cdef("typedef struct labc_window labc_window;")  # only vectors' kernels are called here
    table = kernels.table()
    for (op, _), kernel in table.kernels.items():
        parameters = ", ".join(f"{p.ctype} {p.name}" for p in table.ops[op].parameters)
        ffi.cdef(f"void {kernel.function}({parameters});")
    return ffi, ffi.dlopen(str(library))
