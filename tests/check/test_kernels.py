"""The kernel check on every machine: its matrix, how its answers are read, and what a fault or a missing tool looks like there."""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import breadth
import here
import pytest
from rich.console import Console

from labc import board, cli, emulator, kernels, report, toolchain
from labc.check import Verdict, pieces
from labc.check import kernels as kernel_check
from labc.check.kernels import Column, Machine, Matrix, machines, read_tap
from labc.driver import target_for
from labc.emulator import qemu, unicorn, wasm
from labc.errors import NOT_HERE, LabcError
from labc.resources import folder
from labc.target import TARGETS


def shown(matrix: Matrix) -> str:
    out = io.StringIO()
    report.show_kernels(Console(file=out, width=120), matrix)
    return out.getvalue()


@pytest.fixture
def no_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder for temporary files is empty before and after."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


# One machine for each file of kernels and for each byte order, with the ISAs of which it runs all cases: of the others it runs every
# pair of values, all cases in the sweeps, which also take the machines that run the same code on more cores.
TRIED: dict[str, tuple[str, ...]] = {
    "cortex-m4": ("cortexm",), "cortex-m55": ("mve",), "aarch64": ("neon",), "wasm32-simd128": ("simd128",),
    "riscv32-zbb": ("zbb32",), "riscv64-zbb": ("zbb64",), "armv7": (), "big-endian": (),
}  # fmt: skip


def judge(column: Column, machine: Machine) -> None:
    """Every kernel passed and every planted fault was found; noted for the log's end."""
    if column.reason:
        here.not_run_here(f"kernel check on {column.machine}", column.reason)
        return
    text = shown(Matrix(1, tuple(machine.rows), (column,)))
    assert [verdict.what for verdict in column.kernels] == machine.rows
    lacking = {isa.name for isa in kernels.table().isas.values() if machine.name == "host" and isa.name not in host_isas()}
    assert {v.status for v in column.kernels if v.what.split()[1] not in lacking} == {"passed"}, text
    assert {v.status for v in column.kernels if v.what.split()[1] in lacking} <= {"not run here"}, text
    # A fence and enough memory everywhere: no planted fault is left out, but what QEMU's Cortex-M55 and WebAssembly's memory, all
    # readable, cannot stop.
    assert len(column.faults) >= 65
    left_out = [verdict for verdict in column.faults if verdict.status == "not run here"]
    assert len(left_out) == {"cortex-m55": 6, "wasm32-simd128": 5, "wasm32": 5}.get(column.machine, 0), text
    assert column.found == f"{len(column.faults) - len(left_out)} of {len(column.faults)}", text
    assert f"{column.machine:<15}{column.compiler}; planted faults found: {column.found}" in text
    passed = sum(verdict.status == "passed" for verdict in column.kernels)
    here.KERNEL_CHECK.append(f"{column.machine:<15}{column.compiler}: {passed} kernels passed, {column.found} planted faults found")


def host_isas() -> tuple[str, ...]:
    return toolchain.host_isas(toolchain.find(TARGETS["host"]))


@pytest.mark.parametrize("name", [*TRIED])
def test_every_kernel_on_some_machine(name: str, no_new_files: None) -> None:
    steps: list[str] = []

    def progress(step: str, total: int) -> Callable[[int], None]:
        done = 0

        def tick(more: int) -> None:
            nonlocal done
            done += more
            steps.append(f"{step} {done}/{total}")

        return tick

    (machine,) = (machine for machine in machines() if machine.name == name)
    (column,) = kernel_check.check([machine], 1, progress, [isa for isa in machine.isas if isa not in TRIED[name]]).columns
    judge(column, machine)
    assert column.reason or f"{name} {len(machine.rows)}/{len(machine.rows)}" in steps


