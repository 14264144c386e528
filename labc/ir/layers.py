"""Layers IR: what the network says. Signs, integers and affine maps; batch norm is already an affine map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labc.ir.core import DTYPES, Array, Const, Element, Node, Type, expect, matching
from labc.ir.windows import Window, channels, convolve, image, images

INTEGERS: tuple[Element, ...] = ("sign", "u8", "i8")  # what can be summed exactly
WHOLE: tuple[Element, ...] = (*INTEGERS, "i16", "i32")
SLOPE_BITS = 8  # an i16 PRelu multiplies by slope / 2^8: a product of 16 and 9 bits, which a float32 holds


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


def why_not_binary(weights: Const) -> str | None:
    """None if the weights [N, …] are signs; else the output channel furthest from two values ±a, and how far."""
    if weights.type.element == "sign":
        return None
    flat = weights.array.reshape(len(weights.array), -1)
    magnitude = np.abs(flat)
    low, high = magnitude.min(axis=1), magnitude.max(axis=1)
    worst = int(np.argmax((high - low) / np.maximum(high, np.finfo(np.float32).tiny)))
    return (
        f"float weights are not two values ±a per output channel: channel {worst} holds {len(np.unique(flat[worst]))} values "
        f"with magnitudes from {low[worst]:.4g} to {high[worst]:.4g}"
    )


@dataclass(frozen=True)
class Dense(Node):
    """y = W x with W [N, K]: exact integer sums if W is signs and x integers, float32 otherwise (ONNX MatMul, Gemm)."""

    weights: Const

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
        seen = expect(self, types, elements=(*WHOLE, "f32"))
        matching(self, seen, s=self.s, t=self.t)
        return Type("f32", seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        s, t = (channels(value.array, arrays[0].ndim - 1) for value in (self.s, self.t))
        # An overflow is an infinity here, as in C; the threshold pass and the spec refuse graphs in which one can occur.
        with np.errstate(over="ignore", invalid="ignore"):
            y: Array = arrays[0].astype(np.float32) * s + t
        return y


@dataclass(frozen=True)
class Sign(Node):
    """+1 where x ≥ 0, else −1 (QONNX BipolarQuant): sign(0) = +1, and sign(−0) = +1."""

    def infer(self, *types: Type) -> Type:
        return Type("sign", expect(self, types, elements=(*WHOLE, "f32")).shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.where(arrays[0] >= 0, np.int8(1), np.int8(-1))


@dataclass(frozen=True)
class Relu(Node):
    """max(x, 0) on float32 (ONNX Relu): read and inspected, but only a requantized ReLU can be lowered."""

    def infer(self, *types: Type) -> Type:
        return Type("f32", expect(self, types, elements=("i16", "i32", "f32")).shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.maximum(arrays[0].astype(np.float32), np.float32(0))


@dataclass(frozen=True)
class Requantize(Node):
    """y = clamp((x·m + b + 2^(shift−1)) >> shift) per channel, into u8, where the clamp at 0 is the ReLU, or i16 (docs/arithmetic.md).

    m: i32, |m| < 2³¹; b: i64; 1 ≤ shift ≤ 50; |x·m| + |b| + 2^(shift−1) < 2⁵² for every reachable x.
    """

    m: Const
    b: Const
    shift: int
    element: Element = "u8"

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=WHOLE)
        matching(self, seen, m=self.m, b=self.b)
        if not 1 <= self.shift <= 50:
            raise self.fail(f"shift {self.shift} is outside 1..50", "re-export the model")
        if self.element not in ("u8", "i16"):
            raise self.fail(f"requantizes to {self.element}, not u8 or i16", "re-export the model")
        return Type(self.element, seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        m, b = (channels(value.array, arrays[0].ndim - 1) for value in (self.m, self.b))
        wide = arrays[0].astype(np.int64) * m + b + (1 << (self.shift - 1))
        held = np.iinfo(DTYPES[self.element])
        y: Array = np.clip(wide >> self.shift, held.min, held.max).astype(DTYPES[self.element])
        return y


@dataclass(frozen=True)
class Conv(Node):
    """Convolution (cross-correlation) with weights [N, C/groups, kh, kw], or [N, C/groups, k] over a row; a tap outside adds 0 (ONNX Conv).

    Exact integer sums if the weights are signs and x integers, float32 otherwise.
    """

    weights: Const
    window: Window
    groups: int = 1

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=(*INTEGERS, "i16", "f32"))
        rows, per_group, *kernel = self.weights.type.shape
        if len(seen.shape) != 1 + len(kernel) or len(kernel) not in (1, 2):
            raise self.fail(f"input is {seen}, weights are {self.weights.type}", "re-export the model")
        if seen.shape[0] != per_group * self.groups or rows % self.groups:
            raise self.fail(
                f"{seen.shape[0]} input and {rows} output channels in {self.groups} group(s), weights expect {per_group} inputs per group",
                "both numbers of channels must be multiples of groups; re-export the model",
            )
        exact = self.weights.type.element == "sign" and seen.element in INTEGERS
        return Type("i32" if exact else "f32", (rows, *slid(self, self.window, seen)))

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        weights = images(self.weights.array)
        exact = self.weights.type.element == "sign" and x.dtype in (np.int8, np.uint8)
        dtype: type[Any] = np.float32 if not exact or 255 * weights[0].size < 1 << 24 else np.float64
        y = convolve(images(x), weights, self.window, self.groups, dtype)
        return flat_as(x, y.astype(np.int32 if exact else np.float32))


def slid(node: Node, window: Window, seen: Type) -> tuple[int, ...]:
    """The extents of what a window makes of an image: (H', W'), or (L',) of a row. Raises LabcError where the image is too small."""
    if len(seen.shape) not in (2, 3):
        raise node.fail(f"slides over {seen}", "labc reads images [C, H, W] and rows [C, L]")
    _, height, width = image(seen.shape)
    out = window.output(height, width)
    if min(out) < 1:
        raise node.fail(
            f"a window that reaches {window.reach()[0]} x {window.reach()[1]} does not fit the image of {height} x {width} and its padding",
            "use a smaller kernel, more padding, or a larger image",
        )
    return out if len(seen.shape) == 3 else out[1:]


def flat_as(x: Array, y: Array) -> Array:
    """y [batch, C, H', W'] with as many axes as x: a row stays a row."""
    return y if x.ndim == 4 else y.reshape(len(y), y.shape[1], y.shape[3])


@dataclass(frozen=True)
class MaxPool(Node):
    """The largest value that a window covers, per channel; what is outside does not count (ONNX MaxPool)."""

    window: Window

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=(*WHOLE, "f32"))
        extents = slid(self, self.window, seen)
        if not self.window.covers(*image(seen.shape)[1:]):
            raise self.fail("a window lies wholly in the padding", "use less padding than the kernel's size")
        return Type(seen.element, (seen.shape[0], *extents))

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        y: Array | None = None
        for _, _, seen in self.window.views(images(x), least):
            y = seen.copy() if y is None else np.maximum(y, seen, out=y)
        assert y is not None  # a kernel has a tap
        return flat_as(x, y)


