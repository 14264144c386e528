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

from labc import __version__
from labc.errors import BAD_INPUT, FAILED, INTERRUPTED, NOT_HERE, OK, LabcError

_EXIT_CODES = """\
exit codes:
  0    done; where something was checked: equal
  1    a check found a difference
  2    wrong usage, or a file labc cannot work with
  3    this machine lacks a tool that is needed
  130  interrupted (Ctrl-C)
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors go to standard error, one line each, without a traceback."""
    _open_streams()
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except LabcError as error:
        _tell(str(error))
        return error.code
    except OSError as error:  # a full disk, a current folder that was deleted: what the machine refuses, the user can mend
        _tell(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        _tell(str(stop) or "interrupted")
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


def _tell(text: str) -> None:
    """One line to standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(f"labc: {text}", file=sys.stderr, flush=True)


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
    if a.save:
        _save(a.save, report.data(checked))
    _print(a, report.data(checked), lambda console: report.show_check(console, checked))
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
    if a.save:
        _save(a.save, boards.data(found))
    _print(a, boards.data(found), lambda console: boards.show(console, found))
    return FAILED if found.failed else OK


def _check_kernels(a: argparse.Namespace) -> int:
    options = ("model", "samples", "inputs", "name", "levels", "flash", "ram", "time", "all", "layers", "cpu", "float_abi", "cc")
    _refuse(a, "--kernels", options, "it checks the kernels alone")
    from labc import report, trial

    with _bar(a) as bar:
        matrix = trial.check_kernels(a.target, 1 if a.seed is None else a.seed, bar, board=a.board)
    if a.save:
        _save(a.save, report.data(matrix))
    _print(a, report.data(matrix), lambda console: report.show_kernels(console, matrix))
    return FAILED if matrix.failed else OK


def _bench(a: argparse.Namespace) -> int:
    _say(f"reading {a.model}", a)
    from labc import report, trial

    with _bar(a) as bar:
        benched = trial.benchmark(a.model, a.target, levels=a.levels, progress=bar)
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
    from labc import doctor

    rows = doctor.survey()
    return _print(a, doctor.data(rows), lambda console: doctor.show_survey(console, rows))


def _say(step: str, a: argparse.Namespace) -> None:
    if not a.json:
        _tell(f"{step} ...")


def _print(a: argparse.Namespace, plain: Any, show: Callable[[Any], None]) -> int:
    try:
        if a.json:
            print(json.dumps(plain, indent=2))
        else:
            from rich.console import Console

            show(Console(soft_wrap=False, width=None if sys.stdout.isatty() else 120))
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


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 1 and 10,000,000")
    return int(text)


def _bytes(text: str) -> int:
    number, unit = (text[:-1], 1 << 10) if text[-1:] in "kK" and text else (text, 1)
    if not number.isdecimal() or not 0 < int(number) * unit < 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 65536 or 64K")
    return int(number) * unit


def _levels(text: str) -> tuple[str, ...]:
    return tuple(level.strip() for level in text.split(","))


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="labc",
        description="Train networks of one-bit weights, compile them to exact C libraries, and prove them equal.",
        epilog="examples:\n"
        "  labc train digits-mlp --out run           train on handwritten digits and write run/digits.onnx\n"
        "  labc inspect run/digits.onnx              what each layer is, and why it is one bit or not\n"
        "  labc build run/digits.onnx --target arm   a C library for Cortex-M4\n"
        "  labc check run/digits.onnx --target arm   the library against the Python reference, bit for bit\n\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"labc {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str, examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"examples:\n{examples}\n{_EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="print JSON for machines, nothing else")
        return sub

    train = add(
        "train",
        _train,
        "train a recipe and export it to ONNX",
        "  labc train digits-mlp\n  labc train digits-mlp --method lab --seed 3 --out run-lab\n"
        "  labc train mnist-mlp --data mnist/ --width 512 --epochs 12\n  labc train mnist-mlp --out run --resume\n"
        "  labc train mnist-cnn --data mnist/ --out run-cnn\n"
        "  labc train cifar-vgg --data cifar-10-batches-bin/ --width-multiplier 0.125 --epochs 30\n"
        "  labc train keywords --data recordings.tar.gz\n",
    )
    train.add_argument("recipe", choices=("digits-mlp", "mnist-mlp", "mnist-cnn", "cifar-vgg", "keywords"), help="what to train")
    train.add_argument(
        "--method", choices=("lab", "lab2", "fp"), default="lab2", help="binary weights; and activations; full precision (default lab2)"
    )
    train.add_argument("--epochs", type=_positive, help="passes over the training set (default: the recipe's)")
    train.add_argument("--seed", type=int, default=0, help="of initial weights and order (default 0)")
    train.add_argument("--split", type=int, default=0, help="which train/test split, for recipes that draw one (default 0)")
    train.add_argument("--width", type=_positive, help="units, or channels, per hidden layer (default: the recipe's)")
    train.add_argument(
        "--width-multiplier", type=float, metavar="X", help="hidden layers X times as wide as the recipe's, 0.125 for an eighth"
    )
    train.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="folder with the data set: the four IDX files of MNIST (else fetched once), CIFAR-10's binary version; "
        "keywords: the folder of recordings, or its .tar.gz",
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("run"), help="folder for the model, checkpoints and logs (default run)"
    )
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")

    inspect = add(
        "inspect", _inspect, "show each layer: types, weights, one bit or not and why not, work and size", "  labc inspect digits.onnx\n"
    )
    build = add(
        "build",
        _build,
        "compile an ONNX model to a C library",
        "  labc build digits.onnx\n  labc build digits.onnx --target arm --name digits -o firmware/digits\n"
        "  labc build digits.onnx --target x86-64 --levels avx512,avx2\n"
        "  labc build digits.onnx --board nucleo-f446re\n"
        "  labc build digits.onnx --target arm --cpu cortex-m33 --flash 256K --ram 64K\n"
        "  labc build digits.onnx --board arduino-nano-33-ble --package arduino\n"
        "  labc build digits.onnx --package python\n"
        "  labc build digits.onnx --keep stages\n",
    )
    check = add(
        "check",
        _check,
        "build a model and prove it equal to the Python reference",
        "  labc check digits.onnx\n  labc check digits.onnx --target arm --samples 100\n"
        "  labc check digits.onnx --inputs images.npy\n  labc check digits.onnx --time\n"
        "  labc check digits.onnx --board microbit-v2 --layers\n  labc check digits.onnx --all\n"
        "  labc check --kernels\n  labc check --kernels --target arm --seed 7\n  labc check --kernels --board mps3-an547\n",
    )
    bench = add(
        "bench",
        _bench,
        "time a model on this machine: the whole, each layer, and what share of the machine's ceiling that is",
        "  labc bench digits.onnx\n  labc bench digits.onnx --target x86-64 --levels avx2\n  labc bench digits.onnx --json\n",
    )
    for sub in (inspect, build, bench):
        sub.add_argument("model", type=Path, metavar="MODEL.onnx")
    check.add_argument("model", type=Path, metavar="MODEL.onnx", nargs="?", help="the model; none with --kernels")
    check.add_argument(
        "--kernels", action="store_true", help="check the kernels alone, on every machine labc knows (--target: on that target's)"
    )
    for sub in (build, check, bench):
        sub.add_argument("--target", help="what to make code for: host (this machine, the default), or one that labc targets lists")
        sub.add_argument(
            "--levels", type=_levels, metavar="A,B", help="which levels a library for x86-64 holds, of avx512, avx512bw, avx2 (default all)"
        )
    bench.set_defaults(target="host")
    check.add_argument("--all", action="store_true", help="check on every board that labc boards lists")
    check.add_argument("--layers", action="store_true", help="also compare every value between two layers, of some inputs")
    for sub in (build, check):
        sub.add_argument(
            "--board", metavar="NAME", help="one of labc boards, or a .toml file: implies target, core, float ABI, flash and RAM"
        )
        sub.add_argument("--cpu", metavar="CORE", help="a core of the target, as cortex-m0plus (default: labc targets)")
        sub.add_argument(
            "--float-abi", choices=("hard", "soft"), help="floats in FPU registers, or no FPU used at all (default: the core's)"
        )
        sub.add_argument("--cc", metavar="COMPILER", help="take this compiler: a name of labc doctor, or a path (default: the first found)")
        sub.add_argument("--flash", type=_bytes, metavar="BYTES", help="what the constants must fit, as 262144 or 256K (default: anything)")
        sub.add_argument("--ram", type=_bytes, metavar="BYTES", help="what the arena must fit; kernels that need too much are not taken")
        sub.add_argument("--name", help="prefix of the library's names in C (default: the file's name)")
    build.add_argument("--package", metavar="FORMAT", help="one of labc packages: write that instead of a compiled library")
    build.add_argument("-o", "--out", type=Path, metavar="DIR", help="folder to write (default NAME-TARGET, or NAME-TARGET-FORMAT)")
    build.add_argument("--keep", type=Path, metavar="DIR", help="also write every stage of the compilation there")
    check.add_argument("--samples", type=_positive, metavar="N", help="random inputs (default 1000; 100 in an emulator)")
    check.add_argument("--seed", type=int, help="of the random inputs (default 0), or of the kernels' cases (default 1)")
    check.add_argument("--inputs", type=Path, metavar="FILE.npy", help="your own inputs as well: uint8 [n, ...]")
    check.add_argument("--time", action="store_true", help="also time one inference on this machine (target host)")
    check.add_argument("--save", type=Path, metavar="FILE.json", help="also write the result there")

    add("boards", _boards, "list the boards labc knows, and what this machine can build for them and run", "  labc boards\n")
    add("targets", _targets, "list what code can be made for, and what this machine can build and run", "  labc targets\n")
    add("packages", _packages, "list the formats that build --package knows, and what validates them here", "  labc packages\n")
    add("doctor", _doctor, "say what is installed, what is missing, and how to get it", "  labc doctor\n")
    return top


if __name__ == "__main__":
    sys.exit(main())
