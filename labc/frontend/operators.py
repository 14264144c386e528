"""The table of ONNX operators, each a small function: what the node's inputs stand for → what its output stands for.

Constants are folded with NumPy; affine operators only change a value's scale and shift, in float64. Products, windows and
activations have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from labc.frontend.activations import bipolar, clip, floor, greater_or_equal, join, prelu, relu, sign, where
from labc.frontend.products import conv, gemm, matmul
from labc.frontend.reader import REEXPORT, Attributes, Half, Known, Number, Reader, Test, Value, constant
from labc.frontend.windows import ACTIVATIONS, average_pool, flattened, global_average, global_max, max_pool, pad, reduce
from labc.ir import layers
from labc.ir.core import Array

Operator = Callable[[Reader, NodeProto, Sequence[Any], Attributes], Known]

_EXACT: dict[str, int] = {"u8": TensorProto.UINT8, "i8": TensorProto.INT8, "i16": TensorProto.INT16}


def _constant(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if isinstance(attributes.get("value"), TensorProto):
        return constant(attributes["value"], node.output[0])
    for key, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64), ("value_ints", np.int64)):
        if key in attributes:
            return np.asarray(attributes[key], dtype)
    raise reader.error(node, "holds no number", "export the model again")


def _identity(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if len(inputs) > 2 and inputs[2] is not None and np.any(inputs[2]):  # Dropout's third input: training_mode
        raise reader.error(node, "drops values at random", "export the model in evaluation mode")
    known: Known = inputs[0]
    return known


def _cast(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    to = attributes["to"]
    if isinstance(inputs[0], np.ndarray):
        return _cast_constant(reader, node, inputs[0], to)
    if isinstance(inputs[0], Test) and to in (TensorProto.FLOAT, TensorProto.DOUBLE):  # true is 1, false is 0
        width: Number = "double" if to == TensorProto.DOUBLE else "float"
        return sign(reader, inputs[0].value, node.name or "sign", np.ones(()), np.zeros(()), width)
    value = reader.value(node, inputs)
    if to in (TensorProto.FLOAT, TensorProto.DOUBLE):
        number: Number = "double" if to == TensorProto.DOUBLE else "float"
        if value.number not in ("integer", number) and not value.plain:
            reader.note("a scale in one float width was carried into the other")
        return replace(value, number=number)
    element = reader.types[value.node].element
    if value.plain and to == _EXACT.get(element):
        return replace(value, number="integer")
    raise reader.error(
        node, f"casts {element} to {TensorProto.DataType.Name(to)}", f"it is exact only behind Floor and Clip(0, 255); {REEXPORT}"
    )


def _cast_constant(reader: Reader, node: NodeProto, array: Array, to: int) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(to)
    cast: Array = array.astype(dtype) if dtype.kind in "biuf" else array
    # Truncation is Cast's rule; what lies outside the integers' range is whatever the runtime makes of it.
    fits = np.array_equal(np.trunc(array), cast) if dtype.kind in "iu" else np.isfinite(cast).all()
    if dtype.kind not in "biuf" or not fits:
        raise reader.error(node, f"casts a constant that does not fit {dtype}", "store it as FLOAT")
    return cast


def _dequantize(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    x, scale = reader.constant(node, inputs, 0), reader.constant(node, inputs, 1)
    # onnxruntime 1.32 turns DequantizeLinear + MatMul into a product with 8-bit activations where it can.
    reader.note("weights: DequantizeLinear lets a runtime choose 8-bit products; labc's own files use Cast")
    zero = reader.constant(node, inputs, 2) if len(inputs) > 2 and inputs[2] is not None else np.zeros_like(scale, x.dtype)
    if np.result_type(x, zero, np.int8).kind != "i":
        raise reader.error(node, f"takes {x.dtype} with zero point {zero.dtype}", "quantize to integers of at most 32 bits")
    if attributes.get("block_size", 0) or scale.ndim > 1 or zero.shape != scale.shape:
        raise reader.error(node, "is quantized in blocks", "use one scale per tensor or per channel")
    if scale.ndim == 1:
        along = [1] * x.ndim
        along[attributes.get("axis", 1)] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    if np.broadcast_shapes(x.shape, scale.shape) != x.shape:
        raise reader.error(node, "its scale has another shape than its tensor", "export the model again")
    result: Array = (x.astype(np.int64) - zero.astype(np.int64)).astype(np.float32) * scale.astype(np.float32)
    return result


def _transpose(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    return reader.constant(node, inputs, 0).transpose(attributes.get("perm"))


def _reshape(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    """Flatten, Reshape, Squeeze, Unsqueeze: what makes one axis of all but the batch, or nothing."""
    value = reader.value(node, inputs)
    shape = reader.shape(value)
    to = _target(reader, node, inputs, attributes, [reader.batch or -1, *shape])
    if to == list(shape):
        return value
    if to != [reader.types[value.node].size]:
        raise reader.error(node, "does more than make one axis of all but the batch", "use Flatten with axis 1")
    return flattened(reader, node, value)


def _target(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes, full: list[int]) -> list[int] | None:
    """The extents beside the batch that a node of `_reshape` makes of `full`; None if it moves the batch."""
    rank, size = len(full), int(np.prod(full[1:], dtype=object))
    if node.op_type == "Flatten":
        return [size] if attributes.get("axis", 1) in (1, 1 - rank) else None
    if node.op_type in ("Squeeze", "Unsqueeze"):
        axes = attributes.get("axes")
        if len(inputs) > 1 and inputs[1] is not None:
            axes = reader.constant(node, inputs, 1).reshape(-1)[:16].tolist()
        if not isinstance(axes, list):
            return None
        wide = rank + len(axes) if node.op_type == "Unsqueeze" else rank
        places = {a + wide if a < 0 else a for a in axes}
        if len(places) != len(axes) or not places <= set(range(1, wide)):
            return None
        if node.op_type == "Squeeze":
            return [extent for a, extent in enumerate(full) if a not in places][1:] if all(full[a] == 1 for a in places) else None
        rest = iter(full)
        return [1 if a in places else next(rest) for a in range(wide)][1:]
    target = reader.constant(node, inputs, 1).reshape(-1).astype(int)[:16].tolist()
    if target[:1] not in ([-1], [0], [reader.batch]) or target.count(-1) > 1 or (attributes.get("allowzero", 0) and 0 in target):
        return None
    if any(extent == 0 and a >= rank for a, extent in enumerate(target)):
        return None
    to = [full[a] if extent == 0 else extent for a, extent in enumerate(target)][1:]
    known = int(np.prod([extent for extent in to if extent != -1], dtype=object))
    return [size // known if extent == -1 else extent for extent in to] if known > 0 else None


def _arithmetic(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    left, right = inputs
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        raise reader.error(node, "works on constants", "fold constants when exporting (onnxruntime and onnxsim do)")
    swapped = isinstance(left, np.ndarray)
    if not swapped and not isinstance(right, np.ndarray):
        if node.op_type != "Add":
            raise reader.error(node, "joins two values of the network", "labc reads their Add and Concat; see docs/limits.md")
        return join(reader, node, reader.computed(node, inputs, 0), reader.computed(node, inputs, 1))
    half = right if swapped else left
    if isinstance(half, Half) and half.stage == "slope" and node.op_type == "Add":
        added = reader.channels(node, Value(half.sources[0]), reader.constant(node, inputs, 0 if swapped else 1))
        if np.all(added == 0.5):
            return replace(half, stage="half")
    value = reader.computed(node, inputs, 1 if swapped else 0)
    c = reader.channels(node, value, reader.constant(node, inputs, 0 if swapped else 1))
    # One Mul, then one Add on plain sums is what the affine computes; anything more is composed in float64 and rounded once.
    exact = value.plain if node.op_type in ("Mul", "Div") else not np.any(value.shift)
    if not exact or node.op_type == "Div":
        reader.note("a chain of scales and shifts became one affine, computed in float64 and rounded once")
    match node.op_type:
        case "Mul":
            return value.times(c)
        case "Div" if not swapped and np.all(c != 0):
            return value.times(1 / c)
        case "Add":
            return value.plus(c)
        case "Sub" if swapped:
            return value.times(np.array(-1.0)).plus(c)
        case "Sub":
            return value.plus(-c)
    raise reader.error(node, "divides by the network's value, or by zero", "rewrite or remove the node")


def _batch_norm(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if attributes.get("training_mode", 0) or any(node.output[1:]):  # before opset 14, outputs beside y mean training
        raise reader.error(node, "is in training mode", "export the model in evaluation mode")
    value = reader.computed(node, inputs)
    width = reader.shape(value)[:1]
    parts = [reader.constant(node, inputs, i) for i in range(1, 5)]
    for part in parts:
        if part.shape != width:
            raise reader.error(node, f"a parameter of shape {list(part.shape)} for {width[0]} channels", "export the model again")
    gamma, beta, mean, variance = (reader.along(value, part.astype(np.float64)) for part in parts)
    spread = variance + float(attributes.get("epsilon", 1e-5))
    if np.any(spread <= 0):
        raise reader.error(
            node,
            f"channel {int(np.argmin(spread))} has variance + epsilon of {spread.min():g}",
            "variances are never negative; train again",
        )
    factor = gamma / np.sqrt(spread)
    reader.note("batch norm became one affine, computed in float64 and rounded once")
    return value.plus(-mean).times(factor).plus(beta)


def _argmax(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if attributes.get("axis", 0) not in (1, -1) or attributes.get("select_last_index", 0):
        raise reader.error(node, "is not over the classes, or takes the last of equals", "use axis = 1 and select_last_index = 0")
    value = reader.value(node, inputs)
    source = reader.affine(value, "the last layer") if reader.types[value.node].element == "i32" else reader.flush(value, "the last layer")
    return replace(reader.add(layers.ArgMax(reader.name(node.name or "argmax"), (source,))), number="integer")


def _concat(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    values = [reader.value(node, inputs, i) for i in range(len(inputs))]
    rank = len(reader.shape(values[0])) + 1
    if attributes.get("axis") not in (1, 1 - rank):
        raise reader.error(node, f"axis = {attributes.get('axis')}", "labc joins channels, axis 1")
    if len({value.number for value in values}) > 1:
        raise reader.error(node, "joins integers and floats", "Cast all of them to float first")
    name = reader.name(node.name or "concat")
    elements = {reader.element(value) for value in values}
    if len(elements) == 1 and (elements <= set(ACTIVATIONS) or all(value.plain for value in values)):
        made = reader.add(layers.Concat(name, tuple(value.node for value in values)))
        if all(value.plain for value in values):
            return replace(made, number=values[0].number)
        scale, shift = (
            reader.along(made, np.concatenate([reader.per_channel(value, array) for value, array in pairs]))
            for pairs in ([(v, v.scale) for v in values], [(v, v.shift) for v in values])
        )
        return replace(made, scale=scale, shift=shift, number=values[0].number)
    sources = tuple(reader.floating(value, "the layer before it") for value in values)
    return replace(reader.add(layers.Concat(name, sources)), number=values[0].number)


_STANDARD: dict[str, Operator] = {
    "Add": _arithmetic,
    "ArgMax": _argmax,
    "AveragePool": average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": clip,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": conv,
    "DequantizeLinear": _dequantize,
    "Div": _arithmetic,
    "Dropout": _identity,
    "Flatten": _reshape,
    "Floor": floor,
    "Gemm": gemm,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    "GreaterOrEqual": greater_or_equal,
    "Identity": _identity,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": _arithmetic,
    "PRelu": prelu,
    "Pad": pad,
    "ReduceMean": reduce,
    "ReduceSum": reduce,
    "Relu": relu,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Sub": _arithmetic,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
    "Where": where,
}
OPERATORS: dict[tuple[str, str], Operator] = {("ai.onnx", op): function for op, function in _STANDARD.items()} | {
    ("qonnx", "BipolarQuant"): bipolar
}
