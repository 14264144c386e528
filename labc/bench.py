"""Time a built library on this machine: the whole, each layer where it stands, and what the machine could do at most."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from labc import kernels, resources
from labc.compiling import compile_objects, link_shared, shared_name
from labc.flags import Toolchain
from labc.ir.core import Array
from labc.library import Library
from labc.plan.core import Level, Plan, Step
from labc.target import Target

SAMPLE_NS = 200_000  # one sample is about this long: far above the clock's step, far below a time slice
SAMPLES = 200
_STREAMS = {"avx512": "avx2", "avx512bw": "avx2", "avx2": "avx2", "neon": "neon"}  # best ISA of a level → whose loop reads fastest
_LOOPS = ("sign", "plain", "byte")  # what a register loop may be of: plain is signs without adders, where that may be faster
_KINDS = {"uint8": "u8", "int8": "i8"}
_DECLARATIONS = """
    uint64_t labc_time_u8(void *run, const void *input, float *output, void *arena, uint32_t repeats);
    uint64_t labc_time_i8(void *run, const void *input, float *output, void *arena, uint32_t repeats);
    uint64_t labc_time_ceiling(void *loop, uint32_t steps, uint64_t *products);
    uint64_t labc_time_stream(void *stream, const void *from, size_t bytes, uint32_t repeats, uint64_t *read);
"""
_LAYERS = """
    void labc_time_layers(const void *input, float *output, void *arena, uint32_t repeats, uint64_t *ns);
    uint64_t labc_time_clock(uint32_t repeats);
"""


@dataclass(frozen=True)
class Timing:
    """Nanoseconds: the median of many short warm samples, and the middle 90 % of them. One thread, batch 1.

    A sample is the mean of `repeats` inferences, so the spread is that of samples, not of single calls.
    """

    median_ns: float
    low_ns: float
    high_ns: float
    samples: int
    repeats: int


@dataclass(frozen=True)
class LayerTime:
    """One layer in its place among the others. `macs`: products; speeds in products per nanosecond.

    `ceiling` is what the kernel's instruction set reaches with operands in registers, None where labc has no such loop; `stream` is what
    reading all of the network's weights over and over allows, at one bit per product, or per product with each pixel of an image; `share`
    is of the lower of the two.
    """

    layer: str
    kernel: str
    macs: int
    time: Timing
    macs_per_ns: float | None
    ceiling: float | None
    stream: float | None
    share: float | None


@dataclass(frozen=True)
class Ceilings:
    """What this machine could do at most: register loops in products per ns by "sign ISA", "plain ISA" or "byte ISA"; and reading, in bytes
    per ns.

    `streams`: a buffer as large as the network's weights, `weights` bytes, read from beginning to end again and again.
    """

    loops: dict[str, float]
    stream: float
    weights: int


@dataclass(frozen=True)
class Bench:
    """What `bench` measured; `clock_ns` is what a look at the clock costs, taken off each layer's time."""

    whole: Timing
    layers: tuple[LayerTime, ...]
    ceilings: Ceilings
    clock_ns: float


def processor() -> str:
    """What this machine calls its processor."""
    import platform

    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def time_inference(library: Library, x: Array, tools: Toolchain, target: Target, tick: Callable[[int], None] = lambda n: None) -> Timing:
    """Time NAME_run on the input `x` [size], called from C. Raises LabcError if the timer does not compile."""
    with tempfile.TemporaryDirectory(prefix="labc-time-", ignore_cleanup_errors=True) as work:
        ffi, timer = _load(tools, target, [resources.folder("runtime") / "bench" / "timer.c"], [], _DECLARATIONS, Path(work))
        return _time_whole(ffi, timer, library, x, tick)


