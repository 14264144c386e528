"""One small function per ONNX operator: what the node's inputs stand for → what its output stands for.

Constants are folded with NumPy; affine operators only change a value's scale and shift, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from onnx import NodeProto, TensorProto, helper

from labc.frontend.reader import Known, Reader, Test, Value, constant
from labc.ir import layers
from labc.ir.core import Array, Const

Number = Literal["integer", "float", "double"]
Attributes = dict[str, Any]
Operator = Callable[[Reader, NodeProto, Sequence[Any], Attributes], Known]

_REEXPORT = "re-export with labc.train.export"


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
    value = reader.value(node, inputs)
    if to in (TensorProto.FLOAT, TensorProto.DOUBLE):
        number: Number = "double" if to == TensorProto.DOUBLE else "float"
        if value.number not in ("integer", number) and not value.plain:
            reader.note("a scale in one float width was carried into the other")
        return replace(value, number=number)
    element = reader.types[value.node].element
    if value.plain and to == {"u8": TensorProto.UINT8, "i8": TensorProto.INT8}.get(element):
        return replace(value, number="integer")
    raise reader.error(
        node, f"casts {element} to {TensorProto.DataType.Name(to)}", f"it is exact only behind Floor and Clip(0, 255); {_REEXPORT}"
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


def _flatten(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.value(node, inputs)
    shape = reader.types[value.node].shape
    if node.op_type == "Flatten":
        to = [-1] if attributes.get("axis", 1) == 1 else None
    else:
        target = reader.constant(node, inputs, 1).astype(int).tolist()
        keeps = target[:1] in ([-1], [0], [reader.batch]) and target.count(-1) < 2 and not (attributes.get("allowzero", 0) and 0 in target)
        to = target[1:] if keeps else None
        if to == [0] and len(shape) == 1:
            to = list(shape)
    if to is None or len(to) != 1 or to[0] not in (-1, reader.types[value.node].size):
        raise reader.error(node, "does more than make one axis of all but the batch", "use Flatten with axis 1")
    if len(shape) == 1:
        return value
    flat = reader.add(layers.Flatten(reader.name(node.name or "flatten"), (value.node,)))
    scale, shift = (array if array.ndim == 0 else array.reshape(-1) for array in (value.scale, value.shift))
    return replace(value, node=flat.node, scale=scale, shift=shift)


def _arithmetic(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    left, right = inputs
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        raise reader.error(node, "works on constants", "fold constants when exporting (onnxruntime and onnxsim do)")
    if isinstance(left, Value) and isinstance(right, Value):
        raise reader.error(node, "joins two values of the network", "labc reads chains of dense layers; see docs/limits.md")
    swapped = isinstance(left, np.ndarray)
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


def _matmul(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.computed(node, inputs)
    weights = reader.constant(node, inputs, 1)
    return _dense(reader, node, value, weights.T)


def _gemm(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if attributes.get("transA", 0):
        raise reader.error(node, "transposes the batch (transA = 1)", "export with transA = 0")
    weights = reader.constant(node, inputs, 1)
    result = _dense(reader, node, reader.computed(node, inputs), weights if attributes.get("transB", 0) else weights.T)
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    result = result.times(np.array(alpha))
    biased = len(inputs) > 2 and inputs[2] is not None
    if biased:
        bias = reader.channels(node, result, reader.constant(node, inputs, 2))
        result = result.plus(beta * bias)
    if biased or alpha != 1:
        reader.note("Gemm: bias and scale became one affine")
    return result


def _dense(reader: Reader, node: NodeProto, value: Value, weights: Array) -> Value:
    """weights [N, K] of any values; signs and a scale per channel if each row holds two values ±a."""
    if weights.ndim != 2 or weights.size == 0:
        raise reader.error(node, f"weights of shape {list(weights.shape)}", "labc reads a matrix of weights per layer")
    if value.wide:
        raise reader.error(node, "multiplies in float64", "Cast to float32 first")
    name = reader.name(node.name or "dense")
    weights = weights.astype(np.float64)  # of integers the most negative one has no absolute value
    largest = np.abs(weights).max(axis=1, keepdims=True)
    scales = largest[:, 0]
    carried = reader.types[value.node].element in layers.INTEGERS and np.all(value.scale == np.max(value.scale))
    if np.array_equal(np.abs(weights), np.broadcast_to(largest, weights.shape)):
        signs = np.where(weights < 0, -1, 1).astype(np.int8)
        if np.any(scales != 1):
            reader.note("weights: the scale of each output channel was taken out of the float weights")
        if not carried:
            made = reader.add(layers.Dense(name, (reader.flush(value, "the layer before it"),), Const("sign", signs)))
            return replace(made, scale=scales)
        # (x·s + t)·(a w) summed over the inputs is (x·w)·(s a) + Σ t w a: one scale for all inputs passes through a layer.
        made = reader.add(layers.Dense(name, (value.node,), Const("sign", signs)))
        if not value.plain:
            reader.note("inputs: a scale and shift before a layer was carried through it")
        if np.any(value.shift):
            made = made.plus((signs * np.broadcast_to(value.shift, signs.shape)).sum(axis=1) * scales)
        return replace(made, scale=np.max(value.scale) * scales)
    source = reader.flush(value, "the layer before it")
    narrow = weights.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise reader.error(node, "its weights leave float32", "rescale them")
    return reader.add(layers.Dense(name, (source,), Const("f32", narrow)))


def _batch_norm(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if attributes.get("training_mode", 0) or any(node.output[1:]):  # before opset 14, outputs beside y mean training
        raise reader.error(node, "is in training mode", "export the model in evaluation mode")
    value = reader.computed(node, inputs)
    gamma, beta, mean, variance = (reader.channels(node, value, reader.constant(node, inputs, i)) for i in range(1, 5))
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


def _sign(reader: Reader, value: Value, name: str, plus: Array, minus: Array, number: Number) -> Value:
    """x ≥ 0 ? plus : minus, as a Sign and what an affine makes of ±1."""
    source = reader.flush(value, "the layer before the sign")
    made = reader.add(layers.Sign(reader.name(name), (source,)))
    return replace(made, scale=(plus - minus) / 2, shift=(plus + minus) / 2, number=number)


def _bipolar(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if attributes or len(inputs) != 2:
        raise reader.error(node, "has attributes or inputs that BipolarQuant(x, scale) has not", _REEXPORT)
    scale = reader.constant(node, inputs, 1).astype(np.float64)
    if isinstance(inputs[0], np.ndarray):
        if np.broadcast_shapes(inputs[0].shape, scale.shape) != inputs[0].shape:
            raise reader.error(node, "its scale has another shape than its tensor", "export the model again")
        result: Array = np.where(inputs[0] >= 0, scale, -scale).astype(np.float32)
        return result
    value = reader.value(node, inputs)
    per_channel = reader.channels(node, value, scale)
    return _sign(reader, value, node.name or "sign", per_channel, -per_channel, value.number)


def _greater_or_equal(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    bound = reader.constant(node, inputs, 1)
    if isinstance(inputs[0], np.ndarray):
        if np.broadcast_shapes(inputs[0].shape, bound.shape) != inputs[0].shape:
            raise reader.error(node, "compares with a tensor of another shape", "export the model again")
        result: Array = inputs[0] >= bound
        return result
    value = reader.value(node, inputs)
    c = reader.channels(node, value, bound)
    if np.any(c != 0):
        reader.note("a comparison with a number became a shift and a comparison with 0")
    return Test(value.plus(-c) if np.any(c) else value)


def _where(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    plus, minus = reader.constant(node, inputs, 1), reader.constant(node, inputs, 2)
    if isinstance(inputs[0], np.ndarray):
        if np.broadcast_shapes(inputs[0].shape, plus.shape, minus.shape) != inputs[0].shape:
            raise reader.error(node, "its values have another shape than its condition", "export the model again")
        return np.where(inputs[0], plus, minus)
    if not isinstance(inputs[0], Test):
        raise reader.error(node, "chooses by something other than GreaterOrEqual", "write the sign as GreaterOrEqual and Where")
    value = inputs[0].value
    number: Number = "integer" if plus.dtype.kind in "iub" else "double" if plus.dtype == np.float64 else "float"
    return _sign(reader, value, node.name or "sign", reader.channels(node, value, plus), reader.channels(node, value, minus), number)


def _relu(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.computed(node, inputs)
    source = reader.flush(value, "the layer before the ReLU")
    return replace(reader.add(layers.Relu(reader.name(node.name or "relu"), (source,))), number=value.number)


def _floor(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.value(node, inputs)
    if not value.wide:
        raise reader.error(node, "rounds down in float32", f"labc reads Floor behind Cast(double) in its requantization; {_REEXPORT}")
    return replace(value, floored=True)


def _clip(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = inputs[0]
    low, high = (reader.constant(node, inputs, i) for i in (1, 2))
    if not isinstance(value, Value) or not value.floored or low != 0 or high != 255:
        raise reader.error(node, "clips something other than a Floor to 0..255", f"labc reads Clip in its requantization; {_REEXPORT}")
    shape = reader.types[value.node].shape
    scale = np.broadcast_to(value.scale, shape)
    shift = np.broadcast_to(value.shift, shape) - 0.5
    # y = (x·m + b + 2^(k−1)) >> k with the least k in 1..50 for which every m and b is an integer; scaling by 2^k is exact.
    for k in range(1, 51):
        m, b = scale * 2.0**k, shift * 2.0**k
        if np.array_equal(m, np.floor(m)) and np.array_equal(b, np.floor(b)):
            break
    else:
        raise reader.error(node, "its constants are no multiples of 2^-50", f"a requantization is (x*M + B) / 2^s; {_REEXPORT}")
    if np.abs(m).max() >= 1 << 31 or np.abs(b).max() >= 1 << 52:
        raise reader.error(node, "its constants leave 31 and 52 bits", f"see docs/arithmetic.md; {_REEXPORT}")
    name = reader.name(node.name.removesuffix(".clip") or "requantize")
    made = reader.add(layers.Requantize(name, (value.node,), Const("i32", m.astype(np.int64)), Const("i64", b.astype(np.int64)), k))
    return replace(made, number="double")


def _argmax(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if attributes.get("axis", 0) not in (1, -1) or attributes.get("select_last_index", 0):
        raise reader.error(node, "is not over the classes, or takes the last of equals", "use axis = 1 and select_last_index = 0")
    value = reader.value(node, inputs)
    source = reader.affine(value, "the last layer") if reader.types[value.node].element == "i32" else reader.flush(value, "the last layer")
    return replace(reader.add(layers.ArgMax(reader.name(node.name or "argmax"), (source,))), number="integer")


_STANDARD: dict[str, Operator] = {
    "Add": _arithmetic,
    "ArgMax": _argmax,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Constant": _constant,
    "DequantizeLinear": _dequantize,
    "Div": _arithmetic,
    "Dropout": _identity,
    "Flatten": _flatten,
    "Floor": _floor,
    "Gemm": _gemm,
    "GreaterOrEqual": _greater_or_equal,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _arithmetic,
    "Relu": _relu,
    "Reshape": _flatten,
    "Sub": _arithmetic,
    "Transpose": _transpose,
    "Where": _where,
}
OPERATORS: dict[tuple[str, str], Operator] = {("ai.onnx", op): function for op, function in _STANDARD.items()} | {
    ("qonnx", "BipolarQuant"): _bipolar
}
