"""Compilers found, spelled, run and survived: the host's own, the zig wheel, clang and GNU's cross compilers where they are."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from here import not_run_here

from labc import emulator, target, toolchain, trial
from labc import process as runner
from labc.compiling import _zig_cache, archive, compile_objects, link_shared, shared_name
from labc.errors import NOT_HERE, LabcError
from labc.flags import Toolchain
from labc.image import image_files, link_image

HOST, ARM, A64, A32 = (target.find(name) for name in ("host", "arm", "aarch64", "armv7"))
CROSS = [
    (ARM, "zig"),
    (ARM, "arm-none-eabi-gcc"),
    (ARM, "clang"),
    (A64, "zig"),
    (A64, "aarch64-linux-gnu-gcc"),
    (A64, "clang"),
    (A32, "zig"),
    (A32, "arm-linux-gnueabihf-gcc"),
    (A32, "clang"),
]
THERE = shutil.which("clang")
LINUX = [(where, name) for where, name in CROSS if where is not ARM]
# The cores that clang makes code for, and the libgcc it takes where it has no compiler-rt: None where it needs neither.
CLANG = [
    ("aarch64", "cortex-a53", None),
    ("aarch64", "cortex-a72", None),
    ("armv7", "cortex-a7", "arm-linux-gnueabihf-gcc"),
    ("riscv32", "rv32imac", "riscv64-unknown-elf-gcc"),
    ("riscv32", "rv32imc", "riscv64-unknown-elf-gcc"),
    ("riscv32", "rv32imac_zbb", "riscv64-unknown-elf-gcc"),
    ("riscv64", "rv64gc", None),
    ("riscv64", "rv64gc_zbb", None),
    ("wasm32", "wasm32-simd128", None),
    ("wasm32", "wasm32", None),
    ("big-endian", "mips32r2", "mips-linux-gnu-gcc"),
]

AFFINE = """
#include <stdint.h>
float affine(float x, float s, float t);
int64_t big(int32_t a, int32_t b);
float affine(float x, float s, float t) { return x * s + t; }
int64_t big(int32_t a, int32_t b) { return (int64_t)a * b; }
"""


def need(where: target.Target, name: str) -> Toolchain:
    """The compiler `name`, or a skip that says why it is not here."""
    try:
        return toolchain.find(where, name)
    except LabcError as error:
        pytest.skip(f"not run here: {error}")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def script(path: Path, text: str) -> Path:
    write(path, "#!/bin/sh\n" + textwrap.dedent(text)).chmod(0o755)
    return path


def nobody(pid: int) -> bool:
    """Whether the process is gone (or a zombie that nobody has collected yet)."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def gone(pids: list[int]) -> bool:
    limit = time.monotonic() + 5
    while not all(map(nobody, pids)) and time.monotonic() < limit:
        time.sleep(0.02)
    return all(map(nobody, pids))


# What comes out


@pytest.mark.parametrize("name", ["cc", "clang", "zig"])
@pytest.mark.parametrize("extra", [(), ("-std=gnu11", "-O3")])
def test_host_library_computes_unfused(name: str, extra: tuple[str, ...], tmp_path: Path) -> None:
    found = need(HOST, name)
    if extra and platform.machine() == "x86_64":
        extra = (*extra, "-mfma")
    objects = compile_objects(found, HOST, [write(tmp_path / "affine.c", AFFINE)], [], tmp_path / "out", (*extra, "-ffp-contract=off"))
    library = ctypes.CDLL(str(link_shared(found, HOST, objects, tmp_path / shared_name("affine"))))
    library.affine.restype, library.affine.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    library.big.restype = ctypes.c_int64
    x = 1 + 2.0**-12  # x*x = 1 + 2^-11 + 2^-24 rounds to 1 + 2^-11; a fused product would keep the 2^-24
    assert library.affine(x, x, -(1 + 2.0**-11)) == 0.0
    assert library.big(-70000, 70000) == -4_900_000_000


