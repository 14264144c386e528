"""Max pools move behind what makes few bits of their input: signs and bytes are pooled, not sums.

Before:  %pool = max_pool(%conv)   %a = affine(%pool, s, t)   %sign = sign(%a)
After:   %a = affine(%conv, s, t)   %sign = sign(%a)   %pool = max_pool(%sign, flips: where s < 0)

Each channel's way from sums to signs rises or falls all along, so the largest of the sums has the largest sign where it rises - an OR of
bits - and the smallest where it falls - an AND. The same holds for requantization to bytes, which falls where its multiplier is negative.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labc.ir import layers, pointwise
from labc.ir.core import Array, Const, Graph, Node


def pool(graph: Graph) -> Graph:
    """Every MaxPool of sums or floats with one reader, as far behind as it can go; one of sums that cannot move stays where it is."""
    while True:
        moved = next((after for node in graph.nodes if (after := _behind(graph, node))), None)
        if moved is None:
            return graph
        graph = moved


def _behind(graph: Graph, node: Node) -> Graph | None:
    """The graph with one MaxPool moved, or None."""
    if not isinstance(node, pointwise.MaxPool) or graph.types[node.name].element not in ("i32", "i16", "f32"):
        return None
    chain = _chain(graph, node)
    if chain is None:
        return None
    last = chain[-1]
    falling = np.zeros(node.flips.type.size, bool)
    for link in chain:
        falling ^= _falls(link, falling)
    first = replace(chain[0], inputs=node.inputs)
    behind = pointwise.MaxPool(node.name, (last.name,), node.window, Const("sign", np.where(falling, 1, -1)))
    nodes: list[Node] = []
    for other in graph.nodes:
        if other is node:
            continue
        at = first if other is chain[0] else other
        if last.name in at.inputs:
            at = replace(at, inputs=tuple(node.name if name == last.name else name for name in at.inputs))
        nodes.append(at)
        if other is last:
            nodes.append(behind)
    return Graph(tuple(nodes), node.name if graph.output == last.name else graph.output)


def _chain(graph: Graph, node: Node) -> list[Node] | None:
    """What follows a pool up to a Sign or a Requantize to bytes, if nothing else reads anything on the way."""
    chain: list[Node] = []
    while len(users := graph.users[chain[-1].name if chain else node.name]) == 1:
        chain.append(users[0])
        match users[0]:
            case layers.Sign():
                return chain
            case layers.Requantize(element="u8"):
                return chain if len(chain) == 1 else None
            case layers.Affine() | layers.PRelu() | layers.Clip() | layers.Relu():
                continue
        return None
    return None


def _falls(node: Node, unchanged: Array) -> Array:
    """Where a node turns the order round, bool [C]."""
    match node:
        case layers.Affine():
            return np.asarray(node.s.array < 0)
        case layers.Requantize():
            return np.asarray(node.m.array < 0)
    return np.zeros_like(unchanged)
