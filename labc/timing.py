"""Time a model on this machine: built in a temporary folder, as a whole, by layer, and beside what the machine could do at most."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from labc import bench, emit, library, report, toolchain
from labc import target as targets
from labc.check import samples
from labc.driver import front, planned, tools_for, write
from labc.errors import LabcError
from labc.ir import machine
from labc.ir.core import Graph
from labc.ir.fused import Fused
from labc.progress import Ticks, counter


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
        tick = counter(progress, "timing", 0)
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
    sums = ((node.name, node.sums if isinstance(node, Fused) else node) for node in graph.nodes)
    counts = ((name, node.weights.type.size, graph.types[name]) for name, node in sums if isinstance(node, machine.Sums))
    return {name: (weights * type_.size // type_.shape[0], weights) for name, weights, type_ in counts}
