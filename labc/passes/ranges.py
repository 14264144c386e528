"""What the passes need to know of ranges: the sums a layer can reach, and whether an affine stays finite on them."""

from __future__ import annotations

import numpy as np

from labc.ir.core import Array, Graph, Node
from labc.ir.machine import MatVec

LARGEST_SUM = (1 << 24) - 1  # every integer up to here is a float32, so the affine's conversion is exact


def bounds(graph: Graph, node: MatVec) -> tuple[Array, Array]:
    """The least and greatest reachable sum of each row, int64 [N].

    Raises LabcError naming the layer if a sum can leave ±(2²⁴ − 1).
    """
    low, high = node.bounds(graph.types[node.inputs[0]].element)
    if max(-int(low.min()), int(high.max())) > LARGEST_SUM:
        raise node.fail(
            f"a sum can reach {max(-int(low.min()), int(high.max()))}, the largest exact one is {LARGEST_SUM}", "split the layer's inputs"
        )
    return low, high


def walk(chain: tuple[Node, ...], sums: Array) -> Array:
    """`sums` [m, N] through the nodes of `chain`, each evaluated as the reference does."""
    for node in chain:
        sums = node.evaluate(sums)
    return sums


def require_finite(chain: tuple[Node, ...], low: Array, high: Array) -> None:
    """Raise LabcError naming the first node of `chain` that is not finite at both ends of the range.

    Every node of a chain is monotone per channel (one multiply by a constant, one addition), so finite ends mean finite between.
    """
    ends = np.stack([low, high]).astype(np.int32)
    for node in chain:
        ends = node.evaluate(ends)
        bad = np.argwhere(~np.isfinite(ends))
        if len(bad):
            end, channel = (int(i) for i in bad[0])
            raise node.fail(
                f"overflows float32: {ends[end, channel]} in channel {channel} at the {('least', 'greatest')[end]} sum",
                "the batch norm's parameters are too large; retrain or rescale the layer",
            )
