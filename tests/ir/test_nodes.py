"""What each node computes, against arithmetic spelled out in Python integers and single float operations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labc.ir import layers, machine
from labc.ir.core import Const

SEEDS = st.integers(0, 2**32 - 1)


def exact(x: np.ndarray, w: np.ndarray) -> list[list[int]]:
    return [[sum(int(a) * int(b) for a, b in zip(row, weights, strict=True)) for weights in w] for row in x]


@given(SEEDS, st.integers(1, 40), st.integers(1, 9), st.sampled_from(["sign", "u8", "i8"]))
def test_sums_are_exact(seed: int, k: int, n: int, element: str) -> None:
    rng = np.random.default_rng(seed)
    w = rng.choice(np.array([-1, 1], np.int8), (n, k))
    x = {
        "sign": rng.choice(np.array([-1, 1], np.int8), (3, k)),
        "u8": rng.integers(0, 256, (3, k)).astype(np.uint8),
        "i8": rng.integers(-128, 128, (3, k)).astype(np.int8),
    }[element]
    want = exact(x, w)
    assert layers.Dense("d", ("x",), Const("sign", w)).evaluate(x).tolist() == want
    node = machine.MatVec("d", ("x",), Const("sign", w))
    assert node.evaluate(x).tolist() == want
    low, high = node.bounds(element)  # type: ignore[arg-type]
    assert (low <= want).all()
    assert (want <= high).all()


@pytest.mark.parametrize(("element", "least", "greatest"), [("sign", -1, 1), ("u8", 0, 255), ("i8", -128, 127)])
def test_bounds_are_reached(element: str, least: int, greatest: int) -> None:
    w = np.array([[1, 1, -1], [-1, -1, -1]], np.int8)
    low, high = machine.MatVec("d", ("x",), Const("sign", w)).bounds(element)  # type: ignore[arg-type]
    dtype = np.uint8 if element == "u8" else np.int8
    at_low = np.where(w > 0, least, greatest).astype(dtype)
    at_high = np.where(w > 0, greatest, least).astype(dtype)
    assert low.tolist() == [exact(at_low, w)[i][i] for i in range(2)]
    assert high.tolist() == [exact(at_high, w)[i][i] for i in range(2)]


def test_large_sums_take_the_wide_product() -> None:
    k = 70_000  # 255 k is past 2²⁴: float32 would round
    x = np.full((1, k), 255, np.uint8)
    x[0, 0] = 254
    assert layers.Dense("d", ("x",), Const("sign", np.ones((1, k), np.int8))).evaluate(x).tolist() == [[255 * k - 1]]


def test_affine_rounds_twice() -> None:
    s, t = np.float32(1 / 3), np.float32(-7e6)
    x = np.array([[2**24 - 1], [-12345], [0]], np.int32)
    got = layers.Affine("a", ("x",), Const("f32", [s]), Const("f32", [t])).evaluate(x)
    want = [np.float32(np.float32(np.float32(int(v)) * s) + t) for v in x[:, 0]]
    fused = [np.float32(np.float64(int(v)) * np.float64(s) + np.float64(t)) for v in x[:, 0]]
    assert got[:, 0].tolist() == want
    assert got[:, 0].tolist() != fused  # the inputs are such that one rounding would differ


def test_sign_of_zeros_is_plus() -> None:
    x = np.float32([[0.0, -0.0, 1e-45, -1e-45]])
    assert layers.Sign("s", ("x",)).evaluate(x).tolist() == [[1, 1, 1, -1]]


@given(SEEDS, st.integers(1, 50))
def test_requantize_is_its_formula(seed: int, shift: int) -> None:
    rng = np.random.default_rng(seed)
    m = rng.integers(-(2**31) + 1, 2**31, 6) >> int(rng.integers(0, 31))
    room = (1 << 52) - 1 - (1 << (shift - 1))
    x = np.array([[int(rng.integers(-1, 2)) * min(2**24 - 1, room // 2 // max(1, abs(int(v)))) for v in m]], np.int32)
    b = rng.integers(-(room // 2), room // 2, 6) >> int(rng.integers(0, 50))
    got = layers.Requantize("r", ("x",), Const("i32", m), Const("i64", b), shift).evaluate(x)
    want = [min(255, max(0, int(a) * int(c) + int(d) + (1 << (shift - 1))) >> shift) for a, c, d in zip(x[0], m, b, strict=True)]
    assert got[0].tolist() == want
    # The file's spelling, in float64, is the same number.
    wide = np.floor(x.astype(np.float64) * (m * 2.0**-shift) + (b * 2.0**-shift + 0.5))
    assert np.clip(wide, 0, 255)[0].tolist() == want


def test_argmax_takes_the_first_of_equals() -> None:
    x = np.float32([[1, 3, 3], [-0.0, 0.0, -1]])
    assert layers.ArgMax("c", ("x",)).evaluate(x).tolist() == [1, 0]


def test_limits_count_disagreements() -> None:
    k = 5
    thresholds = np.arange(-k, k + 2)
    w = Const("sign", np.ones((len(thresholds), k), np.int8))
    limits = machine.MatVec("s", ("x",), w).limits(Const("i32", thresholds))
    for d in range(k + 1):  # d disagreements: the sum is k − 2d
        assert ((k - 2 * d >= thresholds) == (d <= limits.array)).all()
