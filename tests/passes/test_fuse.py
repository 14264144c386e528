"""Fusion: a sum and what follows it become one node, unless somebody else reads the sum."""

from __future__ import annotations

import numpy as np

from labc.ir import layers, machine, pointwise
from labc.ir.core import Const, Graph, Node
from labc.passes.fuse import fuse


def graph(*ends: Node) -> Graph:
    x = layers.Input("x", (), "u8", (3,))
    return Graph((x, machine.MatVec("fc", ("x",), Const("sign", np.ones((2, 3)))), *ends), ends[-1].name)


def requantize(name: str) -> layers.Requantize:
    return layers.Requantize(name, ("fc",), Const("i32", [1, 2]), Const("i64", [3, 4]), 5)


def test_one_reader_is_fused() -> None:
    after = fuse(graph(requantize("r")))
    assert [node.kind() for node in after.nodes] == ["input", "mat_vec_requantize"]
    x = np.array([[1, 2, 250]], np.uint8)
    assert after.by_name["r"].evaluate(x).tolist() == [[(253 + 3 + 16) >> 5, (2 * 253 + 4 + 16) >> 5]]


def test_sums_with_two_readers_stay_apart() -> None:
    after = fuse(graph(requantize("r"), requantize("r2")))
    assert [node.kind() for node in after.nodes] == ["input", "mat_vec", "requantize", "requantize"]
    assert all(isinstance(node, pointwise.Requantize) for node in after.nodes[2:])
    assert fuse(after) is after
