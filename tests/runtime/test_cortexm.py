"""The Cortex-M kernels against NumPy on every core they differ on: exact, at sizes around blocks of words, of rows and of tables."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from breadth import in_turn
from building import CORTEX_M_KERNELS, cortex_m_compilers, named, zigs
from numpy.typing import NDArray

from labc import bits, kernels
from labc.emulator.unicorn import Image
from labc.flags import Toolchain
from labc.target import TARGETS

# Thumb-1; Thumb-2 without and with DSP instructions, of both architecture versions.
CORES = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
TABLE = kernels.table()
OPS = [kernel.op for kernel in TABLE.kernels.values() if kernel.isa == "cortexm"]
COMPILERS = cortex_m_compilers()
# Words of x 1 to 9, 15 to 17, 25; a bit more or less than whole words. Rows around 32 and 128.
SIZES = [(1, 1), (31, 2), (32, 33), (33, 31), (64, 32), (95, 3), (128, 7), (160, 129), (191, 5), (224, 4), (255, 128), (256, 127), (257, 9)]
SIZES += [(480, 3), (512, 64), (544, 2), (785, 10)]


@pytest.fixture(scope="module")
def load(image: Any) -> Any:
    """load(core, tool): the kernels on that core."""

    @cache
    def loaded(core: str, tool: Toolchain) -> Image:
        target = replace(TARGETS["arm"], cpu=core, float_abi="soft")
        keep = [f"labc_{op}_{isa}" for op in OPS for isa in ("cortexm", "scalar")]
        return Image(image(target, tool, CORTEX_M_KERNELS, keep), cpu=core)

    return loaded


def label(value: Any) -> str:
    return named(value) if isinstance(value, Toolchain) else getattr(value, "__name__", value)


def call(core: Image, op: str, inputs: int, rows: int, y: NDArray[Any], *before: NDArray[Any] | int, after: tuple[int, ...] = ()) -> Any:
    """Call a kernel with the arguments in front of `inputs`; what it wrote to an array like `y`. Each block ends at an unmapped page."""
    places = []
    for argument in before:
        if isinstance(argument, int):
            places.append(argument)
            continue
        places.append(core.alloc(argument.nbytes, argument.itemsize))
        core.write(places[-1], argument.tobytes())
    out = core.alloc(y.nbytes, y.itemsize)
    core.write(out, b"\xa5" * y.nbytes)
    need = TABLE.kernels[op, "cortexm"].scratch_bytes(inputs=inputs, rows=rows)
    scratch = [core.alloc(need, 4)] if op.startswith("byte") else []
    core.call(f"labc_{op}_cortexm", *places, *after, inputs, rows, out, *scratch)
    return np.frombuffer(core.read(out, y.nbytes), y.dtype)


ON_CORES = pytest.mark.parametrize(("name", "tool"), in_turn(CORES, COMPILERS, rare=zigs(COMPILERS)), ids=label)


@ON_CORES
def test_signs(load: Any, name: str, tool: Toolchain) -> None:
    core, rng = load(name, tool), np.random.default_rng(1)
    for inputs, rows in SIZES:
        x = rng.choice(np.array([-1, 1], np.int8), inputs)
        w = rng.choice(np.array([-1, 1], np.int8), (rows, inputs))
        w[rows // 2] = -x  # every column counts as far as it can
        sums = w.astype(np.int64) @ x
        px, pw = bits.pack_signs(x), bits.pack_signs(w)
        got = call(core, "sign_matvec_sums", inputs, rows, np.empty(rows, np.int32), px, pw)
        np.testing.assert_array_equal(got, sums, err_msg=f"{inputs} {rows}")
        limits = ((inputs - sums) // 2 + rng.integers(-1, 2, rows)).clip(-1, inputs).astype(np.int32)
        want = bits.pack_signs(np.where((inputs - sums) // 2 <= limits, 1, -1))
        got = call(core, "sign_matvec_threshold", inputs, rows, want, px, pw, limits)
        np.testing.assert_array_equal(got, want, err_msg=f"{inputs} {rows}")


@pytest.mark.parametrize(("name", "dtype", "tool"), in_turn(CORES, [np.int8, np.uint8], COMPILERS, rare=zigs(COMPILERS)), ids=label)
def test_bytes(load: Any, name: str, tool: Toolchain, dtype: Any) -> None:
    core, rng = load(name, tool), np.random.default_rng(2)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    offset = 128 if dtype is np.int8 else 0
    for number, (inputs, rows) in enumerate(SIZES):
        x = rng.choice([least, most], inputs) if number % 2 else rng.integers(least, most + 1, inputs)
        x = (np.full(inputs, (least, most)[number // 4 % 2]) if number % 4 == 3 else x).astype(dtype)  # the ends of all tables' ranges
        w = rng.choice(np.array([-1, 1], np.int8), (rows, inputs))
        w[rows // 2] = np.where(x > 0, 1, -1)
        w[rows // 3] = np.where(x > 0, -1, 1)
        sums = w.astype(np.int64) @ x.astype(np.int64)
        front = (x.view(np.uint8), offset, bits.pack_signs(w))
        got = call(core, "byte_matvec_sums", inputs, rows, np.empty(rows, np.int32), *front)
        np.testing.assert_array_equal(got, sums, err_msg=f"{inputs} {rows}")
        thresholds = (sums + rng.integers(-1, 2, rows)).astype(np.int32)
        want = bits.pack_signs(np.where(sums >= thresholds, 1, -1))
        got = call(core, "byte_matvec_threshold", inputs, rows, want, *front, thresholds)
        np.testing.assert_array_equal(got, want, err_msg=f"{inputs} {rows}")
        shift = int(rng.integers(1, 51))
        m = np.trunc(np.minimum(2**31 - 1, (2**51 - 1) // np.maximum(1, abs(sums))) * rng.uniform(-1, 1, rows)).astype(np.int64)
        room = 2**52 - 1 - abs(sums * m)
        b = ((rng.integers(-2, 258, rows) << shift) + rng.integers(-1, 2, rows) - sums * m).clip(-room, room)
        want = (np.maximum(sums * m + b, 0) >> shift).clip(0, 255).astype(np.uint8)
        got = call(core, "byte_matvec_requantize", inputs, rows, want, *front, m.astype(np.int32), b, after=(shift,))
        np.testing.assert_array_equal(got, want, err_msg=f"{inputs} {rows}")


@ON_CORES
def test_the_longest_row_of_bytes(load: Any, name: str, tool: Toolchain) -> None:
    """The biases of 2^17 words pass 2^31 on the way; the sum does not."""
    inputs = 2**22
    x, w = np.full(inputs, 255, np.uint8), np.full(inputs // 32, 2**32 - 1, np.uint32)
    got = call(load(name, tool), "byte_matvec_sums", inputs, 1, np.empty(1, np.int32), x, 0, w)
    assert got.tolist() == [255 * inputs]


@ON_CORES
def test_long_rows_of_signs(load: Any, name: str, tool: Toolchain) -> None:
    """Counts that need more than 16 bits, all of one row's products -1."""
    inputs = 2**17 + 5
    x = np.ones(inputs, np.int8)
    w = np.stack([x, -x])
    got = call(load(name, tool), "sign_matvec_sums", inputs, 2, np.empty(2, np.int32), bits.pack_signs(x), bits.pack_signs(w))
    assert got.tolist() == [inputs, -inputs]


