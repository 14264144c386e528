"""The compilers labc looks for, best first, and what installs each."""

from __future__ import annotations

# By kind of target (`labc.flags.kind_of`). zig is the ziglang wheel. For AVR clang would take C library, start-up code, libgcc and linker
# from an installed avr-gcc, and zig has none of them.
NAMES: dict[str, tuple[str, ...]] = {
    "host": ("cc", "gcc", "clang", "zig"),
    "x86-64": ("cc", "gcc", "clang", "zig"),
    "cortex-m": ("arm-none-eabi-gcc", "clang", "zig"),
    "aarch64": ("clang", "aarch64-linux-gnu-gcc", "zig"),
    "armv7": ("clang", "arm-linux-gnueabihf-gcc", "zig"),
    "riscv32": ("clang", "riscv64-unknown-elf-gcc", "zig"),
    "riscv64": ("clang", "riscv64-linux-gnu-gcc", "riscv64-unknown-elf-gcc", "zig"),
    "wasm32": ("clang", "zig"),
    "avr": ("avr-gcc",),
    "big-endian": ("clang", "mips-linux-gnu-gcc", "zig"),
}


def gnu(kind: str) -> tuple[str, ...]:
    """GNU's cross compilers for a kind of target, best first."""
    return tuple(name for name in NAMES[kind] if name.endswith("-gcc"))


def install(name: str) -> str:
    """What installs the compiler `name`, one of `NAMES`, on Debian and Ubuntu; "" for one that will not do.

    The libgcc of Debian's mips-linux-gnu-gcc has floats in FPU registers, where the target has no FPU.
    """
    if name == "zig":
        return "pip install 'labc[cross]'"
    if not name.endswith("-gcc"):
        return f"apt install {'gcc' if name == 'cc' else name}"
    return {"avr-gcc": "apt install gcc-avr avr-libc", "mips-linux-gnu-gcc": ""}.get(name, f"apt install gcc-{name.removesuffix('-gcc')}")
