"""Machine IR without weights: pools, and what is done element by element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labc.ir import layers
from labc.ir.core import Array, Const, Element, Node, Type, expect, matching
from labc.ir.layers import Requantize as RequantizeLayer
from labc.ir.machine import KINDS, KernelCall, Operand, Place, read_as
from labc.ir.windows import Window, channels, image, images


@dataclass(frozen=True)
class View(Node):
    """An image as one vector, in the order in which it lies in memory: pixel by pixel. No work; signs need channels in whole words."""

    def infer(self, *types: Type) -> Type:
        (seen,) = types
        count, height, width = image(seen.shape)
        if seen.element == "sign" and count % 32 and height * width > 1:
            raise self.fail(f"{seen} is not one vector in memory", "this is a fault in labc; please report it")
        return Type(seen.element, (seen.size,))

    def evaluate(self, *arrays: Array) -> Array:
        return np.ascontiguousarray(images(arrays[0]).transpose(0, 2, 3, 1)).reshape(len(arrays[0]), -1)


@dataclass(frozen=True)
class Interleave(KernelCall):
    """The network's input from planes to pixels: the same values, in the order in which the other nodes expect images."""

    def infer(self, *types: Type) -> Type:
        return expect(self, types, elements=("u8", "i8"))

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0]

    def op(self, *types: Type) -> str:
        return "byte_interleave"

    def operands(self, *types: Type) -> dict[str, Operand]:
        count, height, width = image(types[0].shape)
        return {"x": self.inputs[0], "channels": count, "pixels": height * width, "y": self.name}


@dataclass(frozen=True)
class MaxPool(KernelCall):
    """The largest value that a window covers, per channel, and the smallest where `flips` (a sign per channel) is +1."""

    window: Window
    flips: Const

    def infer(self, *types: Type) -> Type:
        seen = layers.MaxPool(self.name, self.inputs, self.window).infer(*types)
        matching(self, seen, flips=self.flips)
        if seen.element not in ("sign", "u8", "i8") and (self.flips.array > 0).any():
            raise self.fail(f"takes the least of {seen.element} values", "this is a fault in labc; please report it")
        return seen

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        flipped = channels(self.flips.array, x.ndim - 1) > 0
        # ~v is −1 − v of signed numbers and 255 − v of bytes: it turns the order round.
        largest = layers.MaxPool(self.name, self.inputs, self.window).evaluate(np.where(flipped, ~x, x))
        y: Array = np.where(flipped, ~largest, largest)
        return y

    def op(self, *types: Type) -> str:
        return f"{KINDS[types[0].element]}_max_pool"

    def operands(self, *types: Type) -> dict[str, Operand]:
        base: dict[str, Operand] = {"x": self.inputs[0], "window": Place.of(self.window, types[0]), "y": self.name}
        match types[0].element:
            case "sign":
                return base | {"flips": self.flips}
            case "u8":
                return base | {"flips": Const("u8", np.where(self.flips.array > 0, 255, 0))}
            case "i8":
                return base | {"flips": Const("u8", np.where(self.flips.array > 0, 127, 128))}
        return base


@dataclass(frozen=True)
class AddPool(KernelCall):
    """The sum of what a window covers, per channel; outside counts 0."""

    window: Window

    def infer(self, *types: Type) -> Type:
        expect(self, types, elements=("i16", "i32"))
        return layers.SumPool(self.name, self.inputs, self.window).infer(*types)

    def evaluate(self, *arrays: Array) -> Array:
        return layers.SumPool(self.name, self.inputs, self.window).evaluate(*arrays)

    def op(self, *types: Type) -> str:
        return f"{KINDS[types[0].element]}_add_pool"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return {"x": self.inputs[0], "window": Place.of(self.window, types[0]), "y": self.name}


def rounded(b: Const, shift: int) -> Const:
    """b with the rounding half in it: kernels add one constant."""
    return Const("i64", b.array + (1 << (shift - 1)))


def _over_pixels(node: Node, seen: Type) -> dict[str, Operand]:
    """What the ops over pixels have in common."""
    count, height, width = image(seen.shape)
    return {"x": node.inputs[0], "channels": count, "pixels": height * width, "y": node.name}


@dataclass(frozen=True)
class Widen(KernelCall):
    """Any integers as i32."""

    def infer(self, *types: Type) -> Type:
        return Type("i32", expect(self, types, elements=("sign", "u8", "i8", "i16")).shape)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0].astype(np.int32)

    def op(self, *types: Type) -> str:
        return f"{KINDS[types[0].element]}_widen"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return _over_pixels(self, types[0]) | read_as(types[0].element)


