"""No flag a user may set changes a bit: warnings, standards, contraction, float ABIs, 16-bit int, and time that depends on values."""

from __future__ import annotations

import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from breadth import in_turn, some
from building import CHECK, CORTEX_M, CORTEX_M_KERNELS, HOST, RUNTIME, cortex_m_compilers, host_compilers, load, named, zigs
from here import not_run_here
from test_scalar import draw_affine

from labc import kernels, toolchain
from labc.check.kernels import Machine
from labc.compiling import compile_objects, link_program
from labc.emulator.unicorn import Image
from labc.errors import LabcError
from labc.flags import WARNINGS, Toolchain, machine_flags
from labc.target import TARGETS, Target

MEMORIES = [CHECK / "fence_none.c", CHECK / "fence_given.c"]
STRICT = ("-Wshadow", "-Wsign-conversion", "-Wdouble-promotion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla")
O3 = ("-std=gnu11", "-O3", *STRICT)
ON_CORES = in_turn(list(CORTEX_M.values()), [STRICT, O3], cortex_m_compilers(), rare=zigs(cortex_m_compilers()))


def where(value: Any) -> str | None:
    if isinstance(value, tuple):
        return "c11" if value == STRICT else "gnu11-O3"
    if isinstance(value, str):
        return value
    return f"{value.cpu or 'host'}-{value.float_abi}" if isinstance(value, Target) else named(value)


@pytest.mark.parametrize(
    ("target", "flags", "tool"),
    [
        *in_turn([HOST], [STRICT, O3], host_compilers(), rare=zigs(host_compilers())),
        *(pytest.param(*row.values, marks=row.marks or (pytest.mark.sweep if row.values[1] == STRICT else ())) for row in ON_CORES),
    ],
    ids=where,
)
def test_no_warnings(target: Target, tool: Toolchain, flags: Sequence[str], tmp_path: Path) -> None:
    """compile_objects asks for -Wall -Wextra -Wpedantic -Wconversion -Werror itself."""
    sources = [*Machine("any", target).sources, *MEMORIES, CHECK / "memory_main.c"]
    if target == HOST:
        sources += [RUNTIME / "dispatch.c", CHECK / "host_main.c", *([] if sys.platform == "win32" else [CHECK / "fence_mmap.c"])]
    compile_objects(tool, target, sources, [], tmp_path, flags)


