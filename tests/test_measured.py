"""What `labc build` says a network costs on its chip: what `labc check` says, in manifest and README; and too little memory is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zoo

from labc import driver, errors, machines, toolchain, trial
from labc.cli import main
from labc.errors import NOT_HERE, LabcError
from labc.toolchain import Toolchain

KEYS = ("flash", "self_test", "ram", "arena", "stack", "instructions", "predict_instructions")


@pytest.fixture
def net(rng: np.random.Generator, tmp_path: Path) -> Path:
    return zoo.save(zoo.own(zoo.random_layers(rng, [20, 40, 4], method="lab2")), tmp_path / "net.onnx")


def manifest(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
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
    """As `labc check` has it: arena, data and stack in the RAM there is. In 900 bytes the kernels' tables are given up already."""
    out = driver.compile(net, board="microbit-v2", ram=900, package=package, out=tmp_path / "first")
    ram = manifest(out)["measured"]["ram"]  # type: ignore[index]
    assert driver.compile(net, board="microbit-v2", ram=ram, package=package, out=tmp_path / "fits").is_dir()
    with pytest.raises(LabcError, match=rf"RAM \(microbit-v2\): {ram:,} of {ram - 1:,} bytes, 1 too many; the arena takes"):
        driver.compile(net, board="microbit-v2", ram=ram - 1, package=package, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_an_emulator_flash_is_known(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = manifest(driver.compile(net, board="microbit-v2", out=tmp_path / "whole"))["measured"]
    monkeypatch.setattr(machines, "available", lambda cpu: "no emulator; get one")
    out = driver.compile(net, board="microbit-v2", package="folder", out=tmp_path / "out")
    found = manifest(out)["measured"]
    assert isinstance(whole, dict)
    assert isinstance(found, dict)
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
