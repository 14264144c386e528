"""`make demo`: the main job on real input, as the commands a user would type, and one summary at the end."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from labc import cli
from labc.errors import OK


def main(argv: list[str] | None = None) -> int:
    """Train, build and check the digits network below `--out`; 0 if every command ended well and nothing differed."""
    parser = argparse.ArgumentParser(prog="labc.demo", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--epochs", help="fewer epochs, for a quick look")
    arguments = parser.parse_args(argv)
    out, start = arguments.out, time.monotonic()
    model = str(out / "digits.onnx")
    epochs = ["--epochs", arguments.epochs] if arguments.epochs else []
    inputs = str(out / "test_inputs.npy")
    commands = [
        ["train", "digits-mlp", "--method", "lab2", "--out", str(out), *epochs],
        ["inspect", model],
        ["build", model, "--target", "host", "-o", str(out / "host")],
        ["build", model, "--target", "arm", "-o", str(out / "arm")],
        ["check", model, "--target", "host", "--inputs", inputs, "--time", "--save", str(out / "check-host.json")],
        ["check", model, "--target", "arm", "--inputs", inputs, "--save", str(out / "check-arm.json")],
    ]
    for command in commands:
        print(f"\n$ labc {' '.join(command)}", flush=True)
        code = cli.main(command)
        if code != OK:
            return code
    trained, host, arm = (_load(out / name) for name in ("train.json", "check-host.json", "check-arm.json"))
    _summary(out, trained, host, arm, time.monotonic() - start)
    return OK


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _summary(out: Path, trained: dict[str, Any], host: dict[str, Any], arm: dict[str, Any], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="summary: handwritten digits, binary weights and activations (LAB2)", title_justify="left", show_header=False)
    size, chip, timing = host["size"], arm["chip"], host["timing"]
    counts = {status: host["counts"][status] + arm["counts"][status] for status in host["counts"]}
    rows = [
        ("accuracy", f"{trained['test_accuracy']:.2%} of the test images, {trained['validation_accuracy']:.2%} of the validation images"),
        ("size", f"{size['float32']:,} bytes as float32, {size['packed']:,} packed ({size['float32'] / size['packed']:.1f}x smaller)"),
        ("this machine", f"{timing['median_ns']:,.0f} ns per inference, built with {host['compiler']}"),
    ]
    if chip:
        rows.append(
            ("Cortex-M4", f"flash {chip['flash']:,} bytes, RAM {chip['ram']:,} bytes, {chip['instructions']:,} instructions per inference")
        )
    rows += [
        (
            "checks",
            f"{sum(counts.values())} done: {counts['passed']} passed, {counts['failed']} failed, {counts['not run here']} not run here",
        ),
        ("files", f"{out}/digits.onnx, {out}/host, {out}/arm (start at include/digits.h)"),
        ("time", f"{seconds:.0f} s"),
    ]
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print()
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
