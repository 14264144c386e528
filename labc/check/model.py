"""The model check: the two IR levels, every threshold, the built library and the referee, all on the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from labc import reference
from labc.check import Verdict, equal
from labc.errors import LabcError
from labc.ir.core import DTYPES, Array, Graph
from labc.ir.layers import ArgMax, Sign
from labc.ir.windows import image
from labc.passes.threshold import prove
from labc.plan.core import Level, Slot

BATCH = 512  # inputs in memory at a time, and less where a network's values are large
_VALUES = 1 << 25  # as many values of a graph as are kept at a time


class Runner(Protocol):
    """Something that runs a built library: this machine, or an emulator. `order`: of the bytes of its numbers, as NumPy spells it."""

    order: str

    def scores(self, x: Array) -> Array:
        """float32 [n, outputs] for inputs [n, size]."""

    def classes(self, x: Array) -> Array:
        """int [n] for inputs [n, size]."""

    def self_test(self) -> int:
        """What NAME_self_test returns."""

    def arena(self, x: Array) -> bytes:
        """The arena after one run on the input [size]."""


def bits(scores: Array) -> Array:
    """Floats as their bits: equality here tells −0 from +0."""
    return np.ascontiguousarray(scores, np.float32).view(np.int32)


def levels(layers: Graph, machine: Graph, x: Array, tick: Callable[[int], None] = lambda n: None) -> tuple[Verdict, Array]:
    """Layers IR = machine IR on every input; and the scores, float32 [n, outputs]."""
    last = layers.by_name[layers.output]
    value = last.inputs[0] if isinstance(last, ArgMax) else layers.output
    outputs, differ, where = [], 0, ""
    batch = max(1, min(BATCH, _VALUES // sum(type_.size for type_ in layers.types.values())))
    for i in range(0, len(x), batch):
        piece = x[i : i + batch]
        want = reference.run(layers, piece)[value].reshape(len(piece), -1)  # scores may be pixels of their own, [n, 1, 1]
        got = reference.run(machine, _entering(machine, piece))[machine.output]
        outputs.append(want)
        wrong = np.argwhere(bits(want) != bits(got))
        if len(wrong) and not where:
            where = f"input {i + int(wrong[0, 0])}, score {int(wrong[0, 1])}"
        differ += len(wrong)
        tick(len(piece))
    return equal("layers IR = machine IR", differ, f"{len(x)} inputs, scores bit for bit", where), np.concatenate(outputs)


def thresholds(stages: dict[str, Graph], machine: Graph, tick: Callable[[int], None] = lambda n: None) -> Verdict:
    """Every threshold against the layers it came from, on every sum its layer can reach."""
    lowered = stages["pool"]
    channels = sum(lowered.types[node.name].shape[0] for node in lowered.nodes if isinstance(node, Sign))
    if not channels:
        return Verdict("thresholds", "passed", "the network has none")
    try:
        compared = prove(lowered, machine, tick)
    except LabcError as error:
        return Verdict("thresholds", "failed", str(error))
    return Verdict("thresholds", "passed", f"{channels} channels, {compared} sums enumerated, every one of each range")


def library(runner: Runner, x: Array, scores: Array, name: str, tick: Callable[[int], None] = lambda n: None) -> list[Verdict]:
    """The library's scores, classes and self-test against the reference's `scores`."""
    flat = x.reshape(len(x), -1)
    wrong_scores, wrong_classes, first, first_class = 0, 0, "", ""
    for i in range(0, len(flat), BATCH):
        piece, want = flat[i : i + BATCH], scores[i : i + BATCH]
        got, classes, winners = runner.scores(piece), runner.classes(piece), np.argmax(want, axis=1)
        bad = np.argwhere(bits(got) != bits(want))
        if len(bad) and not first:
            row, score = (int(k) for k in bad[0])
            first = f"input {i + row}, score {score}: got {float(got[row, score]).hex()}, want {float(want[row, score]).hex()}"
        off = np.flatnonzero(classes != winners)
        if len(off) and not first_class:
            first_class = f"input {i + int(off[0])}: got {int(classes[off[0]])}, want {int(winners[off[0]])}"
        wrong_scores, wrong_classes = wrong_scores + len(bad), wrong_classes + len(off)
        tick(len(piece))
    failed = runner.self_test()
    return [
        equal(f"{name} = reference", wrong_scores, f"{len(x)} inputs, scores bit for bit", first),
        equal(f"{name}: predict", wrong_classes, f"{len(x)} inputs, the reference's class", first_class),
        equal(f"{name}: self-test", int(failed != 0), "golden vectors equal", f"NAME_self_test returned {failed}"),
    ]


def first_difference(runner: Runner, level: Level, machine: Graph, x: Array, scores: Array) -> str:
    """The first layer whose value is wrong on the first input whose scores are, from a library planned with reuse=False
    that uses `level`."""
    flat = x.reshape(len(x), -1)
    wrong = (bits(runner.scores(flat)) != bits(scores)).any(axis=1)
    if not wrong.any():
        return "the library whose values are all kept gives the right scores: buffers overlap that must not"
    at = int(np.argmax(wrong))
    return _first_wrong(runner, level, machine, flat, at) or f"{machine.output} of input {at}: every value before it is right"


def layers(runner: Runner, level: Level, machine: Graph, x: Array, name: str, tick: Callable[[int], None] = lambda n: None) -> Verdict:
    """Every value between two layers on every input, from a library planned with reuse=False that uses `level`."""
    differ, where = 0, ""
    for at in range(len(x)):
        wrong = _first_wrong(runner, level, machine, x.reshape(len(x), -1), at)
        differ, where = differ + bool(wrong), where or wrong
        tick(1)
    count = len([slot for slot in level.slots if slot.name in machine.types])
    return equal(f"{name}: every layer", differ, f"{len(x)} inputs, {count} values between layers, all of their elements", where)


def _first_wrong(runner: Runner, level: Level, machine: Graph, flat: Array, at: int) -> str:
    """The first value that is wrong on input `at` of those in `flat` [n, size], and where; nothing if all are right."""
    values = reference.run(machine, _entering(machine, flat[at : at + 1]))
    arena = runner.arena(flat[at])
    for slot in (slot for slot in level.slots if slot.name in values):  # not scratch
        want, got = values[slot.name][0], _unpack(slot, arena, runner.order)
        bad = np.argwhere(got != want)
        if len(bad):
            first = tuple(int(i) for i in bad[0])
            pixel = f", row {first[1]}, column {first[2]}" if len(first) == 3 else f", column {first[1]}" if len(first) == 2 else ""
            return f"{slot.name}, channel {first[0]}{pixel} of input {at}: got {int(got[first])}, want {int(want[first])}"
    return ""


def _entering(machine: Graph, x: Array) -> Array:
    """Inputs of any shape as machine IR takes them."""
    return x.reshape(len(x), *machine.types[machine.input().name].shape)


def _unpack(slot: Slot, arena: bytes, order: str) -> Array:
    """A value from the arena, in its own shape: there, images lie pixel by pixel."""
    from labc.bits import unpack_signs

    raw = arena[slot.offset : slot.offset + slot.bytes]
    count, height, width = image(slot.shape)
    if slot.element == "sign":
        pixels = unpack_signs(np.frombuffer(raw, f"{order}u4").astype(np.uint32).reshape(height * width, -1), count)
    else:
        pixels = np.frombuffer(raw, np.dtype(f"{order}{DTYPES[slot.element].str[1:]}")).reshape(height * width, count)
    return np.ascontiguousarray(pixels.T).reshape(slot.shape)