@dataclass(frozen=True)
class Threshold(KernelCall):
    """+1 where x ≥ thresholds, else −1, per channel; the other way round where `flips` (a sign per channel) is +1."""

    thresholds: Const
    flips: Const

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=("i16", "i32"))
        matching(self, seen, thresholds=self.thresholds, flips=self.flips)
        return Type("sign", seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        up, flipped = x >= channels(self.thresholds.array, x.ndim - 1), channels(self.flips.array, x.ndim - 1) > 0
        return np.where(up != flipped, np.int8(1), np.int8(-1))

    def op(self, *types: Type) -> str:
        return f"{KINDS[types[0].element]}_threshold"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return _over_pixels(self, types[0]) | {"thresholds": self.thresholds, "flips": self.flips}


@dataclass(frozen=True)
class Requantize(RequantizeLayer, KernelCall):
    """The layer of that name, on sums that no kernel has requantized."""

    def infer(self, *types: Type) -> Type:
        expect(self, types, elements=("i32",))
        return super().infer(*types)

    def op(self, *types: Type) -> str:
        return "sum_requantize" if self.element == "u8" else "sum_requantize_word"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return _over_pixels(self, types[0]) | {"m": self.m, "b": rounded(self.b, self.shift), "shift": self.shift}


@dataclass(frozen=True)
class Add(layers.Add, KernelCall):
    """a + b of i16 values, saturating."""

    def infer(self, *types: Type) -> Type:
        return expect(self, (super().infer(*types),), elements=("i16",))

    def op(self, *types: Type) -> str:
        return "word_add"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return {"a": self.inputs[0], "b": self.inputs[1], "count": types[0].size, "y": self.name}

    def in_place(self) -> bool:
        return True


@dataclass(frozen=True)
class Clip(layers.Clip, KernelCall):
    """min(max(x, low), high) of i16 values."""

    def infer(self, *types: Type) -> Type:
        return expect(self, (super().infer(*types),), elements=("i16",))

    def op(self, *types: Type) -> str:
        return "word_clip"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return {"x": self.inputs[0], "low": int(self.low), "high": int(self.high), "count": types[0].size, "y": self.name}

    def in_place(self) -> bool:
        return True


@dataclass(frozen=True)
class PRelu(layers.PRelu, KernelCall):
    """PRelu of i16 values, slopes in 256ths."""

    def infer(self, *types: Type) -> Type:
        return expect(self, (super().infer(*types),), elements=("i16",))

    def op(self, *types: Type) -> str:
        return "word_prelu"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return _over_pixels(self, types[0]) | {"slopes": self.slopes}

    def in_place(self) -> bool:
        return True


def _bytes(element: Element) -> int:
    return {"u8": 1, "i8": 1, "i16": 2, "i32": 4}[element]


@dataclass(frozen=True)
class Join(layers.Concat, KernelCall):
    """The channels of two values, one after the other."""

    def op(self, *types: Type) -> str:
        return "sign_join" if types[0].element == "sign" else "byte_join"

    def operands(self, *types: Type) -> dict[str, Operand]:
        a, b = types
        _, height, width = image(a.shape)
        base: dict[str, Operand] = {"a": self.inputs[0], "b": self.inputs[1], "pixels": height * width, "y": self.name}
        if a.element == "sign":
            return base | {"a_channels": a.shape[0], "b_channels": b.shape[0]}
        return base | {"a_bytes": a.shape[0] * _bytes(a.element), "b_bytes": b.shape[0] * _bytes(b.element)}


@dataclass(frozen=True)
class Slice(KernelCall):
    """Channels first to first + count − 1."""

    first: int
    count: int

    def infer(self, *types: Type) -> Type:
        (seen,) = types
        return Type(seen.element, (self.count, *seen.shape[1:]))

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0][:, self.first : self.first + self.count]

    def op(self, *types: Type) -> str:
        return "sign_slice" if types[0].element == "sign" else "byte_slice"

    def operands(self, *types: Type) -> dict[str, Operand]:
        (seen,) = types
        count, height, width = image(seen.shape)
        base: dict[str, Operand] = {"x": self.inputs[0], "pixels": height * width, "y": self.name}
        if seen.element == "sign":
            return base | {"channels": count, "first": self.first, "count": self.count}
        size = _bytes(seen.element)
        return base | {"channel_bytes": count * size, "first_bytes": self.first * size, "count_bytes": self.count * size}


@dataclass(frozen=True)
class Pad(layers.Pad, KernelCall):
    """Signs with a border of +1 or −1."""

    def op(self, *types: Type) -> str:
        return "sign_pad"

    def operands(self, *types: Type) -> dict[str, Operand]:
        count, height, width = image(types[0].shape)
        top, left, bottom, right = self.pads
        place = Place(count, height, width, height + top + bottom, width + left + right, Window((1, 1), pads=self.pads))
        return {"x": self.inputs[0], "window": place, "plus": int(self.value > 0), "y": self.name}