def bench(
    library: Library,
    x: Array,
    made: Plan,
    level: Level,
    work_of: Mapping[str, tuple[int, int]],
    layers_timer: str,
    tools: Toolchain,
    target: Target,
    tick: Callable[[int], None] = lambda n: None,
) -> Bench:
    """Time everything on the input `x` [size], in one run: the whole, its layers, the register loops, the stream of its weights.

    `level` is the one that `library` uses, `layers_timer` emit's C source for it, `work_of` the products and weights of each layer that has
    any.
    """
    runtime = resources.folder("runtime")
    isas = [isa for isa in kernels.table().isas if isa in level.isas]
    loops = [isa for isa in isas if (runtime / "bench" / f"{isa}.c").is_file()]
    stream = _STREAMS.get(isas[0], "scalar")
    with tempfile.TemporaryDirectory(prefix="labc-time-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        (work / "layers.c").write_text(layers_timer, encoding="utf-8")
        archive = [library.folder / "lib" / f"lib{library.name}.a"]
        sources = [runtime / "bench" / f"{isa}.c" for isa in dict.fromkeys([*loops, stream])]
        timer = _load(tools, target, [runtime / "bench" / "timer.c", *sources], [], _DECLARATIONS, work / "timer")
        layers = _load(tools, target, [work / "layers.c"], archive, _LAYERS, work / "layers")
        whole = _time_whole(*timer, library, x, tick)
        clock_ns, times = _time_layers(*layers, library, len(level.body) + 1, x, whole, tick)
        weights = sum(array.bytes for array in made.constants if array.name in level.constants and array.values.dtype == np.uint32)
        ceilings = Ceilings(
            {f"{kind} {isa}": _time_loop(*timer, kind, isa, tick) for isa in loops for kind in _LOOPS if _has(*timer, kind, isa)},
            _time_stream(*timer, stream, weights, tick),
            weights,
        )
    steps = [*level.body, level.scores]
    layers_ = tuple(_layer(step, *work_of.get(step.layer, (0, 0)), time, ceilings) for step, time in zip(steps, times, strict=True))
    return Bench(whole, layers_, ceilings, clock_ns)


def _load(
    tools: Toolchain, target: Target, sources: list[Path], archives: list[Path], declarations: str, work: Path
) -> tuple[cffi.FFI, Any]:
    """C sources and archives as a loaded library."""
    folder = resources.folder("runtime")
    includes = [folder, folder / "bench", *(a.parents[1] / "src" for a in archives)]
    objects = compile_objects(tools, target, sources, includes, work)
    linked = link_shared(tools, target, [*objects, *archives], work / shared_name("labc_timer"))
    ffi = cffi.FFI()
    ffi.cdef(declarations)
    return ffi, ffi.dlopen(str(linked))


def _pointers(ffi: cffi.FFI, library: Library, x: Array) -> tuple[Any, Any, Any, tuple[Array, Array]]:
    """C pointers to input, output and arena; and the arrays that must stay alive."""
    x, scores = np.ascontiguousarray(x), np.empty(library.output_size, np.float32)
    cast = [ffi.cast("void *", array.ctypes.data) for array in (x, scores, library.arena)]
    return cast[0], ffi.cast("float *", cast[1]), cast[2], (x, scores)


def _time_whole(ffi: cffi.FFI, timer: Any, library: Library, x: Array, tick: Callable[[int], None]) -> Timing:
    clock = getattr(timer, f"labc_time_{_KINDS[library.input_dtype.name]}")
    entry, output, arena, _alive = _pointers(ffi, library, x)
    run = ffi.cast("void *", int(library.ffi.cast("uintptr_t", library.function("run"))))

    def sample(repeats: int) -> float:
        return float(clock(run, entry, output, arena, repeats)) / repeats

    repeats = _repeats(sample)
    taken = []
    for _ in range(SAMPLES):
        taken.append(sample(repeats))
        tick(1)
    return _timing(taken, repeats)


def _repeats(sample: Callable[[int], float]) -> int:
    """How often to repeat so that a sample takes about SAMPLE_NS; `sample` gives ns per repetition. Warms up, too."""
    repeats = 1
    while sample(repeats) * repeats < SAMPLE_NS and repeats < 1 << 24:
        repeats *= 2
    return repeats


def _timing(taken: list[float], repeats: int) -> Timing:
    low, median, high = np.percentile(taken, (5, 50, 95))
    return Timing(float(median), float(low), float(high), len(taken), repeats)


def _time_layers(
    ffi: cffi.FFI, timer: Any, library: Library, count: int, x: Array, whole: Timing, tick: Callable[[int], None]
) -> tuple[float, list[Timing]]:
    """What a look at the clock costs; and each layer's time, less one look."""
    entry, output, arena, _alive = _pointers(ffi, library, x)
    clock_ns = float(np.median([timer.labc_time_clock(1000) / 1000 for _ in range(SAMPLES)]))
    ns, taken = ffi.new("uint64_t[]", count), []
    for _ in range(SAMPLES):
        timer.labc_time_layers(entry, output, arena, whole.repeats, ns)
        taken.append([max(0.0, ns[i] / whole.repeats - clock_ns) for i in range(count)])
        tick(1)
    return clock_ns, [_timing(list(layer), whole.repeats) for layer in zip(*taken, strict=True)]


def _has(ffi: cffi.FFI, timer: Any, kind: str, isa: str) -> bool:
    """Whether there is a register loop; its declaration is added where there is."""
    name = f"labc_ceiling_{kind}_{isa}"
    ffi.cdef(f"uint64_t {name}(uint32_t steps);")
    return hasattr(timer, name)


def _time_loop(ffi: cffi.FFI, timer: Any, kind: str, isa: str, tick: Callable[[int], None]) -> float:
    """Products per nanosecond of a register loop, median."""
    loop, products = ffi.cast("void *", getattr(timer, f"labc_ceiling_{kind}_{isa}")), ffi.new("uint64_t *")
    steps = _repeats(lambda steps: float(timer.labc_time_ceiling(loop, steps, products)) / steps)
    speeds = []
    for _ in range(SAMPLES):
        ns = timer.labc_time_ceiling(loop, steps, products)
        speeds.append(products[0] / ns)
    tick(SAMPLES)
    return float(np.median(speeds))


def _time_stream(ffi: cffi.FFI, timer: Any, isa: str, weights: int, tick: Callable[[int], None]) -> float:
    """Bytes per nanosecond of reading a buffer of `weights` bytes, median."""
    name = f"labc_stream_{isa}"
    ffi.cdef(f"uint64_t {name}(const void *from, size_t bytes);")
    size = -(-weights // 256) * 256
    raw = np.ones(size + 64, np.uint8)  # written to: pages that are only promised would all be one page of zeros
    start = ffi.cast("void *", raw.ctypes.data + -raw.ctypes.data % 64)
    read, function = ffi.new("uint64_t *"), ffi.cast("void *", getattr(timer, name))
    repeats = _repeats(lambda repeats: float(timer.labc_time_stream(function, start, size, repeats, read)) / repeats)
    speeds = []
    for _ in range(SAMPLES):
        ns = timer.labc_time_stream(function, start, size, repeats, read)
        speeds.append(read[0] / ns)
    tick(SAMPLES)
    return float(np.median(speeds))


def _layer(step: Step, macs: int, weights: int, time: Timing, ceilings: Ceilings) -> LayerTime:
    if macs == 0 or "depthwise" in step.op:  # a depthwise layer has no long sums, and no loop of that kind is measured
        return LayerTime(step.layer, step.function, macs, time, None, None, None, None)
    speed = macs / time.median_ns if time.median_ns > 0 else None
    kinds = {"sign": ("sign", "plain"), "byte": ("byte",)}[step.op.partition("_")[0]]
    loops = [found for kind in kinds if (found := ceilings.loops.get(f"{kind} {step.isa}"))]
    loop, stream = max(loops, default=None), 8 * ceilings.stream * (macs // weights)
    share = speed / min(loop, stream) if speed is not None and loop is not None else None
    return LayerTime(step.layer, step.function, macs, time, speed, loop, stream, share)
