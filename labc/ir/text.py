"""The text form: one line per node; constants by digest. Golden tests compare it whole, and its digest names the model."""

from __future__ import annotations

import hashlib
from typing import Any

from labc.ir.core import Const, Graph, Node


def text(graph: Graph, *, digits: int = 6) -> str:
    """The graph as text; `digits` of each constant's digest are shown.

    %fc1 = dense(%input, weights=sign[256, 64]#91af27) : i32[256]
    """
    lines = [f"{_line(node, digits)} : {graph.types[node.name]}" for node in graph.nodes]
    return "\n".join([*lines, f"return %{graph.output}", ""])


def digest(graph: Graph) -> str:
    """sha256 of the text with the constants' whole digests, in hexadecimal: the model's name in manifests and golden vectors."""
    return hashlib.sha256(text(graph, digits=64).encode()).hexdigest()


def _line(node: Node, digits: int) -> str:
    parts = [f"%{name}" for name in node.inputs]
    parts += [f"{name}={_value(value, digits)}" for name, value in node.attributes()]
    return f"%{node.name} = {node.kind()}({', '.join(parts)})"


def _value(value: Any, digits: int) -> str:
    if isinstance(value, Const):
        return f"{value.type}#{value.digest[:digits]}"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
