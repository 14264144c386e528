"""What a plan is made of. All of it frozen; templates read it and decide nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from labc.ir.core import Array
from labc.target import Target

# Element → C type of the values in the arena and in the interface.
C_TYPES = {"sign": "uint32_t", "u8": "uint8_t", "i8": "int8_t", "i32": "int32_t", "f32": "float"}


@dataclass(frozen=True)
class FlashArray:
    """A constant array of the generated library: C type, name, values, and the layer it belongs to."""

    name: str
    ctype: str
    values: Array = field(compare=False)
    layer: str

    @property
    def bytes(self) -> int:
        """Flash bytes."""
        return int(self.values.nbytes)


@dataclass(frozen=True)
class Slot:
    """A value's place in the arena: bytes [offset, offset + bytes), alive from step `first` to step `last`; `place` is its C name."""

    name: str
    place: str
    ctype: str
    element: str
    count: int
    bytes: int
    first: int
    last: int
    offset: int = 0


@dataclass(frozen=True)
class Step:
    """One kernel call: the function's name and its arguments as C expressions, in the order of kernels.def."""

    layer: str
    op: str
    isa: str
    function: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Vector:
    """One golden vector: the input's bytes, the scores' bits and the class the reference gives."""

    inputs: tuple[int, ...]
    scores: tuple[int, ...]
    winner: int


@dataclass(frozen=True)
class Plan:
    """Everything `emit` needs. Sizes in bytes; the arena's alignment too."""

    name: str
    digest: str
    target: Target
    input_element: str
    input_shape: tuple[int, ...]
    input_size: int
    output_size: int
    constants: tuple[FlashArray, ...]
    slots: tuple[Slot, ...]
    arena_bytes: int
    arena_align: int
    arena_bound: int
    body: tuple[Step, ...]  # the steps that `run` and `predict` share
    scores: Step  # writes float output[output_size]
    winner: Step  # writes the index of the largest score
    golden: tuple[Vector, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in order."""
        return (*self.body, self.scores, self.winner)

    @property
    def packed_bytes(self) -> int:
        """Bytes of all constants: what the network itself costs in flash."""
        return sum(array.bytes for array in self.constants)