def windows(rng: np.random.Generator, count: int) -> list[tuple[int, ...]]:
    """Numbers of labc_windows and output channels: kernels up to 7x7, strides, dilations, borders wider than the image."""
    found: list[tuple[int, ...]] = []
    while len(found) < count:
        height, width, kh, kw = rng.integers(1, 9, 2).tolist() + rng.choice([1, 2, 3, 3, 3, 5, 7], 2).tolist()
        sy, sx, dy, dx = (rng.integers(1, 4, 2).tolist() if rng.random() < 0.5 else [1, 1]) + (
            rng.integers(1, 4, 2).tolist() if rng.random() < 0.3 else [1, 1]
        )
        top, left = rng.integers(0, 12 if rng.random() < 0.1 else 3, 2).tolist()
        below, right = rng.integers(0, 3, 2).tolist()
        out = (height + top + below - dy * (kh - 1) - 1) // sy + 1, (width + left + right - dx * (kw - 1) - 1) // sx + 1
        channels, rows = int(rng.choice([1, 3, 31, 32, 33, 64, 65, 96, 128, 160, 256])), int(rng.choice([1, 5, 8, 16, 17, 32, 33, 65, 130]))
        if min(out) >= 1 and out[0] * out[1] * rows * channels * kh * kw < 100_000:
            found.append((height, width, channels, *out, kh, kw, sy, sx, dy, dx, top, left, rows))
    return found


