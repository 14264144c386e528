"""The plain C kernels against NumPy: the definitions of kernels.def, drawn shapes and values, exact."""

from __future__ import annotations

from typing import Any

import cffi
import numpy as np
import pytest
from building import RUNTIME, host_compilers, load, named
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labc import bits

Array = NDArray[Any]
SIZES = st.one_of(st.integers(1, 70), st.integers(1, 2100))
ROWS = st.integers(1, 70)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=80)


@pytest.fixture(scope="module", params=host_compilers(), ids=named)
def scalar(request: pytest.FixtureRequest, shared_library: Any) -> tuple[cffi.FFI, Any]:
    return load(shared_library([RUNTIME / "scalar.c"], tool=request.param))


def call(scalar: tuple[cffi.FFI, Any], op: str, *arguments: Array | int | None) -> None:
    """Call a kernel with arrays, integers, and None for no scratch."""
    ffi, library = scalar
    function = getattr(library, f"labc_{op}_scalar")
    kinds = ffi.typeof(function).args
    given = [
        ffi.NULL if a is None else a if isinstance(a, int) else ffi.cast(kind, a.ctypes.data)
        for a, kind in zip(arguments, kinds, strict=True)
    ]
    function(*given)


def draw_signs(rng: np.random.Generator, *shape: int) -> Array:
    return rng.choice(np.array([-1, 1], np.int8), shape)


@given(inputs=SIZES, rows=ROWS, seed=SEEDS)
@EXAMPLES
def test_signs(scalar: tuple[cffi.FFI, Any], inputs: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = draw_signs(rng, inputs), draw_signs(rng, rows, inputs)
    sums = w.astype(np.int64) @ x
    y = np.empty(rows, np.int32)
    call(scalar, "sign_matvec_sums", bits.pack_signs(x), bits.pack_signs(w), inputs, rows, y)
    np.testing.assert_array_equal(y, sums)

    # −K ≤ T ≤ K + 1, many at the sum itself, and as a limit
    thresholds = np.where(rng.random(rows) < 0.6, sums + rng.integers(-2, 3, rows), rng.integers(-inputs, inputs + 2, rows))
    thresholds = thresholds.clip(-inputs, inputs + 1)
    limits = ((inputs - thresholds) // 2).astype(np.int32)
    z = np.full(bits.words(rows), 0xDEADBEEF, np.uint32)
    call(scalar, "sign_matvec_threshold", bits.pack_signs(x), bits.pack_signs(w), limits, inputs, rows, z)
    np.testing.assert_array_equal(z, bits.pack_signs(np.where(sums >= thresholds, 1, -1)))


@given(inputs=SIZES, rows=ROWS, seed=SEEDS, signed=st.booleans(), extreme=st.booleans())
@EXAMPLES
def test_bytes(scalar: tuple[cffi.FFI, Any], inputs: int, rows: int, seed: int, signed: bool, extreme: bool) -> None:
    rng = np.random.default_rng(seed)
    dtype, offset = (np.int8, 128) if signed else (np.uint8, 0)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = (rng.choice([least, most], inputs) if extreme else rng.integers(least, most + 1, inputs)).astype(dtype)
    w = draw_signs(rng, rows, inputs)
    if extreme:
        w[rows // 2] = np.where(x > 0, 1, -1)
    sums = w.astype(np.int64) @ x.astype(np.int64)
    packed = bits.pack_signs(w)
    y = np.empty(rows, np.int32)
    call(scalar, "byte_matvec_sums", x.view(np.uint8), offset, packed, inputs, rows, y, None)
    np.testing.assert_array_equal(y, sums)

    bound = 255 * inputs
    thresholds = np.where(rng.random(rows) < 0.6, sums + rng.integers(-1, 2, rows), rng.integers(-bound, bound + 2, rows))
    thresholds = thresholds.clip(-bound, bound + 1).astype(np.int32)
    z = np.full(bits.words(rows), 0xDEADBEEF, np.uint32)
    call(scalar, "byte_matvec_threshold", x.view(np.uint8), offset, packed, thresholds, inputs, rows, z, None)
    np.testing.assert_array_equal(z, bits.pack_signs(np.where(sums >= thresholds, 1, -1)))

    shift = int(rng.integers(1, 51))
    # |sum m| + |b| < 2^52, up to the last bit: m as large as that allows, b from what is left
    largest = np.minimum(2**31 - 1, (2**52 - 1) // np.maximum(1, abs(sums)))
    m = np.trunc(largest * rng.uniform(-1, 1, rows) ** rng.integers(1, 9)).astype(np.int64)
    m = np.where(rng.random(rows) < 0.1, np.sign(m) * largest, m)
    room = 2**52 - 1 - abs(sums * m)
    aimed = (rng.integers(-2, 258, rows) << shift) + rng.integers(-1, 2, rows) - sums * m
    b = np.where(rng.random(rows) < 0.2, np.sign(rng.uniform(-1, 1, rows)).astype(np.int64) * room, aimed).clip(-room, room)
    out = np.empty(rows, np.uint8)
    call(scalar, "byte_matvec_requantize", x.view(np.uint8), offset, packed, m.astype(np.int32), b, shift, inputs, rows, out, None)
    np.testing.assert_array_equal(out, (np.maximum(sums * m + b, 0) >> shift).clip(0, 255))


def draw_affine(rng: np.random.Generator, rows: int) -> tuple[Array, Array, Array, Array]:
    """x, s, t and x·s + t in float32, over all magnitudes that stay finite."""
    x = (rng.integers(-(2**24) + 1, 2**24, rows) >> rng.integers(0, 24, rows)).astype(np.int32)
    s = np.ldexp(rng.uniform(-1, 1, rows), rng.integers(-149, 100, rows)).astype(np.float32)
    product = x.astype(np.float32) * s
    near = -product * np.float32(1 + 2.0**-20)  # cancels most of the product
    t = np.where(rng.random(rows) < 0.5, near, np.ldexp(rng.uniform(-1, 1, rows), rng.integers(-149, 126, rows))).astype(np.float32)
    return x, s, t, product + t


@given(rows=st.integers(1, 300), seed=SEEDS)
@EXAMPLES
def test_scores(scalar: tuple[cffi.FFI, Any], rows: int, seed: int) -> None:
    x, s, t, scores = draw_affine(np.random.default_rng(seed), rows)
    y = np.empty(rows, np.float32)
    call(scalar, "affine", x, s, t, rows, y)
    np.testing.assert_array_equal(y.view(np.uint32), scores.view(np.uint32))
    best = np.empty(1, np.uint32)
    call(scalar, "affine_argmax", x, s, t, rows, best)
    assert best[0] == np.argmax(scores)


@given(st.lists(st.sampled_from([-0.0, 0.0, 1e-45, -1e-45, 1.0, -1.0, 3.4028235e38, -3.4028235e38]), min_size=1, max_size=40))
@EXAMPLES
def test_the_first_of_equal_scores_wins(scalar: tuple[cffi.FFI, Any], scores: list[float]) -> None:
    t = np.array(scores, np.float32)
    x, s = np.zeros(len(t), np.int32), np.full(len(t), -1, np.float32)  # the product is −0, which adds nothing
    best = np.empty(1, np.uint32)
    call(scalar, "affine_argmax", x, s, t, len(t), best)
    assert best[0] == np.argmax(t)
