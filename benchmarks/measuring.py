"""What the timing scripts share: the facts of this machine, medians with their spread, and a labc library timed from C."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_S = 1e-3  # a sample is at least this long: far above the clock's step
FEWEST_CALLS = 5  # in a sample
WARM_CALLS = 8  # before each sample: whoever ran before has taken the caches


def processor() -> str:
    """The processor's name, as Linux or else Python tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def caches() -> dict[str, int]:
    """Bytes of each cache that holds data, smallest first: {"L1": 32768, …}. Empty where Linux does not tell."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction" and size[-1] in "KMG":
            found[f"L{level}"] = int(size[:-1]) << {"K": 10, "M": 20, "G": 30}[size[-1]]
    return dict(sorted(found.items(), key=lambda item: item[1]))


def pin(core: int | None) -> int | None:
    """Keep this process on one core (the last it may use, unless `core` names one). None where the system does not pin."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def not_a_core(core: int | None) -> str | None:
    """What is wrong with a --core, or None."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if core is None or core in cores:
        return None
    return f"--core {core}: this process may use {', '.join(map(str, sorted(cores))) or 'the core the system gives it'}"


def commit() -> str:
    """The commit of the tree this file is in, with + where the tree differs from it; "unknown" outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median and the ends of the middle 90 %."""
    low, median, high = np.percentile(values, (5, 50, 95))
    return {"median": float(median), "low": float(low), "high": float(high)}


def told(numbers: dict[str, float] | None) -> str:
    """Median (and middle 90 %), with three figures or more; empty for None."""
    if numbers is None:
        return ""
    digits = max(0, 3 - len(str(abs(int(numbers["median"])))))
    median, low, high = (f"{numbers[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def calls_for(seconds: float) -> int:
    """How many calls make a sample, where one takes `seconds`."""
    return max(FEWEST_CALLS, round(SAMPLE_S / max(seconds, 1e-9)))


def calibrate(sample: Callable[[int], float]) -> int:
    """How many calls make a sample of an action, given the function that times n of them and returns the seconds of one."""
    sample(WARM_CALLS)
    return calls_for(statistics.median(sample(FEWEST_CALLS) for _ in range(9)))


def build_timer(folder: Path) -> Path:
    """Compile labc's C timer to a shared library in `folder` and return its path. Raises LabcError if no compiler works."""
    from labc import resources, target, toolchain
    from labc.compiling import compile_objects, link_shared, shared_name

    host = target.find("host")
    tools = toolchain.find(host)
    objects = compile_objects(tools, host, [resources.folder("runtime") / "bench" / "timer.c"], [], folder)
    return link_shared(tools, host, objects, folder / shared_name("labc_timer"))


class CLibrary:
    """A labc library, called from C on one random input: `sample(n)` is the seconds of one of n inferences."""

    def __init__(self, folder: Path, timer: Path) -> None:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        name, size = facts["name"], int(np.prod(facts["input"]["shape"]))
        binary = next(folder / file for file in facts["files"] if file.startswith("lib/") and not file.endswith(".a"))
        self.kernels = [Path(file).stem for file in facts["files"] if file.startswith("src/") and file.endswith(".c")]
        self.kernels = [stem for stem in self.kernels if not stem.startswith(name)]
        self.input = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
        self.scores = np.zeros(facts["outputs"], np.float32)
        self._arena = _aligned(facts["arena"]["bytes"], max(64, facts["arena"]["align"]))
        self._library = ctypes.CDLL(str(binary.resolve()))  # kept: the function below lies in it
        run = ctypes.cast(getattr(self._library, f"{name}_run"), ctypes.c_void_p)
        self._clock = ctypes.CDLL(str(timer.resolve())).labc_time_u8
        self._clock.restype = ctypes.c_uint64
        self._clock.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_uint32]
        self._arguments = (run, *(array.ctypes.data for array in (self.input, self.scores, self._arena)))

    def sample(self, calls: int) -> float:
        """Seconds of one inference, over `calls` of them in a row."""
        return float(self._clock(*self._arguments, calls)) * 1e-9 / calls


def _aligned(size: int, to: int) -> Any:
    raw = np.zeros(size + to, np.uint8)
    start = -raw.ctypes.data % to
    return raw[start : start + size]
