"""Thresholds: proved by enumeration on parameters that break algebra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labc import reference
from labc.errors import LabcError
from labc.ir import layers, machine, pointwise
from labc.ir.core import Const, Graph
from labc.passes.lower import no_flips
from labc.passes.threshold import bisect, prove, threshold


def graph(w: np.ndarray, s: np.ndarray, t: np.ndarray, element: str = "sign") -> Graph:
    x = layers.Input("x", (), element, (w.shape[1],))  # type: ignore[arg-type]
    affine = layers.Affine("a", ("fc",), Const("f32", s), Const("f32", t))
    return Graph((x, machine.MatVec("fc", ("x",), Const("sign", w)), affine, layers.Sign("s", ("a",))), "s")


def parameters(rng: np.random.Generator, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales and shifts of every kind: ordinary, zero, tiny, huge, and with the zero crossing exactly on a reachable sum."""
    s = (rng.normal(0, 1, n) * rng.choice([1, 1e-38, 1e-20, 1e30, 0, -0.0], n)).astype(np.float32)
    t = (rng.normal(0, 1, n) * rng.choice([1, 0, -0.0, 1e-45, 1e30, 40], n)).astype(np.float32)
    on_sum = rng.random(n) < 0.4
    t = np.where(on_sum, -(s * np.float32(rng.integers(-k, k + 1))), t).astype(np.float32)
    return s, t


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from(["sign", "u8", "i8"]))
def test_every_sum_agrees(seed: int, k: int, element: str) -> None:
    rng = np.random.default_rng(seed)
    n = 24
    w = rng.choice(np.array([-1, 1], np.int8), (n, k))
    before = graph(w, *parameters(rng, n, k), element)
    after = threshold(before)
    assert prove(before, after) > 0
    x = {
        "sign": rng.choice(np.array([-1, 1], np.int8), (50, k)),
        "u8": rng.integers(0, 256, (50, k)).astype(np.uint8),
        "i8": rng.integers(-128, 128, (50, k)).astype(np.int8),
    }[element]
    np.testing.assert_array_equal(reference.run(before, x)["s"], reference.run(after, x)["s"])


def test_dead_channels_and_falling_ones() -> None:
    w = np.array([[1, 1, 1], [1, 1, 1], [1, -1, 1], [1, 1, -1]], np.int8)
    s = np.float32([0, 0, -1, 2])
    t = np.float32([3, -3, 0.5, 100])
    after = threshold(graph(w, s, t))
    (node,) = (n for n in after.nodes if isinstance(n, pointwise.Threshold))
    # Always: −K; never: K + 1; falling: the row is negated and −x + ½ ≥ 0 ⇔ −x ≥ 0 on integers; rising past every sum: −K.
    assert node.thresholds.array.tolist() == [-3, 4, 0, -3]
    fc = after.by_name["fc"]
    assert isinstance(fc, machine.MatVec)
    assert fc.weights.array.tolist() == [[1, 1, 1], [1, 1, 1], [-1, 1, -1], [1, 1, -1]]


def test_a_sign_without_an_affine() -> None:
    w = np.array([[1, -1]], np.int8)
    x = layers.Input("x", (), "sign", (2,))
    before = Graph((x, machine.MatVec("fc", ("x",), Const("sign", w)), layers.Sign("s", ("fc",))), "s")
    after = threshold(before)
    assert after.by_name["s"] == pointwise.Threshold("s", ("fc",), Const("i32", [0]), no_flips(1))
    assert prove(before, after) == 5


def test_overflow_names_the_layer_and_channel() -> None:
    w = np.ones((2, 8), np.int8)
    with pytest.raises(LabcError, match=r"a: overflows float32: -inf in channel 1 at the least sum; .*rescale"):
        threshold(graph(w, np.float32([1, 3e38]), np.float32([0, 0])))


def test_overflow_is_looked_for_at_both_ends() -> None:
    """Bytes times +1 are never negative: only the greatest sum overflows."""
    with pytest.raises(LabcError, match=r"a: overflows float32: inf in channel 0 at the greatest sum"):
        threshold(graph(np.ones((1, 2), np.int8), np.float32([1e38]), np.float32([0]), "u8"))


