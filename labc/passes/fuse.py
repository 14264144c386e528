"""Sums and what follows them become one kernel call.

Before:  %fc1 = mat_vec(%x, W)   %sign1 = threshold(%fc1, T, flips: none)
After:   %sign1 = mat_vec_threshold(%x, W, T)
"""

from __future__ import annotations

from labc.ir import layers, machine, pointwise
from labc.ir.core import Element, Graph, Node


def fuse(graph: Graph) -> Graph:
    """Sums + Threshold, sums of bytes + Requantize → one node, named as the second, where the kernel table has a row for it."""
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node, pointwise.Threshold | layers.Requantize):
            continue
        sums = graph.by_name[node.inputs[0]]
        alone = len(graph.users[sums.name]) == 1
        if alone and sums.inputs and (fused := _fused(sums, node, graph.types[sums.inputs[0]].element)):
            made[node.name] = fused
            gone.add(sums.name)
        elif type(node) is layers.Requantize:
            made[node.name] = pointwise.Requantize(node.name, node.inputs, node.m, node.b, node.shift, node.element)
    if not made:
        return graph
    return Graph(tuple(made.get(node.name, node) for node in graph.nodes if node.name not in gone), graph.output)


def _fused(sums: Node, node: Node, element: Element) -> Node | None:
    if isinstance(node, pointwise.Threshold):
        if (node.flips.array > 0).any():
            return None
        # Depthwise first: it is a Conv too.
        match sums:
            case machine.Depthwise():
                return _depthwise(sums, node) if element == "sign" else None
            case machine.Conv():
                return machine.ConvThreshold(node.name, sums.inputs, sums.weights, sums.window, node.thresholds)
            case machine.MatVec():
                return machine.MatVecThreshold(node.name, sums.inputs, sums.weights, node.thresholds)
    if isinstance(node, layers.Requantize) and node.element == "u8" and element in ("u8", "i8"):
        match sums:
            case machine.Depthwise():
                return None
            case machine.Conv():
                return machine.ConvRequantize(node.name, sums.inputs, sums.weights, sums.window, node.m, node.b, node.shift)
            case machine.MatVec():
                return machine.MatVecRequantize(node.name, sums.inputs, sums.weights, node.m, node.b, node.shift)
    return None


def _depthwise(sums: machine.Depthwise, node: pointwise.Threshold) -> Node:
    return machine.DepthwiseThreshold(node.name, sums.inputs, sums.weights, sums.window, sums.groups, node.thresholds)
