"""What a plan is made of. All of it frozen; templates read it and decide nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from labc.ir.core import Array
from labc.target import Target

# Element → C type of the values in the arena (kernels read all bytes as unsigned), and in the interface.
PLACED_TYPES = {"sign": "uint32_t", "u8": "uint8_t", "i8": "uint8_t", "i16": "int16_t", "i32": "int32_t"}
C_TYPES = {"u8": "uint8_t", "i8": "int8_t", "f32": "float"}


@dataclass(frozen=True)
class FlashArray:
    """A constant array of the generated library: C type, name, values, and the layer it belongs to.

    `align`: what its address is a multiple of, where a kernel wants more than its type has; else 1.
    """

    name: str
    ctype: str
    values: Array = field(compare=False)
    layer: str
    align: int = 1

    @property
    def bytes(self) -> int:
        """Flash bytes."""
        return int(self.values.nbytes)


@dataclass(frozen=True)
class Slot:
    """A value's place in the arena: bytes [offset, offset + bytes), alive from step `first` to step `last`; `place` is its C name.

    `shape` is the value's: an image [C, H, W] lies there pixel by pixel. `replaces` names slots of the same size, one of whose places it
    may take if that value is last read by the step that makes this one.
    """

    name: str
    place: str
    ctype: str
    element: str
    shape: tuple[int, ...]
    bytes: int
    first: int
    last: int
    offset: int = 0
    replaces: tuple[str, ...] = ()


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
    """One golden vector: the input's values, the scores' bits and the class the reference gives."""

    inputs: tuple[int, ...]
    scores: tuple[int, ...]
    winner: int


@dataclass(frozen=True)
class Level:
    """What processors of one kind run: their kernels, the places of the values, the constants read. Sizes in bytes.

    `name` is the best ISA it may use; `isas` are those it does use, best first, and `needs` the features a processor must have for them
    (names of runtime/cpu.h without LABC_CPU_).
    """

    name: str
    isas: tuple[str, ...]
    needs: tuple[str, ...]
    slots: tuple[Slot, ...]
    arena_bytes: int
    arena_bound: int
    arena_layer: str  # during whose step the most is alive: what sets the bound
    body: tuple[Step, ...]  # the steps that `run` and `predict` share
    scores: Step  # writes float output[output_size]
    winner: Step  # writes the index of the largest score
    constants: tuple[str, ...]  # names of Plan.constants

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in order."""
        return (*self.body, self.scores, self.winner)


@dataclass(frozen=True)
class Plan:
    """Everything `emit` needs. Sizes in bytes; the arena's alignment too.

    `levels`, best first: one, or where `dispatched` those between which the library chooses when it runs, the last for every processor.
    """

    name: str
    digest: str
    target: Target
    input_element: str
    input_shape: tuple[int, ...]
    input_size: int
    output_size: int
    constants: tuple[FlashArray, ...]
    arena_align: int
    levels: tuple[Level, ...]
    dispatched: bool
    golden: tuple[Vector, ...]

    @property
    def isas(self) -> tuple[str, ...]:
        """The ISAs that any level uses, best first."""
        return tuple(isa for isa in self.target.isas if any(isa in level.isas for level in self.levels))

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arena: enough for every level."""
        return max(level.arena_bytes for level in self.levels)

    @property
    def arena_bound(self) -> int:
        """The least any placement of the values could need."""
        return max(level.arena_bound for level in self.levels)

    @property
    def arena_layer(self) -> str:
        """The layer during which the most is alive."""
        return max(self.levels, key=lambda level: level.arena_bound).arena_layer

    @property
    def packed_bytes(self) -> int:
        """Bytes of all constants: what the network itself costs in flash."""
        return sum(array.bytes for array in self.constants)

    @property
    def golden_bytes(self) -> int:
        """Bytes of the self-test's golden vectors: inputs, scores and winners."""
        return len(self.golden) * (self.input_size + 4 * self.output_size + 4)

    def level_bytes(self, level: Level) -> int:
        """Bytes of the constants that a level reads."""
        return sum(array.bytes for array in self.constants if array.name in level.constants)

    def saved_bytes(self, level: Level) -> int:
        """Bytes of the constants that only this level reads: what a library without it saves; 0 for the last, which is always there."""
        if level is self.levels[-1]:
            return 0
        others = {name for other in self.levels if other is not level for name in other.constants}
        return sum(array.bytes for array in self.constants if array.name in level.constants and array.name not in others)
