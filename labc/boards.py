"""Every board: what can be built for it and run here, and how one network fares on each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labc import board, cycles, driver, emulator, plan, report, toolchain, trial
from labc.board import Board
from labc.check import Status, Verdict
from labc.check import cost as costs
from labc.errors import FAILED, NOT_HERE, LabcError
from labc.progress import Ticks

_STYLE = {"passed": "green", "failed": "bold red", "not run here": "yellow"}


@dataclass(frozen=True)
class BoardRow:
    """One board: with what it is built here and where it runs, or the reason it is not."""

    board: str
    title: str
    target: str
    cpu: str
    float_abi: str
    clock_mhz: float
    flash: int | None
    ram: int
    datasheet: str
    builds: bool
    with_: str
    runs: bool
    on: str


@dataclass(frozen=True)
class BoardResult:
    """One network on one board. `equal` is the verdict on all its outputs, `reason` says why it failed or was not run; bytes and executed
    instructions of one inference are None where it was not."""

    board: str
    cpu: str
    compiler: str
    built: bool
    equal: Status
    fits: Status
    reason: str
    instructions: int | None = None
    flash: int | None = None
    ram: int | None = None
    flash_there: int | None = None
    ram_there: int | None = None
    estimated_ms: tuple[float, float] | None = None  # of one inference, least and most: an estimate, zero wait states


@dataclass(frozen=True)
class Everywhere:
    """One network on every board, and the verdicts on what all of them share."""

    model: str
    name: str
    digest: str
    verdicts: tuple[Verdict, ...]
    boards: tuple[BoardResult, ...]

    @property
    def failed(self) -> bool:
        """Whether anything that ran found a difference. A board that is too small is none."""
        return any(verdict.status == "failed" for verdict in self.verdicts) or any(row.equal == "failed" for row in self.boards)

    @property
    def counts(self) -> dict[str, int]:
        """On how many boards the network was equal, was not, and was not run here."""
        return {status: sum(row.equal == status for row in self.boards) for status in ("passed", "failed", "not run here")}


def rows() -> list[BoardRow]:
    """One row per board."""
    every = [board.find(name) for name in board.names()]
    cores = {(one.cpu, one.float_abi): one for one in every}
    with ThreadPoolExecutor() as pool:  # compilers are tried beside each other: a core's trial is two processes
        found = dict(zip(cores, pool.map(_here, cores.values()), strict=True))
    table = []
    for one in every:
        builds, with_, runs, on = found[one.cpu, one.float_abi]
        memory = (one.flash_bytes, one.ram_bytes, one.datasheet)
        table.append(BoardRow(one.name, one.title, one.target, one.cpu, one.float_abi, one.clock_mhz, *memory, builds, with_, runs, on))
    return table


def _here(one: Board) -> tuple[bool, str, bool, str]:
    reason = emulator.available(one.cpu)
    on = reason or f"emulated {one.cpu} ({emulator.name(one.cpu)})"
    try:
        tools = toolchain.find(one.on)
    except LabcError as error:
        return False, str(error), reason is None, on
    return True, f"{tools.name} {tools.version}", reason is None, on


def check(
    path: Path | str,
    *,
    sample_count: int | None = None,
    seed: int = 0,
    inputs: Path | None = None,
    name: str | None = None,
    cc: str | None = None,
    progress: Ticks = lambda step, done, total: None,
) -> Everywhere:
    """Build one network for every board, run each on its own instruction set and compare every output, bit for bit.

    Boards on which it is the same library run it once. Raises LabcError for a model that cannot be checked.
    """
    ready = trial.ready(path, sample_count or trial.CHIP_SAMPLES, seed, inputs, name, progress)
    known: dict[object, trial.Tried] = {}
    results = []
    for board_name in board.names():
        results.append(_one(ready, board.find(board_name), cc, known, progress))
    return Everywhere(str(path), ready.compiled.name, ready.compiled.digest, ready.verdicts, tuple(results))


def _one(ready: trial.Ready, one: Board, cc: str | None, known: dict[object, trial.Tried], progress: Ticks) -> BoardResult:
    """The network on one board; `known` holds what its like were found to be."""
    there: Any = {"flash_there": one.flash_bytes, "ram_there": one.ram_bytes}
    try:
        wanted, tools = driver.tools_for(one.on, cc=cc)
    except LabcError as error:
        return BoardResult(one.name, one.cpu, "", False, "not run here", "not run here", str(error), **there)
    compiler = f"{tools.name} {tools.version}"
    try:
        made = driver.planned(ready.compiled, wanted)
        plan.fits(made)
    except LabcError as error:
        return BoardResult(one.name, one.cpu, compiler, False, "not run here", "failed", f"does not fit: {error}", **there)
    key = (one.cpu, one.float_abi, made.levels)
    try:
        if key not in known:
            known[key] = trial.try_out(ready, made, tools, one.name, progress=progress)
    except emulator.StackOverflow as error:
        return BoardResult(one.name, one.cpu, compiler, True, "not run here", "failed", f"does not fit: {error}", **there)
    except LabcError as error:
        equal: Status = "not run here" if error.code == NOT_HERE else "failed"  # it crashed or hung, or could not even be built
        return BoardResult(one.name, one.cpu, compiler, error.code == FAILED, equal, "not run here", str(error), **there)
    tried = known[key]
    library = [verdict for verdict in tried.verdicts if verdict.what.startswith("library")]
    wrong = [verdict for verdict in library if verdict.status != "passed"]
    equal = wrong[0].status if wrong else "passed"
    bad = next((verdict for verdict in wrong if verdict.what.endswith("first wrong layer")), wrong[0] if wrong else None)
    if tried.chip is None:
        return BoardResult(one.name, one.cpu, compiler, True, equal, "not run here", bad.detail if bad else "", **there)
    fit = next((verdict for verdict in costs.fit(made, tried.chip, one.name) if verdict.status == "failed"), None)
    estimated = report.estimated_ms(tried.chip, one.clock_mhz)
    cost: Any = {"instructions": tried.chip.instructions, "flash": tried.chip.flash, "ram": tried.chip.ram}
    reason = bad.detail if bad else ""
    if fit and equal != "failed":
        reason = f"does not fit: {fit.what}: {fit.detail}"
    fits: Status = "failed" if fit else "passed"
    return BoardResult(one.name, one.cpu, compiler, True, equal, fits, reason, estimated_ms=estimated, **cost, **there)


def show_rows(console: Any, table_rows: Sequence[BoardRow]) -> None:
    """The table of boards."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="boards", title_justify="left")
    for heading in ("board", "what it is", "core"):
        table.add_column(heading, overflow="fold")
    for heading in ("MHz", "flash", "RAM"):
        table.add_column(heading, justify="right")
    for heading in ("built with", "checked on"):
        table.add_column(heading, overflow="fold")
    for row in table_rows:
        built, run = (f"[{'green' if fine else 'yellow'}]{escape(text)}[/]" for fine, text in ((row.builds, row.with_), (row.runs, row.on)))
        sizes = [_size(row.flash) if row.flash else "-", _size(row.ram)]
        table.add_row(row.board, row.title, f"{row.cpu}, {row.float_abi} float", f"{row.clock_mhz:g}", *sizes, built, run)
    console.print(table)


