"""Try a model out: build it in a temporary folder, prove it or time it there. And the kernels alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from labc import bench, emit, emulator, library, plan, report, toolchain
from labc import target as targets
from labc.check import Verdict, samples
from labc.check import kernels as kernel_check
from labc.check import model as proof
from labc.check.referee import referee
from labc.check.runners import ChipRunner, HostRunner, chip
from labc.driver import Compiled, front, planned, tools_for, write
from labc.errors import BAD_INPUT, NOT_HERE, LabcError
from labc.ir import machine, pointwise
from labc.ir.core import Array, Graph
from labc.passes.ranges import bounds
from labc.passes.threshold import sums_to_prove

Ticks = Callable[[str, int, int], None]  # step, done, total (0 = unknown)

HOST_SAMPLES, CHIP_SAMPLES = 1000, 100


def check(
    path: Path | str,
    target: str = "host",
    *,
    sample_count: int | None = None,
    seed: int = 0,
    inputs: Path | None = None,
    name: str | None = None,
    levels: Sequence[str] | None = None,
    flash: int | None = None,
    ram: int | None = None,
    timed: bool = False,
    progress: Ticks = lambda step, done, total: None,
) -> report.Checked:
    """Build a model in a temporary folder and compare everything with everything, bit for bit.

    `sample_count` random inputs from `seed`, and those in the .npy file `inputs`. Raises LabcError for what cannot be checked; a
    difference is a failed verdict, and names the first layer, channel and input that are wrong.
    """
    wanted = targets.with_levels(targets.find(target), levels)
    if timed and toolchain.not_here(wanted):
        raise LabcError(f"--time: {wanted.name} is not this machine; time with --target host", code=BAD_INPUT)
    wanted, tools = tools_for(target, levels, flash, ram)  # first: without a compiler there is nothing to wait for
    compiled = front(path, name, lambda step: progress(step, 0, 0))
    layers = compiled.model.graph
    entry = layers.types[layers.input().name]
    x = samples.draw(entry, sample_count or (HOST_SAMPLES if wanted.cpu is None else CHIP_SAMPLES), seed)
    if inputs is not None:
        x = np.concatenate([x, samples.from_file(inputs, entry)])

    tick = _counter(progress, "reference", len(x))
    first, scores = proof.levels(layers, compiled.machine, x, tick)
    stages = dict(compiled.stages)
    tick = _counter(progress, "thresholds", sums_to_prove(stages["pool"]))
    verdicts = [first, proof.thresholds(stages, compiled.machine, tick)]
    progress("onnxruntime", 0, 0)
    verdicts.append(referee(Path(path), x, scores, compiled.model.notes))

    made = plan.fits(planned(compiled, wanted))
    cost = timing = None
    with tempfile.TemporaryDirectory(prefix="labc-check-", ignore_cleanup_errors=True) as work:
        progress("building", 0, 0)
        folder = write(made, tools, Path(work) / "library")
        where = f"library ({wanted.name})"
        reason = emulator.available() if wanted.cpu is not None else toolchain.not_here(wanted)
        if reason is not None:
            verdicts.append(Verdict(f"{where} = reference", "not run here", reason))
        else:
            runner, sections = _runner(folder, made, tools, Path(work) / "image")
            for level in made.levels:
                place = f"library ({wanted.name}, {level.name})" if made.dispatched else where
                if not _forced(runner, made, level):
                    reason = f"this processor does not have all of {', '.join(level.needs)}"
                    verdicts.append(Verdict(f"{place} = reference", "not run here", reason))
                    continue
                found = proof.library(runner, x, scores, place, _counter(progress, place, len(x)))
                if found[0].status == "failed":
                    blamed = _blame(compiled, wanted, tools, level.name, x, scores, Path(work))
                    found.append(Verdict(f"{place}: first wrong layer", "failed", blamed))
                verdicts += found
            if isinstance(runner, HostRunner):
                runner.library.force_level(None)
            if isinstance(runner, ChipRunner):
                cost = runner.cost(x[-1].reshape(-1), sections)
            if timed and isinstance(runner, HostRunner):
                timing = bench.time_inference(runner.library, x[-1].reshape(-1), tools, wanted, _counter(progress, "timing", bench.SAMPLES))
    return report.Checked(
        model=str(path),
        name=compiled.name,
        digest=compiled.digest,
        target=wanted.name,
        compiler=f"{tools.name} {tools.version}",
        size=report.Size(report.float_bytes(layers), made.packed_bytes),
        arena=made.arena_bytes,
        arena_bound=made.arena_bound,
        arena_layer=made.arena_layer,
        dead_channels=dead_channels(compiled.machine),
        notes=compiled.model.notes,
        verdicts=tuple(verdicts),
        chip=cost,
        timing=timing,
        levels=tuple(
            report.LevelCost(level.name, level.isas, made.level_bytes(level), made.saved_bytes(level))
            for level in (made.levels if made.dispatched else ())
        ),
    )


def benchmark(
    path: Path | str,
    target: str = "host",
    *,
    levels: Sequence[str] | None = None,
    seed: int = 0,
    progress: Ticks = lambda step, done, total: None,
) -> report.Benched:
    """Build a model in a temporary folder and time it on this machine: the whole, each layer, and what the machine could do at most.

    One random input from `seed`: the time does not depend on it. Raises LabcError for a target that is not this machine.
    """
    wanted = targets.with_levels(targets.find(target), levels)
    if reason := toolchain.not_here(wanted):
        raise LabcError(f"bench: {wanted.name}: {reason}; time with --target host, or count instructions with labc check")
    wanted, tools = tools_for(target, levels)
    compiled = front(path, None, lambda step: progress(step, 0, 0))
    layers = compiled.model.graph
    x = samples.draw(layers.types[layers.input().name], 1, seed)[0].reshape(-1)
    made = planned(compiled, wanted)
    work_of = products(compiled.machine)
    with tempfile.TemporaryDirectory(prefix="labc-bench-", ignore_cleanup_errors=True) as work:
        progress("building", 0, 0)
        loaded = library.load(write(made, tools, Path(work) / "library"))
        level = next(level for level in made.levels if not made.dispatched or level.name == loaded.level)
        tick = _counter(progress, "timing", 0)
        taken = bench.bench(loaded, x, made, level, work_of, emit.layers_timer(made, level), tools, wanted, tick)
    return report.Benched(
        model=str(path),
        name=compiled.name,
        digest=compiled.digest,
        target=wanted.name,
        isas=level.isas,
        processor=bench.processor(),
        compiler=f"{tools.name} {tools.version}",
        macs=sum(macs for macs, _ in work_of.values()),
        bench=taken,
    )


def products(graph: Graph) -> dict[str, tuple[int, int]]:
    """Multiplications and weights of each layer of machine IR: each weight once per output pixel, taps outside the image counted too."""
    sums = (node for node in graph.nodes if isinstance(node, machine.Sums))
    counts = ((node.name, node.weights.type.size, graph.types[node.name]) for node in sums)
    return {name: (weights * type_.size // type_.shape[0], weights) for name, weights, type_ in counts}


def dead_channels(graph: Graph) -> int:
    """How many channels of machine IR have a sign that no input can change."""
    dead = 0
    for node in graph.nodes:
        match node:
            case pointwise.Threshold():
                low, high = bounds(graph, node.inputs[0])
            case machine.MatVecThreshold() | machine.ConvThreshold() | machine.DepthwiseThreshold():
                low, high = node.bounds(graph.types[node.inputs[0]].element)
            case _:
                continue
        dead += int(((node.thresholds.array <= low) | (node.thresholds.array > high)).sum())
    return dead


def _runner(folder: Path, made: plan.Plan, tools: toolchain.Toolchain, work: Path) -> tuple[HostRunner | ChipRunner, dict[str, int]]:
    if made.target.cpu is None:
        return HostRunner(library.load(folder)), {}
    work.mkdir()
    return chip(folder, made, tools, work)


def _forced(runner: HostRunner | ChipRunner, made: plan.Plan, level: plan.Level) -> bool:
    """Have the library use `level`, where it has a choice; whether this processor runs it."""
    if made.dispatched and isinstance(runner, HostRunner):
        try:
            runner.library.force_level(level.name)
        except LabcError as error:
            if error.code != NOT_HERE:
                raise
            return False
    return True


def _blame(compiled: Compiled, wanted: targets.Target, tools: toolchain.Toolchain, name: str, x: Array, scores: Array, work: Path) -> str:
    """The first wrong layer of the level `name`, from a second library in which every value has its own place in the arena."""
    made = planned(compiled, wanted, reuse=False)
    runner, _ = _runner(write(made, tools, work / f"kept-{name}"), made, tools, work / f"kept-{name}-image")
    level = next(level for level in made.levels if level.name == name)
    _forced(runner, made, level)
    return proof.first_difference(runner, level, compiled.machine, x, scores)


def _counter(progress: Ticks, step: str, total: int) -> Callable[[int], None]:
    done = 0
    progress(step, 0, total)

    def tick(n: int) -> None:
        nonlocal done
        done += n
        progress(step, done, total)

    return tick


def check_kernels(target: str | None = None, seed: int = 1, progress: Ticks = lambda step, done, total: None) -> kernel_check.Matrix:
    """The kernel check on every machine labc knows, or on those of one target. `seed`: 0 to 2^31 - 1, of the cases' random numbers.

    A machine that cannot be built for or run here says so in its column. Raises LabcError for a target or seed that cannot be.
    """
    if not 0 <= seed < 1 << 31:
        raise LabcError(f"--seed: {seed} is not between 0 and 2147483647; give another")
    return kernel_check.check(kernel_check.machines(target), seed, lambda machine, rows: _counter(progress, f"kernels on {machine}", rows))
