"""Many networks in one library: they must not know of each other, and one compilation serves all."""

from __future__ import annotations

from pathlib import Path

import cffi
import numpy as np

from labc import driver, emit
from labc.build import write
from labc.check.samples import draw
from labc.compiling import compile_objects, link_shared, shared_name
from labc.flags import Toolchain
from labc.plan.core import Plan
from labc.target import TARGETS

HOST = TARGETS["host"]


class Kept:
    """Objects by name and bytes of their sources, all compiled by one toolchain with the same flags."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, bytes], Path] = {}

    def __repr__(self) -> str:  # Hypothesis prints what a failing test was given
        return f"Kept({len(self.objects)} objects)"


def inputs(compiled: driver.Compiled, n: int = 60) -> np.ndarray:
    graph = compiled.model.graph
    return draw(graph.types[graph.input().name], n, 1)


def run_all(
    made: list[Plan],
    xs: list[np.ndarray],
    folder: Path,
    tools: Toolchain,
    extra: tuple[str, ...] = (),
    kept: Kept | None = None,
) -> list[np.ndarray]:
    """Compile all plans into one shared library and run each on its inputs.

    kept: what earlier calls compiled, and where this one's are kept; most of the time goes into the runtime's.
    """
    for plan in made:
        write(folder, emit.emit(plan))
    done = (kept or Kept()).objects
    sources = {(path.name, path.read_bytes()): path for path in sorted((folder / "src").glob("*.c"))}
    new = [key for key in sources if key not in done]
    compiled = compile_objects(tools, HOST, [sources[key] for key in new], [folder / "include"], folder / "o", extra)
    done.update(zip(new, compiled, strict=True))
    objects = [done[key] for key in sources]
    library = link_shared(tools, HOST, objects, folder / shared_name("all"))
    ffi = cffi.FFI()
    for plan in made:
        ffi.cdef(f"int {plan.name}_run(const void *input, float *output, void *arena); int {plan.name}_self_test(void *arena);")
    lib = ffi.dlopen(str(library))
    results = []
    for plan, x in zip(made, xs, strict=True):
        arena = np.zeros(plan.arena_bytes // 4, np.uint32)
        scores = np.empty((len(x), plan.output_size), np.float32)
        at = ffi.cast("void *", arena.ctypes.data)
        for row, out in zip(np.ascontiguousarray(x.reshape(len(x), -1)), scores, strict=True):
            assert getattr(lib, f"{plan.name}_run")(ffi.cast("void *", row.ctypes.data), ffi.cast("float *", out.ctypes.data), at) == 0
        assert getattr(lib, f"{plan.name}_self_test")(at) == 0, f"self-test of {plan.name}"
        results.append(scores)
    return results