@pytest.mark.parametrize(("where", "name"), [(HOST, "cc"), (HOST, "clang"), (HOST, "zig"), *CROSS])
def test_same_bytes_from_any_folder(where: target.Target, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = need(where, name)
    made = []
    for folder in (tmp_path / "a", tmp_path / "somewhere else" / "b"):
        header = write(folder / "include" / "name.h", "static inline const char *header_name(void) { return __FILE__; }\n")
        sources = [
            write(folder / "src" / "one.c", '#include "name.h"\nconst char *one(void);\nconst char *one(void) { return header_name(); }\n'),
            write(folder / "src" / "two.c", "const char *two(void);\nconst char *two(void) { return __FILE__; }\n"),
        ]
        objects = compile_objects(found, where, sources, [header.parent], folder / "build")
        files = [*objects, archive(found, objects, folder / "libname.a")]
        if where is HOST:
            files.append(link_shared(found, where, objects, folder / "libname.so"))
        else:
            start, linker_script = image_files(where)
            objects += compile_objects(found, where, start, [], folder / "build")
            files.append(link_image(found, where, objects, linker_script, folder / "name.elf", keep=["one", "two"]))
        made.append([file.read_bytes() for file in files])
        assert str(tmp_path).encode() not in b"".join(made[-1])
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")  # no variable may change what comes out
        evil = write(tmp_path / "evil" / "stdint.h", "#error the environment was read\n")
        monkeypatch.setenv("CPATH", str(evil.parent))
        monkeypatch.setenv("ZIG_LIB_DIR", str(evil.parent))
    assert made[0] == made[1]


def test_archive_is_replaced_and_keeps_two_of_a_name(tmp_path: Path) -> None:
    found = toolchain.find(HOST)
    a = write(tmp_path / "a" / "part.c", "int a(void);\nint a(void) { return 1; }\n")
    b = write(tmp_path / "b" / "part.c", "int b(void);\nint b(void) { return 2; }\n")
    objects = compile_objects(found, HOST, [a, b], [], tmp_path / "out")
    assert len({*objects}) == 2
    out = tmp_path / "libpart.a"
    first = archive(found, objects, out).read_bytes()
    assert archive(found, objects, out).read_bytes() == first
    library = ctypes.CDLL(str(link_shared(found, HOST, objects, tmp_path / "libpart.so")))
    assert (library.a(), library.b()) == (1, 2)


# Errors


@pytest.mark.parametrize(("where", "name"), [(HOST, "cc"), (HOST, "zig"), (ARM, "zig"), (ARM, "arm-none-eabi-gcc")])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int f(void) { return nothing; }\n", "nothing"),
        ("signed char f(int a);\nsigned char f(int a) { return a; }\n", "conversion"),
        ('#include "no_such_header.h"\n', "no_such_header"),
    ],
)
def test_a_compile_error_names_the_file_and_shows_the_line(where: target.Target, name: str, text: str, said: str, tmp_path: Path) -> None:
    found = need(where, name)
    good = write(tmp_path / "good.c", "int g(void);\nint g(void) { return 0; }\n")
    with pytest.raises(LabcError) as caught:
        compile_objects(found, where, [good, write(tmp_path / "broken.c", text)], [], tmp_path / "out")
    words = str(caught.value)
    assert words.startswith("broken.c: ")
    assert "broken.c:" in words.partition(": ")[2]
    assert said in words
    assert "by hand: " in words


@pytest.mark.parametrize("name", ["cc", "zig"])
def test_an_undefined_symbol_fails_when_linking(name: str, tmp_path: Path) -> None:
    found = need(HOST, name)
    source = write(tmp_path / "half.c", "int missing_part(void);\nint f(void);\nint f(void) { return missing_part(); }\n")
    objects = compile_objects(found, HOST, [source], [], tmp_path)
    with pytest.raises(LabcError, match=r"(?s)^libhalf\.so: .*missing_part"):
        link_shared(found, HOST, objects, tmp_path / "libhalf.so")


