"""Time a built library on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cffi
import numpy as np

from labc import resources, toolchain
from labc.ir.core import Array
from labc.library import Library
from labc.target import Target

SAMPLE_NS = 200_000  # one sample is about this long: far above the clock's step, far below a time slice
SAMPLES = 200


@dataclass(frozen=True)
class Timing:
    """Nanoseconds per inference: the median of many short warm samples, and the middle 90 % of them. One thread, batch 1."""

    median_ns: float
    low_ns: float
    high_ns: float
    samples: int
    repeats: int


def time_inference(
    library: Library, x: Array, tools: toolchain.Toolchain, target: Target, tick: Callable[[int], None] = lambda n: None
) -> Timing:
    """Time NAME_run on the input `x` [size], called from C. Raises LabcError if the timer does not compile."""
    kind = {"uint8": "u8", "int8": "i8"}[library.input_dtype.name]
    with tempfile.TemporaryDirectory(prefix="labc-time-", ignore_cleanup_errors=True) as work:
        source = resources.folder("runtime") / "bench" / "timer.c"
        objects = toolchain.compile_objects(tools, target, [source], [], Path(work))
        timer = toolchain.link_shared(tools, target, objects, Path(work) / toolchain.shared_name("labc_timer"))
        ffi = cffi.FFI()
        ffi.cdef(f"uint64_t labc_time_{kind}(void *run, const void *input, float *output, void *arena, uint32_t repeats);")
        clock = getattr(ffi.dlopen(str(timer)), f"labc_time_{kind}")
        x, scores = np.ascontiguousarray(x), np.empty(library.output_size, np.float32)
        run = ffi.cast("void *", int(library.ffi.cast("uintptr_t", library.function("run"))))
        pointers = [ffi.cast("void *", array.ctypes.data) for array in (x, scores, library.arena)]

        def sample(repeats: int) -> float:
            return float(clock(run, pointers[0], ffi.cast("float *", pointers[1]), pointers[2], repeats)) / repeats

        repeats = 1
        while sample(repeats) * repeats < SAMPLE_NS and repeats < 1 << 24:
            repeats *= 2
        taken = []
        for _ in range(SAMPLES):
            taken.append(sample(repeats))
            tick(1)
        low, median, high = np.percentile(taken, (5, 50, 95))
    return Timing(float(median), float(low), float(high), SAMPLES, repeats)
