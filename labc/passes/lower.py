"""Layers become sums.

Before:  %fc1 = dense(%input, weights=sign[N, K])  ...  %scores = affine(%fc3, …)  %class = arg_max(%scores)
After:   %fc1 = byte_mat_vec(%input, …)            ...  %scores = scores(%fc3, …)                (every library has `predict`)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labc.ir import layers, machine
from labc.ir.core import Graph, Node
from labc.passes.ranges import bounds, require_finite

_ONE_BIT = "train it with labc.train.BinaryLinear and re-export; `labc inspect` shows every layer"
_EIGHT_BIT = "re-export with labc.train.export, which calibrates 8-bit activations"


def lower(graph: Graph) -> Graph:
    """Dense → SignMatVec or ByteMatVec, the last Affine → Scores; Flatten and a final ArgMax vanish.

    Raises LabcError naming the first layer that is not exact integers, with the reason and the remedy.
    """
    graph = _without_argmax(graph)
    alias: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        at = replace(node, inputs=tuple(alias.get(name, name) for name in node.inputs))
        if isinstance(at, layers.Flatten):
            alias[at.name] = at.inputs[0]
        else:
            nodes.append(_lower(graph, at))
    # After the loop: a layer that cannot be lowered is the better thing to name.
    if not isinstance(graph.by_name[graph.output], layers.Affine):
        raise graph.by_name[graph.output].fail(
            "is the last layer, but a network ends in scores", "end it with a dense layer without Sign or ReLU"
        )
    lowered = Graph(tuple(nodes), graph.output)
    for node in lowered.nodes:
        _check_range(lowered, node)
    return lowered


def _without_argmax(graph: Graph) -> Graph:
    last = graph.by_name[graph.output]
    if not isinstance(last, layers.ArgMax):
        return graph
    return Graph(tuple(node for node in graph.nodes if node is not last), last.inputs[0])


def _lower(graph: Graph, node: Node) -> Node:
    seen = graph.types[node.inputs[0]].element if node.inputs else None
    match node:
        case layers.Input(element="f32"):
            raise node.fail(
                "the network's input is float32", "re-export with a uint8 example input, or begin the file with Cast from uint8"
            )
        case layers.Input():
            return replace(node, shape=(graph.types[node.name].size,))
        case layers.Dense():
            if why := layers.why_not_binary(node.weights):
                raise node.fail(why, _ONE_BIT)
            if seen == "f32":
                raise node.fail(f"its input {node.inputs[0]} is float32", _EIGHT_BIT)
            kind = machine.SignMatVec if seen == "sign" else machine.ByteMatVec
            return kind(node.name, node.inputs, node.weights)
        case layers.Affine() if seen != "i32":
            raise node.fail(
                f"scales {seen} values, not a layer's sums", "move it behind a dense layer; one scale for all inputs is absorbed"
            )
        case layers.Affine() if node.name == graph.output:
            return machine.Scores(node.name, node.inputs, node.s, node.t)
        case layers.Sign() if seen not in ("i32", "f32"):
            raise node.fail(f"takes the sign of {seen} values, not of a layer's sums", "put a dense layer before it")
        case layers.Relu():
            raise node.fail("a ReLU in float32", _EIGHT_BIT)
        case layers.ArgMax():
            raise node.fail("an ArgMax that is not the end of the network", "make it the output")
    return node


def _check_range(graph: Graph, node: Node) -> None:
    if isinstance(node, machine.MatVec):
        bounds(graph, node)
    if isinstance(node, machine.Scores | layers.Requantize):
        sums = graph.by_name[node.inputs[0]]
        if not isinstance(sums, machine.MatVec):
            raise node.fail(f"follows a {sums.kind()}, not a layer's sums", "put it directly behind a dense layer")
        low, high = bounds(graph, sums)
        if isinstance(node, machine.Scores):
            require_finite((node,), low, high)
            return
        # Python integers: the very overflow looked for must not happen here.
        reach = np.maximum(-low, high)
        for channel, (m, b) in enumerate(zip(node.m.array.tolist(), node.b.array.tolist(), strict=True)):
            if abs(m) >= 1 << 31 or int(reach[channel]) * abs(m) + abs(b) + (1 << (node.shift - 1)) >= 1 << 52:
                raise node.fail(f"channel {channel} leaves 52 bits", "re-export: the scale of this layer is too large")