@dataclass(frozen=True)
class SumPool(Node):
    """The sum of what a window covers, per channel; outside counts 0. An average is this and a scale (ONNX AveragePool, ReduceSum)."""

    window: Window

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=(*WHOLE, "f32"))
        return Type("f32" if seen.element == "f32" else "i32", (seen.shape[0], *slid(self, self.window, seen)))

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        dtype: type[Any] = np.float32 if x.dtype == np.float32 else np.int32
        y = np.zeros((len(x), x.shape[1], *self.window.output(*image(x.shape[1:])[1:])), dtype)
        for _, _, seen in self.window.views(images(x), 0):
            y += seen
        return flat_as(x, y)


@dataclass(frozen=True)
class Add(Node):
    """a + b: i16 values saturate at −32768 and 32767; float32 otherwise, which is only inspected (ONNX Add, then Clip)."""

    def infer(self, *types: Type) -> Type:
        a, b = types
        if a != b or a.element not in ("i16", "f32"):
            raise self.fail(f"adds {a} and {b}", "both must be of one shape, and 16-bit activations; re-export with labc.train.export")
        return a

    def evaluate(self, *arrays: Array) -> Array:
        a, b = arrays
        if a.dtype == np.float32:
            y: Array = a + b
            return y
        return np.clip(a.astype(np.int32) + b, -32768, 32767).astype(np.int16)