def convolve(core: Image, op: str, isa: str, window: tuple[int, ...], rows: int, offset: int, constants: dict[str, NDArray[Any]]) -> bytes:
    """What a kernel of a convolution writes; each of its arrays ends at an unmapped page."""
    _, _, channels, out_height, out_width, kh, kw, *_ = window
    need = TABLE.kernels[op, isa].scratch_bytes(inputs=channels * kh * kw, rows=rows, channels=channels, taps=kh * kw)
    each = {"sums": 4 * rows, "threshold": 4 * -(-rows // 32), "requantize": rows}[op.rpartition("_")[2]]
    unset = {"y": np.full(each * out_height * out_width, 0xA5, np.uint8), "scratch": np.full(need, 0x5A, np.uint8)}
    arguments, places = [], {}
    for parameter in TABLE.ops[op].parameters:
        name = parameter.name
        if name in ("rows", "offset", "shift"):
            arguments.append({"rows": rows, "offset": offset, "shift": 28}[name])
            continue
        data = np.array(window, np.uint32) if name == "window" else unset[name] if name in unset else constants[name]
        arguments.append(
            core.alloc(data.nbytes, 1 if name == "y" and op.endswith("requantize") else max(data.itemsize, 4 * (name in unset)))
        )
        core.write(arguments[-1], data.tobytes())
        places[name] = arguments[-1]
    core.call(f"labc_{op}_{isa}", *arguments)
    return core.read(places["y"], unset["y"].nbytes)


CONVOLUTIONS = [op for op in OPS if TABLE.ops[op].family == "conv"]


@pytest.mark.parametrize(
    ("name", "op", "tool"),
    in_turn(["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m33"], CONVOLUTIONS, COMPILERS, rare=zigs(COMPILERS)),
    ids=label,
)
def test_convolutions(load: Any, name: str, op: str, tool: Toolchain) -> None:
    """As plain C does, at any window."""
    core, rng = load(name, tool), np.random.default_rng([CORES.index(name), OPS.index(op)])
    for *window, rows in windows(rng, 8):
        height, width, channels, _, _, kh, kw, *_ = window
        offset, inputs = int(rng.choice([0, 128])), channels * kh * kw
        m, b = rng.integers(-(2**20), 2**20, rows).astype(np.int32), rng.integers(-(2**40), 2**40, rows)
        bytes_ = (
            rng.integers(0, 256, height * width * channels)
            if rng.random() < 0.7
            else rng.choice([0, 127, 128, 255]) * np.ones(height * width * channels)
        )
        constants = {"x": bytes_.astype(np.uint8), "m": m, "b": b}
        constants["w"] = bits.pack_signs(rng.choice(np.array([-1, 1], np.int8), (rows, inputs)))
        constants["thresholds"] = (rng.normal(0, 128 * inputs**0.5, rows)).clip(-255 * inputs, 255 * inputs + 1).astype(np.int32)
        if op.startswith("sign"):
            constants["x"] = bits.pack_signs(rng.choice(np.array([-1, 1], np.int8), (height * width, channels)))
            constants["w"] = bits.pack_signs(rng.choice(np.array([-1, 1], np.int8), (rows * kh * kw, channels)))
            constants["limits"] = rng.normal(inputs, inputs**0.5, rows).clip(-1, 2 * inputs).astype(np.int32)
        got, want = (convolve(core, op, isa, tuple(window), rows, offset, constants) for isa in ("cortexm", "scalar"))
        assert got == want, f"{window} {rows} {offset}"
