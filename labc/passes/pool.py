"""Max pools move behind what makes few bits of their input: signs and bytes are pooled, not sums.

Before:  %pool = max_pool(%conv)   %a = affine(%pool, s, t)   %sign = sign(%a)
After:   %a = affine(%conv, s, t)   %sign = sign(%a)   %pool = max_pool(%sign, flips: where s < 0)

Each channel's way from sums to signs rises or falls all along, so the largest of the sums has the largest sign where it rises - an OR of
bits - and the smallest where it falls - an AND. The same holds for requantization to bytes, which falls where its multiplier is negative.
A pool of floats must move, so where several signs read one, each gets its own; a pool of sums that several read stays where it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labc.ir import layers, pointwise
from labc.ir.core import Array, Const, Graph, Node
from labc.passes.ranges import fresh, needed

_LINKS = (layers.Affine, layers.PRelu, layers.Clip, layers.Relu, pointwise.MaxPool)


def pool(graph: Graph) -> Graph:
    """Every MaxPool in front of a Sign or a Requantize to bytes that can go behind it; the others stay where they are."""
    chains = {node.name: chain for node in graph.nodes if (chain := _chain(graph, node))}
    if not chains:
        return graph
    moved = {link.name for chain in chains.values() for link in chain if len(graph.users[link.name]) == 1}
    nodes: list[Node] = []
    renamed: dict[str, str] = {}  # a sign that is pooled now → its last pool
    taken = set(graph.by_name)
    for node in graph.nodes:
        if node.name in moved:
            continue
        at = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        nodes += _behind(graph, at, chains[node.name], taken) if node.name in chains else [at]
        if node.name in chains:
            renamed[node.name] = nodes[-1].name
    return needed(Graph(tuple(nodes), renamed.get(graph.output, graph.output)))


def _chain(graph: Graph, end: Node) -> list[Node]:
    """From the first pool that can move behind `end` to the node before `end`; none if there is no such pool."""
    links: list[Node] = []
    movable, alone = 0, True
    match end:
        case layers.Sign():
            kinds: tuple[type[Node], ...] = _LINKS
        case layers.Requantize(element="u8"):
            kinds = (pointwise.MaxPool,)
        case _:
            return []
    node = graph.by_name[end.inputs[0]]
    while isinstance(node, kinds):
        alone = alone and len(graph.users[node.name]) == 1
        links.append(node)
        if isinstance(node, pointwise.MaxPool):
            if graph.types[node.name].element not in ("i32", "f32"):
                links.pop()
                break
            if alone or graph.types[node.name].element == "f32":
                movable = len(links)
        node = graph.by_name[node.inputs[0]]
    return links[:movable][::-1]


def _behind(graph: Graph, end: Node, chain: list[Node], taken: set[str]) -> list[Node]:
    """`end` on what the pools of `chain` read, and the pools behind it, each with flips for what stood between them.

    A link that others read too is made anew, under a name that is not taken.
    """
    made: list[Node] = []
    value = chain[0].inputs[0]  # integers or floats, so no value of `renamed`
    for link in chain:
        if not isinstance(link, pointwise.MaxPool):
            name = link.name if len(graph.users[link.name]) == 1 else fresh(f"{link.name}.{end.name}", taken)
            made.append(replace(link, name=name, inputs=(value,)))
            value = name
    made.append(replace(end, inputs=(value,)))
    value = end.name
    for i, link in enumerate(chain):
        if isinstance(link, pointwise.MaxPool):
            falling = np.zeros(link.flips.type.size, bool)
            for later in (*chain[i + 1 :], end):
                falling = falling ^ _falls(later, falling)
            name = link.name if len(graph.users[link.name]) == 1 else fresh(f"{link.name}.{end.name}", taken)
            made.append(pointwise.MaxPool(name, (value,), link.window, Const("sign", np.where(falling, 1, -1))))
            value = name
    return made


def _falls(node: Node, unchanged: Array) -> Array:
    """Where a node turns the order round, bool [C]."""
    match node:
        case layers.Affine():
            return np.asarray(node.s.array < 0)
        case layers.Requantize():
            return np.asarray(node.m.array < 0)
    return np.zeros_like(unchanged)
