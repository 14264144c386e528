"""Flattened images lie pixel by pixel; what is made of them is put into that order, or refused."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from labc import passes, reference
from labc.errors import LabcError
from labc.ir import layers
from labc.ir.core import Const, Graph, Node
from labc.ir.windows import Window

RNG = np.random.default_rng(11)


def signs(*shape: int) -> Const:
    return Const("sign", RNG.choice(np.array([-1, 1], np.int8), shape))


def norm(name: str, of: str, n: int, spread: float) -> layers.Affine:
    s = RNG.uniform(0.5, 2, n) * RNG.choice([-1, 1], n) / spread
    return layers.Affine(name, (of,), Const("f32", s.astype(np.float32)), Const("f32", RNG.normal(0, 0.3, n).astype(np.float32)))


def fixed(name: str, of: str, n: int, element: Literal["u8", "i16"]) -> layers.Requantize:
    return layers.Requantize(name, (of,), Const("i32", RNG.integers(-900, 900, n)), Const("i64", RNG.integers(0, 9000, n)), 9, element)


def graph(*behind: Node) -> Graph:
    """An image of 5 x 3 x 4 sums, `c`, and what comes behind it."""
    nodes = (
        layers.Input("x", (), "u8", (2, 3, 4)),
        layers.Conv("c", ("x",), signs(5, 2, 3, 3), Window((3, 3), pads=(1, 1, 1, 1))),
        *behind,
    )
    return Graph(nodes, nodes[-1].name)


def equal(before: Graph) -> None:
    x = RNG.integers(0, 256, (30, 2, 3, 4)).astype(np.uint8)
    want, got = (reference.run(which, x) for which in (before, passes.run(before)))
    assert len(np.unique(want[before.output])) > 20
    np.testing.assert_array_equal(want[before.output].view(np.int32), got[before.output].view(np.int32))


def test_constants_per_element_follow_the_image() -> None:
    equal(
        graph(
            layers.Flatten("f", ("c",)),
            norm("n", "f", 60, 300),
            layers.Sign("s", ("n",)),
            layers.Dense("fc", ("s",), signs(9, 60)),
            norm("scores", "fc", 9, 10),
        )
    )


def test_a_flattened_image_is_joined_with_another_and_with_a_vector() -> None:
    equal(
        graph(
            fixed("a", "c", 5, "u8"),
            layers.MaxPool("small", ("a",), Window((2, 2), (1, 2))),
            layers.Flatten("f", ("a",)),
            layers.Flatten("g", ("small",)),
            layers.Dense("fc", ("f",), signs(7, 60)),
            fixed("v", "fc", 7, "u8"),
            layers.Concat("all", ("f", "v", "g")),
            layers.Dense("last", ("all",), signs(9, 60 + 7 + 20)),
            norm("scores", "last", 9, 10),
        )
    )


def test_a_sum_of_values_in_two_orders_is_refused() -> None:
    mixed = graph(
        fixed("a", "c", 5, "i16"),
        layers.Flatten("f", ("a",)),
        fixed("b", "c", 5, "u8"),
        layers.Flatten("g", ("b",)),
        layers.Dense("fc", ("g",), signs(60, 60)),
        fixed("v", "fc", 60, "i16"),
        layers.Add("sum", ("f", "v")),
        norm("n", "sum", 60, 300),
        layers.Sign("s", ("n",)),
        layers.Dense("last", ("s",), signs(9, 60)),
        norm("scores", "last", 9, 10),
    )
    with pytest.raises(LabcError, match="sum: joins a flattened image and values that lie in another order; join them before the Flatten"):
        passes.run(mixed)


def test_generated_names_leave_those_of_the_file_alone() -> None:
    equal(
        graph(
            norm("n", "c", 5, 300),
            layers.Sign("s", ("n",)),
            layers.Conv("s.wide", ("s",), signs(5, 5, 1, 1), Window((1, 1))),
            norm("again", "s", 5, 1),
            layers.Sign("t", ("again",)),
            layers.Conv("x.pixels", ("t",), signs(5, 5, 1, 1), Window((1, 1))),
            layers.Concat("both", ("s.wide", "x.pixels")),
            layers.SumPool("p", ("both",), Window((3, 4))),
            layers.Flatten("f", ("p",)),
            norm("scores", "f", 10, 10),
        )
    )


def test_two_signs_of_one_pooled_batch_norm() -> None:
    equal(
        graph(
            norm("n", "c", 5, 300),
            layers.MaxPool("p", ("n",), Window((2, 2))),
            layers.Sign("s", ("p",)),
            norm("m", "p", 5, 1),
            layers.Sign("t", ("m",)),
            layers.Concat("both", ("s", "t")),
            layers.Flatten("f", ("both",)),
            layers.Dense("fc", ("f",), signs(9, 60)),
            norm("scores", "fc", 9, 10),
        )
    )


def test_deep_networks_are_no_deep_recursion() -> None:
    links = [layers.Clip(f"k{i}", ("a" if i == 0 else f"k{i - 1}",), -1000 - i, 1000 + i) for i in range(3000)]
    equal(
        graph(
            fixed("a", "c", 5, "i16"),
            *links,
            norm("n", "k2999", 5, 100),
            layers.Sign("s", ("n",)),
            layers.Flatten("f", ("s",)),
            layers.Dense("fc", ("f",), signs(9, 60)),
            norm("scores", "fc", 9, 10),
        )
    )


def test_too_many_groups_are_refused() -> None:
    many = Graph(
        (
            layers.Input("x", (), "u8", (1028, 2, 2)),
            layers.Conv("c", ("x",), signs(514, 2, 1, 1), Window((1, 1)), 514),
            layers.SumPool("p", ("c",), Window((2, 2))),
            norm("scores", "p", 514, 10),
        ),
        "scores",
    )
    with pytest.raises(LabcError, match=r"c: 514 groups of 2 channels; each group is a convolution of its own, at most 256; use fewer"):
        passes.run(many)
