"""NEON on emulated application cores, 64-bit and 32-bit: proven, exact at sizes that overflow small counters, as fast as measured."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import breadth
import numpy as np
import pytest
from breadth import first_of
from building import RUNTIME, compilers, named

from labc import driver, kernels, reference
from labc.bits import pack_signs
from labc.check import cost as costs
from labc.check.runners import chip
from labc.compiling import compile_objects
from labc.emulator import unicorn
from labc.emulator.unicorn import Image
from labc.flags import Toolchain
from labc.plan.layout import pack
from labc.target import TARGETS, Target

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import zoo

PLACES = [(TARGETS[name], tool) for name in ("aarch64", "armv7") for tool in compilers(TARGETS[name])]
OPS = [op for op, isa in kernels.table().kernels if isa == "neon"]
NEON = [RUNTIME / name for name in kernels.sources("neon")]
SOURCES = [*NEON, *(RUNTIME / name for name in kernels.sources("scalar"))]
EVERYWHERE = pytest.mark.parametrize(("target", "tool"), first_of(PLACES), ids=lambda v: v.name if isinstance(v, Target) else named(v))

# Instructions per product of 2048 inputs and 2048 rows, by target, compiler and its version.
MEASURED = {
    ("aarch64", "gcc", "12.2.0"): {"sign_matvec_threshold": 0.0322, "byte_matvec_sums": 0.1071},
    ("aarch64", "clang", "14.0.6"): {"sign_matvec_threshold": 0.0317, "byte_matvec_sums": 0.1023},
    ("aarch64", "zig", "0.17.1"): {"sign_matvec_threshold": 0.0319, "byte_matvec_sums": 0.1117},
    ("armv7", "gcc", "12.2.0"): {"sign_matvec_threshold": 0.0494, "byte_matvec_sums": 0.2972},
    ("armv7", "clang", "14.0.6"): {"sign_matvec_threshold": 0.0453, "byte_matvec_sums": 0.2150},
    ("armv7", "zig", "0.17.1"): {"sign_matvec_threshold": 0.0446, "byte_matvec_sums": 0.2151},
}


@pytest.fixture(scope="module")
def core(image: Any) -> Any:
    """core(target, tool): the NEON kernels on their core; memory is fresh, the build is made once."""
    made: dict[tuple[str, str], Path] = {}

    def load(target: Target, tool: Toolchain) -> Image:
        key = (target.name, named(tool))
        if key not in made:
            made[key] = image(target, tool, SOURCES, [f"labc_{op}_neon" for op in OPS])
        return Image(made[key], target.cpu or "")

    return load


def put(run: Image, array: np.ndarray, align: int = 0) -> int:
    address = run.alloc(array.nbytes, align or array.itemsize)
    run.write(address, array.tobytes())
    return address


def test_every_target_has_a_compiler() -> None:
    assert {target.name for target, _ in PLACES} == {"aarch64", "armv7"}  # the wheel is always there
    assert len(OPS) == 13


@EVERYWHERE
@pytest.mark.parametrize("inputs", [511 * 128 - 1, 511 * 128 + 127, 512 * 128, 200_003])
def test_sign_counts_do_not_overflow(target: Target, tool: Toolchain, inputs: int, core: Any) -> None:
    """Row 0 differs everywhere, row 1 nowhere, the others at random."""
    run, rng = core(target, tool), np.random.default_rng(inputs)
    w = rng.choice(np.array([-1, 1], np.int8), (11, inputs))
    x = -w[0]
    w[1] = x
    want = w.astype(np.int64) @ x.astype(np.int64)
    kernel = kernels.table().kernels["sign_matvec_sums", "neon"]
    weights = put(run, pack(w, kernel), kernel.alignment)
    places = (put(run, pack_signs(x)), weights)
    sums = run.alloc(44, 4)
    run.call("labc_sign_matvec_sums_neon", *places, inputs, 11, sums)
    assert np.frombuffer(run.read(sums, 44), np.int32).tolist() == want.tolist()
    counts = (inputs - want) // 2
    for shift in (0, -1):
        bits = run.alloc(4, 4)
        run.call("labc_sign_matvec_threshold_neon", *places, put(run, (counts + shift).astype(np.int32)), inputs, 11, bits)
        assert int.from_bytes(run.read(bits, 4), "little") == (0x7FF if shift == 0 else 0)


@EVERYWHERE
@pytest.mark.parametrize("inputs", [8195, 20_003])
@pytest.mark.parametrize(("offset", "byte"), [(0, 255), (128, 0), (128, 127), (0, None), (128, None)])
def test_byte_sums_do_not_overflow(target: Target, tool: Toolchain, inputs: int, offset: int, byte: int | None, core: Any) -> None:
    """Row 0 adds everything, row 1 subtracts everything, the others are random."""
    rows = 35
    run, rng = core(target, tool), np.random.default_rng(inputs + offset)
    w = rng.choice(np.array([-1, 1], np.int8), (rows, inputs))
    w[:1], w[1:2] = 1, -1
    x = rng.integers(0, 256, inputs, np.uint8) if byte is None else np.full(inputs, byte, np.uint8)
    values = (x ^ offset).astype(np.int64) - offset
    want = np.array([int(values[row > 0].sum() - values[row < 0].sum()) for row in w])
    kernel = kernels.table().kernels["byte_matvec_sums", "neon"]
    weights = put(run, pack(w, kernel), kernel.alignment)
    scratch, sums = run.alloc(kernel.scratch_bytes(inputs=inputs, rows=rows), 4), run.alloc(4 * rows, 4)
    run.call("labc_byte_matvec_sums_neon", put(run, x), offset, weights, inputs, rows, sums, scratch, budget=4_000_000_000)
    assert np.frombuffer(run.read(sums, 4 * rows), np.int32).tolist() == want.tolist()


@EVERYWHERE
@pytest.mark.parametrize(("offset", "byte", "value"), [(0, 255, 255), (128, 128, -128), (128, 127, 127)])
def test_the_most_inputs_there_may_be(target: Target, tool: Toolchain, offset: int, byte: int, value: int, core: Any) -> None:
    run, inputs = core(target, tool), 1 << 22
    x, scratch, y = run.alloc(inputs, 1), run.alloc(8 * inputs, 4), run.alloc(4, 4)
    weights = run.alloc(2 * inputs, 16)  # a row of +1, in a group of 16
    run.write(x, bytes([byte]) * inputs)
    run.write(weights, (b"\xff" + bytes(15)) * (inputs // 8))
    run.call("labc_byte_matvec_sums_neon", x, offset, weights, inputs, 1, y, scratch)
    assert int.from_bytes(run.read(y, 4), "little", signed=True) == value * inputs


def one_window(run: Image, channels: int, taps: int) -> int:
    """A window as wide as the image, of one row: so there is one output pixel."""
    return put(run, np.array([1, taps, channels, 1, 1, 1, taps, 1, 1, 1, 1, 0, 0], np.uint32))


@EVERYWHERE
@pytest.mark.parametrize(("channels", "taps"), [(65534, 1), (65535, 1), (70_001, 1), (7282, 9), (32, 2050)])
def test_sign_counts_of_a_window_do_not_overflow(target: Target, tool: Toolchain, channels: int, taps: int, core: Any) -> None:
    """Row 0 differs everywhere, row 1 nowhere, the others at random."""
    run, rng = core(target, tool), np.random.default_rng(channels)
    w = rng.choice(np.array([-1, 1], np.int8), (11, taps, channels))
    x = -w[0]
    w[1] = x
    want = (w.astype(np.int64) * x).sum(axis=(1, 2))
    kernel = kernels.table().kernels["sign_conv_sums", "neon"]
    places = (put(run, np.concatenate([pack_signs(tap) for tap in x])), put(run, pack(w, kernel), kernel.alignment))
    window, scratch, sums = one_window(run, channels, taps), run.alloc(0, 4), run.alloc(44, 4)
    run.call("labc_sign_conv_sums_neon", *places, window, 11, sums, scratch)
    assert np.frombuffer(run.read(sums, 44), np.int32).tolist() == want.tolist()
    limits = taps * channels - want
    for shift in (0, -1):
        bits = run.alloc(4, 4)
        run.call("labc_sign_conv_threshold_neon", *places, put(run, (limits + shift).astype(np.int32)), window, 11, bits, scratch)
        assert int.from_bytes(run.read(bits, 4), "little") == (0x7FF if shift == 0 else 0)


@EVERYWHERE
@pytest.mark.parametrize("taps", [254, 255, 257, 258, 600])
@pytest.mark.parametrize("outputs", [37, 74])
def test_depthwise_counts_do_not_overflow(target: Target, tool: Toolchain, taps: int, outputs: int, core: Any) -> None:
    """Channel 0 differs everywhere, channel 1 nowhere; of bytes these are the least and the most."""
    run, rng, channels = core(target, tool), np.random.default_rng(taps), 37
    w = rng.choice(np.array([-1, 1], np.int8), (taps, outputs))
    x = rng.choice(np.array([-1, 1], np.int8), (taps, channels))
    w[:, 0], w[:, 1], x[:, :2] = -1, 1, 1
    window, weights = one_window(run, channels, taps), put(run, np.concatenate([pack_signs(tap) for tap in w]))
    sums = run.alloc(4 * outputs, 4)
    of_output = np.arange(outputs) * channels // outputs
    want = (x[:, of_output].astype(np.int64) * w).sum(axis=0)
    signs = put(run, np.concatenate([pack_signs(tap) for tap in x]))
    run.call("labc_sign_depthwise_sums_neon", signs, weights, window, outputs, sums)
    assert np.frombuffer(run.read(sums, 4 * outputs), np.int32).tolist() == want.tolist()
    bits = run.alloc(4 * -(-outputs // 32), 4)
    for shift in (0, -1):
        limits = put(run, (taps - want + shift).astype(np.int32))
        run.call("labc_sign_depthwise_threshold_neon", signs, weights, limits, window, outputs, bits)
        got = int.from_bytes(run.read(bits, 4 * -(-outputs // 32)), "little")
        assert got == ((1 << outputs) - 1 if shift == 0 else 0)
    for offset, byte in ((0, 255), (128, 128), (128, 127)):
        numbers = rng.integers(0, 256, (taps, channels)).astype(np.uint8)
        numbers[:, :2] = byte
        values = (numbers ^ offset).astype(np.int64) - offset
        run.call("labc_byte_depthwise_sums_neon", put(run, numbers), offset, weights, window, outputs, sums)
        assert np.frombuffer(run.read(sums, 4 * outputs), np.int32).tolist() == (values[:, of_output] * w).sum(axis=0).tolist()


def arguments(run: Image, op: str, inputs: int, rows: int, data: Any) -> list[int]:
    """Arguments of an op's C call: sizes as given, arrays filled with data(bytes); a window is 3 x 3, the image 4 x 4 of `inputs`."""
    kernel = kernels.table().kernels[op, "neon"]
    found = []
    depthwise = "depthwise" in op
    taps, pixels = (9, 16) if depthwise or "conv" in op else (1, 1)
    rows = inputs if depthwise else rows
    for parameter in kernels.table().ops[op].parameters:
        if parameter.name == "window":
            found.append(put(run, np.array([4, 4, inputs, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1], np.uint32)))
            continue
        if not parameter.ctype.endswith("*"):
            found.append({"inputs": inputs, "rows": rows, "offset": 128, "shift": 33}[parameter.name])
            continue
        size = {"uint8_t": 1, "int64_t": 8}.get(parameter.ctype.removeprefix("const ").removesuffix(" *"), 4)
        nbytes = size * {"x": inputs * pixels, "y": rows * pixels}.get(parameter.name, rows)
        if parameter.name == "w":
            by_taps = (rows, taps, inputs) if op.startswith("sign_conv") else (rows, taps * inputs)
            nbytes = taps * -(-rows // 32) * 4 if depthwise else pack(np.ones(by_taps, np.int8), kernel).nbytes
        if parameter.name == "scratch":
            size, nbytes = 4, kernel.scratch_bytes(inputs=taps * inputs, rows=rows, channels=inputs, taps=taps)
        found.append(run.alloc(nbytes, max(size, kernel.alignment) if parameter.name == "w" else size))
        run.write(found[-1], data(nbytes))
    return found


@EVERYWHERE
def test_the_work_does_not_depend_on_values(target: Target, tool: Toolchain, core: Any) -> None:
    """Executed instructions are the same for zeros, ones and noise, of all that a kernel is given."""
    rng = np.random.default_rng(3)
    fills = (bytes, lambda n: b"\xff" * n, rng.bytes, rng.bytes)
    for op, (inputs, rows) in itertools.product(OPS, ((300, 37), (261, 70))):
        counts = set()
        for data in fills:
            run = core(target, tool)
            counts.add(run.call(f"labc_{op}_neon", *arguments(run, op, inputs, rows, data), measure=True).instructions)
        assert len(counts) == 1, (op, counts)


@EVERYWHERE
def test_instructions_per_product(target: Target, tool: Toolchain, core: Any) -> None:
    """As measured, with 2 % to spare; another version of a compiler may need a quarter more than the one that was measured."""
    known = MEASURED.get((target.name, tool.family, tool.version))
    slack = 1.02 if known else 1.25
    limits = known or next(row for key, row in MEASURED.items() if key[:2] == (target.name, tool.family))
    for op, limit in limits.items():
        run = core(target, tool)
        done = run.call(f"labc_{op}_neon", *arguments(run, op, 2048, 2048, bytes), measure=True)
        assert done.instructions is not None
        assert 0 < done.instructions / 2048**2 <= limit * slack, op


@EVERYWHERE
@pytest.mark.parametrize("seed", range(3))
def test_a_random_network_gives_the_same_bits(target: Target, tool: Toolchain, seed: int, tmp_path: Path) -> None:
    if (reason := unicorn.available()) is not None:
        pytest.skip(f"not run here: {reason}")
    rng = np.random.default_rng(seed)
    widths = [int(n) for n in rng.integers(3, 300, size=4)]
    layers = zoo.random_layers(rng, widths, method=("lab2", "lab", "lab2")[seed], wild=seed == 2)
    compiled = driver.front(zoo.save(zoo.own(layers), tmp_path / "net.onnx"))
    made = driver.planned(compiled, target)
    assert "neon" in made.isas
    runner, sections = chip(driver.write(made, tool, tmp_path / "library"), made, tool, tmp_path)
    x = rng.integers(0, 256, (10, made.input_size)).astype(np.uint8)
    want = reference.run(compiled.machine, x)[compiled.machine.output]
    assert (runner.scores(x).view(np.int32) == want.view(np.int32)).all()
    assert runner.classes(x).tolist() == np.argmax(want, axis=1).tolist()
    assert runner.self_test() == 0
    assert costs.run(runner, x[0], sections).instructions > made.input_size


@pytest.mark.wider
@EVERYWHERE
def test_no_warnings(target: Target, tool: Toolchain, tmp_path: Path) -> None:
    """compile_objects asks for -Wall -Wextra -Wpedantic -Wconversion -Werror itself."""
    strict = ("-Wshadow", "-Wsign-conversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Wcast-align")
    for flags in (strict, ("-std=gnu11", "-O3", *strict), ("-Os", *strict)) if breadth.SWEEP else (("-std=gnu11", "-O3", *strict),):
        compile_objects(tool, target, NEON, [], tmp_path, flags)
