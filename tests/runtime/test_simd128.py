"""WebAssembly's simd128 in wasmtime: nothing behind an argument is touched, and counts that 16 bits do not hold are right.

The kernel check proves the rest (tests/check/test_kernels.py); memory has no unreadable page there, but its end traps.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from building import RUNTIME
from here import not_run_here

from labc import kernels, toolchain
from labc.bits import pack_signs
from labc.compiling import compile_objects
from labc.emulator import EmulatorFault, wasm
from labc.image import link_image
from labc.plan.layout import pack
from labc.target import TARGETS

TABLE = kernels.table()
OPS = [op for op, isa in TABLE.kernels if isa == "simd128"]
ROWS, CHANNELS, HEIGHT, WIDTH = 83, 51, 4, 3
WINDOW = (HEIGHT, WIDTH, CHANNELS, HEIGHT, WIDTH, 3, 3, 1, 1, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The kernels as a module; None where it cannot be made or run."""
    target, place = TARGETS["wasm32"], tmp_path_factory.mktemp("module")
    if reason := wasm.available():
        not_run_here("simd128 in wasmtime", reason)
        return None
    tool = toolchain.find(target)
    objects = compile_objects(tool, target, [RUNTIME / file for file in kernels.sources("simd128")], [RUNTIME], place)
    return link_image(tool, target, objects, None, place / "module.wasm", keep=[f"labc_{op}_simd128" for op in OPS])


def contents(op: str) -> dict[str, bytes]:
    """An argument for each pointer of an op: exactly as long as it must be."""
    kernel, rng = TABLE.kernels[op, "simd128"], np.random.default_rng(1)
    image, signs = "conv" in op, op.startswith("sign")
    pixels, taps = (HEIGHT * WIDTH, 9) if image else (1, 1)
    shape = (taps, CHANNELS) if signs and image else (taps * CHANNELS,)
    weights = rng.choice(np.array([-1, 1], np.int8), (ROWS, *shape))
    inputs = rng.choice(np.array([-1, 1], np.int8), (pixels, CHANNELS))
    element = 4 if op.endswith("sums") else 1
    return {
        "x": b"".join(pack_signs(row).tobytes() for row in inputs) if signs else rng.bytes(pixels * CHANNELS),
        "w": pack(weights, kernel).tobytes(),
        "limits": rng.integers(0, taps * CHANNELS, ROWS, np.int32).tobytes(),
        "thresholds": rng.integers(-4000, 4000, ROWS, np.int32).tobytes(),
        "m": rng.integers(1, 1000, ROWS, np.int32).tobytes(),
        "b": rng.integers(-1000, 100_000, ROWS, np.int64).tobytes(),
        "window": struct.pack("<13I", *WINDOW),
        "y": bytes(pixels * (4 * -(-ROWS // 32) if "threshold" in op else element * ROWS)),
        "scratch": bytes(kernel.scratch_bytes(inputs=taps * CHANNELS, rows=ROWS, channels=CHANNELS, taps=taps)),
    }


@pytest.mark.parametrize("op", OPS)
def test_arguments_may_end_where_memory_does(op: str, module: Path | None) -> None:
    """Each in turn; and where its last element is outside, the kernel traps: it does use all of it."""
    if module is None:
        return
    run, data = wasm.Image(module), contents(op)
    scalars = {"inputs": CHANNELS, "rows": ROWS, "offset": 128, "shift": 8}
    types = {parameter.name: parameter.ctype for parameter in TABLE.ops[op].parameters}
    names = list(types)
    usual = scalars | {name: run.alloc(len(data[name]), 16) for name in names if name not in scalars}
    page = run.alloc(wasm.PAGE)
    end = -(-(page + wasm.PAGE) // wasm.PAGE) * wasm.PAGE
    with pytest.raises(Exception, match="are not all memory"):
        run.read(end, 1)

    def result(places: dict[str, int]) -> bytes:
        for name in names:
            if name not in scalars:
                run.write(places[name], data[name][: end - places[name]])
        run.call(f"labc_{op}_simd128", *(places[name] for name in names))
        return run.read(places["y"], len(data["y"]))

    want = result(usual)
    assert len(set(want)) > 2
    for name in names:
        if name in scalars or not data[name]:
            continue
        assert result(usual | {name: end - len(data[name])}) == want, name
        if name != "scratch":  # of which a kernel need not use all
            with pytest.raises(EmulatorFault):
                result(usual | {name: end - len(data[name]) + (1 if "8" in types[name] else 8 if "64" in types[name] else 4)})


@pytest.mark.parametrize("inputs", [32767, 32768, 65535, 65536, 200_003])
def test_sign_counts_do_not_overflow(inputs: int, module: Path | None) -> None:
    """Row 0 differs everywhere, row 1 nowhere, the others at random; of a vector, and of one pixel with as many channels."""
    if module is None:
        return
    run, rng = wasm.Image(module), np.random.default_rng(inputs)
    w = rng.choice(np.array([-1, 1], np.int8), (11, inputs))
    x = -w[0]
    w[1] = x
    want = (w.astype(np.int32) @ x.astype(np.int32)).astype(np.int32)
    window = run.alloc(52)
    run.write(window, struct.pack("<13I", 1, 1, inputs, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0))
    for op, weights in (("sign_matvec", w), ("sign_conv", w[:, None, :])):
        kernel = TABLE.kernels[f"{op}_sums", "simd128"]
        arrays = (pack_signs(x).tobytes(), pack(weights, kernel).tobytes())
        at = [run.alloc(len(data), 16) for data in arrays]
        for place, data in zip(at, arrays, strict=True):
            run.write(place, data)
        size = (inputs, 11) if op == "sign_matvec" else (window, 11)
        scratch = () if op == "sign_matvec" else (run.alloc(kernel.scratch_bytes(inputs=inputs, rows=11, channels=inputs, taps=1)),)
        y, limits = run.alloc(44), run.alloc(44)
        run.call(kernel.function, *at, *size, y, *scratch)
        assert np.array_equal(np.frombuffer(run.read(y, 44), np.int32), want)
        at_most = (inputs - want) // 2 - np.arange(11) % 2
        run.write(limits, (at_most * (1 if op == "sign_matvec" else 2)).astype(np.int32).tobytes())
        run.call(f"labc_{op}_threshold_simd128", *at, limits, *size, y, *scratch)
        assert struct.unpack("<I", run.read(y, 4)) == (0b10101010101,)


TRAP = """
import signal, sys
from pathlib import Path
from labc.emulator import EmulatorFault, wasm
run = wasm.Image(Path(sys.argv[1]))
signal.signal(signal.SIGSEGV, signal.SIG_DFL)
try:
    run.call(sys.argv[2], *[1 << 30] * int(sys.argv[3]))
except EmulatorFault as fault:
    print(fault)
"""


def test_a_trap_needs_no_signal_handler(module: Path | None) -> None:
    """A library may have taken it away, as Lightning does after a training: the process goes on."""
    if module is None:
        return
    words = [f"labc_{OPS[0]}_simd128", str(len(TABLE.ops[OPS[0]].parameters))]
    done = subprocess.run([sys.executable, "-c", TRAP, str(module), *words], capture_output=True, text=True, check=False)
    assert "out of bounds memory access" in done.stdout, done
