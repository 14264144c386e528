"""What every graph is made of: types, constants, nodes, and the graph itself. All of it frozen, hashable and comparable."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labc.errors import LabcError

Array = NDArray[Any]
Element = Literal["sign", "u8", "i8", "i16", "i32", "i64", "f32"]

# A sign is +1 or −1 and lives in an int8 here; bits are a layout and belong to the plan. i64 appears in constants only.
DTYPES: dict[str, np.dtype[Any]] = {
    "sign": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "f32": np.dtype(np.float32),
}


@dataclass(frozen=True)
class Type:
    """The element and shape of one value; the batch axis is not part of the shape."""

    element: Element
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.element}[{', '.join(map(str, self.shape))}]"

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


class Const:
    """A read-only array; two constants are equal when element, shape and bytes are. Prints as `sign[64, 96]#91af27`."""

    __slots__ = ("array", "digest", "type")

    def __init__(self, element: Element, array: Array) -> None:
        """Copy `array` into the element's dtype.

        Raises LabcError if a value does not survive the conversion, or a sign is neither +1 nor −1.
        """
        with np.errstate(invalid="ignore"):
            held = np.array(array, dtype=DTYPES[element], order="C")
        if element != "f32" and not np.array_equal(held, array):
            raise LabcError(f"constant: values do not fit {element}; re-export the model")
        if element == "sign" and not np.isin(held, (-1, 1)).all():
            raise LabcError("constant: a sign is +1 or -1; re-export the model")
        held.flags.writeable = False
        self.array = held
        self.type = Type(element, held.shape)
        # Little-endian bytes, so that a digest names the same constant on every machine.
        self.digest = hashlib.sha256(f"{self.type}".encode() + held.astype(held.dtype.newbyteorder("<")).tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"{self.type}#{self.digest[:6]}"

    __repr__ = __str__


@dataclass(frozen=True)
class Node(ABC):
    """One operation. `name` names its value; `inputs` name the values it reads; further fields are its constants and numbers."""

    name: str
    inputs: tuple[str, ...]

    @abstractmethod
    def infer(self, *types: Type) -> Type:
        """The type of the value, from the types of the inputs. Raises LabcError when they do not fit."""

    @abstractmethod
    def evaluate(self, *arrays: Array) -> Array:
        """The value, from the inputs' values; every array has a leading batch axis. This is the definition of the node."""

    def kind(self) -> str:
        """The class name in the text form's spelling: MatVec → mat_vec."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in type(self).__name__).lstrip("_")

    def attributes(self) -> Iterator[tuple[str, Any]]:
        """The fields beyond name and inputs, in order."""
        for field in fields(self):
            if field.name not in ("name", "inputs"):
                yield field.name, getattr(self, field.name)

    def fail(self, fact: str, remedy: str) -> LabcError:
        """An error that names this node."""
        return LabcError(f"{self.name}: {fact}; {remedy}")


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which each reads only earlier ones, and the name of the value that is the result."""

    nodes: tuple[Node, ...]
    output: str

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Every node under its name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def users(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that read each value."""
        readers: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for user in self.nodes:
            for name in dict.fromkeys(user.inputs):
                readers[name].append(user)
        return {name: tuple(users) for name, users in readers.items()}

    @cached_property
    def types(self) -> dict[str, Type]:
        """The type of every value. Raises LabcError where shapes or elements do not fit."""
        types: dict[str, Type] = {}
        for node in self.nodes:
            types[node.name] = node.infer(*(types[name] for name in node.inputs))
        return types

    @cached_property
    def position(self) -> dict[str, int]:
        """Where in `nodes` each node stands."""
        return {node.name: i for i, node in enumerate(self.nodes)}

    @cached_property
    def ranges(self) -> list[tuple[Array, Array] | None]:
        """What `labc.passes.ranges.bounds` has found out so far, in the order of `nodes`, so that it looks at each value once."""
        return []

    def input(self) -> Node:
        """The one node that reads nothing."""
        return next(node for node in self.nodes if not node.inputs)


def expect(node: Node, types: tuple[Type, ...], *, elements: tuple[Element, ...], rank: int | None = None) -> Type:
    """The one input's type, or a LabcError naming `node` if the element is not among `elements` or the rank differs."""
    (seen,) = types
    if seen.element not in elements:
        raise node.fail(f"input is {seen}, expected {' or '.join(elements)}", "re-export the model")
    if rank is not None and len(seen.shape) != rank:
        raise node.fail(f"input is {seen}, expected {rank} dimension(s) beside the batch", "put a Flatten before it")
    return seen


def matching(node: Node, seen: Type, **constants: Const) -> None:
    """Raise a LabcError naming `node` unless every per-channel constant has one value per channel (the first axis) of `seen`."""
    for name, constant in constants.items():
        if constant.type.shape != seen.shape[:1]:
            raise node.fail(f"{name} has shape {list(constant.type.shape)}, its input {list(seen.shape)}", "re-export the model")
