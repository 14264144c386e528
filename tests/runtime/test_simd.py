"""The kernels of this processor's instruction sets against NumPy, packed as the plan packs: drawn shapes and values, exact."""

from __future__ import annotations

from typing import Any

import cffi
import numpy as np
import pytest
from building import HOST, RUNTIME, load
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labc import bits, kernels, toolchain
from labc.flags import host_machine
from labc.plan.layout import pack

Array = NDArray[Any]
SEEDS = st.integers(0, 2**32 - 1)
ISAS = [isa for isa in toolchain.host_isas(toolchain.find(HOST)) if isa != "scalar"]
# Small, about the blocks, and past what 8 and 16 bits can count: 31 steps of 256, 8 steps of 16 inputs x 255.
SIZES = st.one_of(st.integers(1, 300), st.integers(1, 2100), st.integers(7900, 8700))
ROWS = st.integers(1, 140)

if not ISAS:
    pytest.skip("this processor has plain C only: needs no tool", allow_module_level=True)


@pytest.fixture(scope="module")
def library(shared_library: Any) -> tuple[cffi.FFI, Any]:
    machines = {"any", host_machine()}
    files = [RUNTIME / f"{isa.name}.c" for isa in kernels.table().isas.values() if isa.machine in machines]
    return load(shared_library(files))


def aligned(array: Array, to: int) -> Array:
    """A copy whose address is an odd multiple of `to`: a multiple of it and no better."""
    raw = np.zeros(array.nbytes + 3 * to, np.uint8)
    start = -raw.ctypes.data % (2 * to) + to
    view: Array = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


class Caller:
    """Calls kernels of one ISA on arrays at the alignment the table promises and no better."""

    def __init__(self, library: tuple[cffi.FFI, Any], isa: str) -> None:
        self.ffi, self.lib, self.isa = library[0], library[1], isa

    def kernel(self, op: str) -> kernels.Kernel | None:
        return kernels.table().kernels.get((op, self.isa))

    def __call__(self, op: str, weights: Array, *, inputs: int, rows: int, result: Array, **operands: Any) -> Array:
        """The result of `op` in a copy of `result`; operands by the table's names; +1 and -1 for signs."""
        kernel = kernels.table().kernels[op, self.isa]
        scratch = np.zeros(kernel.scratch_bytes(inputs=inputs, rows=rows) + 8, np.uint8)
        alive = {"w": aligned(pack(weights, kernel), kernel.alignment), "y": aligned(result, result.itemsize)}
        alive["scratch"] = aligned(scratch, 4)
        alive |= {name: aligned(a, a.itemsize) for name, a in operands.items() if isinstance(a, np.ndarray)}
        numbers = {"inputs": inputs, "rows": rows} | {name: a for name, a in operands.items() if not isinstance(a, np.ndarray)}
        function = getattr(self.lib, kernel.function)
        given_ = []
        for parameter, kind in zip(kernels.table().ops[op].parameters, self.ffi.typeof(function).args, strict=True):
            name = parameter.name
            given_.append(self.ffi.cast(kind, alive[name].ctypes.data) if name in alive else numbers[name])
        function(*given_)
        y: Array = alive["y"]
        return y


@pytest.fixture(scope="module", params=ISAS)
def call(request: pytest.FixtureRequest, library: tuple[cffi.FFI, Any]) -> Caller:
    return Caller(library, request.param)


def signs(rng: np.random.Generator, *shape: int) -> Array:
    return rng.choice(np.array([-1, 1], np.int8), shape)