@pytest.mark.parametrize(("where", "name"), CROSS)
def test_a_symbol_to_keep_that_is_missing_fails_when_linking(where: target.Target, name: str, tmp_path: Path) -> None:
    found = need(where, name)
    sources, linker_script = image_files(where)
    objects = compile_objects(found, where, sources, [], tmp_path)
    with pytest.raises(LabcError, match="bad_run: defined nowhere"):
        link_image(found, where, objects, linker_script, tmp_path / "x.elf", keep=["bad_run"])


def test_a_library_is_for_the_host_and_an_image_for_a_core(tmp_path: Path) -> None:
    found = toolchain.find(HOST)
    with pytest.raises(LabcError, match="link an image instead"):
        link_shared(found, ARM, [], tmp_path / "x.so")
    with pytest.raises(LabcError, match="link a shared library"):
        link_image(found, HOST, [], tmp_path / "x.ld", tmp_path / "x.elf")


# Which compiler


def test_survey_shows_every_candidate() -> None:
    assert [name for name, _ in toolchain.survey(HOST)] == ["cc", "gcc", "clang", "zig"]
    assert [name for name, _ in toolchain.survey(ARM)] == ["arm-none-eabi-gcc", "clang", "zig"]
    assert [name for name, _ in toolchain.survey(A64)] == ["clang", "aarch64-linux-gnu-gcc", "zig"]
    assert [name for name, _ in toolchain.survey(A32)] == ["clang", "arm-linux-gnueabihf-gcc", "zig"]
    assert [name for name, _ in toolchain.survey(target.find("wasm32"))] == ["clang", "zig"]
    assert [name for name, _ in toolchain.survey(target.find("avr"))] == ["avr-gcc"]
    for _, found in [*toolchain.survey(HOST), *toolchain.survey(ARM)]:
        assert isinstance(found, str) or found.version[0].isdigit()


def test_a_full_disk_is_not_the_compilers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a library that does not load speaks against a compiler."""
    found = toolchain.find(HOST)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "labc-x")

    toolchain.cpu_features.cache_clear()
    monkeypatch.setattr(toolchain.tempfile, "TemporaryDirectory", full)
    for ask in (toolchain.host_isas, lambda tools: toolchain.find(HOST, tools.name)):
        with pytest.raises(OSError, match="No space left on device"):
            ask(found)


def test_a_compiler_whose_libraries_do_not_load_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    found = toolchain.find(HOST)

    def refused(path: str) -> None:
        raise OSError("wrong ELF class")

    toolchain.cpu_features.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", refused)
    with pytest.raises(LabcError, match=r"makes a library that does not load here \(wrong ELF class\)") as caught:
        toolchain.host_isas(found)
    assert caught.value.code == NOT_HERE
    with pytest.raises(LabcError, match=r"makes a library that does not load here \(wrong ELF class\)"):
        toolchain.find(HOST, found.name)


def test_no_compiler_at_all_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    missing = [(name, "not on PATH") for name in ("arm-none-eabi-gcc", "clang")]
    assert toolchain.survey(ARM) == [*missing, ("zig", "the ziglang wheel is not installed")]
    for where, package in (
        (HOST, "apt install gcc libc6-dev"),
        (ARM, "apt install gcc-arm-none-eabi"),
        (A64, "apt install gcc-aarch64-linux-gnu"),
        (A32, "apt install gcc-arm-linux-gnueabihf"),
    ):
        with pytest.raises(LabcError, match=package) as caught:
            toolchain.find(where)
        assert caught.value.code == NOT_HERE
        assert "pip install 'labc[cross]'" in str(caught.value)


def test_the_wheel_stands_in_for_a_compiler_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need(HOST, "zig")
    # A gcc without C headers, and one that is no compiler at all.
    answers = """
    case "$1" in
        -v) echo "Target: x"; echo "gcc version 1.2.3";;
        -print-prog-name=ar) echo /bin/ls;;
        *) echo "x.c:1: fatal error: stdint.h: no"; exit 1;;
    esac
    """
    script(tmp_path / "cc", answers)
    script(tmp_path / "gcc", "echo hello")
    monkeypatch.setenv("PATH", str(tmp_path))
    (_, cc), (_, gcc), (_, clang), _ = toolchain.survey(HOST)
    assert isinstance(cc, str)
    assert "fatal error: stdint.h" in cc
    assert "by hand" not in cc
    assert isinstance(gcc, str)
    assert "neither gcc nor clang" in gcc
    assert clang == "not on PATH"
    assert toolchain.find(HOST).family == "zig"
    assert toolchain.find(ARM).family == "zig"


def test_a_compiler_that_is_too_old_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As gcc 4.6 answers, which knows no C11; named with --cc, or the only one there."""
    answers = """
    case "$1" in
        -v) echo "Target: x86_64-linux-gnu"; echo "gcc version 4.6.3";;
        -print-prog-name=ar) echo /bin/ls;;
        *) echo "cc1: error: unrecognized command line option '-std=c11'"; exit 1;;
    esac
    """
    script(tmp_path / "gcc", answers)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    for force, remedy in (
        (None, r"\); pip install 'labc\[cross\]'"),
        ("gcc", r"\); name another compiler, or pip install 'labc\[cross\]'"),
    ):
        with pytest.raises(LabcError, match=rf"gcc: .*unrecognized command line option '-std=c11'.*{remedy}.*apt install gcc") as caught:
            toolchain.find(HOST, force)
        assert caught.value.code == NOT_HERE