@dataclass(frozen=True)
class Concat(Node):
    """The channels of several values, one after the other (ONNX Concat, axis 1)."""

    def infer(self, *types: Type) -> Type:
        first = types[0]
        for other in types[1:]:
            if other.element != first.element or other.shape[1:] != first.shape[1:]:
                raise self.fail(f"joins {first} and {other}", "all must be of one element and one height and width")
        return Type(first.element, (sum(t.shape[0] for t in types), *first.shape[1:]))

    def evaluate(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, axis=1)


@dataclass(frozen=True)
class Pad(Node):
    """Signs with a border of +1 or −1: top, left, bottom, right (ONNX Pad). Zeros around a convolution are its own padding."""

    pads: tuple[int, int, int, int]
    value: int

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=("sign",))
        if self.value not in (-1, 1):
            raise self.fail(f"pads signs with {self.value}", "pad with +1 or -1, or give the convolution pads, which are zeros")
        top, left, bottom, right = self.pads
        channels_, *extents = seen.shape
        if len(extents) == 1 and top == bottom == 0:
            return Type("sign", (channels_, extents[0] + left + right))
        if len(extents) != 2:
            raise self.fail(f"pads {seen}", "only height and width can be padded")
        return Type("sign", (channels_, extents[0] + top + bottom, extents[1] + left + right))

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        top, left, bottom, right = self.pads
        y = np.pad(images(x), ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=self.value)
        return flat_as(x, y)


@dataclass(frozen=True)
class PRelu(Node):
    """x where x ≥ 0, else x·slope per channel (ONNX PRelu): on float32; on i16 with slopes in 256ths, (x·slope + 128) >> 8.

    slopes: f32 [C]; for i16 values i16 [C] in −256..256, so that every product is exact in float32 too.
    """

    slopes: Const

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=("i16", "i32", "f32"))
        matching(self, seen, slopes=self.slopes)
        if seen.element == "i16":
            if self.slopes.type.element != "i16" or np.abs(self.slopes.array.astype(np.int32)).max() > 1 << SLOPE_BITS:
                raise self.fail("slopes of 16-bit values are not 256ths from -1 to 1", "re-export with labc.train.export")
            return seen
        return Type("f32", seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        slopes = channels(self.slopes.array, x.ndim - 1)
        if x.dtype == np.int16:
            scaled = (x.astype(np.int32) * slopes + (1 << (SLOPE_BITS - 1))) >> SLOPE_BITS
            return np.where(x >= 0, x, np.clip(scaled, -32768, 32767)).astype(np.int16)
        x = x.astype(np.float32)
        with np.errstate(over="ignore"):
            return np.where(x >= 0, x, x * slopes)


@dataclass(frozen=True)
class Clip(Node):
    """min(max(x, low), high): hard-tanh and its kin (ONNX Clip); low ≤ high, whole numbers on i16 values."""

    low: float
    high: float

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=("i16", "i32", "f32"))
        if not self.low <= self.high:
            raise self.fail(f"clips to {self.low} .. {self.high}", "the lower bound comes first")
        if seen.element == "i16":
            if not all(float(v).is_integer() and -32768 <= v <= 32767 for v in (self.low, self.high)):
                raise self.fail(f"clips 16-bit values to {self.low} .. {self.high}", "re-export with labc.train.export")
            return seen
        return Type("f32", seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        if x.dtype == np.int16:
            return np.clip(x, int(self.low), int(self.high)).astype(np.int16)
        return np.clip(x.astype(np.float32), np.float32(self.low), np.float32(self.high))


@dataclass(frozen=True)
class ArgMax(Node):
    """The index of the largest score, the lowest on ties (ONNX ArgMax, select_last_index = 0)."""

    def infer(self, *types: Type) -> Type:
        expect(self, types, elements=("f32", "i32"), rank=1)
        return Type("i32", ())

    def evaluate(self, *arrays: Array) -> Array:
        y: Array = np.argmax(arrays[0], axis=1).astype(np.int32)
        return y
