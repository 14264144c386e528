"""What runs a built library for the check: this machine through cffi, or a core in an emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labc import cycles, elf, emulator
from labc.compiling import compile_objects
from labc.emulator import wasm
from labc.errors import LabcError
from labc.flags import Toolchain
from labc.ir.core import Array
from labc.library import Library
from labc.linked import link
from labc.plan.core import Plan


class HostRunner:
    """The shared library on this machine."""

    order = "="

    def __init__(self, library: Library) -> None:
        self.library = library

    def scores(self, x: Array) -> Array:
        """float32 [n, outputs]."""
        return self.library(x)

    def classes(self, x: Array) -> Array:
        """int32 [n]."""
        return self.library.predict(x)

    def self_test(self) -> int:
        """What NAME_self_test returns."""
        return self.library.self_test()

    def arena(self, x: Array) -> bytes:
        """The arena after one run."""
        self.library(x[None])
        return self.library.arena.tobytes()


class ChipRunner:
    """A bare-metal image of the library on an emulated core."""

    def __init__(self, image: emulator.Core, made: Plan) -> None:
        self.image, self.name, self.made = image, made.name, made
        self.order = {"little": "<", "big": ">"}[made.target.endian]
        self._input = image.alloc(made.input_size, 1)
        self._output = image.alloc(4 * made.output_size, 4)
        self._arena = image.alloc(made.arena_bytes, made.arena_align)

    def _put(self, x: Array) -> None:
        self.image.write(self._input, np.ascontiguousarray(x).tobytes())

    def scores(self, x: Array) -> Array:
        """float32 [n, outputs]."""
        found = np.empty((len(x), self.made.output_size), np.float32)
        for i, row in enumerate(x):
            self._put(row)
            self._expect_zero(self.image.call(f"{self.name}_run", self._input, self._output, self._arena).result)
            found[i] = np.frombuffer(self.image.read(self._output, 4 * self.made.output_size), f"{self.order}f4")
        return found

    def classes(self, x: Array) -> Array:
        """int32 [n]."""
        found = []
        for row in x:
            self._put(row)
            found.append(self.image.call(f"{self.name}_predict", self._input, self._arena).result)
        return np.array(found, np.int32)

    def self_test(self) -> int:
        """What NAME_self_test returns."""
        return self.image.call(f"{self.name}_self_test", self._arena).result

    def arena(self, x: Array) -> bytes:
        """The arena after one run."""
        self.scores(x[None])
        return self.image.read(self._arena, self.made.arena_bytes)

    def measured(self, x: Array) -> tuple[emulator.Call, emulator.Call]:
        """NAME_run and NAME_predict of `x` [size], with what they executed and their stack."""
        self._put(x)
        run = self.image.call(f"{self.name}_run", self._input, self._output, self._arena, measure=True)
        return run, self.image.call(f"{self.name}_predict", self._input, self._arena, measure=True)

    def _expect_zero(self, code: int) -> None:
        if code:
            raise emulator.EmulatorFault(f"{self.name}_run", 0, "its caller", f"it returned error {code}")


def images(folder: Path, made: Plan, tools: Toolchain, work: Path) -> tuple[Path, dict[str, int]]:
    """An image of all functions of the library in `folder`, linked in the folder `work`, and the ELF sections of one of `run` and `predict`
    only, with the bytes that the self-test adds to it. Raises LabcError (NOT_HERE) where images cannot be read."""
    run, self_test = (f"{made.name}_run", f"{made.name}_predict"), f"{made.name}_self_test"
    whole = link(folder, made.name, made.target, tools, (*run, self_test), work / "check.elf")
    lean = link(folder, made.name, made.target, tools, run, work / "size.elf")
    measure = wasm.sections if made.target.cpu in wasm.CPUS else elf.sections
    sections = measure(lean.read_bytes())
    return whole, sections | {"self_test": measure(whole.read_bytes())["flash"] - sections["flash"]}


def chip(folder: Path, made: Plan, tools: Toolchain, work: Path) -> tuple[ChipRunner, dict[str, int]]:
    """The library in `folder` on its emulated core, and the sections of its image."""
    whole, sections = images(folder, made, tools, work)
    return ChipRunner(emulator.load(whole, made.target.cpu or ""), made), sections


def count_layers(
    folder: Path, made: Plan, tools: Toolchain, source: Path, x: Array
) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, float, float], ...]]:
    """Executed instructions, and least and most cycles, of each step of one inference on `x` [size], in order, by the functions
    labc_step_K of `source`; none where the emulator cannot count, or there is no estimate."""
    image, calls, pointers = _steps(folder, made, tools, source, x)
    called = [(layer, image.call(name, *pointers, measure=True)) for layer, name in calls]
    estimates = [(layer, cycles.of(call.blocks, made.target.cpu or "")) for layer, call in called]
    return (
        tuple((layer, call.instructions) for layer, call in called if call.instructions is not None),
        tuple((layer, one.least, one.most) for layer, one in estimates if not isinstance(one, str)),
    )


def faulty(fault: emulator.EmulatorFault, folder: Path, made: Plan, tools: Toolchain, source: Path, x: Array) -> LabcError:
    """The error to tell of a `fault` in an inference on `x` [size]: with the layer whose function labc_step_K of `source` stops too."""
    image, calls, pointers = _steps(folder, made, tools, source, x)
    for layer, name in calls:
        try:
            image.call(name, *pointers)
        except emulator.EmulatorFault as own:
            why = f"{own.reason}, in {own.symbol}"
            return LabcError(
                f"{layer}: this layer stops on {made.target.cpu}: {why}; labc check --kernels checks its kernel", code=fault.code
            )
    return LabcError(f"{fault}; alone every layer ends; check the network on another target, or a smaller one", code=fault.code)


def _steps(
    folder: Path, made: Plan, tools: Toolchain, source: Path, x: Array
) -> tuple[emulator.Core, list[tuple[str, str]], tuple[int, int, int]]:
    """The steps of one inference on `x` [size] as functions of `source` on the network's core: the layer and the function of each, and the
    pointers that they take."""
    work, steps = source.parent, made.levels[0].steps[:-1]
    objects = compile_objects(tools, made.target, [source], [folder / "src", folder / "include"], work / "steps-objects")
    calls = [(step.layer, f"labc_step_{k}") for k, step in enumerate(steps)]
    elf_file = link(folder, made.name, made.target, tools, [name for _, name in calls], work / "steps.elf", objects)
    image = emulator.load(elf_file, made.target.cpu or "")
    given, output = image.alloc(made.input_size, 1), image.alloc(4 * made.output_size, 4)
    arena = image.alloc(made.arena_bytes, made.arena_align)
    image.write(given, np.ascontiguousarray(x).tobytes())
    return image, calls, (given, output, arena)
