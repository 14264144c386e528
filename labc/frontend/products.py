"""Products with constant weights: MatMul, Gemm and Conv. Signs are told from floats by value, and scales are taken out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from labc.frontend.reader import Attributes, Known, Reader, Value
from labc.frontend.windows import border_sign, by_channel, sum_of, unpadded, weigh, window
from labc.ir import layers
from labc.ir.core import Array, Const, Node
from labc.ir.windows import Window


def matmul(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.computed(node, inputs)
    return _dense(reader, node, value, reader.constant(node, inputs, 1).T)


def gemm(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
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
    if weights.ndim != 2 or weights.size == 0:
        raise reader.error(node, f"weights of shape {list(weights.shape)}", "labc reads a matrix of weights per layer")
    name = reader.name(node.name or "dense")

    def make(source: str, held: Const) -> Node:
        return layers.Dense(name, (source,), held)

    def spread(shift: Array) -> Array:
        return np.broadcast_to(shift, weights.shape)

    return _product(reader, node, value, weights, make, spread)


def conv(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value, around = unpadded(reader, node, inputs)
    if value.number == "integer":
        raise reader.error(node, "computes in integers on input 0", "Cast it to float first")
    weights = reader.constant(node, inputs, 1)
    shape = reader.shape(value)
    if weights.ndim != len(shape) + 1 or weights.size == 0:
        raise reader.error(node, f"weights of shape {list(weights.shape)} on values of shape {list(shape)}", "export the model again")
    if list(attributes.get("kernel_shape", weights.shape[2:])) != list(weights.shape[2:]):
        raise reader.error(
            node, f"kernel_shape = {str(attributes['kernel_shape'])[:80]}, weights have {list(weights.shape[2:])}", "export the model again"
        )
    groups = attributes.get("group", 1)
    if not isinstance(groups, int) or groups < 1 or shape[0] != groups * weights.shape[1] or weights.shape[0] % groups:
        raise reader.error(
            node,
            f"group = {groups}: {shape[0]} input and {weights.shape[0]} output channels, weights expect {weights.shape[1]} per group",
            "both numbers of channels must be multiples of group; export the model again",
        )
    over = window(reader, node, value, attributes, weights.shape[2:], around=around)
    if value.wide:
        raise reader.error(node, "multiplies in float64", "Cast to float32 first")
    if any(over.pads) and np.any(value.shift) and (border := border_sign(reader, value, 0.0)):
        # Activations 0 and 1 are signs scaled and shifted: what a 0 at the border stands for is the sign −1.
        name = reader.name(f"{node.name or 'conv'}.pad")
        value = replace(value, node=reader.add(layers.Pad(name, (value.node,), over.pads, border)).node)
        over = replace(over, pads=(0, 0, 0, 0))
    rows = weights.reshape(len(weights), -1)
    if groups == shape[0] == len(rows) and np.all(rows > 0) and np.all(rows == rows[:, :1]):
        made = sum_of(reader, node, value, over)
        if np.any(rows != 1):
            made = made.times(reader.along(made, rows[:, 0].astype(np.float64)))
    else:
        made = _conv(reader, node, value, weights, over, groups)
    if len(inputs) > 2 and inputs[2] is not None:
        bias = reader.constant(node, inputs, 2)
        if bias.shape != weights.shape[:1]:
            raise reader.error(node, f"a bias of shape {list(bias.shape)} for {weights.shape[0]} channels", "export the model again")
        if not made.plain:
            reader.note("Conv: bias and scale became one affine")
        made = made.plus(reader.along(made, bias.astype(np.float64)))
    return made


def _conv(reader: Reader, node: NodeProto, value: Value, weights: Array, over: Window, groups: int) -> Value:
    name = reader.name(node.name or "conv")

    def make(source: str, held: Const) -> Node:
        return layers.Conv(name, (source,), held, over, groups)

    def spread(shift: Array) -> Array:
        """What each weight's input channel is shifted by: weights [N, C/groups, …] of group g read the g-th share of the channels."""
        shares = np.broadcast_to(shift.reshape(-1), reader.shape(value)[:1]).reshape(groups, weights.shape[1])
        rows = np.repeat(shares, len(weights) // groups, axis=0)
        return np.broadcast_to(rows.reshape(*rows.shape, *[1] * (weights.ndim - 2)), weights.shape)

    # At a border a tap adds 0, not the shift.
    made = _product(reader, node, value, weights, make, None if any(over.pads) else spread)
    weigh(reader, node, name, weights[0].size)
    return made


def _product(
    reader: Reader,
    node: NodeProto,
    value: Value,
    weights: Array,
    make: Callable[[str, Const], Node],
    spread: Callable[[Array], Array] | None,
) -> Value:
    """`value` times weights [N, …] of any values; signs and a scale per channel if each row holds two values ±a.

    `make` gives the node for a source and weights; `spread` the shift that meets each weight, or None where shifts cannot pass.
    """
    if value.wide:
        raise reader.error(node, "multiplies in float64", "Cast to float32 first")
    wide = weights.astype(np.float64)  # of integers the most negative one has no absolute value
    largest = np.abs(wide).reshape(len(wide), -1).max(axis=1)
    along = (-1, *[1] * (wide.ndim - 1))
    if not np.array_equal(np.abs(wide), np.broadcast_to(largest.reshape(along), wide.shape)):
        narrow = wide.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise reader.error(node, "its weights leave float32", "rescale them")
        return reader.add(make(_source(reader, value), Const("f32", narrow)))
    signs = np.where(wide < 0, -1, 1).astype(np.int8)
    if np.any(largest != 1):
        reader.note("weights: the scale of each output channel was taken out of the float weights")
    passes = by_channel(reader, value) and (spread is not None or not np.any(value.shift))
    if not passes or reader.element(value) not in layers.INTEGERS or np.any(value.scale != np.max(value.scale)):
        made = reader.add(make(_source(reader, value), Const("sign", signs)))
        return replace(made, scale=reader.along(made, largest))
    # (x·s + t)·(a w) summed over the inputs is (x·w)·(s a) + Σ t w a: one scale for all inputs passes through a layer.
    made = reader.add(make(value.node, Const("sign", signs)))
    if not value.plain:
        reader.note("inputs: a scale and shift before a layer was carried through it")
    if spread is not None and np.any(value.shift):
        sums = (signs * spread(value.shift)).reshape(len(signs), -1).sum(axis=1)
        made = made.plus(reader.along(made, sums * largest))
    return replace(made, scale=np.max(value.scale) * reader.along(made, largest))


def _source(reader: Reader, value: Value) -> str:
    """What a layer reads that takes no scale in: float32 where the value is scaled, or 16 bits wide."""
    if reader.element(value) == "i16":
        return reader.affine(value, "the layer before it")
    return reader.flush(value, "the layer before it")
