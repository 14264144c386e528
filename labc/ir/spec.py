"""What is legal at each level. The driver verifies after reading and after every pass."""

from __future__ import annotations

import re

from labc.errors import LabcError
from labc.ir import layers, machine, pointwise
from labc.ir.core import Graph, Node
from labc.ir.fused import Fused

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,127}")

LAYERS: frozenset[type[Node]] = frozenset(
    {
        layers.Input,
        layers.Flatten,
        layers.Dense,
        layers.Conv,
        layers.MaxPool,
        layers.SumPool,
        layers.Add,
        layers.Concat,
        layers.Pad,
        layers.Affine,
        layers.Sign,
        layers.Relu,
        layers.PRelu,
        layers.Clip,
        layers.Requantize,
        layers.ArgMax,
    }
)
_EITHER: frozenset[type[Node]] = frozenset(  # from lowering to the end
    {
        layers.Input,
        machine.MatVec,
        machine.Conv,
        machine.Depthwise,
        machine.Scores,
        pointwise.Interleave,
        pointwise.View,
        pointwise.MaxPool,
        pointwise.AddPool,
        pointwise.Widen,
        pointwise.Add,
        pointwise.Clip,
        pointwise.PRelu,
        pointwise.Join,
        pointwise.Slice,
        pointwise.Pad,
    }
)
# Between lowering and fusion sums, thresholds and requantization stand apart; before `threshold`, floats stand between sums and signs.
SUMS: frozenset[type[Node]] = _EITHER | {layers.Requantize, layers.Affine, layers.Sign, layers.Relu, layers.PRelu, layers.Clip}
THRESHOLDED: frozenset[type[Node]] = _EITHER | {layers.Requantize, pointwise.Threshold}
MACHINE: frozenset[type[Node]] = _EITHER | {pointwise.Threshold, pointwise.Requantize, Fused}


def verify(graph: Graph, legal: frozenset[type[Node]], after: str) -> None:
    """Raise LabcError unless `graph` is well formed: legal nodes, unique plain names, defined before use, one input, types that fit."""
    seen: set[str] = set()
    for node in graph.nodes:
        if type(node) not in legal:
            raise LabcError(
                f"{node.name}: a {node.kind()} cannot stand here after {after}; labc builds dense and convolutional layers "
                "with a batch norm or affine, then Sign or requantized activations - see docs/limits.md"
            )
        if not _NAME.fullmatch(node.name):
            raise LabcError(f"{node.name!r}: not a plain name after {after}; rename the node")
        if node.name in seen:
            raise LabcError(f"{node.name}: defined twice after {after}; rename one of the nodes")
        missing = [name for name in node.inputs if name not in seen]
        if missing:
            raise LabcError(f"{node.name}: reads {missing[0]}, which no earlier node defines after {after}; re-export the model")
        seen.add(node.name)
    if sum(isinstance(node, layers.Input) for node in graph.nodes) != 1:
        raise LabcError("model: exactly one input is needed; re-export the model")
    if graph.output not in seen:
        raise LabcError(f"model: output {graph.output} is not defined after {after}; re-export the model")
    for name, type_ in graph.types.items():
        if any(extent < 1 for extent in type_.shape):
            raise LabcError(f"{name}: shape {type_} is empty; re-export the model")
