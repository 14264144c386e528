"""labc beside onnxruntime, OpenVINO and torch: one inference, batch 1, one thread, one core, all engines in one run.

    python benchmarks/rivals.py                                       # the first time it makes its environment: some minutes
    python benchmarks/rivals.py --features avx2 --features native     # also as on a CPU without AVX-512, VNNI and AMX
    python benchmarks/rivals.py --labc-level avx2                      # labc without AVX-512, the rivals with all they have
    python benchmarks/rivals.py --json rivals.json --markdown
    python benchmarks/rivals.py --network 784 256 256 10 --rounds 20   # a quick look
    python benchmarks/rivals.py --network vgg                          # the paper's network for CIFAR-10 (benchmarks/architecture.py)

labc's networks have random signs for weights: lab2 has sign activations, lab 8-bit ones. The rivals compute the same shape with Gemm or
Conv and ReLU: float32, and int8 with static quantization (QDQ, a scale per channel). Each rival is tried in several variants, and its
fastest is shown. The rivals' calls come from Python, through buffers set beforehand; labc is timed from C and also through its Python
call. In each round each engine gives one sample, after calls that warm its caches again; shown are the median and the middle 90 % of the
samples, and of the ratios within each round.

The engines live in an environment of their own (build/rivals/venv, versions from benchmarks/rivals/requirements.txt); TORCH_INDEX=https://…
takes torch from another index. With --features, programs see a lesser CPU (Linux on x86-64 with CPUID faulting); where that cannot be,
the row says so and the exit code stays 0. What --labc-level measures is no substitute: only labc goes without.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import architecture
import measuring
import networks
from rich.console import Console
from rich.table import Table

import labc
from labc.errors import INTERRUPTED, LabcError

HERE = Path(__file__).resolve().parent
PARTS = HERE / "rivals"
sys.path.insert(0, str(PARTS))

import levels  # noqa: E402 - lies in the folder of the parts

OURS = tuple(f"labc {method}, from {caller}" for method in networks.METHODS for caller in ("C", "Python"))
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}


def step(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(what: str, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
    """Run a program to its end; LabcError if it fails. However this ends, it and what it started are gone."""
    full = os.environ | (environment or {})
    try:
        process = subprocess.Popen([*map(str, command)], env=full, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    except OSError as error:
        raise LabcError(f"{what}: {command[0]} does not start ({error.strerror}); remove the environment's folder and try again") from error
    try:
        status = process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status:
        ending = f"was ended by signal {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise LabcError(f"{what} {ending}; see above, or run it by hand: {shlex.join(map(str, command))}")


def environment(folder: Path) -> Path:
    """The python of the engines' environment in `folder`, made or mended where it is not what requirements.txt asks for."""
    python, stamp, wanted = folder / "bin" / "python", folder / "rivals.txt", (PARTS / "requirements.txt").read_text() + sys.version
    if stamp.exists() and stamp.read_text() == wanted:
        step(f"environment: {folder} is there")
        return python
    if folder.exists() and not (folder / "pyvenv.cfg").exists() and any(folder.iterdir()):
        raise LabcError(f"{folder}: is no environment of Python; name another folder with --env")
    step(f"environment: making {folder}")
    run("making the environment", [sys.executable, "-m", "venv", folder])
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if index := os.environ.get("TORCH_INDEX"):
        step(f"environment: torch from {index}")
        torch = next(line for line in wanted.splitlines() if line.startswith("torch="))
        run("installing torch", [*pip, torch, "--index-url", index])
    step("environment: installing " + ", ".join(line for line in wanted.splitlines() if "==" in line))
    run("installing the engines", [*pip, "-r", PARTS / "requirements.txt"])
    stamp.write_text(wanted)
    return python


