"""What a network costs, what was proved, what was not run: tables for people, plain data for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labc import cycles
from labc.bench import Bench, Timing
from labc.check import Verdict
from labc.check.cost import ChipCost
from labc.check.kernels import Matrix
from labc.frontend.onnx import Model
from labc.ir import layers
from labc.ir.core import Graph, Node

_STYLE = {"passed": "green", "failed": "bold red", "not run here": "yellow"}


@dataclass(frozen=True)
class LayerRow:
    """One layer for `inspect`; `why_not` is None where weights and inputs are such that labc computes on bits."""

    layer: str
    kind: str
    takes: str
    gives: str
    weights: str
    one_bit: bool | None
    why_not: str | None
    macs: int
    packed_bytes: int


@dataclass(frozen=True)
class Size:
    """Bytes of the network's parameters: as float32 (4 per weight, scale and shift), and packed as the library holds them."""

    float32: int
    packed: int


@dataclass(frozen=True)
class LevelCost:
    """One level of a library for any x86-64: bytes of the constants it reads, and what a library without it saves of them."""

    level: str
    isas: tuple[str, ...]
    packed: int
    saved_without: int


@dataclass(frozen=True)
class Checked:
    """The result of `labc check`."""

    model: str
    name: str
    digest: str
    target: str
    board: str | None
    cpu: str | None
    float_abi: str
    compiler: str
    size: Size
    arena: int
    arena_bound: int
    arena_layer: str
    dead_channels: int
    notes: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    chip: ChipCost | None = None
    timing: Timing | None = None
    levels: tuple[LevelCost, ...] = ()
    clock_mhz: float | None = None
    estimated_ms: tuple[float, float] | None = None  # of one inference at that clock, least and most

    @property
    def failed(self) -> bool:
        """Whether anything that ran found a difference."""
        return any(verdict.status == "failed" for verdict in self.verdicts)

    @property
    def counts(self) -> dict[str, int]:
        """How many checks passed, failed, and were not run here."""
        return {status: sum(v.status == status for v in self.verdicts) for status in ("passed", "failed", "not run here")}


@dataclass(frozen=True)
class Benched:
    """The result of `labc bench`."""

    model: str
    name: str
    digest: str
    target: str
    isas: tuple[str, ...]
    processor: str
    compiler: str
    macs: int
    bench: Bench


def rows(model: Model) -> list[LayerRow]:
    """One row per layer of the file, buildable or not."""
    return [_row(model.graph, node) for node in model.graph.nodes]


def estimated_ms(chip: ChipCost | None, clock_mhz: float | None) -> tuple[float, float] | None:
    """The estimated time of one inference, least and most; None where there is no estimate or no clock."""
    if chip is None or chip.cycles is None or clock_mhz is None:
        return None
    return chip.cycles.least / clock_mhz / 1e3, chip.cycles.most / clock_mhz / 1e3


def float_bytes(graph: Graph) -> int:
    """Bytes of the parameters as float32: every weight, and a scale and a shift per output channel."""
    weighted = [node.weights.type for node in graph.nodes if isinstance(node, layers.Dense | layers.Conv)]
    return sum(4 * (type_.size + 2 * type_.shape[0]) for type_ in weighted)


