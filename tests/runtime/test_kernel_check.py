"""The kernel check, in C: built and run on this machine, under sanitizers, valgrind and qemu, and on emulated cores; and its own check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import breadth
import pytest
from breadth import some
from building import CHECK, CHECK_SOURCES, HOST, RUNTIME, compilers, host_compilers, named
from here import KERNEL_CHECK, not_run_here

from labc import emulator, kernels, toolchain
from labc.check import kernels as kernel_check
from labc.check.kernels import Machine, read_tap
from labc.compiling import compile_objects, link_program
from labc.emulator.unicorn import Image
from labc.errors import LabcError
from labc.flags import Toolchain, host_machine

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
HERE = Machine("host", HOST)
# Emulated machines with every compiler but the first, which tests/check/test_kernels.py runs. Each other family of
# compilers once here; the sweeps take all, and where there are only the wheels, zig comes first.
ONE_OF_EACH_CODE = (
    "cortex-m0", "cortex-m4", "cortex-m55", "aarch64", "armv7", "riscv32-zbb", "riscv64-zbb", "wasm32-simd128", "big-endian",
)  # fmt: skip
IN_FULL = ("cortex-m0", "cortex-m4", "aarch64", "armv7")  # of the others the scalar kernels are run on pairs
EMULATED = [m for m in kernel_check.machines() if m.name in ONE_OF_EACH_CODE]
OTHERS = [(m, tool) for m in EMULATED for tool in compilers(m.target)[1:]]
ONCE = {
    ("cortex-m4", "clang"), ("riscv32-zbb", "gcc"), ("wasm32-simd128", "zig"),
}  # fmt: skip
PAIRS = () if breadth.SWEEP else ("--pairs",)
Build = Callable[..., Path]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """program(tool, flags, fence): the check as a program of this machine; built once for the same arguments."""
    built: dict[tuple[str, Sequence[str], bool], Path] = {}

    def build(tool: Toolchain, flags: Sequence[str] = (), fence: bool = True) -> Path:
        key = (named(tool), tuple(flags), fence)
        if key not in built:
            built[key] = kernel_check.program(HERE, tool, tmp_path_factory.mktemp("program"), fence=fence, flags=flags)
        return built[key]

    return build


def run(*command: str | Path) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def rows_of(text: str) -> dict[str, str]:
    """Status by row, of a text whose rows are the table's."""
    return {verdict.what: verdict.status for verdict in read_tap(text, HERE.rows)}


def lacking(text: str, *features: str) -> None:
    """Every row that needs one of the features was not run, with that reason; every other row passed."""
    for verdict in read_tap(text, HERE.rows):
        needs = kernels.table().isas[verdict.what.split()[1]].needs
        if set(needs) & set(features):
            assert (verdict.status, verdict.detail) == ("not run here", f"this processor lacks {' or '.join(needs)}")
        else:
            assert verdict.status == "passed", verdict


@pytest.mark.sweep
@pytest.mark.parametrize("bits", [32, 64])
def test_the_kernels_for_zbb_under_sanitizers(bits: int, tmp_path: Path) -> None:
    """They are C but for the name of cpop: with the macros of a compiler for RISC-V they run here, where every access is looked at."""
    if sys.byteorder != "little" or sys.platform == "win32":
        not_run_here(f"kernels for Zbb, {bits} bits, under sanitizers", "this machine has another byte order, or no such sanitizers")
        return
    flags = ["-D__riscv_zbb", f"-D__riscv_xlen={bits}"]
    kernels_of = [RUNTIME / file for file in kernels.sources(f"zbb{bits}")]
    tool = toolchain.find(HOST)
    sources = [*HERE.sources, CHECK / "fence_mmap.c", CHECK / "host_main.c"]
    objects = compile_objects(tool, HOST, sources, [], tmp_path, flags)
    objects += compile_objects(tool, HOST, kernels_of, [], tmp_path / "zbb", [*flags, *SANITIZERS])
    status, text = run(link_program(tool, HOST, objects, tmp_path / "check", SANITIZERS), "1")
    assert status == 0, text
    found = {verdict.what: verdict.status for verdict in read_tap(text)}
    assert {row: found[row] for row in found if "zbb" in row} == {
        f"{op} zbb{bits}": "passed" for op, isa in kernels.table().kernels if isa == f"zbb{bits}"
    }


