"""The whole compiler on one page, top to bottom: read, lower, plan, emit, build."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labc import ABI, emit, golden, passes, plan, toolchain
from labc import board as boards
from labc import build as writer
from labc import package as packages
from labc import target as targets
from labc.check import cost as costs
from labc.compiling import shared_name
from labc.errors import LabcError
from labc.flags import Toolchain
from labc.frontend import onnx as frontend
from labc.ir.core import Graph
from labc.ir.text import digest, text
from labc.naming import c_name

Progress = Callable[[str], None]

# Of what a network costs on a chip, what manifests say.
_MEASURED = ("flash", "self_test", "ram", "arena", "stack", "instructions", "predict_instructions")


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
        golden=golden.vectors(layers, compiled.machine, compiled.digest),
        reuse=reuse,
    )


def write(made: plan.Plan, tools: Toolchain, out: Path, progress: Progress = silent, *, measured: bool = False) -> Path:
    """Emit and build a plan into `out`. `measured`: the manifest says what it costs on its chip (`measure`)."""
    progress("emitting C")
    tree = emit.emit(made)
    progress(f"compiling with {tools.name} {tools.version}")

    def look(place: Path) -> dict[str, Any]:
        found = measure(place, made, tools, progress)
        writer.write(place / "lib", emit.stack_check(made, found))
        return {"measured": found}

    return writer.build(tree, _facts(made), made.target, tools, out, look if measured else lambda place: {})


def measure(folder: Path, made: plan.Plan, tools: Toolchain, progress: Progress = silent) -> dict[str, Any]:
    """What the library in `folder` costs on its chip, linked and run in an emulator, as plain data; `reason` says why something is not
    known. Raises LabcError where that is more memory than there is: how much, and which layer to shrink."""
    progress(f"measuring on {made.target.cpu}")
    with tempfile.TemporaryDirectory(prefix="labc-", ignore_cleanup_errors=True) as work:
        found = costs.measure(folder, made, tools, Path(work))
    compiler = {"compiler": f"{tools.name} {tools.version}"}
    if isinstance(found, str):
        return compiler | {"reason": found}
    for verdict in costs.fit(made, found, made.target.board or made.target.name):
        if verdict.status == "failed":
            raise LabcError(f"{verdict.what}: {verdict.detail}")
    numbers = {key: getattr(found, key) for key in _MEASURED}
    return compiler | numbers | ({"reason": found.not_run} if found.not_run else {})


def pack(made: plan.Plan, form: packages.Format, tools: Toolchain | str, out: Path, progress: Progress = silent) -> Path:
    """Emit a plan as a package into `out`. `tools` compile the library that some formats hold, and what is measured for a chip;
    or they are the reason why there are none. Raises LabcError as `measure`."""
    contents = packages.Contents(made, emit.emit(made))
    more: dict[str, Any] = {"package": form.name}
    if not isinstance(tools, str) and (form.compiled or made.target.cpu is not None):
        with tempfile.TemporaryDirectory(prefix="labc-", ignore_cleanup_errors=True) as folder:
            progress(f"compiling with {tools.name} {tools.version}")
            built = writer.build(contents.tree, _facts(made), made.target, tools, Path(folder, "library"))
            if form.compiled:
                more["compiler"] = {"name": tools.name, "version": tools.version}
                shared = built / "lib" / shared_name(made.name)
                contents = replace(contents, library_name=shared.name, library=shared.read_bytes())
            else:
                more["measured"] = measure(built, made, tools, progress)
    elif made.target.cpu is not None:
        more["measured"] = {"reason": tools}
    progress(f"packing for {form.name}")
    contents = replace(contents, measured=more.get("measured"))
    return writer.store(form.files(contents), _facts(made) | more, made.target, out)


def _facts(made: plan.Plan) -> dict[str, Any]:
    """What the manifest says of a plan."""
    facts: dict[str, Any] = {
        "name": made.name,
        "abi": ABI,
        "model": made.digest,
        "input": {"element": made.input_element, "shape": list(made.input_shape)},
        "outputs": made.output_size,
        "arena": {"bytes": made.arena_bytes, "align": made.arena_align, "bound": made.arena_bound, "layer": made.arena_layer},
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
    return facts


def _level_facts(level: plan.Level) -> dict[str, Any]:
    """What the manifest says of a level: its ISAs, what a processor must have for them, and the kernel of each step."""
    steps = [{"layer": step.layer, "kernel": step.function} for step in level.steps]
    return {"isas": list(level.isas), "needs": list(level.needs), "steps": steps}


def target_for(
    target: str | None = None,
    levels: Sequence[str] | None = None,
    flash: int | None = None,
    ram: int | None = None,
    *,
    board: str | None = None,
    cpu: str | None = None,
    float_abi: str | None = None,
) -> targets.Target:
    """The target of that name (None: host), on the core and with the float ABI named, or what a board says of it.

    `levels` are those a library for any processor is to hold, besides scalar; `flash` and `ram` are the bytes there are, instead of all
    that the board has. Raises LabcError for a name that is not known, and for a board with what contradicts it.
    """
    if board is None:
        wanted = targets.with_core(targets.with_levels(targets.find(target or "host"), levels), cpu, float_abi)
        return replace(wanted, flash_bytes=flash, ram_bytes=ram)
    found = boards.find(board)
    for option, given, has in (("--target", target, found.target), ("--cpu", cpu, found.cpu)):
        if given not in (None, has, has.removeprefix("cortex-")):
            raise LabcError(f"{option}: board {found.name} has {has}, not {given}; leave {option} out, or --board")
    wanted = targets.with_levels(targets.with_core(targets.find(found.target), found.cpu, float_abi or found.float_abi), levels)
    for option, asked, there in (("--flash", flash, found.flash_bytes), ("--ram", ram, found.ram_bytes)):
        if asked is not None and there is not None and asked > there:
            raise LabcError(f"{option}: board {found.name} has {there:,} bytes, not {asked:,}; name less, or another board")
    return replace(wanted, flash_bytes=flash or found.flash_bytes, ram_bytes=ram or found.ram_bytes, board=found.name)


def tools_for(
    target: str | targets.Target,
    levels: Sequence[str] | None = None,
    flash: int | None = None,
    ram: int | None = None,
    cc: str | None = None,
) -> tuple[targets.Target, Toolchain]:
    """The target, or the one of that name, as this machine sees it, and the compiler for it: `cc` where named.

    The host's ISAs are those its processor has. Raises LabcError for a name or level that is not known, and (NOT_HERE) without a compiler.
    """
    wanted = target if isinstance(target, targets.Target) else target_for(target, levels, flash, ram)
    tools = toolchain.find(wanted, cc)
    if wanted.name == "host":
        wanted = replace(wanted, isas=toolchain.host_isas(tools))
    return wanted, tools


def compile(
    path: Path | str,
    target: str | None = None,
    *,
    out: Path | str | None = None,
    name: str | None = None,
    keep: Path | str | None = None,
    levels: Sequence[str] | None = None,
    flash: int | None = None,
    ram: int | None = None,
    board: str | None = None,
    cpu: str | None = None,
    float_abi: str | None = None,
    cc: str | None = None,
    package: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Compile an ONNX file to a C library in `out` (default: ./NAME-TARGET, or ./NAME-BOARD) and return that folder.

    `target` is the host unless named. `name` prefixes every public name (default: the file's); `keep` is a folder for every stage on the
    way: the graph after each pass, the plan, the sources; `levels` are those a library for any x86-64 holds (default: all); `flash` and
    `ram` are the bytes there are, for code and constants, for arena, data and stack; `board`, a name of `labc boards` or a .toml file,
    implies target, `cpu`, `float_abi`, flash and RAM; `cc` is the compiler to take. `package`, a name of `labc packages`: the folder
    (default: ./NAME-TARGET-PACKAGE, of an ESP-IDF component its subfolder NAME) holds that package instead. Raises LabcError for anything
    the user can mend; nothing is left half-written then.
    """
    # A wrong name is told before anything is read.
    form = None if package is None else packages.find(package)
    if form is not None and target is None and board is None:
        target = form.default()
    wanted = target_for(target, levels, flash, ram, board=board, cpu=cpu, float_abi=float_abi)
    if form is not None:
        wanted = packages.suited(form, wanted, levels is not None)
        if cc is not None and wanted.cpu is None and not form.needs_compiler(wanted):
            raise LabcError(f"--cc: package {form.name} holds sources and is made without a compiler; leave --cc out")
    compiled = front(path, name, progress)
    tools: Toolchain | str = "no compiler is needed"
    try:
        if form is None or wanted.cpu is not None or form.needs_compiler(wanted):
            wanted, tools = tools_for(wanted, cc=cc)
            wanted = wanted if form is None else packages.suited(form, wanted)
    except LabcError as error:
        if form is None or cc is not None or form.needs_compiler(wanted):
            raise
        tools = str(error)  # the package holds sources: it is made all the same, and says what is not known
    progress("planning")
    made = plan.fits(planned(compiled, wanted))
    place = wanted.board or wanted.name
    folder = Path("-".join([compiled.name, place, *([form.name] if form else [])]), compiled.name if form and form.folder_is_name else "")
    folder = folder if out is None else Path(out)
    if keep is not None:
        for inner, outer in ((Path(keep), folder), (folder, Path(keep))):
            if inner.resolve().is_relative_to(outer.resolve()):
                raise LabcError(f"--keep: {inner} lies in {outer}, which a build replaces as a whole; name a folder outside it")
        keep_stages(compiled, made, Path(keep))
    if form is not None:
        return pack(made, form, tools, folder, progress)
    assert not isinstance(tools, str)  # only packages are made without a compiler
    return write(made, tools, folder, progress, measured=wanted.cpu is not None)


