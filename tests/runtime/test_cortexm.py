"""The Cortex-M kernels against NumPy on every core they differ on: exact, at sizes around blocks of words, of rows and of tables."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from building import CORTEX_M_KERNELS, cortex_m_compilers, named
from numpy.typing import NDArray

from labc import bits, kernels
from labc.emulator import Image
from labc.target import TARGETS
from labc.toolchain import Toolchain

# Thumb-1; Thumb-2 without and with DSP instructions, of both architecture versions.
CORES = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
OPS = [kernel.op for kernel in kernels.table().kernels.values() if kernel.isa == "cortexm"]
# Words of x 1 to 9, 15 to 17, 25; a bit more or less than whole words. Rows around 32 and 128.
SIZES = [(1, 1), (31, 2), (32, 33), (33, 31), (64, 32), (95, 3), (128, 7), (160, 129), (191, 5), (224, 4), (255, 128), (256, 127), (257, 9)]
SIZES += [(480, 3), (512, 64), (544, 2), (785, 10)]


@pytest.fixture(scope="module", params=cortex_m_compilers(), ids=named)
def tool(request: pytest.FixtureRequest) -> Toolchain:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def load(image: Any, tool: Toolchain) -> Any:
    """load(core): the kernels on that core."""

    @cache
    def loaded(core: str) -> Image:
        target = replace(TARGETS["arm"], cpu=core, float_abi="soft")
        return Image(image(target, tool, CORTEX_M_KERNELS, [f"labc_{op}_cortexm" for op in OPS]), cpu=core)

    return loaded


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
    need = kernels.table().kernels[op, "cortexm"].scratch_bytes(inputs=inputs, rows=rows)
    scratch = [core.alloc(need, 4)] if op.startswith("byte") else []
    core.call(f"labc_{op}_cortexm", *places, *after, inputs, rows, out, *scratch)
    return np.frombuffer(core.read(out, y.nbytes), y.dtype)


@pytest.mark.parametrize("name", CORES)
def test_signs(load: Any, name: str) -> None:
    core, rng = load(name), np.random.default_rng(1)
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


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bytes(load: Any, name: str, dtype: Any) -> None:
    core, rng = load(name), np.random.default_rng(2)
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


@pytest.mark.parametrize("name", CORES)
def test_the_longest_row_of_bytes(load: Any, name: str) -> None:
    """The biases of 2^17 words pass 2^31 on the way; the sum does not."""
    inputs = 2**22
    x, w = np.full(inputs, 255, np.uint8), np.full(inputs // 32, 2**32 - 1, np.uint32)
    got = call(load(name), "byte_matvec_sums", inputs, 1, np.empty(1, np.int32), x, 0, w)
    assert got.tolist() == [255 * inputs]


@pytest.mark.parametrize("name", CORES)
def test_long_rows_of_signs(load: Any, name: str) -> None:
    """Counts that need more than 16 bits, all of one row's products -1."""
    inputs = 2**17 + 5
    x = np.ones(inputs, np.int8)
    w = np.stack([x, -x])
    got = call(load(name), "sign_matvec_sums", inputs, 2, np.empty(2, np.int32), bits.pack_signs(x), bits.pack_signs(w))
    assert got.tolist() == [inputs, -inputs]
