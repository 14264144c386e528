"""Types, constants, nodes and the text form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import zoo

from labc.errors import LabcError
from labc.frontend.onnx import read
from labc.ir import layers, spec
from labc.ir.core import Const, Graph, Type
from labc.ir.text import digest, text


def test_constants_compare_by_value_and_cannot_be_written() -> None:
    a, b = Const("sign", np.ones((2, 3))), Const("sign", np.ones((2, 3), np.int64))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Const("i8", np.ones((2, 3)))  # the element counts
    assert a != Const("sign", np.ones((3, 2)))  # the shape counts
    assert Const("f32", np.float32([-0.0])) != Const("f32", np.float32([0.0]))  # and so do the bits
    with pytest.raises(ValueError, match="read-only"):
        a.array[0, 0] = -1


def test_a_constant_is_a_copy() -> None:
    array = np.ones(3, np.int8)
    constant = Const("sign", array)
    array[0] = -1
    assert constant.array.tolist() == [1, 1, 1]


@pytest.mark.parametrize(("element", "values"), [("sign", [0]), ("u8", [256]), ("i8", [-129]), ("i32", [2**31]), ("i32", [0.5])])
def test_values_that_do_not_fit_are_refused(element: str, values: list[float]) -> None:
    with pytest.raises(LabcError, match=r"sign is \+1 or -1|do not fit"):
        Const(element, np.array(values))  # type: ignore[arg-type]


def test_nodes_are_frozen_and_hashable() -> None:
    node = layers.Dense("fc", ("x",), Const("sign", np.ones((2, 3))))
    assert hash(node) == hash(layers.Dense("fc", ("x",), Const("sign", np.ones((2, 3)))))
    with pytest.raises(FrozenInstanceError):
        node.name = "other"  # type: ignore[misc]


def test_text_is_whole_and_stable(golden: Callable[[str, str], None], tmp_path, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    lab2 = read(zoo.save(zoo.own(zoo.random_layers(rng, [12, 7, 33, 3]), image=[3, 4]), tmp_path / "a.onnx")).graph
    lab = read(zoo.save(zoo.own(zoo.random_layers(rng, [12, 7, 3], method="lab"), argmax=True), tmp_path / "b.onnx")).graph
    golden("layers.txt", text(lab2) + "\n" + text(lab))


def test_the_digest_sees_every_bit(tmp_path, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    made = zoo.random_layers(rng, [5, 4, 2])
    one = digest(read(zoo.save(zoo.own(made), tmp_path / "a.onnx")).graph)
    made[1].t[0] = np.nextafter(made[1].t[0], np.float32(9))
    assert digest(read(zoo.save(zoo.own(made), tmp_path / "b.onnx")).graph) != one


X = layers.Input("x", (), "u8", (3,))
DENSE = layers.Dense("d", ("x",), Const("sign", np.ones((2, 3))))


@pytest.mark.parametrize(
    ("nodes", "output", "message"),
    [
        ((X, DENSE, DENSE), "d", "defined twice"),
        ((DENSE, X), "d", "no earlier node defines"),
        ((X, DENSE), "e", "output e is not defined"),
        ((DENSE,), "d", "no earlier node"),
        ((X, layers.Input("y", (), "u8", (3,)), DENSE), "d", "exactly one input"),
        ((X, layers.Dense("a b", ("x",), DENSE.weights)), "a b", "not a plain name"),
        ((layers.Input("x", (), "u8", (0,)),), "x", "is empty"),
        ((X, layers.Dense("d", ("x",), Const("sign", np.ones((2, 4))))), "d", "3 inputs, weights expect 4"),
        ((layers.Input("x", (), "u8", (1, 3)), DENSE), "d", "put a Flatten before it"),
        ((X, DENSE, layers.Affine("a", ("d",), Const("f32", np.ones(3)), Const("f32", np.ones(2)))), "a", r"s has shape \[3\]"),
        ((X, DENSE, layers.Requantize("r", ("d",), Const("i32", [1, 1]), Const("i64", [0, 0]), 51)), "r", r"outside 1\.\.50"),
    ],
)
def test_malformed_graphs_are_refused(nodes: tuple[layers.Node, ...], output: str, message: str) -> None:
    with pytest.raises(LabcError, match=message):
        spec.verify(Graph(nodes, output), spec.LAYERS, "the test")


def test_a_node_of_another_level_is_refused() -> None:
    with pytest.raises(LabcError, match="a dense cannot stand here"):
        spec.verify(Graph((X, DENSE), "d"), spec.MACHINE, "the test")


def test_type_text_and_size() -> None:
    assert str(Type("u8", (3, 4))) == "u8[3, 4]"
    assert Type("u8", (3, 4)).size == 12
    assert Type("i32", ()).size == 1
