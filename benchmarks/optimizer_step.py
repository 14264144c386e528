"""What a step of LAB costs beside Adam's, on the MNIST network 784-2048-2048-2048-10 with batch norm (10 million weights).

    python benchmarks/optimizer_step.py                     # about a minute on two quiet cores
    python benchmarks/optimizer_step.py --rounds 100 --json lab.json

Two tables. "Step": the optimizer alone, on gradients of one real backward pass. "Training step": forward, backward and step on a batch
of 100 random images, binary weights and activations. Every optimizer trains its own copy of the network; in each round each runs once,
in an order drawn anew, so that a busy moment hits all alike. Shown are the median and the quartiles after the first rounds, and the
ratio of the medians to Adam(foreach=True). LAB's step may cost at most 1.3 of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from labc.train import LAB
from labc.train.methods import mlp

WIDTHS = (784, 2048, 2048, 2048, 10)
BATCH = 100
WARM_UP = 5
REFERENCE = "Adam(foreach=True)"
OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    REFERENCE: lambda model: torch.optim.Adam(model.parameters(), foreach=True),
    "Adam(fused=True)": lambda model: torch.optim.Adam(model.parameters(), fused=True),
    "Adam()": lambda model: torch.optim.Adam(model.parameters()),
    "LAB()": lambda model: LAB(model),
    "LAB(fused=True)": lambda model: LAB(model, fused=True),
}


def processor() -> str:
    """The processor's name, as Linux or else Python tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def prepare(build: Callable[[nn.Module], torch.optim.Optimizer]) -> tuple[Callable[[], object], Callable[[], object]]:
    """(step, training step) of one optimizer on its own network, the same at first for each; gradients are there."""
    torch.manual_seed(0)
    model = mlp("lab2", WIDTHS)
    optimizer = build(model)
    images, labels = torch.rand(BATCH, WIDTHS[0]), torch.randint(0, WIDTHS[-1], (BATCH,))
    loss = nn.MultiMarginLoss(p=2)

    def training_step() -> None:
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        optimizer.step()

    training_step()
    return optimizer.step, training_step


def measure(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each action in each round after the warm-up."""
    order = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(WARM_UP + rounds):
        for name in order.sample(sorted(actions), len(actions)):
            start = time.perf_counter()
            actions[name]()
            if number >= WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median, quartiles and minimum in milliseconds, and the ratio of the medians."""
    base = statistics.median(times[REFERENCE])
    rows = {}
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        rows[name] = {"median_ms": median, "low_ms": low, "high_ms": high, "min_ms": min(values), "ratio": median / base}
    return rows


def table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    result = Table(title=title, title_justify="left")
    result.add_column("optimizer")
    for heading in ("median ms", "quartiles ms", "least ms", "ratio"):
        result.add_column(heading, justify="right")
    for name, row in rows.items():
        spread = f"{row['low_ms']:.1f} to {row['high_ms']:.1f}"
        result.add_row(name, f"{row['median_ms']:.1f}", spread, f"{row['min_ms']:.1f}", f"{row['ratio']:.2f}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="rounds after the warm-up of the optimizer alone; a quarter for training")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    arguments = parser.parse_args()
    if arguments.rounds < 8 or arguments.threads < 1:
        parser.error("--rounds is at least 8 and --threads at least 1")
    torch.set_num_threads(arguments.threads)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    actions = {name: prepare(build) for name, build in OPTIMIZERS.items()}
    step = summary(measure({name: pair[0] for name, pair in actions.items()}, arguments.rounds))
    training = summary(measure({name: pair[1] for name, pair in actions.items()}, arguments.rounds // 4))
    machine = {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    console = Console()
    console.print(f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, torch {machine['torch']}, load {load}")
    console.print(f"network {'-'.join(map(str, WIDTHS))}, batch {BATCH}, {arguments.rounds} rounds after {WARM_UP}")
    console.print(f"ratio: of the medians, to {REFERENCE}")
    console.print(table("Step", step))
    console.print(table("Training step", training))
    if arguments.json:
        arguments.json.write_text(json.dumps({**machine, "load": load, "step": step, "training_step": training}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
