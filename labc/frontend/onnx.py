"""ONNX and QONNX files become layers IR. `operators.py` holds the table of operators; docs/limits.md lists them.

A file is hostile until read: its size is bounded, external data stays beside the file, protobuf and checker errors become
LabcErrors, function bodies are evaluated before they are believed, and nothing else in it is executed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from labc.errors import LabcError
from labc.frontend.bodies import QONNX_DOMAINS, check_bodies
from labc.frontend.operators import OPERATORS
from labc.frontend.reader import Reader, Value, constant, first_line
from labc.ir import layers
from labc.ir.core import Element, Graph

MAX_BYTES = 1 << 31  # protobuf's own limit on one message
_INPUTS: dict[int, Element] = {TensorProto.UINT8: "u8", TensorProto.INT8: "i8", TensorProto.FLOAT: "f32"}


@dataclass(frozen=True)
class Model:
    """A file that was read. `notes` say what was normalised; without any, the file is in labc's own spelling and exact as it stands."""

    graph: Graph
    notes: tuple[str, ...]


def read(path: Path | str) -> Model:
    """Read an ONNX file with one uint8 or int8 input (float32 is read too, so that `inspect` can speak of it).

    Raises LabcError: missing, too large, not ONNX or broken file; an operator, attribute, type or shape that is not read
    (naming node, operator and remedy); NaN or infinite parameters; an empty network.
    """
    path = Path(path)
    model = _load(path)
    reader = Reader(path)
    graph = model.graph
    check_bodies(model)
    with np.errstate(all="ignore"):  # infinities and NaN are looked for where they would matter
        for tensor in graph.initializer:
            reader.known[tensor.name] = constant(tensor, tensor.name)
        _input(reader, graph)
        for node in _needed(graph):
            _step(reader, node)
        made = _output(reader, graph)
    _infer(path, model)
    return Model(made, tuple(reader.notes))


def _load(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise LabcError(f"{path}: not a file; name an .onnx file")
        if size >= MAX_BYTES:
            raise LabcError(f"{path}: {size} bytes is past ONNX's 2 GiB; labc reads networks far smaller than that")
        model = onnx.load(str(path), format="protobuf")  # else the file's ending chooses a parser
    except OSError as error:
        raise LabcError(f"{path}: {error.strerror or first_line(error)}; check the path") from error
    except DecodeError as error:
        raise LabcError(f"{path}: not an ONNX file, or truncated; export it again") from error
    except (onnx.checker.ValidationError, ValueError, UnicodeDecodeError, RuntimeError) as error:
        raise LabcError(f"{path}: not a valid ONNX model ({first_line(error)}); export it again") from error
    if model.HasField("graph") and not model.graph.node:
        raise LabcError(f"{path}: the network is empty; export a model with at least one layer")
    _opset(path, model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, UnicodeDecodeError, RuntimeError) as error:
        raise LabcError(f"{path}: not a valid ONNX model ({first_line(error)}); export it again") from error
    return model


def _opset(path: Path, model: onnx.ModelProto) -> None:
    """Raise LabcError for operators older or newer than those whose meaning `operators.py` knows."""
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        # Before 7, Add and Mul broadcast by attribute, and Dropout and BatchNormalization trained unless told not to.
        if opset.domain in ("", "ai.onnx") and not 7 <= opset.version <= newest:
            raise LabcError(f"{path}: opset {opset.version}; labc reads 7 to {newest} - export with opset_version=20")


def _infer(path: Path, model: onnx.ModelProto) -> None:
    """Raise LabcError where ONNX's own types and shapes disagree: a file that no runtime would run as it was read."""
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise LabcError(f"{path}: its types or shapes do not fit ({first_line(error)}); export it again") from error


def _input(reader: Reader, graph: onnx.GraphProto) -> None:
    inputs = [value for value in graph.input if value.name not in reader.known]
    if len(inputs) != 1:
        raise LabcError(
            f"{reader.path}: {len(inputs)} inputs ({', '.join(v.name for v in inputs) or 'none'}); labc reads networks with one"
        )
    (value,) = inputs
    tensor = value.type.tensor_type
    element = _INPUTS.get(tensor.elem_type)
    if element is None:
        kind = TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type in TensorProto.DataType.values() else "no tensor"
        raise LabcError(f"{value.name}: the input is {kind}; labc reads UINT8 and INT8 - begin the file with Cast from uint8")
    extents = []
    for axis, dim in enumerate(list(tensor.shape.dim)[1:], 1):
        if not dim.HasField("dim_value") or dim.dim_value < 1:
            raise LabcError(
                f"{value.name}: axis {axis} has no fixed size ({dim.dim_param or dim.dim_value}); only the batch (axis 0) may be dynamic - "
                "export with fixed shapes"
            )
        extents.append(dim.dim_value)
    size = int(np.prod(extents, dtype=object)) if extents else 0
    if not 0 < size <= 1 << 24:
        raise LabcError(f"{value.name}: an input of shape {extents} beside the batch; labc reads 1 to 2^24 elements")
    reader.batch = tensor.shape.dim[0].dim_value or None
    made = reader.add(layers.Input(reader.name(value.name), (), element, tuple(extents)))
    reader.known[value.name] = made if element == "f32" else replace(made, number="integer")


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on; what else is in the file is no part of the network."""
    names = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not names.isdisjoint(node.output):
            names.update(name for name in node.input if name)
            kept.append(node)
    return kept[::-1]


def _step(reader: Reader, node: onnx.NodeProto) -> None:
    domain = "qonnx" if node.domain in QONNX_DOMAINS else node.domain or "ai.onnx"
    operator = OPERATORS.get((domain, node.op_type))
    if operator is None:
        known = ", ".join(sorted(op for _, op in OPERATORS))
        place = f" of domain {node.domain}" if node.domain else ""
        raise reader.error(node, f"the operator{place} is not read", f"labc reads {known}; rewrite or remove the node")
    if not node.output or not node.output[0]:
        raise reader.error(node, "has no output", "export the model again")
    inputs: list[Any] = []
    for name in node.input:
        if name and name not in reader.known:
            raise reader.error(node, f"reads {name}, which nothing defines", "export the model again")
        inputs.append(reader.known[name] if name else None)
    try:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        result = operator(reader, node, inputs, attributes)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise reader.error(node, f"its inputs or attributes do not fit ({first_line(error)})", "export the model again") from error
    reader.known[node.output[0]] = result
    for unused in node.output[1:]:
        reader.known.pop(unused, None)


def _output(reader: Reader, graph: onnx.GraphProto) -> Graph:
    if len(graph.output) != 1:
        raise LabcError(f"{reader.path}: {len(graph.output)} outputs; labc reads networks with one - export only the scores")
    name = graph.output[0].name
    value = reader.settled(reader.known.get(name))
    if not isinstance(value, Value):
        raise LabcError(f"{name}: the output does not depend on the input; export the network's scores")
    if value.floored:
        raise LabcError(f"{name}: the network ends in a Floor; export the network's scores")
    sums = reader.types[value.node].element == "i32" and reader.types[value.node].shape
    last = reader.affine(value, "the last layer") if sums else reader.flush(value, "the last layer")
    return Graph(tuple(reader.nodes), last)