def test_every_kernel_on_this_machine(no_new_files: None, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command, all cases of every ISA that this processor has."""
    assert cli.main(["check", "--kernels", "--target", "host", "--seed", "7", "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["seed"] == 7
    (machine,) = (machine for machine in machines() if machine.name == "host")
    judge(told_column(text), machine)


def told_column(text: str) -> Column:
    """The one column of the command's JSON."""
    (told,) = json.loads(text)["columns"]
    return Column(**told | {key: tuple(Verdict(**verdict) for verdict in told[key]) for key in ("kernels", "faults")})


@pytest.mark.sweep
@pytest.mark.parametrize("name", [machine.name for machine in machines() if machine.name != "host"])
def test_every_case_on_every_machine(name: str) -> None:
    (machine,) = (machine for machine in machines() if machine.name == name)
    # Machines that run the code of others on one more core: pairs.
    (column,) = kernel_check.check([machine], 1, pairs=() if name in TRIED or name == "cortex-m0" else machine.isas).columns
    judge(column, machine)


def test_every_row_has_its_machine() -> None:
    """All of the table is tried on some machine in full, but the kernels of other processors than this, which no emulator here has."""
    tried = {m.name: m for m in machines() if m.name in TRIED or m.name == "host"}
    assert tried.keys() == TRIED.keys() | {"host"}
    foreign = {isa.name for isa in kernels.table().isas.values() if isa.machine == "x86_64"} - set(machines("x86-64")[0].isas)
    in_full = {isa for isas in TRIED.values() for isa in isas} | set(tried["host"].isas)
    assert in_full | foreign == set(kernels.table().isas)
    assert all(set(isas) <= set(tried[name].isas) for name, isas in TRIED.items())


def test_the_machines_of_the_command() -> None:
    cores = [f"cortex-{c}" for c in ("m0", "m3", "m4", "m7", "m33", "m55")]
    zbb = ["riscv32-zbb", "riscv64-zbb"]
    others = ["aarch64", "armv7", "riscv32", "riscv64", *wasm.CPUS, "big-endian"]
    assert [machine.name for machine in machines()] == ["host", *cores, *others, *zbb]


def test_targets_name_the_isas_that_their_compilers_see() -> None:
    for machine in machines():
        if machine.target.cpu is not None:
            assert machine.isas == machine.target.isas
    assert {machine.target.name for machine in machines()} | {"x86-64", "avr"} == set(TARGETS)
    assert [machine.name for machine in machines("x86-64")] == ["x86-64"]
    with pytest.raises(LabcError, match="target 'z80': not known"):
        machines("z80")


TAP = """\
TAP version 13
1..3
# seed 1
ok 1 - a b: 7 cases
# a c: inputs 3: index 1
not ok 2 - a c: 2 cases
ok 3 - a d # SKIP not run here: it lacks X
"""


def test_tap_is_read() -> None:
    verdicts = [Verdict("a b", "passed", "7 cases"), Verdict("a c", "failed", "2 cases; a c: inputs 3: index 1")]
    assert read_tap(TAP) == read_tap(TAP, ["a b", "a c", "a d"]) == [*verdicts, Verdict("a d", "not run here", "it lacks X")]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (TAP.replace("1..3", "1..4"), "3 results of 4 planned"),
        (TAP.replace("1..3\n", ""), "3 results of None planned"),
        (TAP.replace("ok 3", "ok 4"), "is not number 3"),
        (TAP.replace("7 cases", "7 cases\nSegmentation fault"), "'Segmentation fault', which is no TAP"),
        (TAP.replace("a d", "a e"), "its rows are not those of the table"),
        ("", "0 results of None planned"),
    ],
)
def test_what_is_no_tap_is_an_error(broken: str, message: str) -> None:
    with pytest.raises(LabcError, match=message):
        read_tap(broken, ["a b", "a c", "a d"])


def failing() -> Matrix:
    column = Column(
        "host", "host", "gcc 1", (Verdict("affine scalar", "failed", "2 cases; [index] 1"),), (Verdict("affine x", "failed", "no"),)
    )
    other = Column("cortex-m0", "arm", "", (Verdict("affine scalar", "not run here", "no compiler"),), (), "no compiler")
    return Matrix(1, ("affine scalar", "affine avx2"), (column, other))


def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(kernel_check, "check", lambda *arguments: failing())
    assert cli.main(["check", "--kernels"]) == 1
    text = capsys.readouterr().out
    assert "failed  host: 2 cases; [index] 1 (affine scalar)" in text
    assert "not run here  cortex-m0: no compiler (affine scalar)" in text
    assert "fault failed  host: affine x: no" in text
    assert "planted faults found: 0 of 1" in text
    assert cli.main(["check", "--kernels", "--json"]) == 1
    plain = json.loads(capsys.readouterr().out)
    assert plain["failed"] is True
    assert plain["counts"] == {"passed": 0, "failed": 1, "not run here": 1}
    assert plain["columns"][1]["reason"] == "no compiler"


