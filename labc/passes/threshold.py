"""An affine map and a sign become one integer comparison.

Before:  %a = affine(%fc1, s, t)   %sign1 = sign(%a)
After:   %sign1 = threshold(%fc1, thresholds, flips)           (rows of %fc1 whose affine falls are negated, or their signs flipped)

Thresholds are found by bisection on the layers' own `evaluate`, not by algebra: rounding in t/s moves a threshold by one
where a sum falls on it, and a dead channel has no s to divide by. Each step of the chain is monotone per channel in float32
(rounding is monotone), so bisection is sound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from labc.ir import layers, machine, pointwise
from labc.ir.core import Array, Const, Graph, Node
from labc.ir.fused import Fused
from labc.passes.ranges import bounds, needed, require_finite, walk


def threshold(graph: Graph) -> Graph:
    """Every Sign behind integers → Threshold. Raises LabcError naming a layer whose affine overflows."""
    replaced: dict[str, Node] = {}
    for node in graph.nodes:
        if isinstance(node, layers.Sign):
            source, chain = chain_of(graph, node)
            low, high = bounds(graph, source.name)
            require_finite(chain[:-1], low, high)
            falling, thresholds = bisect(chain, low, high)
            flips = np.full(len(low), -1)
            # What nobody else reads may be negated.
            if isinstance(source, machine.Sums) and all(len(graph.users[node.name]) == 1 for node in (source, *chain[:-1])):
                signs = np.where(falling, -1, 1).astype(np.int8).reshape(-1, *[1] * (source.weights.array.ndim - 1))
                replaced[source.name] = source.with_weights(Const("sign", source.weights.array * signs))
            else:
                # −x ≥ T is x ≤ −T, which is not x ≥ 1 − T.
                thresholds, flips = np.where(falling, 1 - thresholds, thresholds), np.where(falling, 1, -1)
            held = Const("i32", thresholds)
            replaced[node.name] = pointwise.Threshold(node.name, (source.name,), held, Const("sign", flips))
    if not replaced:
        return graph
    return needed(Graph(tuple(replaced.get(node.name, node) for node in graph.nodes), graph.output))


def chain_of(graph: Graph, sign: layers.Sign) -> tuple[Node, tuple[Node, ...]]:
    """The integers a Sign depends on, and the nodes from there up to and including the Sign. Raises LabcError if there are none."""
    chain: list[Node] = [sign]
    while True:
        node = graph.by_name[chain[0].inputs[0]]
        if graph.types[node.name].element != "f32":
            return node, tuple(chain)
        if not isinstance(node, layers.Affine | layers.PRelu | layers.Clip | layers.Relu):
            raise sign.fail(f"follows a {node.kind()} of float32 values that is read more than once", "give each sign its own pool")
        chain.insert(0, node)


def bisect(chain: tuple[Node, ...], low: Array, high: Array) -> tuple[Array, Array]:
    """Which channels fall, bool [C], and T, int64 [C]: the chain's sign is +1 ⇔ x ≥ T, or, falling, −x ≥ T.

    A channel whose sign never changes gets the least x (always +1) or the greatest + 1 (never). The chain must be monotone:
    a search by halves cannot see that it is not, `prove` would. Raises LabcError if the sign at T − 1 and T is not −1 and +1.
    """

    def positive(sums: Array) -> Array:
        result: Array = walk(chain, sums.astype(np.int32)[None])[0] > 0
        return result

    falling = positive(low) & ~positive(high)
    # Search for the first sum, from the end where the sign is −1, at which it is +1; u counts steps from that end.
    start, step = np.where(falling, high, low), np.where(falling, -1, 1)
    none, all_ = np.zeros_like(low), high - low + 1
    left, right = none.copy(), all_.copy()
    while np.any(left < right):
        middle = (left + right) // 2
        up = positive(start + step * np.minimum(middle, high - low)) & (middle <= high - low)
        right = np.where(up, middle, right)
        left = np.where(up | (left >= right), left, middle + 1)
    reached = start + step * left  # falling: the greatest sum that is still +1
    thresholds = np.where(falling, -reached, reached)
    # What the bisection found is looked at again: the sign on both sides of every threshold.
    inside = left < all_
    wrong = inside & ~positive(np.where(inside, reached, low))
    below = left > none
    wrong |= below & positive(np.where(below, reached - step, high))
    if wrong.any():
        raise chain[0].fail(
            f"the sign of channel {int(np.argmax(wrong))} does not change at its threshold", "this is a fault in labc; please report it"
        )
    return falling, thresholds


def sums_to_prove(before: Graph) -> int:
    """How many comparisons `prove` makes."""
    ends = (bounds(before, chain_of(before, node)[0].name) for node in before.nodes if isinstance(node, layers.Sign))
    return sum(int((high - low + 1).sum()) for low, high in ends)


def prove(before: Graph, after: Graph, tick: Callable[[int], None] = lambda compared: None) -> int:
    """Compare every threshold of `after` with the layers of `before` on every integer of its range; the number of comparisons.

    `before` is the graph that `pool` made, `after` any later one; `tick` hears of each piece's comparisons. Raises LabcError naming
    layer, channel and sum of the first difference.
    """
    compared = 0
    for sign in (node for node in before.nodes if isinstance(node, layers.Sign)):
        source, chain = chain_of(before, sign)
        low, high = bounds(before, source.name)
        node = after.by_name[sign.name]
        made, found = (node.sums, node.end) if isinstance(node, Fused) else (after.by_name[node.inputs[0]], node)
        assert isinstance(found, pointwise.Threshold)
        flip, flips = _flip(source, made), found.flips.array > 0
        least, greatest = int(low.min()), int(high.max())
        piece = max(1, (1 << 20) // len(low))  # about a million values at a time
        for first in range(least, greatest + 1, piece):
            at = np.arange(first, min(first + piece, greatest + 1))[:, None]
            want = walk(chain, np.broadcast_to(at, (len(at), len(low))).astype(np.int32)) > 0
            got = (at * flip >= found.thresholds.array) != flips
            inside = (at >= low) & (at <= high)
            bad = np.argwhere((want != got) & inside)
            if len(bad):
                row, channel = (int(i) for i in bad[0])
                raise sign.fail(f"channel {channel} differs at sum {int(at[row, 0])}", "this is a fault in labc; please report it")
            compared += int(inside.sum())
            tick(int(inside.sum()))
    return compared


def _flip(source: Node, made: Node) -> Array:
    """Per channel +1, or −1 where the sums `made` are those of the layer, `source`, negated. Raises LabcError if they are neither.

    Other integers have no weights that could have been changed: `threshold` names their node itself.
    """
    if not isinstance(source, machine.Sums) or not isinstance(made, machine.Sums):
        return np.ones(1, np.int64)
    before, now = (node.weights.array.reshape(len(node.weights.array), -1) for node in (source, made))
    flip = (now[:, :1] * before[:, :1]).astype(np.int64)
    if not np.array_equal(before * flip, now):
        raise made.fail("its weights are not the layer's, up to a row's sign", "this is a fault in labc; please report it")
    result: Array = flip[:, 0]
    return result


def dead_channels(graph: Graph) -> int:
    """How many channels of machine IR have a sign that no input can change."""
    dead = 0
    for node in graph.nodes:
        end = node.end if isinstance(node, Fused) else node
        if isinstance(end, pointwise.Threshold):
            low, high = node.sums.bounds(graph.types[node.inputs[0]].element) if isinstance(node, Fused) else bounds(graph, node.inputs[0])
            dead += int(((end.thresholds.array <= low) | (end.thresholds.array > high)).sum())
    return dead
