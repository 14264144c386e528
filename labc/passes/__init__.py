"""From layers IR to machine IR: one pass per file, listed once, verified after each."""

from __future__ import annotations

from collections.abc import Callable

from labc.ir import spec
from labc.ir.core import Graph, Node
from labc.passes.fuse import fuse
from labc.passes.lower import lower
from labc.passes.pool import pool
from labc.passes.threshold import threshold

Pass = Callable[[Graph], Graph]
Watch = Callable[[str, Graph, Graph], None]

PIPELINE: tuple[tuple[Pass, frozenset[type[Node]]], ...] = (
    (lower, spec.SUMS),  # first: everything after it may rely on integer sums of known range
    (pool, spec.SUMS),  # before thresholds, which then are those of a convolution and fuse with it
    (threshold, spec.THRESHOLDED),  # before fusion, so that an affine and its sign are still apart and can be evaluated
    (fuse, spec.MACHINE),  # last: what is left is one kernel call per node
)


def run(graph: Graph, watch: Watch = lambda name, before, after: None) -> Graph:
    """All passes in order; `watch(name, before, after)` sees each. Raises LabcError naming the layer that cannot be lowered."""
    spec.verify(graph, spec.LAYERS, "reading")
    for step, legal in PIPELINE:
        after = step(graph)
        spec.verify(after, legal, step.__name__)
        watch(step.__name__, graph, after)
        graph = after
    return graph
