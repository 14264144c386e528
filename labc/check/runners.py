"""What runs a built library for the check: this machine through cffi, or a core in an emulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labc import cycles, elf, emulator, machines, wasm
from labc.compiling import compile_objects
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


@dataclass(frozen=True)
class ChipCost:
    """What a network costs on a chip, in bytes and executed instructions; flash and RAM from the linked ELF."""

    flash: int  # text and read-only data of the network: no vectors, no start-up code, no self-test
    ram: int  # arena + stack + data + bss
    arena: int
    stack: int
    instructions: int | None  # of one NAME_run; None where the emulator cannot count
    predict_instructions: int | None
    self_test: int = 0  # flash that calling NAME_self_test takes besides, its golden vectors included
    layers: tuple[tuple[str, int], ...] = ()  # executed instructions of each step of NAME_run, where they were counted
    cycles: cycles.Estimate | None = None  # of one NAME_run
    no_cycles: str = ""  # why there is no such estimate
    layer_cycles: tuple[tuple[str, float, float], ...] = ()  # least and most of each step, where there is one


class ChipRunner:
    """A bare-metal image of the library on an emulated core."""

    def __init__(self, image: machines.Core, made: Plan) -> None:
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

    def cost(self, x: Array, sections: dict[str, int]) -> ChipCost:
        """Instructions and stack of one inference on `x` [size]; `sections` are those of an image with `run` alone."""
        self._put(x)
        run = self.image.call(f"{self.name}_run", self._input, self._output, self._arena, measure=True)
        predict = self.image.call(f"{self.name}_predict", self._input, self._arena, measure=True)
        stack = max(run.stack_bytes or 0, predict.stack_bytes or 0)
        estimate = cycles.of(run.blocks, self.made.target.cpu or "")
        return ChipCost(
            flash=sections["flash"] - sections["image"],
            ram=self.made.arena_bytes + stack + sections["ram"],
            arena=self.made.arena_bytes,
            stack=stack,
            instructions=run.instructions,
            predict_instructions=predict.instructions,
            self_test=sections["self_test"],
            cycles=None if isinstance(estimate, str) else estimate,
            no_cycles=estimate if isinstance(estimate, str) else "",
        )

    def _expect_zero(self, code: int) -> None:
        if code:
            raise emulator.EmulatorFault(f"{self.name}_run", 0, "its caller", f"it returned error {code}")


def chip(folder: Path, made: Plan, tools: Toolchain, work: Path) -> tuple[ChipRunner, dict[str, int]]:
    """The library in `folder` on its emulated core, and the ELF sections of an image that holds `run` and `predict` only."""
    cpu = made.target.cpu or ""
    run, self_test = (f"{made.name}_run", f"{made.name}_predict"), f"{made.name}_self_test"
    whole = link(folder, made.name, made.target, tools, (*run, self_test), work / "check.elf")
    lean = link(folder, made.name, made.target, tools, run, work / "size.elf")
    measure = wasm.sections if cpu in wasm.CPUS else elf.sections
    sections = measure(lean)
    return ChipRunner(machines.load(whole, cpu), made), sections | {"self_test": measure(whole)["flash"] - sections["flash"]}


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


def faulty(fault: machines.EmulatorFault, folder: Path, made: Plan, tools: Toolchain, source: Path, x: Array) -> LabcError:
    """The error to tell of a `fault` in an inference on `x` [size]: with the layer whose function labc_step_K of `source` stops too."""
    image, calls, pointers = _steps(folder, made, tools, source, x)
    for layer, name in calls:
        try:
            image.call(name, *pointers)
        except machines.EmulatorFault as own:
            why = f"{own.reason}, in {own.symbol}"
            return LabcError(
                f"{layer}: this layer stops on {made.target.cpu}: {why}; labc check --kernels checks its kernel", code=fault.code
            )
    return LabcError(f"{fault}; alone every layer ends; check the network on another target, or a smaller one", code=fault.code)


def _steps(
    folder: Path, made: Plan, tools: Toolchain, source: Path, x: Array
) -> tuple[machines.Core, list[tuple[str, str]], tuple[int, int, int]]:
    """The steps of one inference on `x` [size] as functions of `source` on the network's core: the layer and the function of each, and the
    pointers that they take."""
    work, steps = source.parent, made.levels[0].steps[:-1]
    objects = compile_objects(tools, made.target, [source], [folder / "src", folder / "include"], work / "steps-objects")
    calls = [(step.layer, f"labc_step_{k}") for k, step in enumerate(steps)]
    elf_file = link(folder, made.name, made.target, tools, [name for _, name in calls], work / "steps.elf", objects)
    image = machines.load(elf_file, made.target.cpu or "")
    given, output = image.alloc(made.input_size, 1), image.alloc(4 * made.output_size, 4)
    arena = image.alloc(made.arena_bytes, made.arena_align)
    image.write(given, np.ascontiguousarray(x).tobytes())
    return image, calls, (given, output, arena)
