"""An affine map and a sign become one integer comparison.

Before:  %a = affine(%fc1, s, t)   %sign1 = sign(%a)
After:   %sign1 = threshold(%fc1, thresholds)           (rows of %fc1 whose affine falls are negated)

Thresholds are found by bisection on the layers' own `evaluate`, not by algebra: rounding in t/s moves a threshold by one
where a sum falls on it, and a dead channel has no s to divide by. Each step of the chain is monotone per channel in float32
(rounding is monotone), so bisection is sound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from labc.ir import layers, machine
from labc.ir.core import Array, Const, Graph, Node
from labc.passes.ranges import bounds, require_finite, walk


def threshold(graph: Graph) -> Graph:
    """Every Sign behind a layer's sums → Threshold. Raises LabcError naming a layer whose affine overflows."""
    replaced: dict[str, Node] = {}
    dropped: set[str] = set()
    for node in graph.nodes:
        if isinstance(node, layers.Sign):
            sums, chain = chain_of(graph, node)
            low, high = bounds(graph, sums)
            require_finite(chain[:-1], low, high)
            falling, thresholds = bisect(chain, low, high)
            signs = np.where(falling, -1, 1).astype(np.int8)[:, None]
            replaced[sums.name] = type(sums)(sums.name, sums.inputs, Const("sign", sums.weights.array * signs))
            replaced[node.name] = machine.Threshold(node.name, (sums.name,), Const("i32", thresholds))
            dropped |= {link.name for link in chain[:-1]}
    if not replaced:
        return graph
    return Graph(tuple(replaced.get(node.name, node) for node in graph.nodes if node.name not in dropped), graph.output)


def chain_of(graph: Graph, sign: layers.Sign) -> tuple[machine.MatVec, tuple[Node, ...]]:
    """The sums a Sign depends on, and the nodes from there up to and including the Sign.

    Raises LabcError if a value on the way has other readers, or the chain does not begin at a layer's sums.
    """
    chain: list[Node] = [sign]
    while True:
        node = graph.by_name[chain[0].inputs[0]]
        if len(graph.users[node.name]) != 1:
            raise node.fail("its value is read more than once", "give each sign its own batch norm")
        if isinstance(node, machine.MatVec):
            return node, tuple(chain)
        if not isinstance(node, layers.Affine):
            raise sign.fail(f"follows a {node.kind()}, not a layer's sums", "put a dense layer before it")
        chain.insert(0, node)


def bisect(chain: tuple[Node, ...], low: Array, high: Array) -> tuple[Array, Array]:
    """Which channels fall, bool [N], and T, int64 [N]: the chain's sign is +1 ⇔ sum ≥ T, or, falling, −sum ≥ T.

    A channel whose sign never changes gets the least sum (always +1) or the greatest + 1 (never). The chain must be monotone:
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
    ends = (bounds(before, chain_of(before, node)[0]) for node in before.nodes if isinstance(node, layers.Sign))
    return sum(int((high - low + 1).sum()) for low, high in ends)


def prove(before: Graph, after: Graph, tick: Callable[[int], None] = lambda compared: None) -> int:
    """Compare every threshold of `after` with the layers of `before` on every sum of its range; the number of comparisons.

    `before` is the graph that `lower` made, `after` any later one; `tick` hears of each piece's comparisons. Raises LabcError naming
    layer, channel and sum of the first difference.
    """
    compared = 0
    for sign in (node for node in before.nodes if isinstance(node, layers.Sign)):
        sums, chain = chain_of(before, sign)
        low, high = bounds(before, sums)
        found = after.by_name[sign.name]
        made = found if isinstance(found, machine.MatVec) else after.by_name[found.inputs[0]]
        assert isinstance(made, machine.MatVec)
        assert isinstance(found, machine.Threshold | machine.SignMatVecThreshold | machine.ByteMatVecThreshold)
        flip = (made.weights.array[:, :1] * sums.weights.array[:, :1]).astype(np.int64)[:, 0]
        if not np.array_equal(sums.weights.array * flip[:, None], made.weights.array):
            raise sign.fail("its weights are not the layer's, up to a row's sign", "this is a fault in labc; please report it")
        least, greatest = int(low.min()), int(high.max())
        piece = max(1, (1 << 20) // len(low))  # about a million values at a time
        for first in range(least, greatest + 1, piece):
            at = np.arange(first, min(first + piece, greatest + 1))[:, None]
            want = walk(chain, np.broadcast_to(at, (len(at), len(low))).astype(np.int32)) > 0
            got = at * flip >= found.thresholds.array
            inside = (at >= low) & (at <= high)
            bad = np.argwhere((want != got) & inside)
            if len(bad):
                row, channel = (int(i) for i in bad[0])
                raise sign.fail(f"channel {channel} differs at sum {int(at[row, 0])}", "this is a fault in labc; please report it")
            compared += int(inside.sum())
            tick(int(inside.sum()))
    return compared
