"""The whole compiler on one page, top to bottom: read, lower, plan, emit, build."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from labc import bench, emit, emulator, golden, library, passes, plan, report, toolchain
from labc import build as writer
from labc import target as targets
from labc.check import Verdict, samples
from labc.check import kernels as kernel_check
from labc.check import model as proof
from labc.check.referee import referee
from labc.check.runners import ChipRunner, HostRunner, chip
from labc.errors import BAD_INPUT, NOT_HERE, LabcError
from labc.frontend import onnx as frontend
from labc.ir import machine
from labc.ir.core import Array, Graph
from labc.ir.text import digest, text
from labc.naming import c_name
from labc.passes.ranges import bounds
from labc.passes.threshold import sums_to_prove

Progress = Callable[[str], None]
Ticks = Callable[[str, int, int], None]  # step, done, total (0 = unknown)

HOST_SAMPLES, CHIP_SAMPLES = 1000, 100


@dataclass(frozen=True)
class Compiled:
    """The boxes of one compilation up to the plan."""

    name: str
    model: frontend.Model
    digest: str
    machine: Graph
    stages: tuple[tuple[str, Graph], ...]


def silent(step: str) -> None:
    """Progress that nobody watches."""


def front(path: Path | str, name: str | None = None, progress: Progress = silent) -> Compiled:
    """Read a model and lower it to machine IR. Raises LabcError for bad files, names and networks."""
    name = c_name(name, Path(path))
    model = frontend.read(path)
    progress("lowering")
    stages: list[tuple[str, Graph]] = [("read", model.graph)]
    machine = passes.run(model.graph, watch=lambda step, before, after: stages.append((step, after)))
    return Compiled(name, model, digest(model.graph), machine, tuple(stages))


def planned(compiled: Compiled, to: targets.Target, *, reuse: bool = True) -> plan.Plan:
    """The plan of a network for a target."""
    layers = compiled.model.graph
    return plan.plan(
        compiled.machine,
        name=compiled.name,
        digest=compiled.digest,
        target=to,
        shape=layers.types[layers.input().name].shape,
        golden=golden.vectors(compiled.machine, compiled.digest),
        reuse=reuse,
    )


def write(made: plan.Plan, tools: toolchain.Toolchain, out: Path, progress: Progress = silent) -> Path:
    """Emit and build a plan into `out`."""
    progress("emitting C")
    tree = emit.emit(made)
    progress(f"compiling with {tools.name} {tools.version}")
    facts: dict[str, Any] = {
        "name": made.name,
        "model": made.digest,
        "input": {"element": made.input_element, "shape": list(made.input_shape)},
        "outputs": made.output_size,
        "arena": {"bytes": made.arena_bytes, "align": made.arena_align},
        "constants": {"bytes": made.packed_bytes},
        "isas": list(made.isas),
    }
    if made.dispatched:
        facts["levels"] = {
            level.name: _level_facts(level) | {"bytes": made.level_bytes(level), "saved_without": made.saved_bytes(level)}
            for level in made.levels
        }
    else:
        facts |= _level_facts(made.levels[0])
    return writer.build(tree, facts, made.target, tools, out)


def _level_facts(level: plan.Level) -> dict[str, Any]:
    """What the manifest says of a level: its ISAs, what a processor must have for them, and the kernel of each step."""
    steps = [{"layer": step.layer, "kernel": step.function} for step in level.steps]
    return {"isas": list(level.isas), "needs": list(level.needs), "steps": steps}


def tools_for(target: str, levels: Sequence[str] | None = None) -> tuple[targets.Target, toolchain.Toolchain]:
    """The target of that name as this machine sees it, and the compiler for it.

    The host's ISAs are those its processor has; `levels` are those a library for any processor is to hold, besides scalar. Raises
    LabcError for a name or level that is not known, and (NOT_HERE) without a compiler.
    """
    wanted = targets.with_levels(targets.find(target), levels)
    tools = toolchain.find(wanted)
    if wanted.name == "host":
        wanted = replace(wanted, isas=toolchain.host_isas(tools))
    return wanted, tools


def compile(
    path: Path | str,
    target: str = "host",
    *,
    out: Path | str | None = None,
    name: str | None = None,
    keep: Path | str | None = None,
    levels: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Path:
    """Compile an ONNX file to a C library in `out` (default: ./NAME-TARGET) and return that folder.

    `name` prefixes every public name (default: the file's); `keep` is a folder for every stage on the way: the graph after
    each pass, the plan, the sources; `levels` are those a library for any x86-64 holds (default: all). Raises LabcError for anything
    the user can mend; nothing is left half-written then.
    """
    targets.with_levels(targets.find(target), levels)  # a wrong name is told before anything is read
    compiled = front(path, name, progress)
    wanted, tools = tools_for(target, levels)
    progress("planning")
    made = planned(compiled, wanted)
    folder = Path(out) if out is not None else Path(f"{compiled.name}-{wanted.name}")
    if keep is not None:
        if Path(keep).resolve().is_relative_to(folder.resolve()):
            raise LabcError(f"--keep: {keep} lies in {folder}, which a build replaces as a whole; name a folder outside it")
        keep_stages(compiled, made, Path(keep))
    return write(made, tools, folder, progress)


def keep_stages(compiled: Compiled, made: plan.Plan, folder: Path) -> None:
    """Write each box of the line into `folder`, numbered in order."""
    tree = {f"{i}-{step}.txt": text(graph) for i, (step, graph) in enumerate(compiled.stages)}
    n = len(tree)
    lines: list[str] = []
    for level in made.levels:
        lines += [f"level {level.name}:"] if made.dispatched else []
        lines += [f"{step.layer}: {step.function}({', '.join(step.arguments)})" for step in level.steps]
        lines += ["", f"arena: {level.arena_bytes} bytes (lower bound {level.arena_bound})"]
        lines += [f"{s.name}: bytes {s.offset}..{s.offset + s.bytes - 1}, steps {s.first}..{s.last}" for s in level.slots]
        lines.append("")
    lines += ["constants:", *(f"{a.name}: {a.ctype}[{a.values.size}], {a.bytes} bytes" for a in made.constants), ""]
    tree[f"{n}-plan.txt"] = "\n".join(lines)
    tree |= {f"{n + 1}-sources/{path}": content for path, content in emit.emit(made).items()}
    try:
        writer.write(folder, tree)
    except OSError as error:
        raise LabcError(f"{folder}: cannot be written ({error.strerror}); name another folder with --keep") from error


def inspect(path: Path | str) -> tuple[frontend.Model, str | None]:
    """A model, and None if it can be built, else the reason and remedy. Raises LabcError if it cannot even be read."""
    model = frontend.read(path)
    try:
        passes.run(model.graph)
    except LabcError as error:
        return model, str(error)
    return model, None


def check(
    path: Path | str,
    target: str = "host",
    *,
    sample_count: int | None = None,
    seed: int = 0,
    inputs: Path | None = None,
    name: str | None = None,
    levels: Sequence[str] | None = None,
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
    wanted, tools = tools_for(target, levels)  # first: without a compiler there is nothing to wait for
    compiled = front(path, name, lambda step: progress(step, 0, 0))
    layers = compiled.model.graph
    entry = layers.types[layers.input().name]
    x = samples.draw(entry, sample_count or (HOST_SAMPLES if wanted.cpu is None else CHIP_SAMPLES), seed)
    if inputs is not None:
        x = np.concatenate([x, samples.from_file(inputs, entry)])

    tick = _counter(progress, "reference", len(x))
    first, scores = proof.levels(layers, compiled.machine, x, tick)
    stages = dict(compiled.stages)
    tick = _counter(progress, "thresholds", sums_to_prove(stages["lower"]))
    verdicts = [first, proof.thresholds(stages, compiled.machine, tick)]
    progress("onnxruntime", 0, 0)
    verdicts.append(referee(Path(path), x, scores, compiled.model.notes))

    made = planned(compiled, wanted)
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
    macs = {node.name: node.weights.type.size for node in compiled.machine.nodes if isinstance(node, machine.MatVec)}
    with tempfile.TemporaryDirectory(prefix="labc-bench-", ignore_cleanup_errors=True) as work:
        progress("building", 0, 0)
        loaded = library.load(write(made, tools, Path(work) / "library"))
        level = next(level for level in made.levels if not made.dispatched or level.name == loaded.level)
        tick = _counter(progress, "timing", 0)
        taken = bench.bench(loaded, x, made, level, macs, emit.layers_timer(made, level), tools, wanted, tick)
    return report.Benched(
        model=str(path),
        name=compiled.name,
        digest=compiled.digest,
        target=wanted.name,
        isas=level.isas,
        processor=bench.processor(),
        compiler=f"{tools.name} {tools.version}",
        macs=sum(macs.values()),
        bench=taken,
    )


def dead_channels(graph: Graph) -> int:
    """How many channels of machine IR have a sign that no input can change."""
    dead = 0
    for node in graph.nodes:
        if isinstance(node, machine.SignMatVecThreshold | machine.ByteMatVecThreshold):
            low, high = bounds(graph, node)
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
