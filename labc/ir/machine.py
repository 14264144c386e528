"""Machine IR: what a processor does. Integer sums, thresholds, tables; on no machine yet.

A node that is one kernel call says which row of runtime/kernels.def it is (`op`) and what goes into the row's parameters, by name
(`operands`). An operand is the name of a value, an integer, a window, or a constant; constants of signs are packed by the plan in the
chosen kernel's layout.

Values of images keep the shapes of the layers, [C, H, W]; that they lie in memory pixel by pixel is the plan's business. Only the
network's input comes channel by channel, until `Interleave`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from labc.ir import layers
from labc.ir.core import Array, Const, Element, Node, Type, expect
from labc.ir.layers import Affine, integer_product
from labc.ir.windows import Window, image

# Of a value of each element: the least and the greatest there is.
EXTREMES: dict[Element, tuple[int, int]] = {"sign": (-1, 1), "u8": (0, 255), "i8": (-128, 127), "i16": (-32768, 32767)}
KINDS = {"sign": "sign", "u8": "byte", "i8": "byte", "i16": "word", "i32": "sum"}  # the table's words for elements


@dataclass(frozen=True)
class Place:
    """A window over an image of given size, as a kernel is told: what labc_window of runtime/kernels.h holds."""

    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    window: Window

    @staticmethod
    def of(window: Window, seen: Type) -> Place:
        """The window over a value of type `seen`."""
        channels_, height, width = image(seen.shape)
        return Place(channels_, height, width, *window.output(height, width), window)


Operand = str | int | Const | Place


@dataclass(frozen=True)
class KernelCall(Node):
    """A node that is one row of the kernel table."""

    @abstractmethod
    def op(self, *types: Type) -> str:
        """The row of the kernel table, given the types of the inputs."""

    @abstractmethod
    def operands(self, *types: Type) -> dict[str, Operand]:
        """Parameter name in kernels.def → operand, given the types of the inputs."""

    def in_place(self) -> bool:
        """Whether the result may lie where an input of its type did."""
        return False


@dataclass(frozen=True)
class Sums(KernelCall):
    """Exact sums of signs or bytes with weights of signs, per output channel.

    `weights`: [N, …]; what row n holds is summed into output channel n.
    """

    weights: Const

    def row_inputs(self) -> int:
        """How many weights a row has."""
        return self.weights.type.size // self.weights.type.shape[0]

    def bounds(self, element: Element) -> tuple[Array, Array]:
        """The least and greatest sum of each row, int64 [N], over all inputs of `element`."""
        least, greatest = EXTREMES[element]
        plus = (self.weights.array > 0).reshape(len(self.weights.array), -1).sum(axis=1, dtype=np.int64)
        minus = self.row_inputs() - plus
        low, high = least * plus - greatest * minus, greatest * plus - least * minus
        return np.minimum(low, 0) if self.skips() else low, np.maximum(high, 0) if self.skips() else high

    def skips(self) -> bool:
        """Whether a sum may have less than all of its terms: at the border of an image."""
        return False

    @abstractmethod
    def with_weights(self, weights: Const) -> Sums:
        """The same node with other weights of the same shape."""

    @abstractmethod
    def limits(self, thresholds: Const) -> Const:
        """Of sums of signs: what a kernel compares disagreements with, where the sum is to be at least a threshold."""


def read_as(element: Element) -> dict[str, Operand]:
    """How bytes are to be read, as 0..255 or as -128..127; other elements need no telling."""
    return {"offset": 128 if element == "i8" else 0} if element in ("u8", "i8") else {}


# ---- matrices times vectors ----


@dataclass(frozen=True)
class MatVec(Sums):
    """y = W x with W [N, K] of signs: in [−K, K] for signs, [−255K, 255K] for bytes."""

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=layers.INTEGERS, rank=1)
        rows, inputs = self.weights.type.shape
        if seen.shape != (inputs,):
            raise self.fail(f"{seen.shape[0]} inputs, weights expect {inputs}", "this is a fault in labc; please report it")
        return Type("i32", (rows,))

    def evaluate(self, *arrays: Array) -> Array:
        return integer_product(arrays[0], self.weights.array)

    def with_weights(self, weights: Const) -> MatVec:
        return MatVec(self.name, self.inputs, weights)

    def limits(self, thresholds: Const) -> Const:
        # With D disagreeing positions of K the sum is K − 2D, so sum ≥ T ⇔ D ≤ (K − T)/2, and D is an integer: take the floor.
        # −K ≤ T ≤ K + 1 gives −1 ≤ limit ≤ K.
        return Const("i32", (self.row_inputs() - thresholds.array.astype(np.int64)) // 2)

    def op(self, *types: Type) -> str:
        return f"{KINDS[types[0].element]}_matvec_sums"

    def operands(self, *types: Type) -> dict[str, Operand]:
        rows, inputs = self.weights.type.shape
        base: dict[str, Operand] = {"x": self.inputs[0], "w": self.weights, "inputs": inputs, "rows": rows, "y": self.name}
        return base | read_as(types[0].element)


# ---- convolutions ----


@dataclass(frozen=True)
class Conv(Sums):
    """Sums over a window: weights [N, C, kh, kw] of signs; a tap outside the image adds 0."""

    window: Window

    def channel_groups(self) -> int:
        """How many groups of input channels are summed apart."""
        return 1

    def infer(self, *types: Type) -> Type:
        (seen,) = types
        shape = seen.shape if len(seen.shape) > 1 else (seen.shape[0], 1, 1)
        weights = self.weights if len(shape) == 3 else Const("sign", self.weights.array[:, :, 0])
        return layers.Conv(self.name, self.inputs, weights, self.window, self.channel_groups()).infer(Type(seen.element, shape))

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        x = x if x.ndim > 2 else x[:, :, None, None]
        weights = self.weights if x.ndim == 4 else Const("sign", self.weights.array[:, :, 0])
        return layers.Conv(self.name, self.inputs, weights, self.window, self.channel_groups()).evaluate(x)

    def skips(self) -> bool:
        return any(self.window.pads)

    def with_weights(self, weights: Const) -> Conv:
        return Conv(self.name, self.inputs, weights, self.window)

    def limits(self, thresholds: Const) -> Const:
        # The kernel compares 2 D + C (taps outside) = K − sum.
        return Const("i32", self.row_inputs() - thresholds.array.astype(np.int64))

    def op(self, *types: Type) -> str:
        return f"{KINDS[types[0].element]}_conv_sums"

    def operands(self, *types: Type) -> dict[str, Operand]:
        rows, channels_, *_ = self.weights.type.shape
        # Pixel by pixel, as images lie in memory; a tap of signs is filled up to whole words by the plan, one of bytes is not.
        taps = self.weights.array.transpose(0, 2, 3, 1)
        shape = (rows, self.window.taps, channels_) if types[0].element == "sign" else (rows, self.window.taps * channels_)
        base: dict[str, Operand] = {"x": self.inputs[0], "w": Const("sign", taps.reshape(shape)), "window": Place.of(self.window, types[0])}
        return base | {"rows": rows, "y": self.name} | read_as(types[0].element)


@dataclass(frozen=True)
class Depthwise(Conv):
    """Sums over a window of one channel: weights [N, 1, kh, kw], output channel n reads input channel n / (N / C)."""

    groups: int

    def channel_groups(self) -> int:
        return self.groups

    def with_weights(self, weights: Const) -> Depthwise:
        return Depthwise(self.name, self.inputs, weights, self.window, self.groups)

    def op(self, *types: Type) -> str:
        return f"{KINDS[types[0].element]}_depthwise_sums"

    def operands(self, *types: Type) -> dict[str, Operand]:
        rows = self.weights.type.shape[0]
        taps = Const("sign", self.weights.array.reshape(rows, -1).T)
        base: dict[str, Operand] = {"x": self.inputs[0], "w": taps, "window": Place.of(self.window, types[0])}
        return base | {"rows": rows, "y": self.name} | read_as(types[0].element)


# ---- the end of a network ----


@dataclass(frozen=True)
class Scores(Affine, KernelCall):
    """The network's scores: Affine on the last sums, one per channel."""

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=("i32",))
        return super().infer(Type(seen.element, (seen.size,)))

    def evaluate(self, *arrays: Array) -> Array:
        return super().evaluate(arrays[0].reshape(len(arrays[0]), -1))

    def op(self, *types: Type) -> str:
        return "affine"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return {"x": self.inputs[0], "s": self.s, "t": self.t, "rows": types[0].size, "y": self.name}


@dataclass(frozen=True)
class ScoresArgMax(Scores):
    """The class: the index of the largest score, the lowest on ties."""

    def infer(self, *types: Type) -> Type:
        super().infer(*types)
        return Type("i32", (1,))

    def evaluate(self, *arrays: Array) -> Array:
        y: Array = np.argmax(super().evaluate(*arrays), axis=1).astype(np.int32)[:, None]
        return y

    def op(self, *types: Type) -> str:
        return "affine_argmax"
