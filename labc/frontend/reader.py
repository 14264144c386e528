"""What reading a file keeps: the nodes made so far, and what each ONNX name stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from labc.errors import LabcError
from labc.ir import layers
from labc.ir.core import Array, Const, Element, Node, Type

REEXPORT = "re-export with labc.train.export"
MOST_ELEMENTS = 1 << 24  # of one value, beside the batch
_MOST_SCALES = 1 << 26  # of all affines; a small file can ask for 2^24 of them again and again
Number = Literal["integer", "float", "double"]
Attributes = dict[str, Any]


@dataclass(frozen=True)
class Value:
    """What an ONNX name stands for while reading: `node`·scale + shift, in float64 and not yet a node itself.

    scale and shift are scalars, [C, 1, …] with one number per channel, or of the node's own shape. Affine steps (Mul, Add,
    BatchNormalization, a weight's α …) only change them; they are rounded to float32 once, when something needs the value.
    `number` is what the file computes in; `floored` is true behind Floor.
    """

    node: str
    scale: Array = field(default_factory=lambda: np.ones(()))
    shift: Array = field(default_factory=lambda: np.full((), -0.0))  # the identity of addition: +0 would turn −0 into +0
    number: Number = "float"
    floored: bool = False

    @property
    def wide(self) -> bool:
        """Whether the file computes in float64 here: behind Cast(double)."""
        return self.number == "double"

    @property
    def plain(self) -> bool:
        """Whether the value is `node` itself."""
        return bool(np.all(self.scale == 1) and np.all(self.shift == 0))

    def times(self, c: Array) -> Value:
        """The value times c, a scalar or one number per channel."""
        return replace(self, scale=self.scale * c, shift=self.shift * c if np.any(self.shift) else self.shift)

    def plus(self, c: Array) -> Value:
        """The value plus c; a first shift is taken as it is, with the sign of its zeros."""
        return replace(self, shift=self.shift + c if np.any(self.shift) else c)


@dataclass(frozen=True)
class Test:
    """`value` ≥ 0, on its way to a Where."""

    value: Value


@dataclass(frozen=True)
class Padded:
    """`value` with zeros around it (top, left, bottom, right), on its way to a Conv or a sum, whose own padding they become."""

    value: Value
    pads: tuple[int, int, int, int]
    place: onnx.NodeProto


@dataclass(frozen=True)
class Half:
    """A 16-bit operation whose Clip has not come yet: `sum` of two values, or PRelu (`slope`), plus ½ (`half`), rounded down (`floor`)."""

    stage: Literal["sum", "slope", "half", "floor"]
    sources: tuple[str, ...]
    slopes: Array
    place: onnx.NodeProto


Known = Value | Test | Padded | Half | Array


class Reader:
    """Reads one file: what each ONNX name stands for, and the nodes made so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes: list[Node] = []
        self.known: dict[str, Known] = {}
        self.notes: list[str] = []
        self.types: dict[str, Type] = {}
        self.batch: int | None = None  # if the file fixes it
        self.names: set[str] = set()
        self.copies: dict[str, int] = {}
        self.scales = 0

    def error(self, node: onnx.NodeProto, fact: str, remedy: str) -> LabcError:
        """A LabcError that names the file's node and operator."""
        return LabcError(f"{node.name or next(iter(node.output), '') or 'a node'} ({node.op_type}): {fact}; {remedy}")

    def name(self, wanted: str) -> str:
        """A plain, unique name near `wanted`."""
        plain = re.sub(r"[^A-Za-z0-9_.]+", "_", wanted).strip("_.")[:100] or "node"
        name = plain
        while name in self.names:
            self.copies[plain] = self.copies.get(plain, 1) + 1
            name = f"{plain}_{self.copies[plain]}"
        self.names.add(name)
        return name

    def add(self, node: Node) -> Value:
        """Append a node and infer its type at once, so that an error names it while the file's place is known."""
        made = node.infer(*(self.types[name] for name in node.inputs))
        if made.size > MOST_ELEMENTS:
            raise node.fail(f"is {made}; labc reads values of up to 2^24 elements", "use a smaller image or fewer channels")
        self.nodes.append(node)
        self.types[node.name] = made
        return Value(node.name)

    def shape(self, value: Value) -> tuple[int, ...]:
        """The value's extents beside the batch."""
        return self.types[value.node].shape

    def element(self, value: Value) -> Element:
        """What the value's node holds."""
        return self.types[value.node].element

    def flush(self, value: Value, what: str) -> str:
        """The name of a node that is exactly `value`: an Affine is added if scale and shift are not 1 and 0."""
        return value.node if value.plain else self.affine(value, what)

    def floating(self, value: Value, what: str) -> str:
        """The name of a float32 node that is exactly `value`."""
        return value.node if value.plain and self.element(value) == "f32" else self.affine(value, what)

    def affine(self, value: Value, what: str) -> str:
        """Add the Affine of `value`, rounding its scale and shift once; the name of the node."""
        name = self.name(f"{value.node}.affine")
        if value.wide:
            self.note("a scale in float64 became float32")
        rounded = []
        for label, array in (("scale", value.scale), ("shift", value.shift)):
            narrow = self.per_channel(value, array).astype(np.float32)
            if not np.isfinite(narrow).all():
                channel = int(np.argmax(~np.isfinite(narrow.reshape(-1))))
                raise LabcError(f"{name}: the {label} of channel {channel} is not a finite float32; retrain or rescale {what}")
            rounded.append(Const("f32", narrow))
        return self.add(layers.Affine(name, (value.node,), rounded[0], rounded[1])).node

    def per_channel(self, value: Value, array: Array) -> Array:
        """`array`, a scale or shift of `value`, as [C]. Raises LabcError if it differs between the pixels of a channel."""
        shape = self.shape(value)
        if array.size > 1 and array.shape[1:] != (1,) * (len(shape) - 1):
            rows = array.reshape(shape[0], -1)
            if np.any(rows != rows[:, :1]):
                raise LabcError(
                    f"{value.node}: a scale or shift per pixel; use one value per channel, or carry it through Flatten to a dense layer"
                )
            array = rows[:, 0]
        self.scales += shape[0] if shape else 1
        if self.scales > _MOST_SCALES:
            raise LabcError(f"{value.node}: the scales and shifts of the network are more than 2^26 numbers; use fewer channels")
        return np.broadcast_to(array.reshape(-1) if array.size > 1 else array.reshape(()), shape[:1])

    def along(self, value: Value, array: Array) -> Array:
        """[C] numbers, shaped to meet `value`."""
        return array.reshape(-1, *[1] * (len(self.shape(value)) - 1))

    def value(self, node: onnx.NodeProto, inputs: Sequence[Any], index: int = 0) -> Value:
        """Input `index` as a value of the network. Raises LabcError if it is a constant, or something half done, like a bare Floor."""
        found = self.settled(inputs[index] if index < len(inputs) else None)
        if not isinstance(found, Value):
            raise self.error(node, f"input {index} is not a value of the network", "rewrite or remove the node")
        if found.floored:
            raise self.error(node, "reads a Floor that is not followed by Clip(0, 255) or Clip(-32768, 32767)", REEXPORT)
        return found

    def settled(self, found: Known | None) -> Known | None:
        """`found` as any operator may read it: a PRelu in float32. Raises LabcError for what only a Clip or a Conv may read."""
        match found:
            case Padded(place=place):
                raise self.error(place, "pads with zeros, and no Conv follows", "pad in the Conv, or signs with +1 or -1")
            case Half(stage="slope"):
                source = self.affine(Value(found.sources[0]), "the layer before the PRelu")
                return self.slope(found.place, Value(source), found.slopes)
            case Half(stage=stage):
                fact = "adds two 16-bit values" if stage == "sum" else "rounds a 16-bit PRelu"
                raise self.error(found.place, f"{fact}, and no Clip(-32768, 32767) follows", f"write it behind; {REEXPORT}")
        return found

    def slope(self, node: onnx.NodeProto, value: Value, slopes: Array) -> Value:
        """Add a float32 PRelu behind `value`."""
        narrow = self.per_channel(value, slopes).astype(np.float32)
        if not np.isfinite(narrow).all():
            raise self.error(node, "a slope is not a finite float32", "retrain or rescale the layer")
        name = self.name(node.name or "prelu")
        made = self.add(layers.PRelu(name, (self.flush(value, "the layer before the PRelu"),), Const("f32", narrow)))
        return replace(made, number=value.number)

    def computed(self, node: onnx.NodeProto, inputs: Sequence[Any], index: int = 0) -> Value:
        """Input `index` as a floating-point value of the network. Raises LabcError for integers: they wrap, and divide differently."""
        found = self.value(node, inputs, index)
        if found.number == "integer":
            raise self.error(node, f"computes in integers on input {index}", "Cast it to float first")
        return found

    def constant(self, node: onnx.NodeProto, inputs: Sequence[Any], index: int) -> Array:
        """Input `index` as a constant. Raises LabcError if it depends on the network's input."""
        found = inputs[index] if index < len(inputs) else None
        if not isinstance(found, np.ndarray):
            raise self.error(node, f"input {index} is not a constant", "labc reads chains of layers; export the parameters as initializers")
        return found

    def channels(self, node: onnx.NodeProto, value: Value, array: Array) -> Array:
        """`array` as float64 as it meets `value`: a scalar, [C, 1, …], or of the value's shape. Raises LabcError for other shapes."""
        shape = self.shape(value)
        wide = array.astype(np.float64)
        # More axes than the value and its batch would give the result another axis in front.
        if array.ndim <= len(shape) + 1:
            if array.size == 1:
                return wide.reshape(())
            trimmed = array.shape[-len(shape) :]
            if array.size == np.prod(trimmed) and trimmed in (shape, (*shape[:1], *[1] * (len(shape) - 1))):
                return wide.reshape(trimmed)
        raise self.error(
            node, f"a constant of shape {list(array.shape)} on values of shape {list(shape)}", "use a scalar or one value per channel"
        )

    def note(self, text: str) -> None:
        """Record that something was normalised."""
        if text not in self.notes:
            self.notes.append(text)


def constant(tensor: TensorProto, name: str) -> Array:
    """A tensor as an array. Raises LabcError if its data does not fit its shape, or holds NaN or infinity."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise LabcError(f"{name}: its data is outside the file and was not loaded; save the model in one file")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError, MemoryError, OSError, KeyError) as error:
        raise LabcError(f"{name}: the tensor cannot be read ({first_line(error)}); re-export the model") from error
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        array = array.astype(np.int8)
    if array.dtype.kind not in "biuf":
        raise LabcError(
            f"{name}: holds {TensorProto.DataType.Name(tensor.data_type)}; labc reads floats and integers - convert it to FLOAT"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise LabcError(f"{name}: holds NaN or infinity; the network did not train - lower the learning rate and train again")
    return array


def first_line(error: BaseException) -> str:
    """The first line of an error of a third party, bounded."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
