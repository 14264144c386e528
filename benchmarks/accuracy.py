"""Test accuracy of the recipes, by the protocol that stands in each recipe's docstring.

    python benchmarks/accuracy.py digits                        # 5 splits × 3 seeds × lab2, lab, fp: about 6 minutes on two cores
    python benchmarks/accuracy.py mnist --data DIR              # width 512, 12 epochs, 3 seeds × lab2, lab, fp
    python benchmarks/accuracy.py mnist-cnn --data DIR          # 3 seeds × lab2
    python benchmarks/accuracy.py keywords --data FILE.tar.gz   # 3 seeds × lab2
    python benchmarks/accuracy.py cifar-subset --data DIR       # an eighth of the width, 15 epochs, 1 seed × lab2, lab
    python benchmarks/accuracy.py digits --method lab2 --json digits-lab2.json

Prints mean ± standard deviation (over runs, n − 1) of the checkpoint that is best on validation. "exported" is what the ONNX file
computes: with 8-bit activations for lab, the same as torch for lab2 and fp. One run a line goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from labc.errors import LabcError
from labc.train.recipes import TrainResult, run


@dataclass(frozen=True)
class Protocol:
    """Which runs of a recipe make a result."""

    recipe: str
    methods: Sequence[str] = ("lab2",)
    seeds: Sequence[int] = range(3)
    splits: Sequence[int] = (0,)
    options: dict[str, Any] = field(default_factory=dict)


PROTOCOLS = {
    "digits": Protocol("digits-mlp", ("lab2", "lab", "fp"), splits=range(5)),
    "mnist": Protocol("mnist-mlp", ("lab2", "lab", "fp"), options={"width": 512, "epochs": 12}),
    "mnist-cnn": Protocol("mnist-cnn"),
    "keywords": Protocol("keywords"),
    "cifar-subset": Protocol("cifar-vgg", ("lab2", "lab"), range(1), options={"width_multiplier": 0.125, "epochs": 15}),
}


def runs(protocol: Protocol, methods: Sequence[str], data: Path | None) -> Iterable[TrainResult]:
    for method in methods:
        for split in protocol.splits:
            for seed in protocol.seeds:
                with tempfile.TemporaryDirectory() as out:
                    yield run(
                        protocol.recipe, method=method, seed=seed, split=split, data=data, out=out, progress=False, **protocol.options
                    )


def exported(result: TrainResult) -> float:
    return result.test_accuracy if result.quantized_test_accuracy is None else result.quantized_test_accuracy


def spread(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values) if len(values) > 1 else 0:.2f}"


def table(results: list[TrainResult]) -> Table:
    first = results[0]
    title = f"{first.recipe} {'-'.join(str(width) for width in first.widths)}, {first.epochs} epochs: accuracy in %"
    found = Table("method", "runs", "validation", "test, torch", "test, exported", "seconds a run", title=title)
    for method in dict.fromkeys(result.method for result in results):
        rows = [result for result in results if result.method == method]
        found.add_row(
            method,
            str(len(rows)),
            spread([row.validation_accuracy for row in rows]),
            spread([row.test_accuracy for row in rows]),
            spread([exported(row) for row in rows]),
            f"{statistics.median(row.seconds for row in rows):.1f}",
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_set", choices=tuple(PROTOCOLS))
    parser.add_argument("--method", action="append", choices=("lab2", "lab", "fp"), help="only this method (repeatable)")
    parser.add_argument("--data", type=Path, help="the data set's folder, or file; mnist without it is fetched once")
    parser.add_argument("--json", type=Path, help="write every run's result there")
    arguments = parser.parse_args()
    protocol = PROTOCOLS[arguments.data_set]
    results: list[TrainResult] = []
    try:
        for result in runs(protocol, arguments.method or protocol.methods, arguments.data):
            results.append(result)
            line = f"{result.method} split {result.split} seed {result.seed}: {exported(result):.4f} ({result.seconds:.1f} s)"
            print(line, file=sys.stderr, flush=True)
    except LabcError as error:
        print(error, file=sys.stderr)
        return error.code
    Console(width=120).print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