def test_a_missed_fault_is_a_failure() -> None:
    column = Column("host", "host", "gcc 1", (), (Verdict("affine x", "failed", "found: nothing, planted: a wrong value"),))
    assert Matrix(1, (), (column,)).failed
    assert not Matrix(1, (), (replace(column, faults=()),)).failed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no MODEL.onnx; name one, or check the kernels alone with --kernels"),
        (["--kernels", "net.onnx"], "--kernels takes no net.onnx"),
        (["--kernels", "--samples", "3"], "--kernels takes no --samples"),
        (["--kernels", "--seed", "-1"], "--seed: -1 is not between 0 and 2147483647"),
        (["--kernels", "--target", "z80"], "target 'z80': not known"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", board.names())
def test_every_board_has_a_machine(name: str) -> None:
    """Its core, with every op of the table, and memory for their cases: where `labc check --kernels --board` starts."""
    one = kernel_check.emulated(name, target_for(board=name))
    assert one.target.cpu == board.find(name).cpu
    assert {row.split()[0] for row in one.rows} == set(kernels.table().ops)
    assert one.small == (one.target.cpu == "atmega328p")
    assert one.small or one.block_bytes or one.target.cpu in qemu.MACHINES
    assert all(path.is_file() for path in one.sources)


@pytest.mark.wider
@pytest.mark.parametrize("name", ["bbc-microbit", "arduino-uno"])
def test_the_command_on_a_board(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With fewer cases: of a Cortex-M0 every pair of values, of an AVR one kernel and one fault, since each has an image."""
    one, real = kernel_check.emulated(name, target_for(board=name)), kernel_check.column
    few = () if breadth.SWEEP else one.isas
    if one.small:
        if emulator.name("atmega328p") == "simavr":
            here.not_run_here("labc check --kernels --board arduino-uno", "simavr takes a minute; two kernels in 2 KiB show the same")
            return
        monkeypatch.setattr(Machine, "rows", one.rows[: 8 if breadth.SWEEP else 1])
        monkeypatch.setattr(pieces.Pieces, "faults", lambda made: 3 if breadth.SWEEP else 1)
    monkeypatch.setattr(kernel_check, "column", lambda machine, tools, seed, tick, pairs: real(machine, tools, seed, tick, few))
    assert cli.main(["check", "--kernels", "--board", name, "--json"]) == 0
    column = told_column(capsys.readouterr().out)
    if one.small and not column.reason:
        assert [(verdict.what, verdict.status) for verdict in column.kernels] == [
            (row, "passed") for row in one.rows[: len(column.kernels)]
        ]
        assert column.faults
        assert "failed" not in {verdict.status for verdict in column.faults}
    else:
        judge(column, one)


# One op of each family, in little time; all of them take some minutes.
ON_AVR = ("affine_argmax", "byte_matvec_sums", "sign_conv_threshold", "byte_max_pool", "sum_threshold", "sign_slice")
FAULTS_ON_AVR = ("sums_8_bit", "argmax_last", "byte_sums_16_bit", "word_pool_from_zero", "add_unsaturated")


@pytest.mark.wider
def test_kernels_and_faults_in_2_kib(tmp_path: Path) -> None:
    """On AVR, with a 16-bit int: an image for each, the sizes around a word among its cases."""
    uno = kernel_check.emulated("arduino-uno", target_for(board="arduino-uno"))
    if reason := emulator.available("atmega328p"):
        here.not_run_here("kernel check on arduino-uno", reason)
        return
    made = pieces.Pieces(uno.sources, uno.target, toolchain.find(uno.target), tmp_path, pairs=not breadth.SWEEP)
    few = emulator.name("atmega328p") == "simavr"  # fifty times as slow as QEMU
    for op in ON_AVR[:1] if few else ON_AVR:
        verdict = kernel_check.piece(made, uno.rows.index(f"{op} scalar") + 1, "kernel", 1, f"{op} scalar")
        assert verdict.status == "passed", verdict
        assert "none with 1" not in verdict.detail
    listed = re.findall(r"^    FAULT\(\w+, (\w+),", (folder("runtime") / "check" / "faults.c").read_text(), re.MULTILINE)
    assert made.faults() == len(listed)
    for fault in FAULTS_ON_AVR[1:2] if few else FAULTS_ON_AVR:
        verdict = kernel_check.piece(made, listed.index(fault) + 1, "fault", 1)
        assert (verdict.status, verdict.what.split()[1]) == ("passed", fault), verdict


def test_what_does_not_fit_a_small_chip_is_told() -> None:
    passed, missed = (
        Verdict("byte_conv_sums scalar", "passed", "9 cases"),
        Verdict("sign_conv_sums f", "failed", "found: nothing, planted: x"),
    )
    told = pieces.Told("", 9, 30, 1500, ((1, 31, 32, 33), (1, 33)))
    assert pieces.judged(passed, told).detail == "9 cases; 30 left out, which need 1,500 bytes or more; none with 31, 32 rows"
    nothing = pieces.judged(passed, replace(told, tried=0))
    assert (nothing.status, nothing.detail) == ("not run here", "no case fits; the smallest needs 1,500 bytes")
    assert pieces.judged_fault(missed, told).status == "not run here"
    assert pieces.judged_fault(missed, replace(told, left_out=0)).status == "failed"
    assert pieces.judged(replace(passed, status="failed"), told).status == "failed"


def test_a_machine_without_a_compiler_or_an_emulator_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = [machine for machine in machines("arm") if machine.name == "cortex-m0"]

    def no_compiler(*arguments: Any) -> Any:
        raise LabcError("no compiler works here", code=NOT_HERE)

    with monkeypatch.context() as patch:
        patch.setattr(toolchain, "find", no_compiler)
        column = kernel_check.check(arm, 1).columns[0]
    assert (column.compiler, column.reason) == ("", "no compiler works here")
    assert {(v.status, v.detail) for v in column.kernels} == {("not run here", "no compiler works here")}
    monkeypatch.setattr(unicorn, "available", lambda: "no unicorn")
    matrix = kernel_check.check(arm, 1)
    assert matrix.columns[0].reason == "no unicorn"
    assert not matrix.failed
    assert "not run here  cortex-m0: no unicorn (sign_matvec_sums cortexm, " in shown(matrix)


def test_another_architecture_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (toolchain, kernel_check):
        monkeypatch.setattr(module, "host_machine", lambda: "riscv64")
    assert "x86-64" in [machine.name for machine in machines()]
    column = kernel_check.check([Machine("x86-64", TARGETS["x86-64"])], 1).columns[0]
    assert column.reason == "it is for x86_64, this machine is riscv64"