def keep_stages(compiled: Compiled, made: plan.Plan, folder: Path) -> None:
    """Write each box of the line into `folder`, numbered in order."""
    tree = {f"{i}-{step}.txt": text(graph) for i, (step, graph) in enumerate(compiled.stages)}
    n = len(tree)
    lines: list[str] = []
    for level in made.levels:
        lines += [f"level {level.name}:"] if made.dispatched else []
        lines += [f"{step.layer}: {step.function}({', '.join(step.arguments)})" for step in level.steps]
        lines += ["", f"arena: {level.arena_bytes} bytes (lower bound {level.arena_bound}, set by {level.arena_layer})"]
        lines += [f"{s.name}: bytes {s.offset}..{s.offset + s.bytes - 1}, steps {s.first}..{s.last}" for s in level.slots]
        lines.append("")
    lines += ["constants:", *(f"{a.name}: {a.ctype}[{a.values.size}], {a.bytes} bytes" for a in made.constants), ""]
    tree[f"{n}-plan.txt"] = "\n".join(lines)
    tree |= {f"{n + 1}-sources/{path}": content for path, content in emit.emit(made).items()}
    try:
        writer.store(tree, {"name": made.name, "model": made.digest}, made.target, folder)
    except LabcError as error:
        raise LabcError(str(error).replace("with -o", "with --keep"), code=error.code) from error


def inspect(path: Path | str) -> tuple[frontend.Model, str | None]:
    """A model, and None if it can be built, else the reason and remedy. Raises LabcError if it cannot even be read."""
    model = frontend.read(path)
    try:
        passes.run(model.graph)
    except LabcError as error:
        return model, str(error)
    return model, None