def _row(graph: Graph, node: Node) -> LayerRow:
    takes = ", ".join(str(graph.types[name]) for name in node.inputs)
    n = graph.types[node.name].shape[0] if graph.types[node.name].shape else 1  # constants are per channel
    weights, one_bit, why, macs, packed = "", None, None, 0, 0
    match node:
        case layers.Dense() | layers.Conv():
            rows_, *rest = node.weights.type.shape
            k = node.weights.type.size // rows_
            weights, macs = " x ".join(map(str, (rows_, *rest))), k * graph.types[node.name].size
            why = layers.why_not_binary(node.weights)
            if why is None and graph.types[node.inputs[0]].element == "f32":
                why = f"weights are ±a, but its input {node.inputs[0]} is float32: export with labc.train.export, which calibrates 8 bits"
            one_bit = why is None
            packed = 4 * rows_ * -(-k // 32) if one_bit else 4 * rows_ * k
        case layers.Affine() if any(isinstance(user, layers.Sign) for user in graph.users[node.name]):
            packed = 4 * n  # becomes one threshold per channel
        case layers.Affine():
            packed = 8 * n
        case layers.Sign() if isinstance(graph.by_name[node.inputs[0]], layers.Dense | layers.Conv):
            packed = 4 * n  # no affine before it, and still one threshold per channel
        case layers.Requantize():
            packed = 12 * n
    return LayerRow(node.name, node.kind(), takes, str(graph.types[node.name]), weights, one_bit, why, macs, packed)


def data(value: Any) -> Any:
    """A report as plain JSON data; a check's also with its counts."""
    if isinstance(value, Checked | Matrix):
        return asdict(value) | {"failed": value.failed, "counts": value.counts}
    return [asdict(row) for row in value] if isinstance(value, list) else asdict(value)


def show_layers(console: Any, title: str, table_rows: list[LayerRow], build: str | None, notes: tuple[str, ...]) -> None:
    """The `inspect` table; `build` is None if the network can be built, else the reason."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for heading in ("layer", "kind", "takes", "gives", "weights", "1-bit"):
        table.add_column(heading, overflow="fold")
    for heading in ("MACs", "packed bytes"):
        table.add_column(heading, justify="right")
    for row in table_rows:
        mark = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.one_bit]
        numbers = [f"{n:,}" if n else "" for n in (row.macs, row.packed_bytes)]
        table.add_row(row.layer, row.kind, row.takes, row.gives, row.weights, mark, *numbers)
    macs, packed = sum(row.macs for row in table_rows), sum(row.packed_bytes for row in table_rows)
    table.add_section()
    table.add_row("total", "", "", "", "", "", f"{macs:,}", f"{packed:,}")
    console.print(table)
    lines = [f"[red]not 1-bit[/]  {row.layer}: {escape(row.why_not)}" for row in table_rows if row.why_not]
    lines += [f"normalised  {escape(note)}" for note in notes]
    lines.append("[green]can be built[/]" if build is None else f"[red]cannot be built[/]  {escape(build)}")
    console.print("\n".join(lines), soft_wrap=True, highlight=False)


def show_check(console: Any, checked: Checked) -> None:
    """The verdicts of one target, and what the network costs there."""
    from rich.markup import escape
    from rich.table import Table

    core = f"{checked.cpu}, {checked.float_abi} float; " if checked.cpu else ""
    title = f"{checked.name} on {checked.board or checked.target} ({core}{checked.compiler}), model {checked.digest[:12]}"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("check")
    table.add_column("verdict")
    table.add_column("what was compared", overflow="fold")
    for verdict in checked.verdicts:
        table.add_row(escape(verdict.what), f"[{_STYLE[verdict.status]}]{verdict.status}[/]", escape(verdict.detail))
    console.print(table)
    for what, value in costs(checked):
        console.print(f"  {what:<24}{value}", highlight=False, soft_wrap=True)
    counts = checked.counts
    console.print(f"  {'checks':<24}{', '.join(f'{n} {status}' for status, n in counts.items())}", highlight=False)


def show_kernels(console: Any, matrix: Matrix) -> None:
    """Kernels by machines; "-" where a machine has no such kernel. Below: what failed, what was not run here or left out, and why."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"kernel check, seed {matrix.seed}", title_justify="left", box=box.SIMPLE, padding=(0, 0), pad_edge=False)
    for heading in ("op", "isa", *(column.machine for column in matrix.columns)):
        table.add_column(heading, overflow="fold")
    told: dict[str, list[str]] = {}
    for row in matrix.rows:
        cells = []
        for column in matrix.columns:
            verdict = next((v for v in column.kernels if v.what == row), None)
            mark = f"[{_STYLE[verdict.status]}]{verdict.status}[/]" if verdict else "-"
            cells.append(mark)
            if verdict and (verdict.status != "passed" or "left out" in verdict.detail):
                told.setdefault(f"{mark}  {column.machine}: {escape(verdict.detail)}", []).append(row)
        table.add_row(*row.split(), *cells)
    console.print(table)
    lines = [f"{reason} ({', '.join(rows)})" for reason, rows in told.items()]
    for column in matrix.columns:
        lines += [
            f"[{_STYLE[v.status]}]fault {v.status}[/]  {column.machine}: {v.what}: {escape(v.detail)}"
            for v in column.faults
            if v.status != "passed"
        ]
        built = column.compiler or "no compiler"
        lines.append(f"  {column.machine:<15}{built}; planted faults found: {column.found if column.faults else 'not run here'}")
    lines.append(f"  {'kernels':<15}{', '.join(f'{n} {status}' for status, n in matrix.counts.items())}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def costs(checked: Checked) -> list[tuple[str, str]]:
    """What the network costs, as (what, value) lines."""
    size, chip, timing = checked.size, checked.chip, checked.timing
    lines = [("parameters", f"{size.float32:,} bytes as float32, {size.packed:,} packed ({size.float32 / size.packed:.1f}x smaller)")]
    lines += [
        (
            f"level {level.level}",
            f"{level.packed:,} bytes packed ({', '.join(level.isas)}); a library without it saves {level.saved_without:,}",
        )
        for level in checked.levels
    ]
    lines.append(("arena", f"{checked.arena:,} bytes (lower bound {checked.arena_bound:,}, set by {checked.arena_layer})"))
    if checked.dead_channels:
        lines.append(("dead channels", f"{checked.dead_channels} never change sign; computed exactly"))
    if chip:
        lines += measured(asdict(chip))
        lines += [("  by layer", ", ".join(f"{layer} {count:,}" for layer, count in chip.layers))] if chip.layers else []
        lines += _estimates(chip, checked.clock_mhz)
    if timing:
        lines.append(
            ("time", f"{timing.median_ns:,.0f} ns per inference, 90 % of samples in {timing.low_ns:,.0f} to {timing.high_ns:,.0f}")
        )
    return lines


def measured(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a network costs on its chip, of a ChipCost's fields or a manifest's, as (what, value)."""
    if "flash" not in found:
        return [("flash, stack", f"not measured here: {found['reason']}")]
    flash = f"{found['flash']:,} bytes (code and constants, from the linked ELF) + {found['self_test']:,} for the self-test"
    if found["stack"] is None:
        return [("flash", flash), ("RAM", f"{found['ram']:,} bytes (arena + data), and the stack, not measured here: {found['reason']}")]
    ram = f"{found['ram']:,} bytes (arena {found['arena']:,} + stack {found['stack']:,} + data; input and output are the caller's)"
    counts = found["instructions"], found["predict_instructions"]
    counted = "not counted here: no compiler makes QEMU's counter"
    if counts[0] is not None:
        counted = f"{counts[0]:,} per inference (run), {counts[1]:,} (predict)"
    return [("flash", flash), ("RAM", ram), ("instructions", counted)]


def _estimates(chip: ChipCost, clock_mhz: float | None) -> list[tuple[str, str]]:
    """The estimate as lines of `costs`: a time where there is a clock, else cycles; or why there is none."""
    if chip.cycles is None:
        return [("estimated time", f"no estimate: {chip.no_cycles}")]
    least, most, source = chip.cycles.least, chip.cycles.most, chip.cycles.source

    def text(least: float, most: float) -> str:
        return cycles.number(least, most) if clock_mhz is None else cycles.time(least, most, clock_mhz)

    label = f"estimate, zero wait states; {source}"
    if clock_mhz is None:
        lines = [("estimated cycles", f"≈ {text(least, most)} per inference ({label})")]
    else:
        lines = [("estimated time", f"≈ {text(least, most)} at {clock_mhz:g} MHz ({cycles.number(least, most)} cycles; {label})")]
    if chip.layer_cycles:
        lines.append(("  by layer", ", ".join(f"{layer} {text(low, high)}" for layer, low, high in chip.layer_cycles)))
    return lines


def show_bench(console: Any, benched: Benched) -> None:
    """Where the time goes, and how near that is to what the machine can do."""
    from rich.table import Table

    taken = benched.bench
    title = f"{benched.name} on {benched.target} ({benched.processor}; {', '.join(benched.isas)}; {benched.compiler})"
    table = Table(title=title, title_justify="left")
    for heading in ("layer", "kernel"):
        table.add_column(heading, overflow="fold")
    for heading in ("ns", "middle 90 %", "MACs", "MAC/ns", "in registers", "stream", "share"):
        table.add_column(heading, justify="right")
    for layer in taken.layers:
        speeds = [f"{v:,.0f}" if v is not None else "" for v in (layer.macs_per_ns, layer.ceiling, layer.stream)]
        share = f"{layer.share:.0%}" if layer.share is not None else ""
        kernel = layer.kernel.removeprefix("labc_")
        spread = f"{layer.time.low_ns:,.0f} to {layer.time.high_ns:,.0f}"
        table.add_row(layer.layer, kernel, f"{layer.time.median_ns:,.0f}", spread, f"{layer.macs:,}" if layer.macs else "", *speeds, share)
    whole = taken.whole
    table.add_section()
    speed = f"{benched.macs / whole.median_ns:,.0f}"
    table.add_row(
        "whole", "", f"{whole.median_ns:,.0f}", f"{whole.low_ns:,.0f} to {whole.high_ns:,.0f}", f"{benched.macs:,}", speed, "", "", ""
    )
    console.print(table)
    weights = taken.ceilings.weights
    lines = [
        f"one thread, batch 1, called from C; medians of {whole.samples} samples of {whole.repeats} inferences, warm",
        "in registers: MAC/ns of the kernel's instruction set with its operands in registers, measured in this run",
        f"stream: MAC/ns if the {weights:,} bytes of weights are only read, over and over: {taken.ceilings.stream:.1f} bytes per ns",
        f"share: of the lower of the two; {taken.clock_ns:.0f} ns for looking at the clock are taken off each layer",
    ]
    console.print("\n".join(f"  {line}" for line in lines), highlight=False, soft_wrap=True)
