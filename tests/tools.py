"""Machines with fewer tools: --tools runs the tests as if only some programs were installed.

What a test expects may depend on no tool that it does not name, and what is missing is "not run here". CI, which has every tool, would not
see it. A folder of links to all programs but the missing ones takes the place of PATH.
"""

from __future__ import annotations

import fnmatch
import os
import tempfile
from pathlib import Path

# Of what .ci/run installs, by the names of programs.
_COMPILERS = ["clang*", "lld*", "ld.lld*", "wasm-ld*", "llvm-*", "aarch64-linux*", "arm-linux*", "riscv64-*", "mips*"]
_OTHERS = ["doxygen*", "rustc", "cppcheck*", "arduino*", "valgrind*", "callgrind*", "pkg-config", "pkgconf", "*-pkg-config", "*-pkgconf"]
MISSING = {
    # A C compiler and the wheels: a fresh machine.
    "wheels": [*_COMPILERS, *_OTHERS, "arm-none-eabi*", "avr*", "simavr*", "qemu*", "cmake*", "ctest*", "cpack*"],
    # gcc, arm-none-eabi-gcc, QEMU for Arm, avr-gcc with simavr, CMake: a firmware engineer's.
    "some": [*_COMPILERS, *_OTHERS, "qemu-system-[!a]*", "qemu-system-avr", "qemu-system-alpha", "qemu-[!s]*", "qemu-s[!y]*"],
}

# What is the same on a machine with all tools: tests that look for none, and kernels with a compiler that the sweeps take there.
SAME = (
    *(f"tests/{name}" for name in ("frontend/", "ir/", "passes/", "train/", "test_images.py", "test_lint.py", "test_readme.py")),
    *(f"tests/runtime/test_{name}.py" for name in ("adding", "cortexm", "elsewhere", "flags", "kernel_check", "mve", "neon", "pairs")),
    "tests/check/test_kernels.py::test_every_kernel_on_some_machine",
)

MADE: Path | None = None  # the folder of links, to be removed at the end


def reduce_path(which: str) -> None:
    """Replace PATH by a folder with links to its programs but those that are missing on the machine `which`."""
    global MADE
    MADE = kept = Path(tempfile.mkdtemp(prefix=f"labc-tests-{which}-"))
    for folder in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in sorted(folder.iterdir()) if folder.is_dir() else []:
            missing = any(fnmatch.fnmatchcase(program.name, pattern) for pattern in MISSING[which])
            if not missing and not (kept / program.name).exists() and os.access(program, os.X_OK):
                (kept / program.name).symlink_to(program)
    os.environ["PATH"] = str(kept)
