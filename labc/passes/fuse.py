"""Sums and what follows them become one kernel call.

Before:  %fc1 = sign_mat_vec(%x, W)   %sign1 = threshold(%fc1, T)
After:   %sign1 = sign_mat_vec_threshold(%x, W, T)
"""

from __future__ import annotations

from labc.ir import layers, machine
from labc.ir.core import Graph, Node


def fuse(graph: Graph) -> Graph:
    """MatVec + Threshold, ByteMatVec + Requantize → one node, named as the second; sums with several readers stay apart."""
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node, machine.Threshold | layers.Requantize):
            continue
        sums = graph.by_name[node.inputs[0]]
        if len(graph.users[sums.name]) == 1 and (fused := _fused(sums, node)):
            made[node.name] = fused
            gone.add(sums.name)
    if not made:
        return graph
    return Graph(tuple(made.get(node.name, node) for node in graph.nodes if node.name not in gone), graph.output)


def _fused(sums: Node, node: Node) -> Node | None:
    match sums, node:
        case machine.SignMatVec(), machine.Threshold():
            return machine.SignMatVecThreshold(node.name, sums.inputs, sums.weights, node.thresholds)
        case machine.ByteMatVec(), machine.Threshold():
            return machine.ByteMatVecThreshold(node.name, sums.inputs, sums.weights, node.thresholds)
        case machine.ByteMatVec(), layers.Requantize():
            return machine.ByteMatVecRequantize(node.name, sums.inputs, sums.weights, node.m, node.b, node.shift)
    return None
