"""What an inference costs as the layers grow wider, and which cache holds their weights.

    python benchmarks/scaling.py                                     # widths 256 to 8192: a minute, most of it compiling
    python benchmarks/scaling.py --width 512 --width 1024 --method lab
    python benchmarks/scaling.py --json scaling.json --markdown

A network is 16-W-…-W-10 with random weights and --hidden layers of W x W. Beside it stands 16-W-10, the same without them; the difference
of the two, within each round, is what the W x W layers cost, and the rate is of them alone. Where that difference grows like the
multiply-accumulates (MAC), the rate stays level; where the weights outgrow a cache, it falls if memory is what bounds it. One thread, one
core, batch 1, timed from C, every network in every round in an order drawn anew; shown are medians, and the middle 90 % in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measuring
import networks
from rich.console import Console
from rich.table import Table

import labc
from labc.errors import INTERRUPTED, LabcError

WIDTHS = (256, 512, 1024, 2048, 4096, 8192)
HEADINGS = ("width", "hidden MAC", "inference, µs", "hidden layers, µs", "MAC/ns", "weights, KiB", "fit into")


def step(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build(width: int, hidden: int, method: str, work: Path, timer: Path) -> measuring.CLibrary:
    """The network of `hidden` layers of width x width, compiled and loaded. Raises LabcError if labc cannot build it."""
    step(f"building width {width}, hidden layers: {hidden}")
    widths = [str(n) for n in (16, *[width] * (hidden + 1), 10)]
    model = networks.save(work / f"w{width}_{hidden}.onnx", widths, method)
    folder = labc.compile(model, "host", out=work / f"w{width}_{hidden}")
    model.unlink()
    return measuring.CLibrary(folder, timer)


def measure(pairs: dict[int, tuple[measuring.CLibrary, measuring.CLibrary]], rounds: int) -> dict[int, list[tuple[float, float]]]:
    """Microseconds of the network with and without hidden layers, for each width in each round."""
    step("calibrating")
    calls = {width: [measuring.calibrate(library.sample) for library in pair] for width, pair in pairs.items()}
    order = random.Random(0)
    times: dict[int, list[tuple[float, float]]] = {width: [] for width in pairs}
    for number in range(rounds):
        if number % max(1, rounds // 5) == 0:
            step(f"round {number} of {rounds}")
        for width in order.sample(sorted(pairs), len(pairs)):
            taken = []
            for library, count in zip(pairs[width], calls[width], strict=True):
                library.sample(measuring.WARM_CALLS)
                taken.append(1e6 * library.sample(count))
            times[width].append((taken[0], taken[1]))
    return times


def summary(width: int, hidden: int, times: list[tuple[float, float]], caches: dict[str, int]) -> dict[str, Any]:
    """A row: MACs and weight bytes of the hidden layers, microseconds, the rate, and the smallest cache that holds the weights."""
    macs = hidden * width * width
    size = macs // 8
    alone = measuring.spread([whole - base for whole, base in times])
    return {
        "width": width,
        "hidden_mac": macs,
        "us": measuring.spread([whole for whole, _ in times]),
        "hidden_us": alone,
        "mac_per_ns": macs / alone["median"] / 1000,
        "weight_bytes": size,
        "fits": next((name for name, room in caches.items() if size < room), "memory only" if caches else "not told here"),
    }


def cells(row: dict[str, Any]) -> list[str]:
    mac, size = f"{row['hidden_mac']:,}", f"{row['weight_bytes'] / 1024:,.0f}"
    rate = f"{row['mac_per_ns']:.3g}" if row["mac_per_ns"] > 0 else "below the noise"
    return [str(row["width"]), mac, measuring.told(row["us"]), measuring.told(row["hidden_us"]), rate, size, row["fits"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, action="append", help=f"a width (repeatable; default {' '.join(map(str, WIDTHS))})")
    parser.add_argument("--hidden", type=int, default=2, help="hidden layers of width x width (default 2)")
    parser.add_argument("--method", choices=networks.METHODS, default="lab2", help="sign (lab2, the default) or 8-bit activations (lab)")
    parser.add_argument("--rounds", type=int, default=100, help="samples of each network (default 100)")
    parser.add_argument("--core", type=int, help="the core to run on (default: the last)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    arguments = parser.parse_args()
    widths = list(dict.fromkeys(arguments.width or WIDTHS))
    if min(widths) < 1 or arguments.hidden < 1 or arguments.rounds < 10:
        parser.error("--width and --hidden are at least 1, --rounds at least 10")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"--json {arguments.json}: its folder is not there; make it first")
    if complaint := measuring.not_a_core(arguments.core):
        parser.error(complaint)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, with all that was started
    caches = measuring.caches()
    try:
        with tempfile.TemporaryDirectory(prefix="labc-scaling-", ignore_cleanup_errors=True) as place:
            work = Path(place)
            timer = measuring.build_timer(work)
            pairs = {}
            for width in widths:
                whole, base = (build(width, hidden, arguments.method, work, timer) for hidden in (arguments.hidden, 0))
                pairs[width] = whole, base
            core, load = measuring.pin(arguments.core), round(os.getloadavg()[0], 2)
            kernels = pairs[widths[0]][0].kernels
            times = measure(pairs, arguments.rounds)
    except LabcError as error:
        step(str(error))
        return error.code
    except KeyboardInterrupt:
        step("interrupted; nothing is left running")
        return INTERRUPTED
    rows = [summary(width, arguments.hidden, times[width], caches) for width in widths]
    command = shlex.join(["python", "benchmarks/scaling.py", *sys.argv[1:]])
    sizes = ", ".join(f"{name} {size >> 10:,} KiB" for name, size in caches.items()) or "not told here"
    console = Console(width=140)
    lines = [command, f"{measuring.processor()}, {time.strftime('%Y-%m-%d')}, labc {measuring.commit()}, core {core}, load {load}"]
    lines += [f"caches: {sizes}", f"{arguments.method}, hidden layers: {arguments.hidden}, kernels: {' '.join(kernels)}"]
    console.print("\n".join(lines), soft_wrap=True, highlight=False)
    if arguments.markdown:
        print("\n" + measuring.markdown(HEADINGS, [cells(row) for row in rows]))
    else:
        table = Table()
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading == "fit into" else "right")
        for row in rows:
            table.add_row(*cells(row))
        console.print(table)
    if arguments.json:
        facts: dict[str, Any] = {"command": command, "processor": measuring.processor(), "commit": measuring.commit(), "caches": caches}
        facts |= {"core": core, "load": load, "rounds": arguments.rounds}
        facts |= {"method": arguments.method, "hidden": arguments.hidden, "kernels": kernels}
        arguments.json.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
