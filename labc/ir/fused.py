"""Machine IR: sums and what ends them, as one kernel call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labc.ir.core import Array, Type
from labc.ir.layers import Requantize
from labc.ir.machine import KernelCall, Operand, Sums
from labc.ir.pointwise import Threshold, rounded


@dataclass(frozen=True)
class Fused(KernelCall):
    """`sums`, then `end`: a Threshold without flips, or, of bytes, a Requantize to u8. It has the name of its end and reads what its sums
    read."""

    sums: Sums
    end: Threshold | Requantize

    def infer(self, *types: Type) -> Type:
        return self.end.infer(self.sums.infer(*types))

    def evaluate(self, *arrays: Array) -> Array:
        return self.end.evaluate(self.sums.evaluate(*arrays))

    def kind(self) -> str:
        return f"{self.sums.kind()}_{self.end.kind()}"

    def attributes(self) -> Iterator[tuple[str, Any]]:
        yield from self.sums.attributes()
        yield from (pair for pair in self.end.attributes() if pair[0] not in ("flips", "element"))  # always the same here

    def op(self, *types: Type) -> str:
        return self.sums.op(*types).removesuffix("sums") + self.end.kind()

    def operands(self, *types: Type) -> dict[str, Operand]:
        base = self.sums.operands(*types) | {"y": self.name}
        if isinstance(self.end, Requantize):
            return base | {"m": self.end.m, "b": rounded(self.end.b, self.end.shift), "shift": self.end.shift}
        if types[0].element == "sign":
            return base | {"limits": self.sums.limits(self.end.thresholds)}
        return base | {"thresholds": self.end.thresholds}
