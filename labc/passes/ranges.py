"""What the passes need to know of graphs: the integers that a value can reach, and which nodes the result depends on."""

from __future__ import annotations

import numpy as np

from labc.ir import layers, machine, pointwise
from labc.ir.core import Array, Graph, Node, Type
from labc.ir.windows import image

LARGEST_SUM = 1 << 24  # every integer up to here is a float32, so the affine's conversion is exact


def bounds(graph: Graph, name: str) -> tuple[Array, Array]:
    """The least and greatest integer that each channel of a value can reach, int64 [C], from the ranges of the inputs alone.

    Raises LabcError naming the layer if a sum can leave ±2²⁴.
    """
    node = graph.by_name[name]
    # In order, so that what a value depends on is there: networks may be deeper than Python's stack.
    for at in range(len(graph.ranges), graph.position[name] + 1):
        graph.ranges.append(_bounds(graph, graph.nodes[at]))
    found = graph.ranges[graph.position[name]]
    if found is None:
        raise node.fail(f"a {node.kind()} is not integers", "put a dense or convolutional layer before it")
    low, high = found
    if max(-int(low.min()), int(high.max())) > LARGEST_SUM:
        raise node.fail(
            f"a sum can reach {max(-int(low.min()), int(high.max()))}, the largest exact one is {LARGEST_SUM}",
            "split the layer's inputs, or pool fewer pixels at a time",
        )
    return low, high


def _bounds(graph: Graph, node: Node) -> tuple[Array, Array] | None:
    """The bounds of one value from those before it; None of floats."""
    type_ = graph.types[node.name]
    if type_.element in layers.INTEGERS:
        return _extremes(type_)
    before = [ends for name in node.inputs if (ends := graph.ranges[graph.position[name]]) is not None]
    low, high = before[0] if before else (np.zeros(1, np.int64), np.zeros(1, np.int64))
    match node:
        # Of 16-bit values: what keeps them narrower than they could be.
        case pointwise.Clip():
            return np.clip(low, int(node.low), int(node.high)), np.clip(high, int(node.low), int(node.high))
        case pointwise.Add():
            return np.clip(low + before[1][0], *machine.EXTREMES["i16"]), np.clip(high + before[1][1], *machine.EXTREMES["i16"])
        case machine.Sums():
            return node.bounds(graph.types[node.inputs[0]].element)
        case pointwise.AddPool():
            taps = node.window.taps
            outside = any(node.window.pads)
            return np.minimum(low * taps, 0) if outside else low * taps, np.maximum(high * taps, 0) if outside else high * taps
        case pointwise.View():
            _, height, width = image(graph.types[node.inputs[0]].shape)
            return np.tile(low, height * width), np.tile(high, height * width)
        case pointwise.Join():
            return np.concatenate([ends[0] for ends in before]), np.concatenate([ends[1] for ends in before])
        case pointwise.Slice():
            return low[node.first : node.first + node.count], high[node.first : node.first + node.count]
        case pointwise.MaxPool() | pointwise.Widen():
            return (low, high) if before else None
    return _extremes(type_) if type_.element == "i16" else None


def _extremes(type_: Type) -> tuple[Array, Array]:
    low, high = (np.full(type_.shape[0], end, np.int64) for end in machine.EXTREMES[type_.element])
    return low, high


def walk(chain: tuple[Node, ...], values: Array) -> Array:
    """`values` [m, C] through the nodes of `chain`, each evaluated as the reference does."""
    for node in chain:
        values = node.evaluate(values)
    return values


def require_finite(chain: tuple[Node, ...], low: Array, high: Array) -> None:
    """Raise LabcError naming the first node of `chain` that is not finite at both ends of the range, or not monotone.

    Every node of a chain is monotone per channel (one multiply by a constant, one addition, a bend upwards), so finite ends mean finite
    between.
    """
    ends = np.stack([low, high]).astype(np.int32)
    for node in chain:
        if isinstance(node, layers.PRelu) and (node.slopes.array < 0).any():
            raise node.fail(
                f"falls and rises: its slope in channel {int(np.argmin(node.slopes.array))} is negative",
                "a sign behind it needs slopes of at least 0; clamp them in training",
            )
        ends = node.evaluate(ends)
        bad = np.argwhere(~np.isfinite(ends))
        if len(bad):
            end, channel = (int(i) for i in bad[0])
            raise node.fail(
                f"overflows float32: {ends[end, channel]} in channel {channel} at the {('least', 'greatest')[end]} sum",
                "the batch norm's parameters are too large; retrain or rescale the layer",
            )


def fresh(wanted: str, taken: set[str]) -> str:
    """A name near `wanted` that is not among `taken`, to which it is added."""
    while wanted in taken:
        wanted += "_"
    taken.add(wanted)
    return wanted


def needed(graph: Graph) -> Graph:
    """The graph without nodes that its result does not depend on; the network's input stays."""
    names = {graph.output}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in names or isinstance(node, layers.Input):
            names.update(node.inputs)
            kept.append(node)
    return graph if len(kept) == len(graph.nodes) else Graph(tuple(reversed(kept)), graph.output)
