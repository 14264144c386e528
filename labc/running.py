"""A plan's library where its target says it runs: on this machine, or on an emulated core."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from labc import emit, library
from labc.check.runners import ChipRunner, HostRunner, chip
from labc.driver import Compiled, planned, write
from labc.errors import NOT_HERE, LabcError
from labc.flags import Toolchain
from labc.plan.core import Level, Plan


def start(folder: Path, made: Plan, tools: Toolchain, work: Path) -> tuple[HostRunner | ChipRunner, dict[str, int]]:
    """The library in `folder`, loaded or in an emulated core's memory, and the sections of its image, linked in the new folder `work`."""
    if made.target.cpu is None:
        return HostRunner(library.load(folder)), {}
    work.mkdir()
    return chip(folder, made, tools, work)


def use(runner: HostRunner | ChipRunner, made: Plan, level: Level) -> bool:
    """Have the library use `level`, where it has a choice; whether this processor runs it."""
    if made.dispatched and isinstance(runner, HostRunner):
        try:
            runner.library.force_level(level.name)
        except LabcError as error:
            if error.code != NOT_HERE:
                raise
            return False
    return True


def keep(compiled: Compiled, made: Plan, tools: Toolchain, name: str, work: Path) -> tuple[HostRunner | ChipRunner, Level]:
    """A second library in which every value has its own place in the arena, using its level `name`; and that level."""
    kept = planned(compiled, made.target, reuse=False)
    kept = replace(kept, target=replace(kept.target, ram_bytes=None))  # the kernels of the RAM there is; more of it for their values
    runner, _ = start(write(kept, tools, work / f"kept-{name}"), kept, tools, work / f"kept-{name}-image")
    level = next(level for level in kept.levels if level.name == name)
    use(runner, kept, level)
    return runner, level


def steps_source(made: Plan, work: Path) -> Path:
    """A source in `work` with a function for each step of `made`."""
    source = work / "steps.c"
    source.write_text(emit.layer_steps(made, made.levels[0]))
    return source
