"""Executed instructions per product, whole call: thresholds and packing included. Exact, so a kernel that became slower is seen.

The numbers are of the compilers named; 2 % more is let pass. Of other versions only what was promised is asked for.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from breadth import first_of, in_turn
from building import CORTEX_M, HOST, M55, RUNTIME, compilers, cortex_m_compilers, host_compilers, named, zigs
from here import not_run_here

from labc import emulator, kernels
from labc.compiling import compile_objects
from labc.emulator import Core, qemu, wasm
from labc.emulator.unicorn import Image
from labc.flags import Toolchain, machine_flags
from labc.plan.layout import pack
from labc.target import TARGETS, with_core

SLACK = 1.02


def label(value: Any) -> str:
    return named(value) if isinstance(value, Toolchain) else str(value)


@dataclass(frozen=True)
class Row:
    """A kernel at a size: the most instructions per product that were promised, if any were, and those of the compilers measured.

    `flags` come after the ISA's own.
    """

    kernel: str
    inputs: int
    rows: int
    promised: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join((self.kernel.replace(" ", "-"), str(self.inputs), *(flag.lstrip("-") for flag in self.flags)))

    def judge(self, count: float, tool: Toolchain) -> None:
        """Fail where `count` instructions per product are too many for that compiler."""
        where = f"{self} {named(tool)}: {count:.4f} instructions per product"
        assert self.promised is None or count <= self.promised, where
        measured = self.measured.get(named(tool))
        assert measured is None or count <= SLACK * measured, f"{where}, were {measured}"


def row(kernel: str, inputs: int, rows: int, gcc: float, zig: float, promised: float | None = None) -> Row:
    """A row of the two compilers for Cortex-M."""
    return Row(kernel, inputs, rows, promised, {"arm-none-eabi-gcc-12.2.1": gcc, "zig-0.17.1": zig})


EMULATED = {
    "m4-hard": [
        row("sign_matvec_threshold cortexm", 512, 512, 0.3530, 0.3429, 0.36),
        row("sign_matvec_threshold cortexm", 64, 64, 1.0173, 1.0144),
        row("sign_matvec_threshold cortexm", 2048, 512, 0.3109, 0.2996),
        row("sign_matvec_sums cortexm", 512, 512, 0.3458, 0.3263),
        row("sign_matvec_sums cortexm", 64, 64, 0.9448, 0.9915),
        row("sign_matvec_sums cortexm", 2048, 512, 0.3091, 0.2808),
        row("byte_matvec_threshold cortexm", 512, 512, 0.9880, 0.9863),
        row("byte_matvec_threshold cortexm", 64, 64, 1.3774, 1.3811),
        row("byte_matvec_threshold cortexm", 2048, 512, 0.9704, 0.9682),
        row("byte_matvec_sums cortexm", 512, 512, 0.8096, 0.8090),
        row("byte_matvec_sums cortexm", 64, 64, 1.2341, 1.2297),
        row("byte_matvec_sums cortexm", 2048, 512, 0.8051, 0.8045),
        row("byte_matvec_requantize cortexm", 512, 512, 1.0205, 1.0278),
        row("byte_matvec_requantize cortexm", 64, 64, 1.6401, 1.7131),
        row("byte_matvec_requantize cortexm", 2048, 512, 0.9786, 0.9786),
    ],
    "m0": [
        row("sign_matvec_threshold cortexm", 512, 512, 0.4999, 0.4973, 0.50),
        row("sign_matvec_threshold cortexm", 64, 64, 1.4934, 1.6587),
        row("sign_matvec_threshold cortexm", 2048, 512, 0.4150, 0.4349),
        row("sign_matvec_sums cortexm", 512, 512, 0.4787, 0.4982),
        row("sign_matvec_sums cortexm", 64, 64, 1.4663, 1.6030),
        row("sign_matvec_sums cortexm", 2048, 512, 0.4214, 0.4410),
        row("byte_matvec_threshold cortexm", 512, 512, 1.6132, 1.5854),
        row("byte_matvec_threshold cortexm", 64, 64, 2.1172, 2.0339),
        row("byte_matvec_threshold cortexm", 2048, 512, 1.5904, 1.5655),
        row("byte_matvec_sums cortexm", 512, 512, 1.3862, 1.3802),
        row("byte_matvec_sums cortexm", 64, 64, 1.9177, 1.8655),
        row("byte_matvec_sums cortexm", 2048, 512, 1.3816, 1.3756),
        row("byte_matvec_requantize cortexm", 512, 512, 1.8251, 1.7399),
        row("byte_matvec_requantize cortexm", 64, 64, 3.8162, 3.2695),
        row("byte_matvec_requantize cortexm", 2048, 512, 1.6433, 1.6041),
    ],
    "m55": [
        row("sign_matvec_threshold mve", 512, 512, 0.1084, 0.1078, 0.11),
        row("sign_matvec_threshold mve", 64, 64, 0.3252, 0.3169),
        row("sign_matvec_threshold mve", 2048, 512, 0.0962, 0.0963),
        row("sign_matvec_sums mve", 512, 512, 0.1058, 0.1053),
    ],
}


@dataclass(frozen=True)
class Layer(Row):
    """A kernel of a 3x3 convolution with a border of one, stride one, over `size` x `size` pixels of `inputs` channels, to `rows`.

    Its products are all there would be without a border: what lies outside counts as done.
    """

    size: int = 8

    def __str__(self) -> str:
        return f"{super().__str__()}-{self.rows}-{self.size}x{self.size}"

    @property
    def window(self) -> tuple[int, ...]:
        """The numbers of a labc_window."""
        return (self.size, self.size, self.inputs, self.size, self.size, 3, 3, 1, 1, 1, 1, 1, 1)


def layer(kernel: str, channels: int, rows: int, size: int, gcc: float, zig: float, promised: float | None = None) -> Layer:
    """A layer of the two compilers for Cortex-M."""
    return Layer(kernel, channels, rows, promised, {"arm-none-eabi-gcc-12.2.1": gcc, "zig-0.17.1": zig}, size=size)


LAYERS = {
    "m4-hard": [
        layer("sign_conv_threshold cortexm", 64, 64, 8, 0.3553, 0.3535, 0.38),
        layer("sign_conv_threshold cortexm", 64, 64, 16, 0.3687, 0.3691),
        layer("sign_conv_threshold cortexm", 32, 32, 8, 0.4953, 0.4744),
        layer("sign_conv_threshold cortexm", 128, 128, 8, 0.2936, 0.3037),
        layer("sign_conv_sums cortexm", 64, 64, 8, 0.3432, 0.3829),
        layer("byte_conv_threshold cortexm", 1, 16, 16, 2.8069, 3.0264),
        layer("byte_conv_threshold cortexm", 3, 16, 16, 1.6451, 1.8155),
        layer("byte_conv_threshold cortexm", 3, 64, 16, 0.8036, 0.9099),
        layer("byte_conv_threshold cortexm", 64, 64, 4, 0.7745, 0.9137),
        layer("byte_conv_sums cortexm", 3, 16, 16, 1.8721, 2.1056),
        layer("byte_conv_requantize cortexm", 3, 16, 16, 2.9237, 3.2417),
        layer("byte_conv_requantize cortexm", 64, 64, 4, 0.8034, 0.9470),
    ],
    "m0": [
        layer("sign_conv_threshold cortexm", 64, 64, 8, 0.4869, 0.4792, 0.52),
        layer("sign_conv_threshold cortexm", 64, 64, 16, 0.5062, 0.4994),
        layer("sign_conv_threshold cortexm", 32, 32, 8, 0.6805, 0.6698),
        layer("sign_conv_threshold cortexm", 128, 128, 8, 0.4062, 0.4028),
        layer("sign_conv_sums cortexm", 64, 64, 8, 0.4960, 0.4884),
        layer("byte_conv_threshold cortexm", 1, 16, 16, 4.0454, 3.8695),
        layer("byte_conv_threshold cortexm", 3, 16, 16, 2.3172, 2.3986),
        layer("byte_conv_threshold cortexm", 3, 64, 16, 1.2034, 1.2837),
        layer("byte_conv_threshold cortexm", 64, 64, 4, 1.1082, 1.1115),
        layer("byte_conv_sums cortexm", 3, 16, 16, 2.5988, 2.5704),
        layer("byte_conv_requantize cortexm", 3, 16, 16, 7.0752, 5.9370),
        layer("byte_conv_requantize cortexm", 64, 64, 4, 1.2911, 1.2471),
    ],
    "m55": [
        layer("sign_conv_threshold mve", 64, 64, 8, 0.1066, 0.1061, 0.11),
        layer("sign_conv_threshold mve", 64, 64, 16, 0.1067, 0.1060),
        layer("sign_conv_threshold mve", 32, 32, 8, 0.1602, 0.1598),
        layer("sign_conv_threshold mve", 128, 128, 8, 0.0899, 0.0900),
        layer("sign_conv_sums mve", 64, 64, 8, 0.1039, 0.1032),
    ],
}

# By callgrind. A row for another ISA needs only its name: its file and its flags are in the table.
X86 = [
    Row("sign_matvec_threshold scalar", 2048, 2048, 0.26, {"gcc-12.2.0": 0.2310, "clang-14.0.6": 0.2280, "zig-0.17.1": 0.2240}),
    Row(
        "sign_matvec_threshold scalar",
        2048,
        2048,
        None,
        {"gcc-12.2.0": 0.1274, "clang-14.0.6": 0.1005, "zig-0.17.1": 0.1009},
        ("-mpopcnt",),
    ),
    Row("sign_matvec_threshold avx2", 2048, 2048, 0.042, {"gcc-12.2.0": 0.0363, "clang-14.0.6": 0.0354, "zig-0.17.1": 0.0354}),
]


def emulated(image: Any, core: str, tool: Toolchain, rows: Sequence[Row]) -> Core | None:
    """The kernels of the rows on their core; None where it is not emulated here."""
    target = CORTEX_M.get(core, M55)
    if reason := emulator.available(target.cpu or ""):
        not_run_here(f"instructions on {target.cpu}", reason)
        return None
    table = kernels.table()
    functions = {f"{kernel.op} {kernel.isa}": kernel.function for kernel in table.kernels.values()}
    sources = [RUNTIME / file for isa in target.isas for file in kernels.sources(isa)]
    return emulator.load(image(target, tool, sources, sorted({functions[row.kernel] for row in rows})), target.cpu or "")


@pytest.mark.parametrize(("core", "tool"), in_turn(list(EMULATED), cortex_m_compilers(), rare=zigs(cortex_m_compilers())), ids=label)
def test_on_an_emulated_core(image: Any, core: str, tool: Toolchain) -> None:
    table = kernels.table()
    named_kernels = {f"{kernel.op} {kernel.isa}": kernel for kernel in table.kernels.values()}
    run = emulated(image, core, tool, EMULATED[core])
    if run is None:
        return
    rng = np.random.default_rng(1)
    for row in EMULATED[core]:
        kernel = named_kernels[row.kernel]
        need = kernel.scratch_bytes(inputs=row.inputs, rows=row.rows)
        # Values do not matter (test_the_work_does_not_depend_on_values), so every array is as long as the longest.
        scalars = {"inputs": row.inputs, "rows": row.rows, "offset": 128, "shift": 20}
        arguments = []
        for parameter in table.ops[kernel.op].parameters:
            if parameter.name in scalars:
                arguments.append(scalars[parameter.name])
                continue
            nbytes = {"w": row.rows * row.inputs // 8, "x": row.inputs, "scratch": need}.get(parameter.name, 8 * row.rows)
            arguments.append(run.alloc(nbytes))
            run.write(arguments[-1], rng.bytes(nbytes))
        instructions = run.call(kernel.function, *arguments, measure=True).instructions
        assert instructions is not None
        row.judge(instructions / row.inputs / row.rows, tool)


@dataclass(frozen=True)
class Convolution:
    """A kernel of `isa` for a window of 3 x 3, `inputs` to `rows` channels, over `size` x `size` pixels and a border of zeros.

    Numbers are instructions per product, those with the border's zeros counted as products too.
    """

    op: str
    inputs: int
    rows: int
    size: int
    promised: float | None
    gcc: float
    zig: float
    isa: str = "neon"

    @property
    def products(self) -> int:
        return 9 * self.size**2 * self.rows * (1 if "depthwise" in self.op else self.inputs)

    def limits(self, prefix: str) -> Row:
        name = f"{self.op} {self.isa} {self.size}x{self.size}"
        return Row(name, self.inputs, self.rows, self.promised, {f"{prefix}-gcc-12.2.0": self.gcc, "zig-0.17.1": self.zig})

    def instructions(self, run: Core) -> int:
        kernel = kernels.table().kernels[self.op, self.isa]
        pixels, signs = self.size**2, self.op.startswith("sign")
        shape = (self.rows, 9, self.inputs) if signs else (self.rows, 9 * self.inputs)
        nbytes = {
            "x": 4 * pixels * -(-self.inputs // 32) if signs else pixels * self.inputs,
            "w": 36 * -(-self.rows // 32) if "depthwise" in self.op else pack(np.ones(shape, np.int8), kernel).nbytes,
            "y": 4 * pixels * self.rows,
            "scratch": kernel.scratch_bytes(inputs=9 * self.inputs, rows=self.rows, channels=self.inputs, taps=9),
        }
        window = run.alloc(52)
        run.write(window, struct.pack("<13I", self.size, self.size, self.inputs, self.size, self.size, 3, 3, 1, 1, 1, 1, 1, 1))
        given = {"window": window, "rows": self.rows, "offset": 128, "shift": 20}
        arguments = []
        for parameter in kernels.table().ops[self.op].parameters:
            aligned = kernel.alignment if parameter.name == "w" else 8
            arguments.append(given.get(parameter.name) or run.alloc(nbytes.get(parameter.name, 8 * self.rows), aligned))
        instructions = run.call(kernel.function, *arguments, measure=True).instructions
        assert instructions is not None
        return instructions


CONVOLUTIONS = {
    "aarch64": [
        Convolution("sign_conv_threshold", 64, 64, 16, 0.034, 0.0299, 0.0295),
        Convolution("sign_conv_threshold", 128, 128, 16, 0.029, 0.0269, 0.0267),
        Convolution("sign_conv_threshold", 256, 256, 8, 0.027, 0.0247, 0.0243),
        Convolution("sign_conv_threshold", 96, 96, 8, None, 0.0408, 0.0396),
        Convolution("sign_conv_sums", 128, 128, 8, None, 0.0266, 0.0265),
        Convolution("byte_conv_threshold", 3, 64, 16, None, 0.5203, 0.5871),
        Convolution("byte_conv_requantize", 64, 64, 8, None, 0.2361, 0.2399),
        Convolution("sign_depthwise_threshold", 64, 64, 16, None, 0.7568, 0.7523),
        Convolution("byte_depthwise_sums", 64, 64, 16, None, 1.4790, 1.8452),
    ],
    "armv7": [
        Convolution("sign_conv_threshold", 64, 64, 16, None, 0.0658, 0.0599),
        Convolution("sign_conv_threshold", 256, 256, 8, None, 0.0480, 0.0446),
        Convolution("byte_conv_threshold", 3, 64, 16, None, 0.9351, 0.7888),
    ],
}
PLACES = first_of([(name, tool) for name in CONVOLUTIONS for tool in compilers(TARGETS[name])])


@pytest.mark.parametrize(("name", "tool"), PLACES, ids=label)
def test_convolutions_on_an_emulated_core(image: Any, name: str, tool: Toolchain) -> None:
    table, target = kernels.table(), TARGETS[name]
    ops = sorted({c.op for c in CONVOLUTIONS[name]})
    sources = dict.fromkeys(RUNTIME / kernels.source(table.ops[op], "neon") for op in ops)
    elf = image(target, tool, list(sources), [table.kernels[op, "neon"].function for op in ops])
    for c in CONVOLUTIONS[name]:
        row = c.limits("aarch64-linux-gnu" if name == "aarch64" else "arm-linux-gnueabihf")
        row.judge(c.instructions(Image(elf, cpu=target.cpu or "")) / c.products, tool)


# In wasmtime's fuel, which counts reading and writing a variable, too.
WASM = [
    Row(f"{op} {isa}", inputs, rows, None, {"zig-0.17.1": zig})
    for op, isa, inputs, rows, zig in (
        ("sign_matvec_threshold", "simd128", 512, 512, 0.064),
        ("sign_matvec_threshold", "simd128", 2048, 2048, 0.0562),
        ("sign_matvec_threshold", "simd128", 64, 64, 0.1501),
        ("sign_matvec_threshold", "simd128", 784, 100, 0.0767),
        ("sign_matvec_sums", "simd128", 512, 512, 0.0733),
        ("byte_matvec_sums", "simd128", 784, 128, 0.4274),
        ("byte_matvec_threshold", "simd128", 512, 512, 0.3303),
        ("byte_matvec_requantize", "simd128", 512, 512, 0.4009),
        ("sign_matvec_threshold", "scalar", 512, 512, 0.446),
        ("sign_matvec_threshold", "scalar", 2048, 2048, 0.3517),
        ("byte_matvec_threshold", "scalar", 512, 512, 4.6199),
    )
]
WASM_CONVOLUTIONS = [
    Convolution(op, inputs, rows, size, None, 0, zig, isa)
    for op, isa, inputs, rows, size, zig in (
        ("sign_conv_threshold", "simd128", 64, 64, 8, 0.0666),
        ("sign_conv_threshold", "simd128", 128, 128, 8, 0.0553),
        ("sign_conv_threshold", "simd128", 32, 32, 8, 0.1462),
        ("sign_conv_sums", "simd128", 64, 64, 8, 0.0773),
        ("byte_conv_threshold", "simd128", 3, 64, 16, 1.2713),
        ("byte_conv_requantize", "simd128", 64, 64, 8, 0.6444),
        ("sign_conv_threshold", "scalar", 64, 64, 8, 0.5124),
        ("sign_conv_threshold", "scalar", 128, 128, 8, 0.4012),
        ("byte_conv_threshold", "scalar", 3, 64, 16, 6.3678),
    )
]


@pytest.mark.parametrize(
    ("core", "tool"), in_turn(list(wasm.CPUS), compilers(TARGETS["wasm32"]), rare=zigs(compilers(TARGETS["wasm32"]))), ids=label
)
def test_in_wasmtime(image: Any, core: str, tool: Toolchain) -> None:
    """The best ISA of each core."""
    if reason := wasm.available():
        not_run_here("instructions of WebAssembly", reason)
        return
    table, target = kernels.table(), with_core(TARGETS["wasm32"], core)
    isa = target.isas[0]
    functions = [kernel.function for kernel in table.kernels.values() if kernel.isa == isa]
    run = wasm.Image(image(target, tool, [RUNTIME / file for file in kernels.sources(isa)], functions))
    for row in (row for row in WASM if row.kernel.endswith(f" {isa}")):
        kernel = table.kernels[row.kernel.split()[0], isa]
        need = kernel.scratch_bytes(inputs=row.inputs, rows=row.rows)
        sizes = {"x": row.inputs, "w": pack(np.ones((row.rows, row.inputs), np.int8), kernel).nbytes, "scratch": need}
        scalars = {"inputs": row.inputs, "rows": row.rows, "offset": 128, "shift": 20}
        names = [parameter.name for parameter in table.ops[kernel.op].parameters]
        arguments = [scalars.get(name) or run.alloc(sizes.get(name, 8 * row.rows), 16) for name in names]
        instructions = run.call(kernel.function, *arguments, measure=True).instructions
        assert instructions is not None
        row.judge(instructions / row.inputs / row.rows, tool)
    for c in (c for c in WASM_CONVOLUTIONS if c.isa == isa):
        c.limits("").judge(c.instructions(run) / c.products, tool)


@pytest.mark.parametrize(("core", "tool"), in_turn(list(LAYERS), cortex_m_compilers(), rare=zigs(cortex_m_compilers())), ids=label)
def test_layers_on_an_emulated_core(image: Any, core: str, tool: Toolchain) -> None:
    table = kernels.table()
    named_kernels = {f"{kernel.op} {kernel.isa}": kernel for kernel in table.kernels.values()}
    run = emulated(image, core, tool, LAYERS[core])
    if run is None:
        return
    rng = np.random.default_rng(1)
    for row in LAYERS[core]:
        kernel, pixels, inputs = named_kernels[row.kernel], row.size**2, 9 * row.inputs
        need = kernel.scratch_bytes(inputs=inputs, rows=row.rows, channels=row.inputs, taps=9)
        scalars = {"rows": row.rows, "offset": 128, "shift": 20}
        sizes = {"w": row.rows * 36 * -(-row.inputs // 32), "x": pixels * (row.inputs + 3), "scratch": need, "y": 4 * pixels * row.rows}
        arguments = []
        for parameter in table.ops[kernel.op].parameters:
            if parameter.name in scalars:
                arguments.append(scalars[parameter.name])
                continue
            is_window = parameter.name == "window"
            data = np.array(row.window, np.uint32).tobytes() if is_window else rng.bytes(sizes.get(parameter.name, 8 * row.rows))
            arguments.append(run.alloc(len(data)))
            run.write(arguments[-1], data)
        instructions = run.call(kernel.function, *arguments, measure=True).instructions
        assert instructions is not None
        row.judge(instructions / pixels / inputs / row.rows, tool)


def on_zbb(op: str, isa: str, inputs: int, rows: int, gcc: float, zig: float, promised: float | None = None) -> Row:
    """A row of the compilers for RISC-V; the two of GNU differ by less than the slack. Convolutions are over 8x8 pixels."""
    measured = {"riscv64-unknown-elf-gcc-12.2.0": gcc, "riscv64-linux-gnu-gcc-12.2.0": gcc, "zig-0.17.1": zig}
    make = Layer if "conv" in op else Row
    return make(f"{op} {isa}", inputs, rows, promised, measured)


ZBB = {
    "rv32imac_zbb": [
        on_zbb("sign_matvec_threshold", "zbb32", 512, 512, 0.1431, 0.1448),
        on_zbb("sign_matvec_threshold", "zbb32", 64, 64, 0.2334, 0.2327),
        on_zbb("sign_matvec_threshold", "zbb32", 2048, 512, 0.1354, 0.1373),
        on_zbb("sign_matvec_threshold", "zbb32", 250, 10, 0.2484, 0.2704),
        on_zbb("sign_matvec_sums", "zbb32", 512, 512, 0.1415, 0.1434),
        on_zbb("sign_matvec_sums", "zbb32", 256, 10, 0.2340, 0.2422),
        on_zbb("byte_matvec_threshold", "zbb32", 512, 512, 1.0715, 1.0595),
        on_zbb("byte_matvec_sums", "zbb32", 512, 512, 1.0476, 1.0383),
        on_zbb("byte_matvec_requantize", "zbb32", 64, 256, 2.1249, 2.0934),
        on_zbb("sign_conv_threshold", "zbb32", 64, 64, 0.1263, 0.1262),
        on_zbb("sign_conv_threshold", "zbb32", 128, 128, 0.1136, 0.1136),
        on_zbb("sign_conv_threshold", "zbb32", 32, 32, 0.1594, 0.1584),
        on_zbb("sign_conv_sums", "zbb32", 64, 64, 0.1231, 0.1214),
    ],
    "rv64gc_zbb": [
        on_zbb("sign_matvec_threshold", "zbb64", 512, 512, 0.0769, 0.0775),
        on_zbb("sign_matvec_threshold", "zbb64", 64, 64, 0.1689, 0.1663),
        on_zbb("sign_matvec_threshold", "zbb64", 2048, 512, 0.0690, 0.0699),
        on_zbb("sign_matvec_threshold", "zbb64", 250, 10, 0.2004, 0.2216),
        on_zbb("sign_matvec_sums", "zbb64", 512, 512, 0.0752, 0.0761),
        on_zbb("sign_matvec_sums", "zbb64", 256, 10, 0.1902, 0.1906),
        on_zbb("byte_matvec_threshold", "zbb64", 512, 512, 0.6045, 0.5833),
        on_zbb("byte_matvec_sums", "zbb64", 512, 512, 0.5729, 0.5616),
        on_zbb("byte_matvec_requantize", "zbb64", 64, 256, 1.4037, 1.3486),
        on_zbb("sign_conv_threshold", "zbb64", 64, 64, 0.0755, 0.0742),
        on_zbb("sign_conv_threshold", "zbb64", 128, 128, 0.0624, 0.0617),
        on_zbb("sign_conv_threshold", "zbb64", 32, 32, 0.1688, 0.1640),
        on_zbb("sign_conv_sums", "zbb64", 64, 64, 0.0719, 0.0696),
    ],
}
ZBB_PLACES = [(cpu, tool) for cpu, bits in zip(ZBB, (32, 64), strict=True) for tool in compilers(with_core(TARGETS[f"riscv{bits}"], cpu))]


@pytest.mark.parametrize(("cpu", "tool"), first_of(ZBB_PLACES), ids=label)
def test_on_riscv_with_zbb(image: Any, cpu: str, tool: Toolchain) -> None:
    if reason := qemu.available(cpu):
        not_run_here(f"instructions on {cpu}", reason)
        return
    table, target = kernels.table(), with_core(TARGETS["riscv32" if cpu.startswith("rv32") else "riscv64"], cpu)
    used = [(row, table.kernels[row.kernel.split()[0], row.kernel.split()[1]]) for row in ZBB[cpu]]
    sources = [RUNTIME / file for file in kernels.sources(target.isas[0])]
    run = qemu.Image(image(target, tool, sources, sorted({kernel.function for _, kernel in used})), cpu)
    for row, kernel in used:
        pixels, taps = (row.size**2, 9) if isinstance(row, Layer) else (1, 1)
        shape = (row.rows, taps, row.inputs) if taps > 1 else (row.rows, row.inputs)
        nbytes = {
            "x": row.inputs if row.kernel.startswith("byte") else 4 * pixels * -(-row.inputs // 32),
            "w": pack(np.ones(shape, np.int8), kernel).nbytes,
            "y": 4 * pixels * row.rows,
            "scratch": kernel.scratch_bytes(inputs=taps * row.inputs, rows=row.rows, channels=row.inputs, taps=taps),
            "window": 52,
        }
        scalars, arguments = {"inputs": row.inputs, "rows": row.rows, "offset": 128, "shift": 20}, []
        for parameter in table.ops[kernel.op].parameters:
            if parameter.name in scalars:
                arguments.append(scalars[parameter.name])
                continue
            arguments.append(run.alloc(nbytes.get(parameter.name, 8 * row.rows)))
            if isinstance(row, Layer) and parameter.name == "window":
                run.write(arguments[-1], np.array(row.window, np.uint32).tobytes())
        instructions = run.call(kernel.function, *arguments, measure=True).instructions
        if instructions is None:
            not_run_here(f"instructions on {cpu}", "no compiler for QEMU's plugin, or a QEMU that takes none")
            return
        row.judge(instructions / pixels / taps / row.inputs / row.rows, tool)


DRIVER = """
#include "kernels.h"
static uint32_t x[INPUTS / 32], y[ROWS / 32];
static _Alignas(64) uint32_t w[ROWS * (INPUTS / 32)];
static int32_t limits[ROWS];
int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        KERNEL(x, w, limits, INPUTS, ROWS, y);
    }
    return (int)(y[0] & 1);
}
"""


def executed(program: Path, *arguments: str) -> int:
    """Instructions of a whole run of a program, by callgrind."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", str(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


@pytest.mark.parametrize(("row", "tool"), in_turn(X86, host_compilers(), rare=zigs(host_compilers())), ids=label)
def test_on_x86_64(row: Row, tool: Toolchain, tmp_path: Path) -> None:
    """What a run with one call of sign_matvec_threshold executes more than one without."""
    if platform.machine() != "x86_64":
        pytest.skip("not run here: this machine is not an x86-64")
    if shutil.which("valgrind") is None:
        not_run_here(f"instructions of {row}", "valgrind is not installed")
        return
    op, isa = row.kernel.split()
    assert op == "sign_matvec_threshold"  # the arguments of the driver
    driver = tmp_path / "driver.c"
    driver.write_text(DRIVER)
    values = {"KERNEL": kernels.table().kernels[op, isa].function, "INPUTS": row.inputs, "ROWS": row.rows}
    flags = [f"-D{name}={value}{'' if name == 'KERNEL' else 'u'}" for name, value in values.items()]
    objects = compile_objects(tool, HOST, [driver, RUNTIME / f"{isa}.c"], [RUNTIME], tmp_path, [*row.flags, *flags])
    program = tmp_path / "program"
    command = [*tool.cc, *machine_flags(tool, HOST), *map(str, objects), "-o", str(program)]
    subprocess.run(command, check=True, timeout=120)
    row.judge((executed(program, "call") - executed(program)) / row.inputs / row.rows, tool)