@given(inputs=SIZES, rows=ROWS, seed=SEEDS, extreme=st.booleans())
@settings(max_examples=60)
def test_signs(call: Caller, inputs: int, rows: int, seed: int, extreme: bool) -> None:
    rng = np.random.default_rng(seed)
    x, w = signs(rng, inputs), signs(rng, rows, inputs)
    if extreme:
        w[::2], w[1::3] = x, -x
    sums = (w.astype(np.float32) @ x.astype(np.float32)).astype(np.int64)
    packed = bits.pack_signs(x)
    if call.kernel("sign_matvec_sums"):
        y = call("sign_matvec_sums", w, inputs=inputs, rows=rows, x=packed, result=np.zeros(rows, np.int32))
        np.testing.assert_array_equal(y, sums)
    if call.kernel("sign_matvec_threshold"):
        thresholds = np.where(rng.random(rows) < 0.6, sums + rng.integers(-2, 3, rows), rng.integers(-inputs, inputs + 2, rows))
        thresholds = thresholds.clip(-inputs, inputs + 1)
        limits = ((inputs - thresholds) // 2).astype(np.int32)
        dirty = np.full(bits.words(rows), 0xDEADBEEF, np.uint32)
        y = call("sign_matvec_threshold", w, inputs=inputs, rows=rows, x=packed, limits=limits, result=dirty)
        np.testing.assert_array_equal(y, bits.pack_signs(np.where(sums >= thresholds, 1, -1)))


@given(inputs=st.one_of(SIZES, st.just(65_793)), rows=ROWS, seed=SEEDS, signed=st.booleans(), extreme=st.booleans())
@settings(max_examples=60)
def test_bytes(call: Caller, inputs: int, rows: int, seed: int, signed: bool, extreme: bool) -> None:
    if call.kernel("byte_matvec_sums") is None:
        return  # the plan takes the next ISA's
    rng = np.random.default_rng(seed)
    rows = min(rows, 5) if inputs > 10_000 else rows
    dtype, offset = (np.int8, 128) if signed else (np.uint8, 0)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = (rng.choice([least, most], inputs) if extreme else rng.integers(least, most + 1, inputs)).astype(dtype)
    w = signs(rng, rows, inputs)
    if extreme:
        w[::2], w[1::3] = np.where(x > 0, 1, -1), np.where(x > 0, -1, 1)
    sums = (w.astype(np.float64) @ x.astype(np.float64)).astype(np.int64)
    given_ = {"inputs": inputs, "rows": rows, "x": x.view(np.uint8), "offset": offset}
    np.testing.assert_array_equal(call("byte_matvec_sums", w, **given_, result=np.zeros(rows, np.int32)), sums)

    bound = 255 * inputs
    thresholds = np.where(rng.random(rows) < 0.6, sums + rng.integers(-1, 2, rows), rng.integers(-bound, bound + 2, rows))
    thresholds = thresholds.clip(-bound, bound + 1).astype(np.int32)
    dirty = np.full(bits.words(rows), 0xDEADBEEF, np.uint32)
    y = call("byte_matvec_threshold", w, **given_, thresholds=thresholds, result=dirty)
    np.testing.assert_array_equal(y, bits.pack_signs(np.where(sums >= thresholds, 1, -1)))

    shift = int(rng.integers(1, 51))
    # |sum m| + |b| < 2^52, up to the last bit: m as large as that allows, b from what is left
    largest = np.minimum(2**31 - 1, (2**52 - 1) // np.maximum(1, abs(sums)))
    m = np.trunc(largest * rng.uniform(-1, 1, rows) ** rng.integers(1, 9)).astype(np.int64)
    m = np.where(rng.random(rows) < 0.1, np.sign(m) * largest, m)
    room = 2**52 - 1 - abs(sums * m)
    aimed = (rng.integers(-2, 258, rows) << shift) + rng.integers(-1, 2, rows) - sums * m
    b = np.where(rng.random(rows) < 0.2, np.sign(rng.uniform(-1, 1, rows)).astype(np.int64) * room, aimed).clip(-room, room)
    out = call("byte_matvec_requantize", w, **given_, m=m.astype(np.int32), b=b, shift=shift, result=np.zeros(rows, np.uint8))
    np.testing.assert_array_equal(out, (np.maximum(sums * m + b, 0) >> shift).clip(0, 255))
