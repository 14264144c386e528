"""Arguments in, exit code out; no logic. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from labc.arguments import parser
from labc.errors import BAD_INPUT, FAILED, INTERRUPTED, NOT_HERE, OK, LabcError
from labc.progress import tell


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors go to standard error, one line each, without a traceback."""
    _open_streams()
    arguments = parser().parse_args(argv)
    try:
        code = _COMMANDS[arguments.command](arguments)
    except LabcError as error:
        tell(str(error))
        return error.code
    except OSError as error:  # a full disk, a current folder that was deleted: what the machine refuses, the user can mend
        reason = error.strerror or str(error) or type(error).__name__
        tell(f"{error.filename or arguments.command}: {reason}; fix that and run it again")
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        tell(str(stop) or "interrupted")
        return INTERRUPTED
    return code


def _open_streams() -> None:
    """A closed output is one that nobody reads; a character that an output cannot spell (a file name's) is escaped, not an error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (it is open as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _train(a: argparse.Namespace) -> int:
    _say(f"loading torch for {a.recipe}", a)
    try:
        from labc.train import recipes
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("labc"):
            raise
        raise LabcError(f"train: {error.name} is not installed; pip install 'labc[train]'", code=NOT_HERE) from error
    if a.data is not None and not recipes.RECIPES[a.recipe].takes_data:
        _say(f"{a.recipe} brings its own data: --data is not used", a)
    result = recipes.run(
        a.recipe,
        method=a.method,
        epochs=a.epochs,
        seed=a.seed,
        split=a.split,
        width=a.width,
        width_multiplier=a.width_multiplier,
        data=a.data,
        out=a.out,
        resume=a.resume,
        progress=not a.json,
    )
    return _print(a, result.data(), lambda console: console.print(str(result), highlight=False, markup=False, soft_wrap=True))


def _inspect(a: argparse.Namespace) -> int:
    _say(f"reading {a.model}", a)
    from labc import driver, report

    model, build = driver.inspect(a.model)
    rows = report.rows(model)
    plain = {
        "model": str(a.model),
        "layers": report.data(rows),
        "notes": list(model.notes),
        "can_be_built": build is None,
        "why_not": build,
    }
    return _print(a, plain, lambda console: report.show_layers(console, str(a.model), rows, build, model.notes))


def _build(a: argparse.Namespace) -> int:
    _say(f"reading {a.model}", a)
    from labc import driver, report

    folder = driver.compile(
        a.model,
        a.target,
        out=a.out,
        name=a.name,
        keep=a.keep,
        levels=a.levels,
        flash=a.flash,
        ram=a.ram,
        **_core(a),
        package=a.package,
        progress=lambda step: _say(step, a),
    )
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files = list(manifest["files"])
    made = [f"package {manifest['package']}"] if "package" in manifest else []
    made += [f"{manifest['compiler']['name']} {manifest['compiler']['version']}"] if "compiler" in manifest else []
    facts = ", ".join([f"{manifest['constants']['bytes']:,} bytes of constants", f"arena {manifest['arena']['bytes']:,} bytes", *made])
    measured = [f"  {what}: {value}" for what, value in report.measured(manifest["measured"])] if "measured" in manifest else []
    kernels = [f"  kernels: {', '.join(manifest['isas'])}"]
    for level, cost in manifest.get("levels", {}).items():
        used = ", ".join(cost["isas"])
        kernels.append(
            f"  level {level} ({used}): {cost['bytes']:,} bytes of constants; a library without it saves {cost['saved_without']:,}"
        )
    return _print(
        a,
        manifest | {"dir": str(folder)},
        lambda console: console.print(
            "\n".join([f"{folder}: {facts}", *measured, *kernels, *(f"  {f}" for f in files)]),
            highlight=False,
            markup=False,
            soft_wrap=True,
        ),
    )


def _check(a: argparse.Namespace) -> int:
    if a.kernels:
        return _check_kernels(a)
    if a.all:
        return _check_everywhere(a)
    if a.model is None:
        raise LabcError("check: no MODEL.onnx; name one, or check the kernels alone with --kernels")
    _say(f"reading {a.model}", a)
    from labc import report, trial

    with _bar(a) as bar:
        checked = trial.check(
            a.model,
            a.target,
            sample_count=a.samples,
            seed=a.seed or 0,
            inputs=a.inputs,
            name=a.name,
            levels=a.levels,
            flash=a.flash,
            ram=a.ram,
            **_core(a),
            timed=a.time,
            every_layer=a.layers,
            progress=bar,
        )
    _print_and_save(a, report.data(checked), lambda console: report.show_check(console, checked))
    return FAILED if checked.failed else OK


def _core(a: argparse.Namespace) -> dict[str, Any]:
    return {"board": a.board, "cpu": a.cpu, "float_abi": a.float_abi, "cc": a.cc}


def _refuse(a: argparse.Namespace, flag: str, options: tuple[str, ...], why: str) -> None:
    if given := [f"--{option.replace('_', '-')}" if option != "model" else str(a.model) for option in options if getattr(a, option)]:
        raise LabcError(f"check: {flag} takes no {given[0]}: {why}; leave one of them out")


def _check_everywhere(a: argparse.Namespace) -> int:
    options = ("target", "board", "cpu", "float_abi", "levels", "flash", "ram", "time", "layers")
    _refuse(a, "--all", options, "it checks on every board")
    if a.model is None:
        raise LabcError("check: no MODEL.onnx; name the one to check on every board")
    _say(f"reading {a.model}", a)
    from labc import boards

    with _bar(a) as bar:
        found = boards.check(a.model, sample_count=a.samples, seed=a.seed or 0, inputs=a.inputs, name=a.name, cc=a.cc, progress=bar)
    _print_and_save(a, boards.data(found), lambda console: boards.show(console, found))
    return FAILED if found.failed else OK


def _check_kernels(a: argparse.Namespace) -> int:
    options = ("model", "samples", "inputs", "name", "levels", "flash", "ram", "time", "all", "layers", "cpu", "float_abi", "cc")
    _refuse(a, "--kernels", options, "it checks the kernels alone")
    from labc import report, trial

    with _bar(a) as bar:
        matrix = trial.check_kernels(a.target, 1 if a.seed is None else a.seed, bar, board=a.board)
    _print_and_save(a, report.data(matrix), lambda console: report.show_kernels(console, matrix))
    return FAILED if matrix.failed else OK


def _bench(a: argparse.Namespace) -> int:
    _say(f"reading {a.model}", a)
    from labc import report, timing

    with _bar(a) as bar:
        benched = timing.benchmark(a.model, a.target, levels=a.levels, progress=bar)
    return _print(a, report.data(benched), lambda console: report.show_bench(console, benched))


def _targets(a: argparse.Namespace) -> int:
    from labc import doctor

    rows = doctor.targets()
    return _print(a, doctor.data(rows), lambda console: doctor.show_targets(console, rows))


def _boards(a: argparse.Namespace) -> int:
    from labc import boards

    rows = boards.rows()
    return _print(a, boards.data(rows), lambda console: boards.show_rows(console, rows))


def _packages(a: argparse.Namespace) -> int:
    from labc import package

    rows = package.rows()
    return _print(a, rows, lambda console: console.print(package.listing(rows), highlight=False, markup=False, soft_wrap=True))


def _doctor(a: argparse.Namespace) -> int:
    from labc import cache, doctor

    if a.clear_cache:
        held = cache.clear()
        return _print(a, {"cleared": doctor.data(held)}, lambda console: doctor.show_cache(console, held, "removed"))
    rows, held = doctor.survey(), cache.usage()

    def show(console: Any) -> None:
        doctor.show_survey(console, rows)
        doctor.show_cache(console, held)

    return _print(a, {"tools": doctor.data(rows), "cache": doctor.data(held)}, show)


def _say(step: str, a: argparse.Namespace) -> None:
    if not a.json:
        tell(f"{step} ...")


def _print_and_save(a: argparse.Namespace, plain: Any, show: Callable[[Any], None]) -> None:
    """Either is done also where the other fails."""
    try:
        _print(a, plain, show)
    finally:
        if a.save:
            _save(a.save, plain)


def _print(a: argparse.Namespace, plain: Any, show: Callable[[Any], None]) -> int:
    if a.json:
        text = json.dumps(plain, indent=2) + "\n"
    else:
        from rich.console import Console

        shown, terminal = io.StringIO(), sys.stdout.isatty()
        show(Console(file=shown, force_terminal=terminal, soft_wrap=False, width=None if terminal else 120))
        text = shown.getvalue()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer must not fail again at the end
        if not isinstance(error, BrokenPipeError):  # then the reader (head, less) has seen enough
            raise LabcError(f"standard output: cannot be written ({error.strerror}); send it elsewhere") from error
    return OK


@contextlib.contextmanager
def _bar(a: argparse.Namespace) -> Iterator[Callable[[str, int, int], None]]:
    """What `trial.check` reports to: (step, done, total); a progress bar on a terminal, a line per step elsewhere."""
    if a.json:
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step, done, total: _say(step, a) if done == 0 else None
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def tick(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total or None)
            progress.update(tasks[step], completed=done, total=total or None)

        yield tick


def _save(path: Path, plain: Any) -> None:
    try:
        path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise LabcError(f"{path}: cannot be written ({error.strerror}); name another file") from error


_COMMANDS = {
    "train": _train,
    "inspect": _inspect,
    "build": _build,
    "check": _check,
    "bench": _bench,
    "boards": _boards,
    "targets": _targets,
    "packages": _packages,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
