"""What `labc build` says a network costs on its chip: what `labc check` says, in manifest and README; and too little memory is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from here import not_run_here
from limits import just_met

from labc import board, driver, emulator, errors, toolchain, trial
from labc.cli import main
from labc.errors import NOT_HERE, LabcError
from labc.plan.select import STACK_BYTES
from labc.toolchain import Toolchain

KEYS = ("flash", "self_test", "ram", "arena", "stack", "instructions", "predict_instructions")


@pytest.fixture
def net(rng: np.random.Generator, tmp_path: Path) -> Path:
    return zoo.save(zoo.own(zoo.random_layers(rng, [20, 40, 4], method="lab2")), tmp_path / "net.onnx")


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.mark.parametrize("package", [None, "cmake"])
def test_a_build_says_what_a_check_finds(package: str | None, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A board with an FPU: no instruction depends on the data. The library, and the package's README."""
    options = [] if package is None else ["--package", package]
    assert main(["build", str(net), "--board", "microbit-v2", *options, "-o", str(tmp_path / "out")]) == errors.OK
    told = capsys.readouterr().out
    checked = trial.check(net, board="microbit-v2", sample_count=2)
    assert checked.chip is not None
    made = manifest(tmp_path / "out")
    assert made["board"] == "microbit-v2"
    assert made["measured"] == {"compiler": checked.compiler} | {key: getattr(checked.chip, key) for key in KEYS}
    lines = [f"flash: {checked.chip.flash:,} bytes", f"stack {checked.chip.stack:,} + data", f"{checked.chip.instructions:,} per inference"]
    assert all(line in told for line in lines)
    header = (tmp_path / "out" / "include" / "net.h").read_text()
    assert "for target arm, core cortex-m4, hard-float, board microbit-v2;" in header
    if package is not None:
        readme = (tmp_path / "out" / "README.md").read_text()
        assert "board microbit-v2" in readme
        assert f"| code and constants, linked | {checked.chip.flash:,} | flash" in readme
        assert f"| stack of one call | {checked.chip.stack:,} | RAM |" in readme
        assert f"measured with {checked.compiler}" in readme


