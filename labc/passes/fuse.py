"""Sums and what follows them become one kernel call.

Before:  %fc1 = mat_vec(%x, W)   %sign1 = threshold(%fc1, T, flips: none)
After:   %sign1 = mat_vec_threshold(%x, W, T)
"""

from __future__ import annotations

from labc.ir import layers, machine, pointwise
from labc.ir.core import Element, Graph, Node
from labc.ir.fused import Fused


def fuse(graph: Graph) -> Graph:
    """Sums + Threshold, sums of bytes + Requantize → one node, named as the second, where the kernel table has a row for it."""
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node, pointwise.Threshold | layers.Requantize):
            continue
        sums = graph.by_name[node.inputs[0]]
        alone = len(graph.users[sums.name]) == 1
        if alone and sums.inputs and (one := _fused(sums, node, graph.types[sums.inputs[0]].element)):
            made[node.name] = one
            gone.add(sums.name)
        elif type(node) is layers.Requantize:
            made[node.name] = pointwise.Requantize(node.name, node.inputs, node.m, node.b, node.shift, node.element)
    if not made:
        return graph
    return Graph(tuple(made.get(node.name, node) for node in graph.nodes if node.name not in gone), graph.output)


def _fused(sums: Node, node: pointwise.Threshold | layers.Requantize, element: Element) -> Node | None:
    """The two as one, if the kernel table has a row for it; `element` is what the sums read."""
    if not isinstance(sums, machine.Sums):
        return None
    depthwise = isinstance(sums, machine.Depthwise)
    if isinstance(node, pointwise.Threshold):
        there = not (node.flips.array > 0).any() and (element == "sign" or not depthwise)
    else:
        there = node.element == "u8" and element in ("u8", "i8") and not depthwise
    return Fused(node.name, sums.inputs, sums, node) if there else None
