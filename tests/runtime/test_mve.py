"""The MVE kernels, in QEMU: what the kernel check does not try there, as its memory is small and has no end that is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from breadth import some
from building import M55, RUNTIME, compilers, named

from labc import emulator, kernels
from labc.bits import pack_signs
from labc.compiling import compile_objects
from labc.emulator import EmulatorFault
from labc.flags import Toolchain
from labc.plan.layout import pack

OPS = [op for op, isa in kernels.table().kernels if isa == "mve"]
END = 0x2140_0000  # of the SRAM of AN547: what is read behind it is a fault
EVERYWHERE = pytest.mark.parametrize("tool", some(compilers(M55), compilers(M55)[:1]), ids=named)


@pytest.fixture(scope="module")
def core(image: Any) -> Any:
    """core(tool): the MVE kernels on a Cortex-M55 of their own."""
    if reason := emulator.available(M55.cpu or ""):
        pytest.skip(f"not run here: {reason}")
    made: dict[str, Any] = {}

    def load(tool: Toolchain) -> emulator.Core:
        if named(tool) not in made:
            functions = [f"labc_{op}_mve" for op in OPS]
            made[named(tool)] = image(M55, tool, [RUNTIME / file for file in kernels.sources("mve")], functions)
        return emulator.load(made[named(tool)], M55.cpu or "")

    return load


def put(run: emulator.Core, data: bytes, at: int | None = None) -> int:
    address = run.alloc(len(data), 16) if at is None else at
    run.write(address, data)
    return address


def test_every_compiler_and_op() -> None:
    assert len(OPS) == 4
    assert compilers(M55)


@EVERYWHERE
@pytest.mark.parametrize("inputs", [960, 991, 992, 993, 1888, 66_000])
def test_sign_counts_do_not_overflow(tool: Toolchain, inputs: int, core: Any) -> None:
    """Row 0 differs everywhere, row 1 nowhere, the others at random."""
    run, rng = core(tool), np.random.default_rng(inputs)
    w = rng.choice(np.array([-1, 1], np.int8), (11, inputs))
    x = -w[0]
    w[1] = x
    want = w.astype(np.int64) @ x.astype(np.int64)
    weights = put(run, pack(w, kernels.table().kernels["sign_matvec_sums", "mve"]).tobytes())
    signs, sums = put(run, pack_signs(x).tobytes()), run.alloc(44, 4)
    run.call("labc_sign_matvec_sums_mve", signs, weights, inputs, 11, sums)
    assert np.frombuffer(run.read(sums, 44), np.int32).tolist() == want.tolist()
    window = put(run, np.array([1, 1, inputs, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0], np.uint32).tobytes())
    scratch = run.alloc(-(-inputs // 32) * 16, 4)
    run.call("labc_sign_conv_sums_mve", signs, weights, window, 11, sums, scratch)
    assert np.frombuffer(run.read(sums, 44), np.int32).tolist() == want.tolist()


def arguments(run: emulator.Core, op: str, inputs: int, rows: int, data: Any, last: str = "") -> list[int]:
    """Arguments of a call, arrays filled with data(bytes), the one called `last` at the end of memory; windows of 3 x 3 over 5 x 4."""
    kernel = kernels.table().kernels[op, "mve"]
    taps, pixels = (9, 20) if "conv" in op else (1, 1)
    shape = (rows, taps, inputs) if taps > 1 else (rows, inputs)
    words = -(-inputs // 32)
    sizes = {"x": 4 * words * pixels, "w": pack(np.ones(shape, np.int8), kernel).nbytes, "limits": 4 * rows}
    sizes["y"] = pixels * 4 * (-(-rows // 32) if "threshold" in op else rows)
    sizes["scratch"] = kernel.scratch_bytes(inputs=taps * inputs, rows=rows, channels=inputs, taps=taps)
    found = []
    for parameter in kernels.table().ops[op].parameters:
        name = parameter.name
        if name in ("inputs", "rows"):
            found.append({"inputs": inputs, "rows": rows}[name])
            continue
        filled = np.array([5, 4, inputs, 5, 4, 3, 3, 1, 1, 1, 1, 1, 1], np.uint32).tobytes() if name == "window" else data(sizes[name])
        found.append(put(run, filled, END - len(filled) if name == last else None))
    return found


@EVERYWHERE
@pytest.mark.parametrize("op", OPS)
def test_nothing_behind_an_array_is_touched(tool: Toolchain, op: str, core: Any) -> None:
    rng, run = np.random.default_rng(4), core(tool)
    for inputs, rows in ((33, 3), (97, 5), (160, 66), (1025, 35)):
        for last in ("x", "w", "limits", "window", "y", "scratch"):
            if last in {parameter.name for parameter in kernels.table().ops[op].parameters}:
                fresh = core(tool) if inputs == 1025 else run
                fresh.call(f"labc_{op}_mve", *arguments(fresh, op, inputs, rows, rng.bytes, last))


@EVERYWHERE
def test_that_end_is_noticed(tool: Toolchain, core: Any) -> None:
    run = core(tool)
    given = arguments(run, "sign_matvec_sums", 128, 8, bytes, "x")
    with pytest.raises(EmulatorFault):
        run.call("labc_sign_matvec_sums_mve", given[0], given[1], 129, *given[3:])


@EVERYWHERE
def test_the_work_does_not_depend_on_values(tool: Toolchain, core: Any) -> None:
    """Executed instructions are the same for zeros, ones and noise, of all that a kernel is given."""
    rng = np.random.default_rng(3)
    for op in OPS:
        counts = set()
        for data in (bytes, lambda n: b"\xff" * n, rng.bytes):
            run = core(tool)
            counts.add(run.call(f"labc_{op}_mve", *arguments(run, op, 300, 37, data), measure=True).instructions)
        assert len(counts) == 1, (op, counts)


@EVERYWHERE
def test_no_warnings(tool: Toolchain, tmp_path: Path) -> None:
    """compile_objects asks for -Wall -Wextra -Wpedantic -Wconversion -Werror itself; assembly must find its registers at every level."""
    strict = ("-Wshadow", "-Wsign-conversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Wcast-align")
    files = [RUNTIME / file for file in kernels.sources("mve")]
    for flags in (strict, ("-O3", *strict), ("-Os", *strict), ("-O0", *strict)):
        compile_objects(tool, M55, files, [], tmp_path, flags)