def show(console: Any, everywhere: Everywhere) -> None:
    """The matrix of boards, and below it why not."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{everywhere.name} on every board, model {everywhere.digest[:12]}", title_justify="left")
    for heading in ("board", "core", "built", "equal", "fits"):
        table.add_column(heading, overflow="fold")
    for heading in ("instructions", "estimated time", "flash", "RAM"):
        table.add_column(heading, justify="right")
    for row in everywhere.boards:
        built = f"[green]{escape(row.compiler)}[/]" if row.built else "[yellow]no[/]"
        fits = {"passed": "[green]yes[/]", "failed": "[bold red]no[/]", "not run here": "[yellow]not run here[/]"}[row.fits]
        numbers = [f"{n:,}" if n is not None else "" for n in (row.instructions, row.flash, row.ram)]
        numbers.insert(1, "" if row.estimated_ms is None else "≈ " + cycles.time(*row.estimated_ms, 1e-3))
        table.add_row(row.board, row.cpu, built, f"[{_STYLE[row.equal]}]{row.equal}[/]", fits, *numbers)
    console.print(table)
    lines = [f"  {row.board}: {escape(row.reason)}" for row in everywhere.boards if row.reason]
    if any(row.estimated_ms for row in everywhere.boards):
        lines.append("  estimated time: an estimate of one inference at the board's clock, by boards/cores, zero wait states")
    lines += [f"  {v.what}: [{_STYLE[v.status]}]{v.status}[/], {escape(v.detail)}" for v in everywhere.verdicts]
    lines.append(f"  {len(everywhere.boards)} boards: {', '.join(f'{n} {status}' for status, n in everywhere.counts.items())}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def data(value: Everywhere | Sequence[BoardRow]) -> Any:
    """As plain JSON data."""
    from dataclasses import asdict

    if isinstance(value, Everywhere):
        return asdict(value) | {"failed": value.failed, "counts": value.counts}
    return [{key.rstrip("_"): field for key, field in asdict(row).items()} for row in value]


def _size(nbytes: int) -> str:
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if nbytes % unit == 0:
            return f"{nbytes // unit}{letter}"
    return str(nbytes)