@pytest.mark.parametrize(
    ("linker", "said"), [("ld.lld", "ld.lld, is not there .*apt install lld"), ("/bin/ls", "no compiler-rt for cortex-m4, nor is")]
)
def test_clang_for_a_cortex_m_needs_a_linker_and_a_library(linker: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = f"""
    case "$1" in
        -v) echo "Target: x86_64-pc-linux-gnu"; echo "clang version 14.0.6";;
        -print-prog-name=llvm-ar) echo /bin/ls;;
        -print-prog-name=ld.lld) echo {linker};;
        *-print-libgcc-file-name*) echo libgcc.a;;
    esac
    """
    script(tmp_path / "clang", answers)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = dict(toolchain.survey(ARM))["clang"]
    assert isinstance(found, str)
    assert re.search(said, found)


@pytest.mark.parametrize(("name", "cpu"), [(name, cpu) for name, cpu, _ in CLANG if name != "big-endian"])  # no libgcc of Debian's will do
def test_clang_makes_what_the_emulator_finds_equal(name: str, cpu: str, digits_like: Path) -> None:
    need(target.with_core(target.find(name), cpu), "clang")
    if reason := emulator.available(cpu):
        pytest.skip(f"not run here: {reason}")
    checked = trial.check(digits_like, name, cpu=cpu, cc="clang", sample_count=5)
    assert checked.compiler.startswith("clang ")
    library = [verdict for verdict in checked.verdicts if verdict.what.startswith("library")]
    assert [verdict.status for verdict in library] == ["passed"] * 3


def clang_that(answers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clang, alone on PATH, but for what the cases in `answers` say of its arguments."""
    if THERE is None:
        pytest.skip("not run here: clang is not on PATH")
    script(tmp_path / "clang", f'case "$*" in\n{answers}\nesac\nexec {THERE} "$@"\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)


@pytest.mark.parametrize(("name", "linker"), [("aarch64", "ld.lld"), ("riscv64", "ld.lld"), ("wasm32", "wasm-ld")])
def test_a_clang_without_its_linker_says_so(name: str, linker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clang_that(f"-print-prog-name={linker}) echo {linker}; exit;;", tmp_path, monkeypatch)
    said = rf"clang: its linker, {linker}, is not there \(Debian, Ubuntu: apt install lld\)"
    with pytest.raises(LabcError, match=said) as caught:
        toolchain.find(target.find(name))
    assert caught.value.code == NOT_HERE


@pytest.mark.parametrize(("name", "cpu", "libgcc"), CLANG, ids=[cpu for _, cpu, _ in CLANG])
def test_a_clang_without_a_support_library(
    name: str, cpu: str, libgcc: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where floats or wide products are functions of it, that is the reason; elsewhere clang needs none."""
    where = target.with_core(target.find(name), cpu)
    clang_that("*-print-libgcc-file-name*) echo libgcc.a; exit;;", tmp_path, monkeypatch)
    if libgcc is None:
        assert toolchain.find(where).family == "clang"
        return
    remedy = f"nor is {libgcc} there, .*apt install gcc-{libgcc.removesuffix('-gcc')}"
    said = "nor a libgcc without an FPU" if name == "big-endian" else remedy
    with pytest.raises(LabcError, match=rf"clang: it has no compiler-rt for {cpu}, {said}.*: undefined symbol") as caught:
        toolchain.find(where)
    assert caught.value.code == NOT_HERE
    # Its own compiler-rt comes first, and is believed: a file that is no library is what the linker complains of.
    write(tmp_path / "libgcc.a", "no library")
    clang_that(f"*-print-libgcc-file-name*) echo {tmp_path}/libgcc.a; exit;;", tmp_path / "other", monkeypatch)
    with pytest.raises(LabcError, match=r"clang: trial\.elf: .*libgcc\.a"):
        toolchain.find(where)


def test_a_clang_too_old_for_a_core_fails_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As clang 13 answers."""
    clang_that("*zbb*) echo \"error: invalid arch name, requires '-menable-experimental-extensions'\"; exit 1;;", tmp_path, monkeypatch)
    riscv = target.find("riscv64")
    assert toolchain.find(riscv).family == "clang"
    with pytest.raises(LabcError, match=r"clang: trial\.c: error: invalid arch name"):
        toolchain.find(target.with_core(riscv, "rv64gc_zbb"))


def test_a_libgcc_for_another_abi_is_not_taken() -> None:
    """Debian's for MIPS has floats in FPU registers: GNU's linker only warns, and what it makes stops."""
    where = target.find("big-endian")
    if shutil.which("mips-linux-gnu-gcc") is None:
        pytest.skip("not run here: mips-linux-gnu-gcc is not on PATH")
    found = dict(toolchain.survey(where))
    assert "relocation" in str(found["mips-linux-gnu-gcc"])
    assert "the libgcc of mips-linux-gnu-gcc will not do" in str(found["clang"])
    assert isinstance(found["zig"], Toolchain)


def test_force_takes_that_one_or_none(tmp_path: Path) -> None:
    with pytest.raises(LabcError, match=r"\); did you mean 'arm-none-eabi-gcc'\? name another compiler"):
        toolchain.find(ARM, "arm-none-eabi-gc")
    assert need(HOST, "zig").family == "zig"
    by_name = need(HOST, "gcc")
    assert toolchain.find(HOST, by_name.cc[0]).version == by_name.version
    with pytest.raises(LabcError, match="no-such-cc: not on PATH") as caught:
        toolchain.find(HOST, "no-such-cc")
    assert caught.value.code == NOT_HERE
    assert need(A64, "clang").family == "clang"
    assert need(A64, "aarch64-linux-gnu-gcc").family == "gcc"
    with pytest.raises(LabcError, match=r"clang: .* from avr-gcc; take that .*apt install gcc-avr avr-libc"):
        toolchain.find(target.find("avr"), "clang")
    for where in (ARM, target.find("wasm32")):
        with pytest.raises(LabcError, match=rf"gcc: compiles for .*, not for {where.cpu}"):
            toolchain.find(where, "gcc")
    if platform.machine() == "x86_64":
        with pytest.raises(LabcError, match=r"gcc: compiles for .*, not for cortex-a53"):
            toolchain.find(A64, "gcc")


def test_a_compiler_for_risc_v_under_another_triple(tmp_path: Path) -> None:
    """Espressif's gcc says riscv32-esp-elf: what it makes is tried, its name is not judged."""
    real = shutil.which("riscv64-unknown-elf-gcc")
    if real is None:
        not_run_here("a RISC-V compiler of another name", "riscv64-unknown-elf-gcc is not on PATH")
        return
    other = write(
        tmp_path / "riscv32-esp-elf-gcc",
        f'#!/bin/sh\nif [ "$1" = -v ]; then {real} -v 2>&1 | sed "s/^Target: .*/Target: riscv32-esp-elf/"; else exec {real} "$@"; fi\n',
    )
    other.chmod(0o755)
    found = toolchain.find(target.with_core(target.find("riscv32"), "rv32imc"), str(other))
    assert (found.name, found.family) == ("riscv32-esp-elf-gcc", "gcc")


def test_a_file_that_does_not_start(tmp_path: Path) -> None:
    write(tmp_path / "gcc", "this is not a program").chmod(0o755)
    with pytest.raises(LabcError, match="does not start") as caught:
        toolchain.find(HOST, str(tmp_path / "gcc"))
    assert caught.value.code == NOT_HERE


# A program for Linux, on a second opinion


@pytest.mark.parametrize(("where", "name"), LINUX)
def test_a_linux_program_takes_the_library(where: target.Target, name: str, tmp_path: Path) -> None:
    """What labc builds links into a program for Linux, and into one that is loaded anywhere, the default of most systems."""
    gcc, qemu, leave = {
        "aarch64": ("aarch64-linux-gnu-gcc", "qemu-aarch64", 'register long r __asm__("x0") = c, n __asm__("x8") = 93;'),
        "armv7": ("arm-linux-gnueabihf-gcc", "qemu-arm", 'register long r __asm__("r0") = c, n __asm__("r7") = 1;'),
    }[where.name]
    found, linker = need(where, name), need(where, gcc)
    if shutil.which(qemu) is None:
        pytest.skip(f"not run here: {qemu} is not on PATH")
    declared = "extern const int labc_constants[3];\n"
    part = write(tmp_path / "part.c", f"{declared}int part(int i);\nint part(int i) {{ return labc_constants[i]; }}\n")
    data = write(tmp_path / "data.c", f"{declared}const int labc_constants[3] = {{40, 41, 42}};\n")
    objects = compile_objects(found, where, [part, data], [], tmp_path / "o")
    library = archive(found, objects, tmp_path / "libpart.a")
    call = "int c = part(2);"
    main = f'int part(int i);\nvoid _start(void) {{ {call} {leave} __asm__ volatile("svc #0" : : "r"(r), "r"(n)); }}\n'
    for how, kind in (("-static", 2), ("-pie", 3)):  # ET_EXEC, ET_DYN
        program = tmp_path / f"main{how}"
        command = [*linker.cc, "-O1", "-marm"][: 3 if where is A32 else 2]
        command += [str(write(tmp_path / "main.c", main)), str(library), "-nostdlib", "-Wl,--fatal-warnings", how, "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert program.read_bytes()[16] == kind
        if how == "-static":  # the other one needs a C library that relocates it
            assert subprocess.run([qemu, str(program)], timeout=30, check=False).returncode == 42


# Nothing is left running


def slow(tmp_path: Path) -> Toolchain:
    """A compiler that starts a child, notes both, and waits."""
    program = script(tmp_path / "slow-cc", f"sleep 60 &\necho $$ $! >> {tmp_path}/pids\nwait\n")
    return Toolchain("slow", "gcc", "1", (str(program),), ("ar",))


@pytest.mark.skipif(sys.platform != "linux", reason="not run here: reads /proc")
def test_a_hanging_compiler_is_stopped_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TIMEOUT_S", 0.5)
    source = write(tmp_path / "f.c", "")
    began = time.monotonic()
    with pytest.raises(LabcError, match=r"f\.c: slow-cc did not end within 0\.5 s"):
        compile_objects(slow(tmp_path), HOST, [source, source, source], [], tmp_path)
    assert time.monotonic() - began < 5
    assert gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


@pytest.mark.skipif(sys.platform != "linux", reason="not run here: reads /proc")
def test_ctrl_c_stops_the_compilers(tmp_path: Path) -> None:
    found = slow(tmp_path)
    code = f"""
    from pathlib import Path
    from labc import target
    from labc.compiling import compile_objects
    from labc.flags import Toolchain
    found = {found!r}
    compile_objects(found, target.find("host"), [Path("a.c"), Path("b.c")], [], Path("out"))
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    # A background job is started with SIGINT ignored and hands that on; Python then has no KeyboardInterrupt.
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env=env,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    limit = time.monotonic() + 20
    while not (tmp_path / "pids").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in words
    assert gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


# zig's cache


@pytest.mark.parametrize("home", ["/proc/nothing", "/dev/null", ""])
def test_no_home_that_can_be_written(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = need(ARM, "zig")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    if not home:
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compile_objects(found, ARM, [write(tmp_path / "affine.c", AFFINE)], [], tmp_path / "out")
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith("labc")]
    assert left == [f"labc-zig-{os.getuid()}"]  # kept for the next time; nothing else is


def test_the_cache_is_where_the_user_has_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _zig_cache() == tmp_path / "labc" / "zig"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _zig_cache() == tmp_path / ".cache" / "labc" / "zig"


def test_a_temporary_cache_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"labc-zig-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabcError, match="somebody else"):
        _zig_cache()


# The start-up code, on a second opinion


@pytest.mark.parametrize("name", ["zig", "arm-none-eabi-gcc"])
@pytest.mark.parametrize(
    ("cpu", "float_abi", "machine"),
    [("cortex-m4", "hard", "mps2-an386"), ("cortex-m3", "soft", "mps2-an385"), ("cortex-m0", "soft", "microbit")],
)
def test_an_image_starts_on_qemu(name: str, cpu: str, float_abi: str, machine: str, tmp_path: Path) -> None:
    variant = replace(ARM, cpu=cpu, float_abi=float_abi)  # type: ignore[arg-type]
    found = need(variant, name)
    qemu = shutil.which("qemu-system-arm")
    if qemu is None:
        pytest.skip("not run here: qemu-system-arm is not on PATH")
    sources, linker_script = image_files(variant)
    if machine == "microbit":
        linker_script = write(tmp_path / "microbit.ld", linker_script.read_text().replace("LENGTH = 4M", "LENGTH = 16K"))
    main = """
    extern volatile float third;
    extern volatile int zero[100], one;
    volatile float third = 3.0f;
    volatile int zero[100], one = 1;
    int main(void);
    int main(void)
    {
        third = third / 9.0f;
        if (BAD) {
            __asm__ volatile("udf #1");
        }
        return third > 0.333f && third < 0.334f ? 40 + one + zero[99] : 1;
    }
    """
    for bad, status in (("0", 41), ("1", 243)):  # 243: 240 and the number of HardFault
        objects = compile_objects(found, variant, [write(tmp_path / "main.c", main), *sources], [], tmp_path, [f"-DBAD={bad}"])
        elf = link_image(found, variant, objects, linker_script, tmp_path / "main.elf")
        command = [
            qemu,
            "-M",
            machine,
            "-nographic",
            "-monitor",
            "none",
            "-serial",
            "none",
            "-semihosting-config",
            "enable=on,target=native",
        ]
        assert subprocess.run([*command, "-kernel", str(elf)], timeout=30, check=False).returncode == status
