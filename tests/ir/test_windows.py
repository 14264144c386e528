"""Windows and what slides them, against loops over single taps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labc.errors import LabcError
from labc.ir import layers, machine, pointwise
from labc.ir.core import Const, Type
from labc.ir.windows import Window

SEEDS = st.integers(0, 2**32 - 1)


def drawn(rng: np.random.Generator) -> tuple[Window, int, int]:
    """A window, and the height and width of an image that it fits."""

    def pair(least: int, most: int) -> tuple[int, int]:
        return int(rng.integers(least, most)), int(rng.integers(least, most))

    pads = tuple(int(v) for v in rng.integers(0, 4, 4))
    window = Window(pair(1, 5), pair(1, 4), (pads[0], pads[1], pads[2], pads[3]), pair(1, 3))
    high, wide = window.reach()
    height, width = (max(1, reach - before - behind) for reach, before, behind in ((high, pads[0], pads[2]), (wide, pads[1], pads[3])))
    return window, height + int(rng.integers(0, 6)), width + int(rng.integers(0, 6))


def seen(x: Any, v: Window, i: int, j: int) -> list[tuple[int, int, Any]]:
    """(a, b, the pixel [C]) of every tap inside, for output pixel (i, j) of x [C, H, W]."""
    found = []
    for a in range(v.kernel[0]):
        for b in range(v.kernel[1]):
            y, z = i * v.stride[0] + a * v.dilation[0] - v.pads[0], j * v.stride[1] + b * v.dilation[1] - v.pads[1]
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                found.append((a, b, x[:, y, z].astype(int)))
    return found


@given(SEEDS, st.sampled_from([(1, 1, 3), (4, 1, 2), (4, 4, 1), (6, 3, 1), (3, 3, 2)]))
def test_convolution_is_its_definition(seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    channels, groups, each = shape
    window, height, width = drawn(rng)
    x = rng.integers(0, 256, (channels, height, width)).astype(np.uint8)
    w = rng.choice(np.array([-1, 1], np.int8), (groups * each, channels // groups, *window.kernel))
    node = layers.Conv("c", ("x",), Const("sign", w), window, groups)
    got = node.evaluate(x[None])[0]
    assert got.shape == node.infer(Type("u8", x.shape)).shape == (groups * each, *window.output(height, width))
    for n in range(groups * each):
        part = slice(n // each * (channels // groups), (n // each + 1) * (channels // groups))
        for i in range(got.shape[1]):
            for j in range(got.shape[2]):
                assert got[n, i, j] == sum(int(pixel[part] @ w[n, :, a, b].astype(int)) for a, b, pixel in seen(x, window, i, j))


@given(SEEDS)
def test_pools_are_their_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    window, height, width = drawn(rng)
    x = rng.choice(np.array([-1, 1], np.int8), (3, height, width))
    type_ = Type("sign", x.shape)
    total = layers.SumPool("p", ("x",), window).evaluate(x[None])[0]
    flips = Const("sign", [1, -1, -1])
    pool = pointwise.MaxPool("p", ("x",), window, flips)
    inside = [[seen(x, window, i, j) for j in range(total.shape[2])] for i in range(total.shape[1])]
    covered = all(taps for row in inside for taps in row)
    assert window.covers(height, width) == covered
    if not covered:
        with pytest.raises(LabcError, match="p: a window lies wholly in the padding; use less"):
            pool.infer(type_)
        return
    largest = pool.evaluate(x[None])[0]
    assert pool.infer(type_) == Type("sign", largest.shape)
    for i, row in enumerate(inside):
        for j, taps in enumerate(row):
            pixels = np.array([pixel for _, _, pixel in taps])
            assert total[:, i, j].tolist() == pixels.sum(axis=0).tolist()
            assert largest[:, i, j].tolist() == [pixels[:, 0].min(), pixels[:, 1].max(), pixels[:, 2].max()]


def test_rows_are_images_one_pixel_high() -> None:
    rng = np.random.default_rng(1)
    x = rng.choice(np.array([-1, 1], np.int8), (2, 3, 9))
    w = rng.choice(np.array([-1, 1], np.int8), (5, 3, 4))
    window = Window((1, 4), (1, 2), (0, 1, 0, 2), (1, 2))
    row = layers.Conv("c", ("x",), Const("sign", w), window)
    assert row.infer(Type("sign", (3, 9))) == Type("i32", (5, 3))
    flat = layers.Conv("c", ("x",), Const("sign", w[:, :, None]), window)
    np.testing.assert_array_equal(row.evaluate(x), flat.evaluate(x[:, :, None])[:, :, 0])


def test_what_does_not_fit_is_named() -> None:
    w = Const("sign", np.ones((4, 2, 3, 3), np.int8))
    with pytest.raises(LabcError, match="c: a window that reaches 3 x 3 does not fit the image of 2 x 5 and its padding; use a smaller"):
        layers.Conv("c", ("x",), w, Window((3, 3))).infer(Type("sign", (2, 2, 5)))
    with pytest.raises(
        LabcError, match=r"c: 3 input and 4 output channels in 1 group\(s\), weights expect 2 inputs per group; both numbers"
    ):
        layers.Conv("c", ("x",), w, Window((3, 3))).infer(Type("sign", (3, 5, 5)))


@given(SEEDS)
def test_bounds_hold_at_the_border_too(seed: int) -> None:
    """With padding a sum may have few terms, or none: 0 is always within the bounds then."""
    rng = np.random.default_rng(seed)
    window, height, width = drawn(rng)
    w = Const("sign", rng.choice(np.array([-1, 1], np.int8), (4, 2, *window.kernel)))
    node = machine.Conv("c", ("x",), w, window)
    for element, x in (
        ("u8", rng.integers(0, 2, (4, 2, height, width)) * 255),
        ("i8", rng.integers(0, 2, (4, 2, height, width)) * 255 - 128),
        ("sign", rng.integers(0, 2, (4, 2, height, width)) * 2 - 1),
    ):
        sums = node.evaluate(x.astype(np.uint8 if element == "u8" else np.int8))
        low, high = node.bounds(element)  # type: ignore[arg-type]
        assert (sums.min(axis=(0, 2, 3)) >= low).all()
        assert (sums.max(axis=(0, 2, 3)) <= high).all()
