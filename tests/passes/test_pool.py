"""Max pools move behind signs and bytes, and nothing changes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labc import reference
from labc.ir import layers, machine, pointwise
from labc.ir.core import Const, Graph, Node
from labc.ir.windows import Window
from labc.passes.lower import no_flips
from labc.passes.pool import pool
from labc.passes.threshold import prove, threshold

C = 6


def graph(rng: np.random.Generator, *behind: Node) -> Graph:
    w = Const("sign", rng.choice(np.array([-1, 1], np.int8), (C, 2, 3, 3)))
    nodes = (
        layers.Input("x", (), "u8", (2, 9, 8)),
        machine.Conv("conv", ("x",), w, Window((3, 3), pads=(1, 1, 1, 1))),
        pointwise.MaxPool("pool", ("conv",), Window((3, 2), (2, 2), (1, 0, 1, 1)), no_flips(C)),
        *behind,
    )
    return Graph(nodes, nodes[-1].name)


def affine(rng: np.random.Generator, name: str, of: str) -> layers.Affine:
    s = (rng.uniform(0.1, 1, C) * rng.choice([-1, 0, 1], C)).astype(np.float32)
    return layers.Affine(name, (of,), Const("f32", s), Const("f32", rng.normal(0, 200, C).astype(np.float32)))


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_signs_are_pooled_instead_of_sums(seed: int, bend: bool) -> None:
    rng = np.random.default_rng(seed)
    first = affine(rng, "a", "pool")
    slopes = Const("f32", rng.uniform(0, 1, C).astype(np.float32))
    between = (layers.PRelu("b", ("a",), slopes), affine(rng, "c", "b")) if bend else ()
    before = graph(rng, first, *between, layers.Sign("s", ("c" if bend else "a",)))
    after = pool(before)
    assert [node.kind() for node in after.nodes][-2:] == ["sign", "max_pool"]
    assert after.types["pool"].element == "sign"
    x = rng.integers(0, 256, (5, 2, 9, 8)).astype(np.uint8)
    want = reference.run(before, x)["s"]
    np.testing.assert_array_equal(reference.run(after, x)["pool"], want)
    integers = threshold(after)
    assert prove(after, integers) > 0
    np.testing.assert_array_equal(reference.run(integers, x)["pool"], want)


@given(st.integers(0, 2**32 - 1))
def test_bytes_are_pooled_instead_of_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = Const("i32", rng.integers(-300, 300, C))
    before = graph(rng, layers.Requantize("r", ("pool",), m, Const("i64", rng.integers(-(10**5), 10**5, C)), 8))
    after = pool(before)
    assert [node.kind() for node in after.nodes][-2:] == ["requantize", "max_pool"]
    x = rng.integers(0, 256, (5, 2, 9, 8)).astype(np.uint8)
    np.testing.assert_array_equal(reference.run(after, x)["pool"], reference.run(before, x)["r"])


def test_a_pool_that_two_read_or_of_16_bits_stays() -> None:
    rng = np.random.default_rng(2)
    two = graph(rng, affine(rng, "a", "pool"), layers.Sign("s", ("a",)), affine(rng, "b", "pool"), layers.Sign("t", ("b",)))
    assert pool(two) is two
    m, b = Const("i32", np.ones(C, int)), Const("i64", np.zeros(C, int))
    wide = graph(rng, layers.Requantize("r", ("pool",), m, b, 1, "i16"))
    assert pool(wide) is wide