@pytest.mark.parametrize("package", [None, "arduino"])
def test_a_stack_that_does_not_fit_is_not_built(package: str | None, net: Path, tmp_path: Path) -> None:
    """As `labc check` has it: arena, data and stack in the RAM there is."""
    arena = manifest(driver.compile(net, board="microbit-v2", package=package, out=tmp_path / "fits"))["arena"]["bytes"]
    plain = arena + STACK_BYTES - 1  # the kernels' tables are given up
    ram = just_met("ram", lambda ram: driver.compile(net, board="microbit-v2", ram=ram, package=package, out=tmp_path / "fits"), plain)
    with pytest.raises(LabcError, match=rf"RAM \(microbit-v2\): {ram:,} of {ram - 1:,} bytes, 1 too many; the arena takes"):
        driver.compile(net, board="microbit-v2", ram=ram - 1, package=package, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_an_emulator_flash_is_known(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = manifest(driver.compile(net, board="microbit-v2", out=tmp_path / "whole"))["measured"]
    monkeypatch.setattr(emulator, "available", lambda cpu: "no emulator; get one")
    out = driver.compile(net, board="microbit-v2", package="folder", out=tmp_path / "out")
    found = manifest(out)["measured"]
    assert found["flash"] == whole["flash"]
    assert found["ram"] == whole["ram"] - whole["stack"]
    assert (found["stack"], found["instructions"], found["reason"]) == (None, None, "no emulator; get one")
    assert "Not measured: the stack (no emulator; get one)." in (out / "README.md").read_text()


def test_a_package_needs_no_compiler(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds sources: made all the same, it says what is not known. A library, or --cc, needs one."""

    def none(target: object, force: str | None = None) -> Toolchain:
        raise LabcError("arm: no compiler works here; get one", code=NOT_HERE)

    monkeypatch.setattr(toolchain, "find", none)
    command = ["build", str(net), "--board", "microbit-v2", "-o", str(tmp_path / "out")]
    assert main([*command, "--package", "folder"]) == errors.OK
    assert "not measured here: arm: no compiler works here; get one" in capsys.readouterr().out
    assert manifest(tmp_path / "out")["measured"] == {"reason": "arm: no compiler works here; get one"}
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "they were not measured (arm: no compiler works here; get one)" in readme
    assert main(command) == errors.NOT_HERE
    assert main([*command, "--package", "folder", "--cc", "gcc"]) == errors.NOT_HERE


def on_an_uno(sizes: list[int], rng: np.random.Generator, path: Path) -> Path | None:
    """A network to try on an Uno; None, noted as not run here, without compiler or emulator."""
    if reason := emulator.available("atmega328p"):
        not_run_here("an Uno with too little memory", reason)
        return None
    try:
        toolchain.find(board.find("arduino-uno").on)
    except LabcError as error:
        not_run_here("an Uno with too little memory", str(error))
        return None
    return zoo.save(zoo.own(zoo.random_layers(rng, sizes, method="lab2")), path)


def test_a_stack_that_meets_the_data_is_seen(rng: np.random.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The input takes 1,900 of an Uno's 2,048 bytes: what is left is less than the stack, which would overwrite it."""
    net = on_an_uno([1900, 8, 4], rng, tmp_path / "net.onnx")
    if net is None:
        return
    said = r"net_run: the stack takes more than the \d+ bytes that data, arena, input and output leave of 2,048; make the network smaller"
    for command in (["build", "-o", str(tmp_path / "out")], ["check", "--samples", "2"]):
        assert main([command[0], str(net), "--board", "arduino-uno", *command[1:]]) == errors.FAILED
        assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_code_that_exceeds_an_uno_says_by_how_much(rng: np.random.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The constants alone fit: what GNU's linker refuses is linked all the same, and measured."""
    net = on_an_uno([64, 430, 430, 10], rng, tmp_path / "net.onnx")
    if net is None:
        return
    said = r"flash \(arduino-uno\): [\d,]+ of 32,768 bytes, [\d,]+ too many; sign2 takes [\d,]+ of it"
    with pytest.raises(LabcError, match=said):
        driver.compile(net, board="arduino-uno", out=tmp_path / "out")
    checked = trial.check(net, board="arduino-uno", sample_count=2)
    assert {verdict.what: verdict.status for verdict in checked.verdicts if "arduino-uno" in verdict.what} == {
        "library (arduino-uno) = reference": "not run here",
        "flash (arduino-uno)": "failed",
        "RAM (arduino-uno)": "passed",
    }


def test_little_ram_takes_kernels_without_tables_before_it_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    """Arena and tables together must leave the stack its place, not each table alone. Every layer is checked with that RAM, too."""
    net = zoo.save(zoo.own(zoo.random_layers(rng, [64, 400, 400, 400, 10], method="lab")), tmp_path / "net.onnx")
    much = manifest(driver.compile(net, board="bbc-microbit", ram=16384, out=tmp_path / "much"))
    assert "cortexm" in much["isas"]
    ram = much["measured"]["ram"] - much["measured"]["stack"] + STACK_BYTES - 1
    little = manifest(driver.compile(net, board="bbc-microbit", ram=ram, out=tmp_path / "little"))
    assert little["isas"] == ["scalar"]
    assert little["measured"]["ram"] - little["measured"]["stack"] < much["measured"]["ram"] - much["measured"]["stack"]
    checked = trial.check(net, board="bbc-microbit", ram=ram, sample_count=2, every_layer=True)
    assert [verdict.status for verdict in checked.verdicts] == ["passed"] * len(checked.verdicts)
    assert any("every layer" in verdict.what for verdict in checked.verdicts)


def test_flash_for_less_than_the_code(net: Path, tmp_path: Path) -> None:
    """No layer could be made narrow enough."""
    with pytest.raises(LabcError, match=r"too many; the code takes [\d,]+ of it, which no layer sets; name more flash"):
        driver.compile(net, board="microbit-v2", flash=1000, out=tmp_path / "out")


def test_the_stack_goes_into_a_linker_script(net: Path, tmp_path: Path) -> None:
    """Of libraries and of packages with an archive; where no stack was measured, none."""
    out = driver.compile(net, board="microbit-v2", out=tmp_path / "library")
    script = (out / "lib" / "net.ld").read_text()
    assert f"ASSERT(labc_ram_left >= {manifest(out)['measured']['stack']} && " in script
    assert "lib/net.ld" in manifest(out)["files"]
    packed = driver.compile(net, board="microbit-v2", package="pkg-config", out=tmp_path / "package")
    assert (packed / "net.ld").read_text() == script
    assert "`net.ld`" in (packed / "README.md").read_text()
    for where in ({"target": "host"}, {"target": "wasm32"}, {"board": "raspberry-pi-4"}):
        assert not list(driver.compile(net, **where, out=tmp_path / "other").rglob("*.ld"))