def measured(level: levels.Level, python: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Build labc's libraries and time everything at one level of features."""
    work = arguments.build / level.name
    work.mkdir(parents=True, exist_ok=True)
    libraries = []
    for method in networks.METHODS:
        step(f"{level.name}: building labc's {method} network")
        model = networks.save(work / f"{method}.onnx", arguments.network, method)
        libraries.append(work / method)
        target = ["--target", "x86-64", "--levels", arguments.labc_level] if arguments.labc_level else ["--target", "host"]
        build = [sys.executable, "-m", "labc.cli", "build", model, *target, "-o", libraries[-1]]
        run("labc build", build, level.environment)
    timer = measuring.build_timer(work)
    step(f"{level.name}: timing")
    command: list[str | Path] = [python, PARTS / "measure.py", "--labc", Path(labc.__file__).parent, "--timer", timer, "--models", work]
    command += ["--network", *arguments.network, "--rounds", str(arguments.rounds), "--json", work / "result.json"]
    for folder in libraries:
        command += ["--library", folder]
    if arguments.core is not None:
        command += ["--core", str(arguments.core)]
    run("timing", command, ONE_THREAD | {"PYTHONPATH": str(HERE), "PYTHONNOUSERSITE": "1"} | level.environment)
    result: dict[str, Any] = json.loads((work / "result.json").read_text())
    return result


def summary(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per engine, a rival's by its fastest variant: microseconds, and ratios to each of labc's times within each round."""
    samples = result["us"]
    fastest: dict[str, str] = {}
    for name in sorted(samples, key=lambda name: measuring.spread(samples[name])["median"]):
        fastest.setdefault(name if name in OURS else name.partition(",")[0], name)
    rows = []
    for name, values in samples.items():
        if name in fastest.values():
            ratios = {ours: measuring.spread([a / b for a, b in zip(values, samples[ours], strict=True)]) for ours in OURS}
            row = {"engine": name, "us": measuring.spread(values), "ratios": {} if name in OURS else ratios}
            rows.append(row | {"note": result["notes"].get(name, ""), "error": result["errors"].get(name)})
    return sorted(rows, key=lambda row: (row["engine"] not in OURS, row["us"]["median"]))


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [[row["engine"], measuring.told(row["us"]), *(measuring.told(row["ratios"].get(ours)) for ours in OURS)] for row in rows]


HEADINGS = ["engine", "µs", *(f"÷ {ours.removeprefix('labc ')}" for ours in OURS)]


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    made = Table(title=title, title_justify="left")
    for number, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="right" if number else "left")
    for row in cells(rows):
        made.add_row(*row)
    return made


def report(console: Console, name: str, facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print one level: what ran where, the table, and what did not run."""
    title = f"{name} ({levels.SHOWN[name]})"
    if "reason" in facts:
        console.print(f"\n{title}: not run here: {facts['reason']}", soft_wrap=True, highlight=False)
        return
    console.print(f"\n{title}: {facts['how']}; core {facts['core']}; load {facts['load']}", soft_wrap=True, highlight=False)
    console.print(f"features: {' '.join(facts['features'])}", soft_wrap=True, highlight=False)
    if arguments.labc_level:
        console.print(f"labc is built for {arguments.labc_level} at most; the rivals use all they find", soft_wrap=True, highlight=False)
    kernels = "; ".join(f"{method}: {' '.join(found)}" for method, found in facts["labc_kernels"].items())
    console.print(f"labc's kernels: {kernels}", soft_wrap=True, highlight=False)
    for row in facts["rows"]:
        if row["note"]:
            error = f", scores within {row['error']:.1e} of float32" if row["error"] else ""
            console.print(f"{row['engine']}: {row['note']}{error}", soft_wrap=True, highlight=False)
    if arguments.markdown:
        print("\n" + measuring.markdown(HEADINGS, cells(facts["rows"])))
    else:
        console.print(table(" ".join(arguments.network), facts["rows"]))
    for engine, reason in facts["not_run"].items():
        console.print(f"{engine}: not run here: {reason}", soft_wrap=True, highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", action="append", choices=tuple(levels.LEVELS), help="what programs may see (repeatable; native)")
    parser.add_argument("--labc-level", choices=("avx2", "avx512bw"), help="build labc for this level at most (default: all this CPU has)")
    parser.add_argument("--rounds", type=int, default=200, help="samples of each engine (default 200: about a minute)")
    parser.add_argument("--network", nargs="+", default=["mlp"], metavar="WORD", help="mlp (default), vgg, or words of architecture.py")
    parser.add_argument("--core", type=int, help="the core to run on (default: the last)")
    parser.add_argument("--build", type=Path, default=HERE.parent / "build" / "rivals", help="folder for what is made (build/rivals)")
    parser.add_argument("--env", type=Path, help="the engines' environment (default: venv in the folder of --build)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    arguments = parser.parse_args()
    if arguments.rounds < 10:
        parser.error("--rounds is at least 10")
    try:
        architecture.parse(arguments.network)
    except ValueError as error:
        parser.error(f"--network {error}")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"--json {arguments.json}: its folder is not there; make it first")
    if complaint := measuring.not_a_core(arguments.core):
        parser.error(complaint)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, with all that was started
    found: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {"labc": labc.__version__, "commit": measuring.commit(), "python": sys.version.split()[0]}
    try:
        arguments.build.mkdir(parents=True, exist_ok=True)
        arguments.build = arguments.build.resolve()
        python = environment((arguments.env or arguments.build / "venv").absolute())
        for name in dict.fromkeys(arguments.features or ["native"]):
            try:
                level = levels.prepare(name, arguments.build)
            except levels.NotHere as reason:
                found[name] = {"reason": str(reason)}
                continue
            load = round(os.getloadavg()[0], 2)
            result = measured(level, python, arguments)
            versions |= result["versions"]
            kept = {key: result[key] for key in ("core", "calls", "not_run", "labc_kernels")}
            every = {engine: measuring.spread(values) for engine, values in result["us"].items()}
            found[name] = {
                "how": level.how,
                "features": level.features,
                "load": load,
                **kept,
                "rows": summary(result),
                "variants_us": every,
            }
    except LabcError as error:
        step(str(error))
        return error.code
    except KeyboardInterrupt:
        step("interrupted; nothing is left running")
        return INTERRUPTED
    console = Console(width=180)
    command = shlex.join(["python", "benchmarks/rivals.py", *sys.argv[1:]])
    console.print(
        f"{command}\n{measuring.processor()}, {time.strftime('%Y-%m-%d')}, {arguments.rounds} rounds", soft_wrap=True, highlight=False
    )
    console.print(", ".join(f"{name} {value}" for name, value in versions.items()), soft_wrap=True, highlight=False)
    for name, facts in found.items():
        report(console, name, facts, arguments)
    if arguments.json:
        machine = {"command": command, "processor": measuring.processor(), "caches": measuring.caches(), "versions": versions}
        run_facts = {"network": arguments.network, "rounds": arguments.rounds}
        arguments.json.write_text(json.dumps(machine | run_facts | {"features": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
