"""A library that crashes or hangs in an emulator ends the check with the layer's name, not with a wait or a trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from here import not_run_here

from labc import board, driver, emit, emulator
from labc.cli import main
from labc.emulator import qemu, unicorn
from labc.errors import FAILED
from labc.plan import Plan

# What is planted at the beginning of a kernel, and what is said of it.
FAULTS = {
    "crash": ("*(volatile uint32_t *)0x5ffffff0 = rows;", "write of 4 bytes at 0x5ffffff0, no memory|HardFault|BusFault"),
    "hang": ("for (volatile uint32_t stay = 1; stay != 0;) {\n    }", "no end after .*; it hangs, or needs"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["microbit-v2", "mps3-an547", "esp32-c3"])
def test_the_layer_is_named(
    name: str, fault: str, digits_like: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = board.find(name)
    if reason := emulator.available(one.cpu):
        not_run_here(f"a {fault} on {name}", reason)
        return
    statement, told = FAULTS[fault]
    real = emit.emit
    planted = []

    def emitted(plan: Plan) -> dict[str, str]:
        """The source tree with the fault in the kernel of the sums, which one layer uses."""
        step = plan.levels[0].body[-1]
        assert "_sums_" in step.function
        tree = real(plan)
        (path,) = [
            path for path, text in tree.items() if path.endswith(".c") and re.search(rf"^void {step.function}\(", text, re.MULTILINE)
        ]
        tree[path] = re.sub(rf"^(void {step.function}\([^)]*\)\n{{)", rf"\1\n    {statement}", tree[path], flags=re.MULTILINE)
        assert statement in tree[path]
        planted.append(step.layer)
        return tree

    monkeypatch.setattr(driver.emit, "emit", emitted)
    monkeypatch.setitem(unicorn.Image.call.__kwdefaults__, "budget", 10_000_000)
    monkeypatch.setitem(qemu.Image.call.__kwdefaults__, "seconds", 2.0)
    assert main(["check", str(digits_like), "--board", name, "--samples", "2"]) == FAILED
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith(f"labc: {planted[0]}: this layer stops on {one.cpu}: ")
    assert re.search(told, line)
    assert "labc check --kernels" in line