@pytest.mark.parametrize("tool", host_compilers(), ids=named)
def test_the_header_is_also_c_plus_plus(tool: Toolchain, tmp_path: Path) -> None:
    source = tmp_path / "use.cpp"
    source.write_text(
        '#include "cpu.h"\n#include "kernels.h"\nstatic_assert(LABC_RUNTIME > 0 && LABC_CPU_AVX2 > 0, "");\n'
        "labc_affine_fn *f = labc_affine_scalar;\nuint32_t (*g)() = labc_cpu_features;\n"
    )
    flags = ["-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", f"-I{RUNTIME}", "-c"]
    command = [*tool.cc, *machine_flags(tool, HOST), *flags, str(source), "-o", str(tmp_path / "use.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "cc1plus" in done.stderr:
        pytest.skip(f"not run here: {named(tool)} comes without C++")
    assert done.returncode == 0, done.stderr


AVR_PGMSPACE = """
#define PROGMEM __attribute__((section(".progmem.data")))
#define pgm_read_byte(at) (*(const volatile unsigned char *)(at))
#define pgm_read_word(at) (*(const volatile unsigned int *)(at))
#define pgm_read_dword(at) (*(const volatile unsigned long *)(at))
"""


def test_int_may_have_16_bits(tmp_path: Path) -> None:
    """Compiles without a warning where int has 16 bits and flash has an address space of its own."""
    zig = next((tool for tool in host_compilers() if tool.family == "zig"), None)
    if zig is None:
        pytest.skip("not run here: the ziglang wheel is not installed")
    (tmp_path / "avr").mkdir()
    (tmp_path / "avr" / "pgmspace.h").write_text(AVR_PGMSPACE)  # what avr-libc has there, as far as kernels.h uses it
    source = tmp_path / "flash.c"
    source.write_text('#include "kernels.h"\nLABC_FLASH const float s[1] = {0x1p-3f};\n_Static_assert(sizeof(int) == 2, "");\n')
    for path in (RUNTIME / "scalar.c", source):
        flags = [
            "-target",
            "avr-freestanding",
            "-mcpu=atmega328p",
            "-mmcu=atmega328p",
            "-Os",
            "-std=c11",
            "-fno-sanitize=undefined",
            *WARNINGS,
        ]
        command = [*zig.cc, *flags, f"-I{tmp_path}", f"-I{RUNTIME}", "-c", str(path), "-o", str(tmp_path / f"{path.stem}.o")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


def test_size_t_may_have_16_bits(tmp_path: Path) -> None:
    """Every plain C kernel, by the compiler whose size_t cannot hold a uint32_t."""
    avr = TARGETS["avr"]
    try:
        tool = toolchain.find(avr)
    except LabcError as error:
        not_run_here("plain C for AVR", str(error))
        return
    compile_objects(tool, avr, [RUNTIME / name for name in kernels.sources("scalar")], [], tmp_path)


@pytest.mark.parametrize("tool", host_compilers(), ids=named)
def test_flags_that_would_change_scores_are_refused(tool: Toolchain, tmp_path: Path) -> None:
    with pytest.raises(LabcError, match="compile without -ffast-math"):
        compile_objects(tool, HOST, [RUNTIME / "scalar.c"], [], tmp_path, ["-ffast-math"])
    if tool.family == "gcc" and platform.machine() == "x86_64":
        with pytest.raises(LabcError, match="floats must be evaluated as floats"):
            compile_objects(tool, HOST, [RUNTIME / "scalar.c"], [], tmp_path, ["-mfpmath=387"])


def has_fma() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return platform.machine() == "x86_64" and cpuinfo.is_file() and " fma " in cpuinfo.read_text()


@pytest.mark.parametrize("tool", host_compilers(), ids=named)
def test_contraction_does_not_reach_the_scores_on_this_machine(tool: Toolchain, shared_library: Any, tmp_path: Path) -> None:
    if not has_fma():
        pytest.skip("not run here: this processor has no x86 fma")
    flags = ["-std=gnu11", "-O3", "-mfma", "-ffp-contract=fast"]
    # The same flags do fuse what is written without care, so the test can tell.
    careless = tmp_path / "careless.c"
    careless.write_text(
        "#include <stdint.h>\n"
        "void careless(const int32_t *x, const float *s, const float *t, uint32_t rows, float *y);\n"
        "void careless(const int32_t *x, const float *s, const float *t, uint32_t rows, float *y)\n"
        "{ for (uint32_t n = 0; n < rows; ++n) y[n] = (float)x[n] * s[n] + t[n]; }\n"
    )
    ffi, library = load(shared_library([RUNTIME / "scalar.c", careless], flags, tool))
    ffi.cdef("void careless(const int32_t *x, const float *s, const float *t, uint32_t rows, float *y);")
    x, s, t, scores = draw_affine(np.random.default_rng(1), 10_000)
    y = np.empty_like(scores)

    def bits_of(function: Any) -> Any:
        function(*(ffi.cast(f"{c} *", a.ctypes.data) for c, a in (("int32_t", x), ("float", s), ("float", t))), len(x), pointer)
        return y.view(np.uint32).copy()

    pointer = ffi.cast("float *", y.ctypes.data)
    np.testing.assert_array_equal(bits_of(library.labc_affine_scalar), scores.view(np.uint32))
    assert (bits_of(library.careless) != scores.view(np.uint32)).any()


@pytest.mark.parametrize("tool", cortex_m_compilers(), ids=named)
@pytest.mark.parametrize("core", CORTEX_M)
def test_every_float_abi_gives_the_same_scores(core: str, tool: Toolchain, image: Any) -> None:
    target = CORTEX_M[core]
    keep = ["labc_affine_scalar", "labc_affine_argmax_scalar"]
    run = Image(image(target, tool, [RUNTIME / "scalar.c"], keep, ["-std=gnu11", "-O3", "-ffp-contract=fast"]), cpu=target.cpu)
    x, s, t, scores = draw_affine(np.random.default_rng(2), 3000)
    places = [run.alloc(a.nbytes, 4) for a in (x, s, t, scores)]
    for place, array in zip(places, (x, s, t), strict=False):
        run.write(place, array.tobytes())
    run.call("labc_affine_scalar", *places[:3], len(x), places[3])
    got = np.frombuffer(run.read(places[3], scores.nbytes), np.uint32)
    np.testing.assert_array_equal(got, scores.view(np.uint32))
    run.call("labc_affine_argmax_scalar", *places[:3], len(x), places[3])
    assert struct.unpack("<I", run.read(places[3], 4))[0] == np.argmax(scores)


def timed(core: str) -> list[kernels.Kernel]:
    """Kernels whose work may not depend on values: all, but where floats are computed by a library, it branches on them."""
    isas = CORTEX_M[core].isas
    return [k for k in kernels.table().kernels.values() if k.isa in isas and (core == "m4-hard" or not k.op.startswith("affine"))]


# What kernels are told in numbers: a dense layer of 300 inputs and 37 rows, and images of 37 channels, with a border and two strides.
SIZES = {"inputs": 300, "rows": 37, "offset": 128, "shift": 33, "channels": 37, "pixels": 12, "count": 30, "first": 5, "plus": 1}
SIZES |= {"low": -1000, "high": 1000, "a_channels": 37, "b_channels": 9, "a_bytes": 37, "b_bytes": 9}
SIZES |= {"channel_bytes": 37, "first_bytes": 5, "count_bytes": 30}
WINDOW = (7, 6, 37, 4, 5, 3, 3, 2, 1, 1, 1, 1, 0)  # the fields of a labc_window in their order
ROOM = 1 << 16  # bytes of any argument


def scratch_of(kernel: kernels.Kernel) -> int:
    windowed = "window" in {parameter.name for parameter in kernels.table().ops[kernel.op].parameters}
    return kernel.scratch_bytes(inputs=9 * 37, rows=37, channels=37, taps=9) if windowed else kernel.scratch_bytes(inputs=300, rows=37)


@pytest.mark.parametrize(("core", "tool"), in_turn(["m4-hard", "m0"], cortex_m_compilers(), rare=zigs(cortex_m_compilers())), ids=where)
def test_the_work_does_not_depend_on_values(core: str, tool: Toolchain, image: Any) -> None:
    """Executed instructions are the same for zeros, ones and noise (all of x, the constants and the weights)."""
    target = CORTEX_M[core]
    tested = timed(core)
    assert {kernel.isa for kernel in tested} == {"cortexm", "scalar"}
    run = Image(image(target, tool, CORTEX_M_KERNELS, [kernel.function for kernel in tested]), cpu=target.cpu)
    rng = np.random.default_rng(3)
    places: dict[str, int] = {}
    for kernel in tested:
        assert scratch_of(kernel) <= ROOM
        counts = set()
        for fill in ("zeros", "ones", "noise", "noise"):
            arguments = []
            for parameter in kernels.table().ops[kernel.op].parameters:
                name = parameter.name
                if not parameter.ctype.endswith("*"):
                    arguments.append(SIZES[name] & 0xFFFFFFFF)
                    continue
                if name not in places:
                    places[name] = run.alloc(ROOM, 8)
                arguments.append(places[name])
                if name == "window":
                    run.write(places[name], struct.pack("<13I", *WINDOW)[:52])
                    continue
                data = {"zeros": bytes(ROOM), "ones": b"\xff" * ROOM}.get(fill) or rng.bytes(ROOM)
                if parameter.ctype == "const float *":
                    data = rng.normal(size=ROOM // 4).astype(np.float32).tobytes() if fill == "noise" else data
                run.write(places[name], data)
            counts.add(run.call(kernel.function, *arguments, measure=True).instructions)
        assert len(counts) == 1, (kernel.function, counts)


# Sizes and weights may decide over branches and addresses in a kernel, and nothing else: memcheck is told that all the rest was never
# set, and complains of a branch or an address that depends on it.
MEMCHECK = """
#include <valgrind/memcheck.h>
#include "kernels.h"
enum { ROOM = 1 << 16 };
NUMBERS
static const labc_window window[1] = {{WINDOW}};
#define BUFFER(name) static _Alignas(128) unsigned char name[ROOM];
BUFFERS
static void hide(unsigned char *at)
{
    VALGRIND_MAKE_MEM_UNDEFINED(at, ROOM);
}
static volatile int kept;
static void careless(const unsigned char *values)
{
    if (values[0] & 1) kept = 1;
}
int main(int words, char **word)
{
    (void)word;
    if (words > 1) {
        hide(x);
        careless(x);
    }
CALLS
    return 0;
}
"""


def hidden_call(kernel: kernels.Kernel) -> str:
    """C that hides the values a kernel is given and calls it."""
    parameters = kernels.table().ops[kernel.op].parameters
    hidden = [p.name for p in parameters if p.ctype.startswith("const ") and p.name not in ("w", "window")]
    arguments = ", ".join(f"({p.ctype})(void *){p.name}" if p.ctype.endswith("*") else p.name for p in parameters)
    return "".join(f"    hide({name});\n" for name in hidden) + f"    {kernel.function}({arguments});\n"


@pytest.mark.parametrize("tool", some(host_compilers(), host_compilers()[:2]), ids=named)
def test_no_branch_and_no_address_depends_on_values_on_this_machine(tool: Toolchain, tmp_path: Path) -> None:
    if shutil.which("valgrind") is None or not Path("/usr/include/valgrind/memcheck.h").is_file():
        not_run_here("values under memcheck", "valgrind or its headers are not installed: apt install valgrind")
        return
    isas = [isa for isa in toolchain.host_isas(tool) if "AVX512" not in kernels.table().isas[isa].needs]  # memcheck has no AVX-512
    rows = [kernel for (_, isa), kernel in kernels.table().kernels.items() if isa in isas]
    names = {p.name for op in kernels.table().ops.values() for p in op.parameters if p.ctype.endswith("*")} - {"window"}
    assert all(scratch_of(kernel) <= ROOM for kernel in rows)
    source = tmp_path / "hidden.c"
    buffers = "\n".join(f"BUFFER({name})" for name in sorted(names))
    numbers = "\n".join(f"static const {'int32_t' if name in ('low', 'high') else 'uint32_t'} {name} = {n};" for name, n in SIZES.items())
    parts = {"BUFFERS": buffers, "NUMBERS": numbers, "WINDOW": ", ".join(map(str, WINDOW)), "CALLS": "".join(map(hidden_call, rows))}
    text = MEMCHECK
    for word, part in parts.items():
        text = text.replace(word, part)
    source.write_text(text)
    flags = ["-Wno-error", "-isystem", "/usr/include"] if tool.family == "zig" else ["-Wno-error"]  # valgrind's header is no C11
    objects = compile_objects(tool, HOST, [RUNTIME / file for isa in isas for file in kernels.sources(isa)], [], tmp_path)
    objects += compile_objects(tool, HOST, [source], [RUNTIME], tmp_path / "main", ["-std=gnu11", *flags])
    program = link_program(tool, HOST, objects, tmp_path / "hidden")
    command = ["valgrind", "-q", "--error-exitcode=9", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command, "careless"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 9
    assert "depends on uninitialised value" in done.stderr
