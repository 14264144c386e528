"""Golden vectors: inputs drawn from the model's digest, answers from the reference. Every library carries a few for its self-test."""

from __future__ import annotations

import hashlib

import numpy as np

from labc.ir.core import Array, Graph
from labc.plan.core import Vector
from labc.reference import run

FLASH_BYTES = 4096  # what the vectors of one library may take, and still at least one
MOST = 8


def vectors(graph: Graph, digest: str) -> tuple[Vector, ...]:
    """Up to eight vectors for machine IR `graph`: inputs are SHAKE-256 of the digest, so that anyone can draw them again."""
    entry = graph.types[graph.input().name]
    outputs = graph.types[graph.output].size
    count = max(1, min(MOST, FLASH_BYTES // (entry.size + 4 * outputs + 4)))
    stream = hashlib.shake_256(digest.encode()).digest(count * entry.size)
    x: Array = np.frombuffer(stream, np.int8 if entry.element == "i8" else np.uint8).reshape(count, *entry.shape)
    scores = run(graph, x)[graph.output]
    return tuple(
        Vector(tuple(row.reshape(-1).tolist()), tuple(y.view(np.uint32).tolist()), int(np.argmax(y)))
        for row, y in zip(x, scores, strict=True)
    )