def test_a_wrong_threshold_is_found() -> None:
    """The proof can fail: off by one, and with a row's sign changed."""
    rng = np.random.default_rng(3)
    before = graph(rng.choice(np.array([-1, 1], np.int8), (4, 9)), np.float32([1, 1, -1, 1]), np.float32([0.5, 1.5, 2.5, -3.5]))
    after = threshold(before)
    moved = after.by_name["s"]
    assert isinstance(moved, pointwise.Threshold)
    wrong = pointwise.Threshold("s", ("fc",), Const("i32", moved.thresholds.array + np.array([0, 0, 2, 0])), no_flips(4))
    with pytest.raises(LabcError, match="s: channel 2 differs at sum"):
        prove(before, Graph((*after.nodes[:-1], wrong), "s"))
    fc = after.by_name["fc"]
    assert isinstance(fc, machine.MatVec)
    flipped = type(fc)("fc", ("x",), Const("sign", fc.weights.array * np.array([[1], [-1], [1], [1]])))
    with pytest.raises(LabcError, match="s: channel 1 differs at sum"):
        prove(before, Graph((after.nodes[0], flipped, after.nodes[-1]), "s"))


def test_nothing_to_do_returns_the_same_object() -> None:
    x = layers.Input("x", (), "sign", (2,))
    same = Graph(
        (
            x,
            machine.MatVec("fc", ("x",), Const("sign", np.ones((1, 2)))),
        ),
        "fc",
    )
    assert threshold(same) is same


@pytest.mark.parametrize(("k", "shift", "moved"), [(9, -9, 1), (9, 9, 2), (1 << 19, -(1 << 19), 1)], ids=["last", "first", "last alone"])
def test_the_proof_looks_at_both_ends(k: int, shift: int, moved: int) -> None:
    """A threshold that is wrong at one sum only, the last or the first of the range; the last may be alone in its piece."""
    before = graph(np.ones((1, k), np.int8), np.float32([1]), np.float32([shift]))
    after = threshold(before)
    right = after.by_name["s"]
    assert isinstance(right, pointwise.Threshold)
    wrong = pointwise.Threshold("s", ("fc",), Const("i32", right.thresholds.array + moved), no_flips(1))
    with pytest.raises(LabcError, match=f"s: channel 0 differs at sum {-shift}"):
        prove(before, Graph((*after.nodes[:-1], wrong), "s"))


@dataclass(frozen=True)
class Turncoat(layers.Affine):
    """An affine that changes its mind after `honest` evaluations; `asked` holds one item per evaluation."""

    honest: int
    asked: list[int]

    def evaluate(self, *arrays: np.ndarray) -> np.ndarray:
        self.asked.append(0)
        y = super().evaluate(*arrays)
        return y if len(self.asked) <= self.honest else -y


def test_what_the_search_found_is_looked_at_again() -> None:
    s, t = Const("f32", np.float32([1])), Const("f32", np.float32([-2.5]))

    def search(honest: int) -> int:
        asked: list[int] = []
        bisect((Turncoat("a", ("fc",), s, t, honest, asked), layers.Sign("s", ("a",))), np.array([-8]), np.array([8]))
        return len(asked)

    evaluations = search(1000)
    for late in (1, 2):  # at T − 1, which comes last, and from T on
        with pytest.raises(LabcError, match="a: the sign of channel 0 does not change at its threshold"):
            search(evaluations - late)


def test_a_value_that_is_read_twice_is_not_negated() -> None:
    """Negating a falling row of shared sums would change what the other reader gets: the sign is flipped instead."""
    shared = graph(np.ones((2, 4), np.int8), np.float32([1, -1]), np.float32([0.5, 0.5]))
    both = layers.Concat("both", ("s", "s2"))
    before = Graph((*shared.nodes, layers.Sign("s2", ("fc",)), both), "both")
    after = threshold(before)
    assert prove(before, after) == 4 * 9
    first = after.by_name["s"]
    assert isinstance(first, pointwise.Threshold)
    assert (first.thresholds.array.tolist(), first.flips.array.tolist()) == ([0, 1], [-1, 1])
    x = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (40, 4))
    np.testing.assert_array_equal(reference.run(before, x)["both"], reference.run(after, x)["both"])
