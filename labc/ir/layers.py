"""Layers IR: what the network says. Signs, integers and affine maps; batch norm is already an affine map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labc.ir.core import DTYPES, Array, Const, Element, Node, Type, expect, matching

INTEGERS: tuple[Element, ...] = ("sign", "u8", "i8")  # what can be summed exactly


def integer_product(x: Array, weights: Array) -> Array:
    """x [batch, K] of signs or bytes times weights [N, K] of signs → int32 [batch, N], exactly.

    Every partial sum is an integer of magnitude at most 255·K, so BLAS gives the exact result in any order: in float32
    below 2²⁴, in float64 below 2⁵³.
    """
    dtype: type[Any] = np.float32 if 255 * weights.shape[1] < 1 << 24 else np.float64
    product: Array = (x.astype(dtype) @ weights.astype(dtype).T).astype(np.int32)
    return product


@dataclass(frozen=True)
class Input(Node):
    """The network's input: u8 or i8 (f32 is read, so that `inspect` can speak of it, and refused by lowering)."""

    element: Element
    shape: tuple[int, ...]

    def infer(self, *types: Type) -> Type:
        return Type(self.element, self.shape)

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        if x.dtype != DTYPES[self.element] or x.shape[1:] != self.shape:
            raise self.fail(
                f"got {x.dtype}{list(x.shape[1:])}, expected {DTYPES[self.element]}{list(self.shape)}", "convert or reshape the input array"
            )
        return x


@dataclass(frozen=True)
class Flatten(Node):
    """All axes but the batch become one, row-major (ONNX Flatten, axis 1)."""

    def infer(self, *types: Type) -> Type:
        (seen,) = types
        return Type(seen.element, (seen.size,))

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0].reshape(len(arrays[0]), -1)


@dataclass(frozen=True)
class Dense(Node):
    """y = W x with W [N, K]: exact integer sums if W is signs and x integers, float32 otherwise (ONNX MatMul, Gemm)."""

    weights: Const

    def why_not_binary(self) -> str | None:
        """None if the weights are signs; else the channel furthest from two values ±a, and how far."""
        if self.weights.type.element == "sign":
            return None
        magnitude = np.abs(self.weights.array)
        low, high = magnitude.min(axis=1), magnitude.max(axis=1)
        worst = int(np.argmax((high - low) / np.maximum(high, np.finfo(np.float32).tiny)))
        distinct = len(np.unique(self.weights.array[worst]))
        return (
            f"float weights are not two values ±a per output channel: channel {worst} holds {distinct} values "
            f"with magnitudes from {low[worst]:.4g} to {high[worst]:.4g}"
        )

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=(*INTEGERS, "f32"), rank=1)
        rows, inputs = self.weights.type.shape
        if seen.shape != (inputs,):
            raise self.fail(f"{seen.shape[0]} inputs, weights expect {inputs}", "re-export the model")
        exact = self.weights.type.element == "sign" and seen.element in INTEGERS
        return Type("i32" if exact else "f32", (rows,))

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        if self.weights.type.element == "sign" and x.dtype.kind in "iu":
            return integer_product(x, self.weights.array)
        product: Array = x.astype(np.float32) @ self.weights.array.astype(np.float32).T
        return product


@dataclass(frozen=True)
class Affine(Node):
    """y = x·s + t per channel: one float32 multiply, then one float32 add, never fused (docs/arithmetic.md)."""

    s: Const
    t: Const

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=(*INTEGERS, "i32", "f32"))
        matching(self, seen, s=self.s, t=self.t)
        return Type("f32", seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        # An overflow is an infinity here, as in C; the threshold pass and the spec refuse graphs in which one can occur.
        with np.errstate(over="ignore", invalid="ignore"):
            y: Array = arrays[0].astype(np.float32) * self.s.array + self.t.array
        return y


@dataclass(frozen=True)
class Sign(Node):
    """+1 where x ≥ 0, else −1 (QONNX BipolarQuant): sign(0) = +1, and sign(−0) = +1."""

    def infer(self, *types: Type) -> Type:
        return Type("sign", expect(self, types, elements=(*INTEGERS, "i32", "f32")).shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.where(arrays[0] >= 0, np.int8(1), np.int8(-1))


@dataclass(frozen=True)
class Relu(Node):
    """max(x, 0) on float32 (ONNX Relu): read and inspected, but only a requantized ReLU can be lowered."""

    def infer(self, *types: Type) -> Type:
        return Type("f32", expect(self, types, elements=("i32", "f32")).shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.maximum(arrays[0].astype(np.float32), np.float32(0))


@dataclass(frozen=True)
class Requantize(Node):
    """y = clamp((x·m + b + 2^(shift−1)) >> shift, 0, 255) → u8; the clamp at 0 is the ReLU (docs/arithmetic.md).

    m: i32, |m| < 2³¹; b: i64; 1 ≤ shift ≤ 50; |x·m| + |b| + 2^(shift−1) < 2⁵² for every reachable x.
    """

    m: Const
    b: Const
    shift: int

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=("i32",))
        matching(self, seen, m=self.m, b=self.b)
        if not 1 <= self.shift <= 50:
            raise self.fail(f"shift {self.shift} is outside 1..50", "re-export the model")
        return Type("u8", seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        wide = arrays[0].astype(np.int64) * self.m.array + self.b.array + (1 << (self.shift - 1))
        y: Array = np.clip(wide >> self.shift, 0, 255).astype(np.uint8)
        return y


@dataclass(frozen=True)
class ArgMax(Node):
    """The index of the largest score, the lowest on ties (ONNX ArgMax, select_last_index = 0)."""

    def infer(self, *types: Type) -> Type:
        expect(self, types, elements=("f32", "i32"), rank=1)
        return Type("i32", ())

    def evaluate(self, *arrays: Array) -> Array:
        y: Array = np.argmax(arrays[0], axis=1).astype(np.int32)
        return y
