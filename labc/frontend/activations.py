"""Activations: signs, ReLU and its kin, requantization, and the 16-bit operations that end in a Clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from labc.frontend.reader import REEXPORT, Attributes, Half, Known, Number, Reader, Test, Value
from labc.ir import layers
from labc.ir.core import Array, Const, Element


def sign(reader: Reader, value: Value, name: str, plus: Array, minus: Array, number: Number) -> Value:
    """x ≥ 0 ? plus : minus, as a Sign and what an affine makes of ±1."""
    source = reader.flush(value, "the layer before the sign")
    made = reader.add(layers.Sign(reader.name(name), (source,)))
    return replace(made, scale=(plus - minus) / 2, shift=(plus + minus) / 2, number=number)


def bipolar(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if attributes or len(inputs) != 2:
        raise reader.error(node, "has attributes or inputs that BipolarQuant(x, scale) has not", REEXPORT)
    scale = reader.constant(node, inputs, 1).astype(np.float64)
    if isinstance(inputs[0], np.ndarray):
        if np.broadcast_shapes(inputs[0].shape, scale.shape) != inputs[0].shape:
            raise reader.error(node, "its scale has another shape than its tensor", "export the model again")
        result: Array = np.where(inputs[0] >= 0, scale, -scale).astype(np.float32)
        return result
    value = reader.value(node, inputs)
    per_channel = reader.channels(node, value, scale)
    return sign(reader, value, node.name or "sign", per_channel, -per_channel, value.number)


def greater_or_equal(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
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


def where(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    plus, minus = reader.constant(node, inputs, 1), reader.constant(node, inputs, 2)
    if isinstance(inputs[0], np.ndarray):
        if np.broadcast_shapes(inputs[0].shape, plus.shape, minus.shape) != inputs[0].shape:
            raise reader.error(node, "its values have another shape than its condition", "export the model again")
        return np.where(inputs[0], plus, minus)
    if not isinstance(inputs[0], Test):
        raise reader.error(node, "chooses by something other than GreaterOrEqual", "write the sign as GreaterOrEqual and Where")
    value = inputs[0].value
    number: Number = "integer" if plus.dtype.kind in "iub" else "double" if plus.dtype == np.float64 else "float"
    return sign(reader, value, node.name or "sign", reader.channels(node, value, plus), reader.channels(node, value, minus), number)


def relu(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.computed(node, inputs)
    if reader.element(value) == "i16" and value.plain:
        return _clipped(reader, node, value, 0.0, np.inf)
    source = reader.flush(value, "the layer before the ReLU")
    return replace(reader.add(layers.Relu(reader.name(node.name or "relu"), (source,))), number=value.number)


def prelu(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.computed(node, inputs)
    slopes = reader.channels(node, value, reader.constant(node, inputs, 1))
    if reader.element(value) == "i16" and value.plain and not value.wide:
        return Half("slope", (value.node,), slopes, node)
    return reader.slope(node, value, slopes)


def join(reader: Reader, node: NodeProto, a: Value, b: Value) -> Known:
    """a + b: of 16-bit values on its way to a Clip, else in float32."""
    if all(value.plain and not value.wide and reader.element(value) == "i16" for value in (a, b)):
        if reader.shape(a) != reader.shape(b):
            raise reader.error(
                node, f"adds values of shapes {list(reader.shape(a))} and {list(reader.shape(b))}", "both must be of one shape"
            )
        return Half("sum", (a.node, b.node), np.ones(()), node)
    sources = tuple(reader.floating(value, "the layer before the sum") for value in (a, b))
    return replace(reader.add(layers.Add(reader.name(node.name or "add"), sources)), number=b.number if a.number == "float" else a.number)


def floor(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    if isinstance(inputs[0], Half) and inputs[0].stage == "half":
        return replace(inputs[0], stage="floor")
    value = reader.value(node, inputs)
    if not value.wide:
        raise reader.error(node, "rounds down in float32", f"labc reads Floor behind Cast(double) in its requantization; {REEXPORT}")
    return replace(value, floored=True)


def clip(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = inputs[0]
    low, high = (_bound(reader, node, inputs, attributes, i, key, end) for i, key, end in ((1, "min", -np.inf), (2, "max", np.inf)))
    if isinstance(value, Half) and value.stage in ("sum", "floor"):
        return _closed(reader, node, value, low, high)
    if isinstance(value, Value) and value.floored:
        return _requantized(reader, node, value, low, high)
    return _clipped(reader, node, reader.computed(node, inputs), low, high)


def _bound(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes, index: int, key: str, end: float) -> float:
    """One end of a Clip: an input, before opset 11 an attribute, or open."""
    if index >= len(inputs) or inputs[index] is None:
        return float(attributes.get(key, end))
    bound = reader.constant(node, inputs, index)
    if bound.size != 1:
        raise reader.error(node, f"clips to {bound.size} bounds", "use one number for each end")
    return float(bound.reshape(()))


def _clipped(reader: Reader, node: NodeProto, value: Value, low: float, high: float) -> Value:
    name = reader.name(node.name or "clip")
    if reader.element(value) == "i16" and value.plain:
        # Bounds past the 16 bits do nothing there.
        low, high = max(low, -32768.0), min(high, 32767.0)
        return replace(reader.add(layers.Clip(name, (value.node,), low, high)), number=value.number)
    widest = float(np.finfo(np.float32).max)
    source = reader.flush(value, "the layer before the Clip")
    return replace(reader.add(layers.Clip(name, (source,), max(low, -widest), min(high, widest))), number=value.number)


def _closed(reader: Reader, node: NodeProto, half: Half, low: float, high: float) -> Value:
    """The 16-bit node that a Clip completes: it saturates, and what is tighter than 16 bits is a Clip of its own."""
    place = half.place
    if not -32768 <= low <= high <= 32767:
        raise reader.error(node, f"clips a 16-bit {place.op_type} to {low:g} .. {high:g}", f"clip it to -32768 .. 32767; {REEXPORT}")
    name = reader.name(place.name or place.op_type.lower())
    if half.stage == "sum":
        made = reader.add(layers.Add(name, half.sources))
    else:
        slopes = reader.per_channel(Value(half.sources[0]), half.slopes * 2.0**layers.SLOPE_BITS)
        if np.any(slopes != np.rint(slopes)) or np.any(np.abs(slopes) > 1 << layers.SLOPE_BITS):
            raise reader.error(place, "slopes of 16-bit values are not 256ths from -1 to 1", REEXPORT)
        made = reader.add(layers.PRelu(name, half.sources, Const("i16", slopes)))
    return made if (low, high) == (-32768, 32767) else _clipped(reader, node, made, low, high)


def _requantized(reader: Reader, node: NodeProto, value: Value, low: float, high: float) -> Value:
    element: Element = "u8" if (low, high) == (0, 255) else "i16"
    if element == "i16" and (low, high) != (-32768, 32767):
        raise reader.error(
            node,
            f"clips a Floor to {low:g} .. {high:g}, not to 0 .. 255 or -32768 .. 32767",
            f"labc reads its own requantization; {REEXPORT}",
        )
    scale = reader.per_channel(value, value.scale)
    shift = reader.per_channel(value, value.shift) - 0.5
    # y = (x·m + b + 2^(k−1)) >> k with the least k in 1..50 for which every m and b is an integer; scaling by 2^k is exact.
    for k in range(1, 51):
        m, b = scale * 2.0**k, shift * 2.0**k
        if np.array_equal(m, np.floor(m)) and np.array_equal(b, np.floor(b)):
            break
    else:
        raise reader.error(node, "its constants are no multiples of 2^-50", f"a requantization is (x*M + B) / 2^s; {REEXPORT}")
    if np.abs(m).max() >= 1 << 31 or np.abs(b).max() >= 1 << 52:
        raise reader.error(node, "its constants leave 31 and 52 bits", f"see docs/arithmetic.md; {REEXPORT}")
    name = reader.name(node.name.removesuffix(".clip") or "requantize")
    made = reader.add(
        layers.Requantize(name, (value.node,), Const("i32", m.astype(np.int64)), Const("i64", b.astype(np.int64)), k, element)
    )
    return replace(made, number="double")
