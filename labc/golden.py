"""Golden vectors: inputs drawn from the model's digest, answers from the reference. Every library carries a few for its self-test."""

from __future__ import annotations

import hashlib

import numpy as np

from labc.errors import LabcError
from labc.ir.core import Array, Graph
from labc.ir.layers import ArgMax
from labc.plan.core import Vector
from labc.reference import run

FLASH_BYTES = 4096  # what the vectors of one library may take, and still at least one
MOST = 8


def vectors(layers: Graph, machine: Graph, digest: str) -> tuple[Vector, ...]:
    """Up to eight vectors: inputs are SHAKE-256 of the digest, so that anyone can draw them again, answers those of the layers.

    Raises LabcError if machine IR gives others: then the passes are wrong, and no library is made.
    """
    entry = layers.types[layers.input().name]
    last = layers.by_name[layers.output]
    scored = last.inputs[0] if isinstance(last, ArgMax) else layers.output
    outputs = layers.types[scored].size
    count = max(1, min(MOST, FLASH_BYTES // (entry.size + 4 * outputs + 4)))
    stream = hashlib.shake_256(digest.encode()).digest(count * entry.size)
    x: Array = np.frombuffer(stream, np.int8 if entry.element == "i8" else np.uint8).reshape(count, *entry.shape)
    scores = np.ascontiguousarray(run(layers, x)[scored].reshape(count, -1))
    lowered = run(machine, x.reshape(count, *machine.types[machine.input().name].shape))[machine.output]
    if not np.array_equal(scores.view(np.uint32), lowered.view(np.uint32)):
        raise LabcError(f"{machine.output}: machine IR does not give the layers' scores; this is a fault in labc, please report the model")
    return tuple(
        Vector(tuple(row.reshape(-1).tolist()), tuple(y.view(np.uint32).tolist()), int(np.argmax(y)))
        for row, y in zip(x, scores, strict=True)
    )
