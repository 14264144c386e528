"""Machine IR: what a processor does. Integer sums, thresholds, tables; on no machine yet.

A node that is one kernel call has two things more: `op`, its row in runtime/kernels.def, and `operands()`, what goes into
the row's parameters, by name. An operand is the name of a value, an integer, or a constant; constants of signs are packed
by the plan in the chosen kernel's layout.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labc.ir.core import Array, Const, Element, Node, Type, expect, matching
from labc.ir.layers import Affine, Input, Requantize, integer_product

Operand = str | int | Const


@dataclass(frozen=True)
class KernelCall(Node):
    """A node that is one row of the kernel table."""

    op: ClassVar[str]

    @abstractmethod
    def operands(self, *types: Type) -> dict[str, Operand]:
        """Parameter name in kernels.def → operand, given the types of the inputs."""


@dataclass(frozen=True)
class MatVec(KernelCall):
    """y = W x with W [N, K] of signs: exact integer sums. The base of the kernels that begin with one."""

    weights: Const
    elements: ClassVar[tuple[Element, ...]]

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=self.elements, rank=1)
        rows, inputs = self.weights.type.shape
        if seen.shape != (inputs,):
            raise self.fail(f"{seen.shape[0]} inputs, weights expect {inputs}", "this is a fault in labc; please report it")
        return Type("i32", (rows,))

    def evaluate(self, *arrays: Array) -> Array:
        return integer_product(arrays[0], self.weights.array)

    def bounds(self, element: Element) -> tuple[Array, Array]:
        """The least and greatest sum of each row, int64 [N], over all inputs of `element`."""
        least, greatest = {"sign": (-1, 1), "u8": (0, 255), "i8": (-128, 127)}[element]
        plus = (self.weights.array > 0).sum(axis=1, dtype=np.int64)
        minus = self.weights.type.shape[1] - plus
        return least * plus - greatest * minus, greatest * plus - least * minus

    def operands(self, *types: Type) -> dict[str, Operand]:
        rows, inputs = self.weights.type.shape
        base: dict[str, Operand] = {"x": self.inputs[0], "w": self.weights, "inputs": inputs, "rows": rows, "y": self.name}
        return base if types[0].element == "sign" else base | {"offset": 128 if types[0].element == "i8" else 0}


@dataclass(frozen=True)
class SignMatVec(MatVec):
    """Sums of signs times signs: y = W x, in [−K, K]."""

    op = "sign_matvec_sums"
    elements = ("sign",)


@dataclass(frozen=True)
class ByteMatVec(MatVec):
    """Sums of bytes times signs: y = W x, in [−255K, 255K]."""

    op = "byte_matvec_sums"
    elements = ("u8", "i8")


@dataclass(frozen=True)
class Threshold(Node):
    """+1 where x ≥ thresholds, else −1, per channel."""

    thresholds: Const

    def infer(self, *types: Type) -> Type:
        seen = expect(self, types, elements=("i32",))
        matching(self, seen, thresholds=self.thresholds)
        return Type("sign", seen.shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.where(arrays[0] >= self.thresholds.array, np.int8(1), np.int8(-1))


@dataclass(frozen=True)
class SignMatVecThreshold(SignMatVec):
    """SignMatVec, then Threshold."""

    thresholds: Const
    op = "sign_matvec_threshold"

    def infer(self, *types: Type) -> Type:
        return Threshold(self.name, self.inputs, self.thresholds).infer(super().infer(*types))

    def evaluate(self, *arrays: Array) -> Array:
        return Threshold(self.name, self.inputs, self.thresholds).evaluate(super().evaluate(*arrays))

    def operands(self, *types: Type) -> dict[str, Operand]:
        # With D disagreeing positions of K the sum is K − 2D, so sum ≥ T ⇔ D ≤ (K − T)/2, and D is an integer: take the floor.
        # −K ≤ T ≤ K + 1 gives −1 ≤ limit ≤ K.
        limits = (self.weights.type.shape[1] - self.thresholds.array.astype(np.int64)) // 2
        return super().operands(*types) | {"limits": Const("i32", limits)}


@dataclass(frozen=True)
class ByteMatVecThreshold(ByteMatVec):
    """ByteMatVec, then Threshold."""

    thresholds: Const
    op = "byte_matvec_threshold"

    def infer(self, *types: Type) -> Type:
        return Threshold(self.name, self.inputs, self.thresholds).infer(super().infer(*types))

    def evaluate(self, *arrays: Array) -> Array:
        return Threshold(self.name, self.inputs, self.thresholds).evaluate(super().evaluate(*arrays))

    def operands(self, *types: Type) -> dict[str, Operand]:
        return super().operands(*types) | {"thresholds": self.thresholds}


@dataclass(frozen=True)
class ByteMatVecRequantize(ByteMatVec):
    """ByteMatVec, then Requantize."""

    m: Const
    b: Const
    shift: int
    op = "byte_matvec_requantize"

    def infer(self, *types: Type) -> Type:
        return Requantize(self.name, self.inputs, self.m, self.b, self.shift).infer(super().infer(*types))

    def evaluate(self, *arrays: Array) -> Array:
        return Requantize(self.name, self.inputs, self.m, self.b, self.shift).evaluate(super().evaluate(*arrays))

    def operands(self, *types: Type) -> dict[str, Operand]:
        # The kernel adds one constant, so the rounding half goes into it.
        rounded = Const("i64", self.b.array + (1 << (self.shift - 1)))
        return super().operands(*types) | {"m": self.m, "b": rounded, "shift": self.shift}


@dataclass(frozen=True)
class Scores(Affine, KernelCall):
    """The network's scores: Affine on the last sums."""

    op = "affine"

    def operands(self, *types: Type) -> dict[str, Operand]:
        return {"x": self.inputs[0], "s": self.s, "t": self.t, "rows": types[0].size, "y": self.name}


@dataclass(frozen=True)
class ScoresArgMax(Scores):
    """The class: the index of the largest score, the lowest on ties."""

    op = "affine_argmax"

    def infer(self, *types: Type) -> Type:
        super().infer(*types)
        return Type("i32", (1,))

    def evaluate(self, *arrays: Array) -> Array:
        y: Array = np.argmax(super().evaluate(*arrays), axis=1).astype(np.int32)[:, None]
        return y


__all__ = [
    "ByteMatVec",
    "ByteMatVecRequantize",
    "ByteMatVecThreshold",
    "Input",
    "KernelCall",
    "MatVec",
    "Operand",
    "Requantize",
    "Scores",
    "ScoresArgMax",
    "SignMatVec",
    "SignMatVecThreshold",
    "Threshold",
]