@pytest.mark.wider
@pytest.mark.parametrize("tool", some(host_compilers(), host_compilers()[:2]), ids=named)
def test_on_this_machine(program: Build, tool: Toolchain) -> None:
    check, runs_here = program(tool), toolchain.host_isas(tool)
    for seed in ("20240501", "0x7fffffff"):  # of the first compiler tests/check/test_kernels.py runs all cases
        status, text = run(check, *PAIRS, seed)
        assert status == 0, text
        assert f"# seed {int(seed, 0)}\n" in text
        assert rows_of(text) == {row: "passed" if row.split()[1] in runs_here else "not run here" for row in HERE.rows}
    status, text = run(check, "--faults", *PAIRS)
    assert status == 0, text
    verdicts = read_tap(text)
    assert all(verdict.status == "passed" for verdict in verdicts) == (sys.platform != "win32")
    findings = (
        "nothing",
        "a wrong value",
        "unused bits",
        "wrote before",
        "wrote past",
        "changed an input",
        "touched memory",
        "used an ins",
    )
    for finding in findings:
        assert f"found: {finding}" in text
    aligned = [verdict for verdict in verdicts if verdict.what.endswith(" sums_aligned_load")]
    assert [verdict.status for verdict in aligned] == ["passed"] * (host_machine() == "x86_64")


def test_the_small_check_leaves_only_large_cases_out(program: Build) -> None:
    check = program(toolchain.find(HOST))
    cases = {verdict.what: int(verdict.detail.split()[0]) for verdict in read_tap(run(check)[1], HERE.rows) if verdict.status == "passed"}
    small = {v.what: int(v.detail.split()[0]) for v in read_tap(run(check, "--small")[1], HERE.rows) if v.status == "passed"}
    assert cases.keys() == small.keys()
    # Every case there is: the blocks hold the largest. Which drawn windows a pool takes depends on the seed.
    families = {"affine": 372, "depthwise": 780, "conv": 1004, "pool": 732, "pad": 732, "matvec": 1836}
    for row, count in cases.items():
        assert count == next((known for family, known in families.items() if family in row), 504)
        if "matvec" in row:
            assert 0 < count - small[row] <= 132
        else:
            assert count / 3 < small[row] <= count  # a kernel with much scratch loses most


def test_a_wrong_command_line(program: Build) -> None:
    status, text = run(program(toolchain.find(HOST)), "seven")
    assert status == 2
    assert "usage:" in text


@pytest.mark.sweep  # most of the time is that of the compilers
@pytest.mark.parametrize("family", ["gcc", "clang"])
def test_under_sanitizers(program: Build, family: str) -> None:
    """AddressSanitizer ends every array of fence_none.c at a red zone of its own; UndefinedBehaviorSanitizer watches the kernels."""
    tool = next((tool for tool in host_compilers() if tool.family == family), None)
    try:
        if tool is None:
            raise LabcError("no such compiler")
        check = program(tool, SANITIZERS, False)
    except LabcError as error:
        not_run_here(f"kernel check under {family}'s sanitizers", str(error).splitlines()[0])
        return
    status, text = run(check)
    assert status == 0, text
    assert rows_of(text) == {row: "passed" if row.split()[1] in toolchain.host_isas(tool) else "not run here" for row in HERE.rows}


@pytest.mark.wider
def test_under_valgrind(program: Build) -> None:
    """Memcheck sees bits that were never set and decide something. It has no AVX-512 and hides it: those rows are not run there."""
    if shutil.which("valgrind") is None:
        not_run_here("kernel check under valgrind", "valgrind is not installed: apt install valgrind")
        return
    status, text = run("valgrind", "-q", "--error-exitcode=9", program(toolchain.find(HOST)), "--small", *PAIRS)
    assert status == 0, text
    hidden = {"AVX512", "VPOPCNTDQ"}
    lacking(text, *hidden, *({"AVX2"} if "avx2" not in toolchain.host_isas(toolchain.find(HOST)) else ()))


@pytest.mark.wider
@pytest.mark.skipif(host_machine() != "x86_64", reason="this machine has no x86 features to hide; needs no tool")
@pytest.mark.parametrize(("cpu", "lacks"), [("Nehalem", ("AVX2", "AVX512", "VPOPCNTDQ")), ("max", ("AVX512", "VPOPCNTDQ"))])
def test_on_older_processors(program: Build, cpu: str, lacks: tuple[str, ...]) -> None:
    """Without a fence: qemu 7.2 reads the whole vector of a masked load, past the page that the processor does not touch."""
    if shutil.which("qemu-x86_64") is None:
        not_run_here(f"kernel check on {cpu}", "qemu-x86_64 is not installed: apt install qemu-user")
        return
    status, text = run("qemu-x86_64", "-cpu", cpu, program(toolchain.find(HOST), (), False), "--small", *PAIRS)
    assert status == 0, text
    lacking(text, *lacks)


