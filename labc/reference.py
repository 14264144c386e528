"""Run a graph of either level with NumPy, node by node, and keep every value. This is the definition, not a simulator of the C."""

from __future__ import annotations

from labc.ir.core import Array, Graph


def run(graph: Graph, x: Array) -> dict[str, Array]:
    """Every value by name, each with a leading batch axis, for inputs `x` of shape [batch, *input shape].

    Raises LabcError if `x` has another dtype or shape than the input node says.
    """
    values: dict[str, Array] = {}
    for node in graph.nodes:
        values[node.name] = node.evaluate(*(values[name] for name in node.inputs)) if node.inputs else node.evaluate(x)
    return values
