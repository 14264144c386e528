"""Times labc's libraries and the rivals in one process, on one core, turn by turn. benchmarks/rivals.py starts it and reads what it writes.

Every round takes one sample of each engine, in an order drawn anew. Each sample comes after calls that warm the caches again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import architecture
import engines
import measuring
import numpy as np

FLOAT, INT8, OPENVINO, TORCH = "onnxruntime float32", "onnxruntime int8", "OpenVINO int8", "torch float32"
PACKAGES = ("onnxruntime", "openvino", "torch", "onnx", "numpy")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def labc_package(folder: Path) -> Any:
    """The package labc in `folder`, alone: nothing else that is installed beside it comes with it."""
    spec = importlib.util.spec_from_file_location("labc", folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder}: no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["labc"] = module
    spec.loader.exec_module(module)
    return module


def from_python(call: Callable[[], object]) -> Callable[[int], float]:
    """The function that times n calls and returns the seconds of one."""

    def sample(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    return sample


def rivals(models: Path, words: list[str]) -> tuple[list[engines.Engine], dict[str, str]]:
    """Every rival that runs here, in every variant, and the reason of each that does not."""
    say("  the rivals' networks: float32, then int8 with onnxruntime's static quantization")
    network = architecture.parse(words)
    full = engines.float_model(models / "float32.onnx", network)
    int8 = {name: engines.int8_model(models / f"{name}.onnx", full, name) for name in engines.INT8}
    x = np.random.default_rng(2).random((1, *network.shape), np.float32)
    wanted = [(FLOAT, "float", engines.with_onnxruntime, full)]
    wanted += [(INT8, name, engines.with_onnxruntime, path) for name, path in int8.items()]
    wanted += [(OPENVINO, name, engines.with_openvino, path) for name, path in int8.items()]
    wanted += [(TORCH, name, engines.with_torch, full) for name in ("eager", "jit")]
    made: list[engines.Engine] = []
    reasons = {}
    for rival, variant, build, path in wanted:
        try:
            engine = build(rival, variant, path, x)
            engine.call()
        except Exception as error:  # whatever an engine throws: the others still run
            reasons[f"{rival}, {variant}"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            continue
        say(f"  {rival}, {variant}: {engine.note}")
        made.append(engine)
    return made, reasons


def errors(made: list[engines.Engine]) -> dict[str, float]:
    """How far each engine's scores are from the first one's, relative to their size: all must have computed the same network."""
    exact = np.asarray(made[0].scores(), np.float64)
    return {f"{e.rival}, {e.variant}": float(np.abs(e.scores() - exact).max() / np.abs(exact).max()) for e in made}


def measure(samplers: dict[str, Callable[[int], float]], rounds: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Microseconds of each engine in each round, and the calls in one sample."""
    say("  calibrating")
    calls = {name: measuring.calibrate(sample) for name, sample in samplers.items()}
    order = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for number in range(rounds):
        if number % max(1, rounds // 5) == 0:
            say(f"  round {number} of {rounds}")
        for name in order.sample(sorted(samplers), len(samplers)):
            samplers[name](measuring.WARM_CALLS)
            times[name].append(1e6 * samplers[name](calls[name]))
    return times, calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labc", type=Path, required=True, help="folder of the package labc")
    parser.add_argument("--library", type=Path, action="append", required=True, help="folder of a labc library (repeatable)")
    parser.add_argument("--timer", type=Path, required=True, help="labc's C timer, as a shared library")
    parser.add_argument("--models", type=Path, required=True, help="folder for the rivals' networks")
    parser.add_argument("--network", nargs="+", required=True, help="words of benchmarks/architecture.py")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--core", type=int, help="the core to run on")
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    arguments = parser.parse_args()
    core = measuring.pin(arguments.core)  # first: thread pools count the cores there are
    labc = labc_package(arguments.labc)
    made, reasons = rivals(arguments.models, arguments.network)
    samplers = {f"{engine.rival}, {engine.variant}": from_python(engine.call) for engine in made}
    kernels = {}
    for folder in arguments.library:
        library, called = measuring.CLibrary(folder, arguments.timer), labc.load(folder)
        if called.self_test() != 0:
            say(f"{folder}: the library fails its own self-test; run labc check on its model")
            return 1
        rows = library.input[None]
        samplers[f"labc {folder.name}, from C"] = library.sample
        samplers[f"labc {folder.name}, from Python"] = from_python(lambda called=called, rows=rows: called(rows))
        kernels[folder.name] = library.kernels
    times, calls = measure(samplers, arguments.rounds)
    result = {
        "us": times,
        "calls": calls,
        "core": core,
        "not_run": reasons,
        "notes": {f"{engine.rival}, {engine.variant}": engine.note for engine in made},
        "errors": errors(made) if made else {},
        "labc_kernels": kernels,
        "versions": {name: version(name) for name in PACKAGES},
    }
    arguments.json.write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