@pytest.mark.parametrize(
    ("sound", "faulty", "message"),
    [
        (
            "y[n] = (int32_t)(inputs - 2 * disagreements(x, w, words))",
            "y[n] = (int32_t)(inputs - 3 * disagreements(x, w, words))",
            r"# sign_matvec_sums scalar: inputs \d+ rows \d+ fill \w+ \w+ case \d+ seed 5: index \d+ got -?\d+ want -?\d+\n",
        ),
        ("return product + t;", "return product - t;", r"# affine scalar: .* seed 5: index \d+ got float 0x\w{8} want 0x\w{8}\n"),
        (
            "words = words_of(inputs);",
            "words = words_of(inputs) + 1;",
            r"# sign_matvec_sums scalar: .*: (touched memory past the end|index)",
        ),
        ("rows - n < 32 ? rows - n : 32", "32", r"# sign_matvec_threshold scalar: .*"),
    ],
)
def test_a_faulty_kernel_is_named_with_all_that_is_needed_to_see_it_again(tmp_path: Path, sound: str, faulty: str, message: str) -> None:
    text = (RUNTIME / "scalar.c").read_text()
    assert sound in text
    source = tmp_path / "scalar.c"
    source.write_text(text.replace(sound, faulty).replace('"scalar.h"', f'"{(RUNTIME / "scalar.h").as_posix()}"'))
    memory = CHECK / ("fence_none.c" if sys.platform == "win32" else "fence_mmap.c")
    sources = [*(path for path in HERE.sources if path.stem != "scalar"), source, memory, CHECK / "host_main.c"]
    tool = toolchain.find(HOST)
    check = link_program(tool, HOST, compile_objects(tool, HOST, sources, [], tmp_path), tmp_path / "check")
    status, text = run(check, "--small", "5")
    assert status == 1
    assert re.search(message, text), text
    assert "failed" in rows_of(text).values()
    assert run(check, "--small", "5") == (status, text)


@pytest.mark.wider
@pytest.mark.parametrize(
    ("machine", "tool"),
    [
        pytest.param(m, tool, marks=() if (m.name, tool.family) in ONCE else pytest.mark.sweep, id=f"{m.name}-{named(tool)}")
        for m, tool in OTHERS
    ],
)
def test_on_an_emulated_core_with_other_compilers(machine: Machine, tool: Toolchain) -> None:
    """Every pair of values; in the sweeps all cases of the kernels that the core has for itself."""
    if reason := emulator.available(machine.target.cpu or ""):
        not_run_here(f"kernel check on {machine.name} with {named(tool)}", reason)
        return
    column = kernel_check.column(
        machine, tool, 20240501, pairs=machine.isas if not breadth.SWEEP else () if machine.name in IN_FULL else ["scalar"]
    )
    assert [v.what for v in column.kernels] == machine.rows
    assert {v.status for v in column.kernels} == {"passed"}, column
    assert len(column.faults) >= 65
    allowed = {"passed"} if machine.block_bytes and machine.name != "cortex-m55" else {"passed", "not run here"}
    assert {v.status for v in column.faults} <= allowed, column
    KERNEL_CHECK.append(f"{column.machine:<15}{column.compiler}: {len(column.kernels)} kernels passed, {column.found} planted faults found")


@pytest.mark.wider
def test_as_a_board_would_run_it(image: Any) -> None:
    """With memory of its own and no unreadable page: what needs one is not run, and says so."""
    machine = next(m for m in kernel_check.machines() if m.name == "cortex-m4")
    keep = ["labc_check_faults", "labc_check_output_text", "labc_check_output_used", "labc_check_pairs"]
    sources = [*machine.sources, CHECK / "fence_none.c", CHECK / "memory_main.c"]
    assert set(CHECK_SOURCES) <= set(sources)
    core = Image(image(machine.target, toolchain.find(machine.target), sources, keep), cpu=machine.target.cpu or "")
    core.write(core.symbols["labc_check_pairs"].address, bytes([not breadth.SWEEP, 0, 0, 0]))
    assert core.call("labc_check_faults", 1, seconds=200).result == 0
    used = int.from_bytes(core.read(core.symbols["labc_check_output_used"].address, 4), "little")
    verdicts = read_tap(core.read(core.symbols["labc_check_output_text"].address, used).decode("ascii"))
    skipped = {v.what.split()[1]: v.detail for v in verdicts if v.status == "not run here"}
    reading = ("sums_read_past_end", "sums_read_past_x", "sums_illegal", "conv_read_past_x", "slice_reads_ahead")
    stopped = dict.fromkeys(reading, "no unreadable page, nor a handler")
    assert skipped == stopped | {"sums_16_bit": "the blocks are too small for as many inputs"}
    assert all(v.status == "passed" for v in verdicts if v.what.split()[1] not in skipped)
