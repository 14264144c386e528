"""Try a model out: build it in a temporary folder and prove it there. And the kernels alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from labc import bench, emulator, plan, report, running, toolchain
from labc import board as boards
from labc.check import Verdict, samples
from labc.check import cost as costs
from labc.check import kernels as kernel_check
from labc.check import model as proof
from labc.check.referee import referee
from labc.check.runners import ChipRunner, HostRunner, count_layers, faulty
from labc.driver import Compiled, front, planned, target_for, tools_for, write
from labc.emulator import qemu
from labc.errors import BAD_INPUT, NOT_HERE, LabcError
from labc.flags import Toolchain
from labc.ir.core import Array
from labc.passes.threshold import dead_channels, sums_to_prove
from labc.progress import Ticks, counter

HOST_SAMPLES, CHIP_SAMPLES = 1000, 100
LAYER_SAMPLES = 20  # inputs whose every value between layers is compared


@dataclass(frozen=True)
class Ready:
    """What all targets share: the network up to machine IR, the inputs [n, *shape], the reference's scores [n, outputs], and the verdicts
    on what is no library."""

    compiled: Compiled
    x: Array
    scores: Array
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Tried:
    """What one library was found to be and to cost."""

    verdicts: tuple[Verdict, ...]
    chip: costs.ChipCost | None = None
    timing: bench.Timing | None = None

    @property
    def failed(self) -> bool:
        """Whether anything that ran found a difference."""
        return any(verdict.status == "failed" for verdict in self.verdicts)


def check(
    path: Path | str,
    target: str | None = None,
    *,
    sample_count: int | None = None,
    seed: int = 0,
    inputs: Path | None = None,
    name: str | None = None,
    levels: Sequence[str] | None = None,
    flash: int | None = None,
    ram: int | None = None,
    board: str | None = None,
    cpu: str | None = None,
    float_abi: str | None = None,
    cc: str | None = None,
    timed: bool = False,
    every_layer: bool = False,
    progress: Ticks = lambda step, done, total: None,
) -> report.Checked:
    """Build a model in a temporary folder and compare everything with everything, bit for bit.

    `sample_count` random inputs from `seed`, and those in the .npy file `inputs`; `every_layer`: of some inputs also every value between
    two layers; where to is said as in `driver.compile`. Raises LabcError for what cannot be checked; a difference is a failed verdict,
    and names the first layer, channel and input that are wrong.
    """
    wanted = target_for(target, levels, flash, ram, board=board, cpu=cpu, float_abi=float_abi)
    if timed and toolchain.not_here(wanted):
        raise LabcError(f"--time: {wanted.name} is not this machine; time with --target host", code=BAD_INPUT)
    wanted, tools = tools_for(wanted, cc=cc)  # first: without a compiler there is nothing to wait for
    count = sample_count or (HOST_SAMPLES if wanted.cpu is None else CHIP_SAMPLES)
    made_ready = ready(path, count, seed, inputs, name, progress)
    compiled = made_ready.compiled
    made = plan.fits(planned(compiled, wanted))
    where = wanted.board or wanted.name
    clock = None if board is None else boards.find(board).clock_mhz
    tried = try_out(made_ready, made, tools, where, timed=timed, every_layer=every_layer, progress=progress)
    return report.Checked(
        model=str(path),
        name=compiled.name,
        digest=compiled.digest,
        target=wanted.name,
        board=None if board is None else where,
        cpu=wanted.cpu,
        float_abi=wanted.float_abi,
        compiler=f"{tools.name} {tools.version}",
        size=report.Size(report.float_bytes(compiled.model.graph), made.packed_bytes),
        arena=made.arena_bytes,
        arena_bound=made.arena_bound,
        arena_layer=made.arena_layer,
        dead_channels=dead_channels(compiled.machine),
        notes=compiled.model.notes,
        verdicts=(*made_ready.verdicts, *tried.verdicts),
        chip=tried.chip,
        timing=tried.timing,
        clock_mhz=clock,
        estimated_ms=report.estimated_ms(tried.chip, clock),
        levels=tuple(
            report.LevelCost(level.name, level.isas, made.level_bytes(level), made.saved_bytes(level))
            for level in (made.levels if made.dispatched else ())
        ),
    )


def ready(path: Path | str, count: int, seed: int, inputs: Path | None, name: str | None, progress: Ticks) -> Ready:
    """Read and lower a model; prove its two levels of IR and every threshold, and ask onnxruntime; `count` random inputs and `inputs`."""
    compiled = front(path, name, lambda step: progress(step, 0, 0))
    layers = compiled.model.graph
    entry = layers.types[layers.input().name]
    x = samples.draw(entry, count, seed)
    if inputs is not None:
        x = np.concatenate([x, samples.from_file(inputs, entry)])
    first, scores = proof.levels(layers, compiled.machine, x, counter(progress, "reference", len(x)))
    stages = dict(compiled.stages)
    tick = counter(progress, "thresholds", sums_to_prove(stages["pool"]))
    verdicts = [first, proof.thresholds(stages, compiled.machine, tick)]
    progress("onnxruntime", 0, 0)
    verdicts.append(referee(Path(path), x, scores, compiled.model.notes))
    return Ready(compiled, x, scores, tuple(verdicts))


def try_out(
    ready: Ready,
    made: plan.Plan,
    tools: Toolchain,
    where: str,
    *,
    timed: bool = False,
    every_layer: bool = False,
    progress: Ticks = lambda step, done, total: None,
) -> Tried:
    """Build a plan in a temporary folder and compare what it computes with the reference; `where` is what the verdicts call its place.

    Raises LabcError if it cannot be built; an emulator that is missing, or too small for it, is "not run here".
    """
    x, scores, wanted = ready.x, ready.scores, made.target
    verdicts: list[Verdict] = []
    cost = timing = None
    with tempfile.TemporaryDirectory(prefix="labc-check-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        progress(f"building for {where}" if wanted.cpu else "building", 0, 0)
        folder = write(made, tools, work / "library")
        reason = emulator.available(wanted.cpu) if wanted.cpu is not None else toolchain.not_here(wanted)
        if reason is not None:
            return Tried((Verdict(f"library ({where}) = reference", "not run here", reason),))
        try:
            runner, sections = running.start(folder, made, tools, work / "image")
        except LabcError as error:  # the emulator lacks the memory
            if error.code != NOT_HERE or wanted.cpu is None:
                raise
            still = costs.measure(folder, made, tools, work / "image")
            verdicts.append(Verdict(f"library ({where}) = reference", "not run here", str(error)))
            return Tried(tuple(verdicts)) if isinstance(still, str) else Tried((*verdicts, *costs.fit(made, still, where)), still)
        for level in made.levels:
            place = f"library ({where}, {level.name})" if made.dispatched else f"library ({where})"
            if not running.use(runner, made, level):
                reason = f"this processor does not have all of {', '.join(level.needs)}"
                verdicts.append(Verdict(f"{place} = reference", "not run here", reason))
                continue
            try:
                found = proof.library(runner, x, scores, place, counter(progress, place, len(x)))
            except (emulator.StackOverflow, emulator.EmulatorLost):  # no layer's doing
                raise
            except emulator.EmulatorFault as fault:
                source = running.steps_source(made, work)
                raise faulty(fault, folder, made, tools, source, x[0].reshape(-1)) from fault
            if found[0].status == "failed" or every_layer:
                keep = partial(running.keep, ready.compiled, made, tools, level.name, work)
                found += _by_layer(ready, keep, place, found[0].status == "failed", every_layer, progress)
            verdicts += found
        if isinstance(runner, HostRunner):
            runner.library.force_level(None)
            if timed:
                timing = bench.time_inference(runner.library, x[-1].reshape(-1), tools, wanted, counter(progress, "timing", bench.SAMPLES))
        else:
            cost = costs.run(runner, costs.example(made), sections)
            # In QEMU each count starts two emulators; simavr does not count.
            if cost.instructions is not None and (every_layer or wanted.cpu not in qemu.MACHINES):
                counts, cycles = count_layers(folder, made, tools, running.steps_source(made, work), costs.example(made))
                cost = replace(cost, layers=counts, layer_cycles=cycles)
            verdicts += costs.fit(made, cost, where)
    return Tried(tuple(verdicts), cost, timing)


def _by_layer(
    ready: Ready,
    keep: Callable[[], tuple[HostRunner | ChipRunner, plan.Level]],
    place: str,
    wrong: bool,
    every_layer: bool,
    progress: Ticks,
) -> list[Verdict]:
    """Every value between two layers, of some inputs, and of a `wrong` library the first layer that is: by the one that `keep` makes,
    which keeps all values."""
    graph, found = ready.compiled.machine, list[Verdict]()
    try:
        kept, level = keep()
        if every_layer:
            some = ready.x[:LAYER_SAMPLES]
            tick = counter(progress, f"{place}, layers", len(some))
            found.append(proof.layers(kept, level, graph, some, place, tick))
        if wrong:
            blamed = proof.first_difference(kept, level, graph, ready.x, ready.scores)
            found.append(Verdict(f"{place}: first wrong layer", "failed", blamed))
    except emulator.StackOverflow as overflow:  # all values at once are more than the core has memory for
        found.append(Verdict(f"{place}: by layer", "not run here", overflow.reason))
    except LabcError as error:
        if error.code != NOT_HERE:
            raise
        found.append(Verdict(f"{place}: by layer", "not run here", str(error)))
    return found


def check_kernels(
    target: str | None = None, seed: int = 1, progress: Ticks = lambda step, done, total: None, *, board: str | None = None
) -> kernel_check.Matrix:
    """The kernel check on every machine labc knows, on those of one target, or on a board's core. `seed`: 0 to 2^31 - 1, of the cases'
    random numbers.

    A machine that cannot be built for or run here says so in its column. Raises LabcError for a target, board or seed that cannot be.
    """
    if not 0 <= seed < 1 << 31:
        raise LabcError(f"--seed: {seed} is not between 0 and 2147483647; give another")
    if board is None:
        where = kernel_check.machines(target)
    else:
        where = (kernel_check.emulated(boards.find(board).name, target_for(target, board=board)),)
    return kernel_check.check(where, seed, lambda machine, rows: counter(progress, f"kernels on {machine}", rows))
