"""Boards: their files, what a wrong one is told, and a network that is equal on cores of every kind."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zoo
import zoo_images
from here import not_run_here
from limits import just_met

from labc import board, boards, decode, driver, elf, emulator, errors, toolchain, trial
from labc import target as targets
from labc.check import Verdict
from labc.cli import main
from labc.compiling import compile_objects
from labc.emulator import qemu
from labc.emulator.unicorn import Image
from labc.errors import LabcError
from labc.flags import Toolchain
from labc.image import image_files, link_image
from labc.plan import Plan

GOOD = """\
title = "A board"
target = "arm"
cpu = "cortex-m4"
float_abi = "hard"
clock_mhz = 64
flash = "256K"
ram = 16384
datasheet = "Its maker, its data sheet"
"""


@pytest.fixture
def net(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A network that fits 2 KiB of RAM."""
    return zoo.save(zoo.own(zoo.random_layers(rng, [20, 32, 4])), tmp_path / "net.onnx")


@pytest.mark.parametrize("name", board.names())
def test_every_board_names_its_data_sheet(name: str) -> None:
    found = board.find(name)
    assert found.name == name
    assert found.datasheet
    on = found.on
    assert (on.cpu, on.float_abi, on.flash_bytes, on.ram_bytes) == (found.cpu, found.float_abi, found.flash_bytes, found.ram_bytes)
    assert found.ram_bytes > 0


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    found = board.find(str(tmp_path / "mine.toml"))
    assert (found.name, found.flash_bytes, found.ram_bytes, found.clock_mhz) == ("mine", 256 << 10, 16384, 64)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flash", "flahs", "key 'flahs': not known; did you mean 'flash'"),  # codespell:ignore flahs
        ('datasheet = "Its maker, its data sheet"\n', "", "key 'datasheet': missing"),
        ('title = "A board"', "title = 3", "key 'title': is not a text"),
        ('"arm"', '"armm"', "target 'armm': not known; did you mean 'arm'"),
        ('"arm"', '"host"', "key 'target': host is no target of boards; name one that labc targets says is emulated"),
        ("cortex-m4", "cortex-m44", "core 'cortex-m44' not known for target arm; did you mean 'cortex-m4'"),
        ("cortex-m4", "cortex-m0", "cortex-m0 is built for with the soft float ABI only"),
        ('"hard"', '"hrad"', "key 'float_abi': 'hrad' is none; did you mean 'hard'.*cortex-m4 has hard and soft"),
        ("64", '"fast"', "key 'clock_mhz': 'fast' is not a number"),
        ("64", "0", "key 'clock_mhz': 0 is not a number"),
        ('"256K"', '"256 KB"', "key 'flash': '256 KB' is not a size"),
        ('"256K"', '"0K"', "key 'flash': '0K' is not a size"),
        ("16384", "true", "key 'ram': True is not a size"),
        ("16384", '"4G"', "key 'ram': '4G' is more than the 536,870,912 bytes that cortex-m4 can have"),
        ("64", "64 MHz", "not a board's file"),
        ("64", "1" * 5000, "not a board's file"),
        ("64", "0x" + "f" * 5000, "key 'clock_mhz': a number of more than 63 bits is not a number of MHz"),
        ("16384", "0x" + "f" * 5000, "key 'ram': a number of more than 63 bits is more than the 536,870,912 bytes"),
        ("16384", "-0x7" + "f" * 5000, "not a board's file"),
        ("16384", f"[0x{'f' * 5000}]", "key 'ram': a list or table is not a size"),
        ("16384", "-5", "key 'ram': -5 is not a size"),
    ],
)
def test_a_wrong_file_names_the_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(LabcError, match=message) as caught:
        board.read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(("key", "size", "most"), [("flash", "64K", "32,768"), ("ram", "4K", "2,048")])
def test_a_board_cannot_have_more_than_its_core(key: str, size: str, most: str, tmp_path: Path) -> None:
    uno = (board.resources.folder("boards") / "arduino-uno.toml").read_text()
    (tmp_path / "mine.toml").write_text(re.sub(rf"^{key} = .*$", f'{key} = "{size}"', uno, flags=re.MULTILINE))
    with pytest.raises(LabcError, match=rf"mine\.toml: key '{key}': '{size}' is more than the {most} bytes that atmega328p can have"):
        board.find(str(tmp_path / "mine.toml"))


def test_more_flash_than_the_emulated_machine_is_told(rng: np.random.Generator, tmp_path: Path) -> None:
    """A file may claim what its core could address; QEMU's board has less, and says so."""
    if reason := emulator.available("cortex-m55"):
        not_run_here("a board larger than QEMU's", reason)
        return
    big = zoo.save(zoo.own(zoo.random_layers(rng, [8, 2100, 2100, 4])), tmp_path / "big.onnx")
    claims = GOOD.replace("cortex-m4", "cortex-m55").replace('"256K"', '"512M"').replace("16384", '"512M"')
    (tmp_path / "mine.toml").write_text(claims)
    checked = trial.check(big, board=str(tmp_path / "mine.toml"), sample_count=1)
    untried = next(verdict for verdict in checked.verdicts if verdict.what.startswith("library"))
    assert untried.status == "not run here"
    assert re.search(r"the image takes [\d,]+ bytes of flash, cortex-m55 has 524,288 here; make it smaller", untried.detail)


def test_an_unknown_board_suggests_the_nearest() -> None:
    with pytest.raises(LabcError, match="board 'microbit': not known; did you mean 'microbit-v2'"):
        board.find("microbit")
    with pytest.raises(LabcError, match=r"no\.toml: not a board's file"):
        board.find("no.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"board": "microbit-v2", "target": "avr"}, "--target: board microbit-v2 has arm, not avr"),
        ({"board": "microbit-v2", "cpu": "m7"}, "--cpu: board microbit-v2 has cortex-m4, not m7"),
        ({"target": "arm", "cpu": "m8"}, "--cpu: core 'm8' not known for target arm"),
        ({"target": "arm", "cpu": "m3", "float_abi": "hard"}, "--float-abi: cortex-m3 is built for with the soft"),
        ({"target": "arm", "float_abi": "sfot"}, "--float-abi: 'sfot' is none; did you mean 'soft'"),
        ({"board": "bbc-microbit", "float_abi": "hard"}, "--float-abi: cortex-m0 is built for with the soft float ABI only"),
        ({"cpu": "m3"}, "--cpu: target host has no choice"),
        ({"target": "arm", "cpu": "cortex-m44"}, "core 'cortex-m44' not known for target arm; did you mean 'cortex-m4'"),
        ({"board": "microbit-v2", "ram": 1 << 20}, "--ram: board microbit-v2 has 131,072 bytes, not 1,048,576; name less"),
        ({"board": "microbit-v2", "flash": 1 << 30}, "--flash: board microbit-v2 has 524,288 bytes, not 1,073,741,824"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(LabcError, match=message):
        driver.target_for(**options)  # type: ignore[arg-type]


def test_a_board_implies_everything() -> None:
    on = driver.target_for(board="microbit-v2", cpu="m4", ram=4096)
    assert (on.name, on.cpu, on.float_abi, on.flash_bytes, on.ram_bytes) == ("arm", "cortex-m4", "hard", 512 << 10, 4096)
    assert driver.target_for("arm", cpu="m0plus").float_abi == "soft"
    soft = driver.target_for(board="microbit-v2", float_abi="soft")
    assert (soft.float_abi, soft.flash_bytes, soft.ram_bytes) == ("soft", 512 << 10, 128 << 10)
    assert driver.target_for(board="mps3-an547", float_abi="soft").isas == ("cortexm", "scalar")  # MVE's registers are the FPU's


@pytest.mark.parametrize("name", ["bbc-microbit", "esp32-c3", "arduino-uno", "mps3-an547", "raspberry-pi-pico-2-riscv"])
def test_a_network_is_equal_on_a_board(name: str, net: Path) -> None:
    one = board.find(name)
    try:
        toolchain.find(one.on)
    except LabcError as error:
        not_run_here(f"a network on {name}", str(error))
        return
    if reason := emulator.available(one.cpu):
        not_run_here(f"a network on {name}", reason)
        return
    checked = trial.check(net, board=name, sample_count=6, every_layer=True)
    assert not checked.failed, checked.verdicts
    said = {verdict.what: verdict.status for verdict in checked.verdicts}
    assert said[f"library ({name}) = reference"] == said[f"library ({name}): every layer"] == said[f"RAM ({name})"] == "passed"
    assert checked.chip is not None
    assert 0 < checked.chip.stack < checked.chip.ram <= one.ram_bytes
    if checked.chip.instructions is None:
        not_run_here(f"a network's instructions on {name}", f"{emulator.name(one.cpu)} counts none here")
        return
    assert checked.chip.instructions > 0
    by_layer = dict(checked.chip.layers)
    assert list(by_layer) == ["sign1", "fc2", "fc2.affine"]
    assert abs(sum(by_layer.values()) - checked.chip.instructions) < 100  # the calls' own


def test_a_small_cnn_is_equal_on_an_uno(rng: np.random.Generator, tmp_path: Path) -> None:
    """In 2 KiB of RAM, with a 16-bit int and size_t, and flash that plain loads do not reach: 6x6 pixels, two convolutions and a pool."""
    one = board.find("arduino-uno")
    if reason := emulator.available(one.cpu):
        not_run_here("a convolutional network on arduino-uno", reason)
        return
    net = zoo_images.Images(rng, [1, 6, 6])
    same, halves = zoo_images.Slide((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), zoo_images.Slide((2, 2), (2, 2), (0, 0, 0, 0), (1, 1))
    x = net.max_pool(net.sign(net.affine(net.conv(net.input, 8, same))), halves)
    x = net.sign(net.affine(net.conv(x, 12, same)))
    path = zoo.save(net.model(net.scores(net.dense(net.flatten(x), 4))), tmp_path / "cnn.onnx")
    checked = trial.check(path, board="arduino-uno", sample_count=6)
    assert not checked.failed, checked.verdicts


def test_simavr_does_what_qemu_does(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is only simavr: the same scores, flash, RAM and stack; no counts."""
    if reason := emulator.available("atmega328p"):
        not_run_here("a network in simavr", reason)
        return
    found = trial.check(net, board="arduino-uno", sample_count=3)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "qemu-system-avr" else which(program))
    if which("simavr") is None:
        assert "nor is simavr (apt install simavr)" in str(emulator.available("atmega328p"))
        not_run_here("a network in simavr", "simavr is not on PATH (Debian, Ubuntu: apt install simavr)")
        return
    assert emulator.name("atmega328p") == "simavr"
    checked = trial.check(net, board="arduino-uno", sample_count=3)
    assert not checked.failed, checked.verdicts
    assert found.chip is not None
    assert checked.chip is not None
    uncounted = replace(found.chip, instructions=None, predict_instructions=None, layers=(), cycles=None, no_cycles=checked.chip.no_cycles)
    assert uncounted == checked.chip
    assert checked.chip.no_cycles
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert "apt install qemu-system-misc), nor is simavr (apt install simavr)" in str(emulator.available("atmega328p"))


def test_digits_fit_a_cortex_m0_with_little_memory(rng: np.random.Generator, tmp_path: Path) -> None:
    """64-256-256-10 in 16 KiB of flash with its self-test, and 1 KiB of RAM with its stack: plain C, for its size; by the wheel's zig."""
    if reason := emulator.available("cortex-m0"):
        not_run_here("a network on bbc-microbit", reason)
        return
    path = zoo.save(zoo.own(zoo.random_layers(rng, [64, 256, 256, 10])), tmp_path / "net.onnx")
    checked = trial.check(path, board="bbc-microbit", sample_count=4, flash=16 << 10, ram=1 << 10, cc="zig")
    assert not checked.failed, checked.verdicts
    assert checked.chip is not None
    assert checked.chip.flash + checked.chip.self_test <= 16 << 10
    assert checked.chip.ram <= 1 << 10


@pytest.mark.parametrize(("name", "cpu"), [("riscv64", None), ("big-endian", None), ("wasm32", None), ("wasm32", "wasm32")])
def test_a_network_is_equal_on_a_target(name: str, cpu: str | None, net: Path) -> None:
    if reason := emulator.available(targets.with_core(targets.find(name), cpu).cpu or ""):
        not_run_here(f"a network on {name}", reason)
        return
    checked = trial.check(net, name, cpu=cpu, sample_count=6, every_layer=True)
    assert [verdict.status for verdict in checked.verdicts] == ["passed"] * len(checked.verdicts), checked.verdicts


def test_a_network_is_equal_on_riscv64_with_zbb(net: Path) -> None:
    if reason := emulator.available("rv64gc_zbb"):
        not_run_here("a network on rv64gc_zbb", reason)
        return
    checked = trial.check(net, "riscv64", cpu="rv64gc_zbb", sample_count=6)
    assert [verdict.status for verdict in checked.verdicts] == ["passed"] * len(checked.verdicts), checked.verdicts


CODE = """
#include <stdint.h>
int sum(const uint8_t *x, int n);
int sum(const uint8_t *x, int n) { int s = 0; for (int i = 0; i < n; i++) { if (x[i] & 1) { s += x[i]; } } return s; }
void hang(void);
void hang(void) { for (;;) { __asm__ volatile(""); } }
int peek(const int *p);
int peek(const int *p) { return *p; }
"""


@pytest.mark.parametrize(("name", "cpu"), [("riscv32", "rv32imac_zbb"), ("riscv64", "rv64gc_zbb")])
def test_qemu_counts_riscv_as_unicorn_does(name: str, cpu: str, tmp_path: Path) -> None:
    """The same image without Zbb, in the memory of QEMU's machine, on either; then what is a fault there."""
    plain, where = targets.find(name), targets.with_core(targets.find(name), cpu)
    if reason := qemu.available(cpu):
        not_run_here(f"QEMU's counts on {cpu}", reason)
        return
    tools = toolchain.find(plain)
    start, script = image_files(where)
    (tmp_path / "code.c").write_text(CODE + MANY)
    objects = compile_objects(tools, plain, [*start, tmp_path / "code.c"], [], tmp_path)
    names = ["sum", "hang", "peek", "many", "illegal"]
    image = link_image(tools, plain, objects, script, tmp_path / "code.elf", entry="labc_image_start", keep=names)
    found = []
    for core in (Image(image, plain.cpu or ""), qemu.Image(image, cpu)):
        at = core.alloc(100, 1)
        core.write(at, bytes(range(100)))
        found.append(core.call("sum", at, 100, measure=True))
        assert core.call("many", *range(1, 8), at + 3, 9, at + 7).result == sum(range(1, 8)) + 2 * 3 + 9 + 3 * 7
    assert found[0].result == found[1].result == 2500
    assert found[0].stack_bytes == found[1].stack_bytes
    assert found[1].instructions in (None, found[0].instructions)  # None: no compiler for QEMU's plugin here
    for function, argument, reason in (
        ("peek", 0x0800_0000, "load access fault"),
        ("peek", qemu.FENCED[cpu][7], "load access fault"),
        ("illegal", 0, "illegal instruction"),
    ):
        with pytest.raises(LabcError, match=f"{function}: .*{reason}"):
            qemu.Image(image, cpu).call(function, argument)
    assert qemu.Image(image, cpu).call("peek", qemu.FENCED[cpu][7] - 4).result == 0
    with pytest.raises(LabcError, match=r"hang: .*no end after 0\.2 s"):
        qemu.Image(image, cpu).call("hang", seconds=0.2)


MANY = """
int many(int a, int b, int c, int d, int e, int f, int g, const uint8_t *p, int h, const uint8_t *q);
int many(int a, int b, int c, int d, int e, int f, int g, const uint8_t *p, int h, const uint8_t *q)
{
    return a + b + c + d + e + f + g + 2 * *p + h + 3 * *q;
}
void illegal(void);
void illegal(void) { __asm__ volatile(".4byte 0"); }
"""


def test_qemu_counts_as_unicorn_does(tmp_path: Path) -> None:
    """The same image of a Cortex-M3 on unicorn's and on QEMU's Cortex-M55: the same answers, instructions and stack."""
    where = targets.with_core(targets.find("arm"), "cortex-m3")
    if reason := qemu.available("cortex-m55"):
        not_run_here("QEMU's counts", reason)
        return
    tools = toolchain.find(where)
    start, script = image_files(where)
    (tmp_path / "code.c").write_text(CODE)
    objects = compile_objects(tools, where, [*start, tmp_path / "code.c"], [], tmp_path)
    image = link_image(tools, where, objects, script, tmp_path / "code.elf", keep=["sum", "hang", "peek"])
    found = []
    for core in (Image(image, "cortex-m3"), qemu.Image(image, "cortex-m55")):
        at = core.alloc(100, 1)
        core.write(at, bytes(range(100)))
        found.append(core.call("sum", at, 100, measure=True))
        assert core.call("sum", at, 100).result == sum(range(1, 100, 2))
    assert found[0].result == found[1].result == 2500
    assert found[0].stack_bytes == found[1].stack_bytes
    assert found[1].instructions in (None, found[0].instructions)  # None: no compiler for QEMU's plugin here
    assert not found[1].blocks or decode.tally(found[1].blocks, "thumb") == decode.tally(found[0].blocks, "thumb")
    with pytest.raises(LabcError, match=r"peek: .*(HardFault|BusFault)"):
        qemu.Image(image, "cortex-m55").call("peek", 0x5000_0000)
    with pytest.raises(LabcError, match=r"hang: .*no end after 0\.2 s"):
        qemu.Image(image, "cortex-m55").call("hang", seconds=0.2)
    with pytest.raises(LabcError, match="no function 'none'"):
        core.call("none")
    with pytest.raises(LabcError, match="do not fit"):
        core.alloc(1 << 20)
    assert elf.sections(image)["flash"] > 0


def test_too_large_for_a_board_says_by_how_much(net: Path) -> None:
    ready = trial.ready(net, 4, 0, None, None, lambda step, done, total: None)
    on, tools = driver.tools_for(driver.target_for(board="bbc-microbit", flash=1000, ram=200))
    made = driver.planned(ready.compiled, on)
    tried = trial.try_out(ready, made, tools, "bbc-microbit")
    bad = [verdict for verdict in tried.verdicts if verdict.status == "failed"]
    assert [verdict.what for verdict in bad] == ["flash (bbc-microbit)", "RAM (bbc-microbit)"]
    assert "of 1,000 bytes, " in bad[0].detail
    assert "too many; the code takes" in bad[0].detail


def test_what_does_not_fit_once_linked_is_not_built(net: Path, tmp_path: Path) -> None:
    """The constants fit, the code does not: by how much, which layer, and no folder."""
    flash = just_met("flash", lambda flash: driver.compile(net, board="bbc-microbit", flash=flash, out=tmp_path / "fits"), 65536)
    told = rf"flash \(bbc-microbit\): {flash:,} of {flash - 1:,} bytes, 1 too many; sign1 takes 256 of it; make it narrower"
    with pytest.raises(LabcError, match=told):
        driver.compile(net, board="bbc-microbit", flash=flash - 1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_matrix(net: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(board, "names", lambda: ["microbit-v2", "mps2-an386", "hifive1", "arduino-uno"])
    monkeypatch.setattr(qemu, "available", lambda cpu: "no QEMU; get one")
    assert main(["check", str(net), "--all", "--samples", "5", "--json"]) == errors.OK
    told = json.loads(capsys.readouterr().out)
    rows = {row["board"]: row for row in told["boards"]}
    assert told["counts"]["passed"] == 3
    assert rows["microbit-v2"]["instructions"] == rows["mps2-an386"]["instructions"] > 0
    assert (rows["arduino-uno"]["equal"], rows["hifive1"]["fits"]) == ("not run here", "passed")
    assert main(["check", str(net), "--all", "--samples", "5"]) == errors.OK
    assert "4 boards: 3 passed, 0 failed, 1 not run here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("everything", "least"), [(True, 12), pytest.param(False, 8, marks=pytest.mark.sweep)], ids=["every tool", "the wheels alone"]
)
def test_boards_that_are_equal(
    everything: bool, least: int, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command, every board: equal on so many, and each of the others says what it lacks. Without a program on PATH, the wheels do."""
    if not everything:
        (tmp_path / "nothing").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert main(["check", str(net), "--all", "--samples", "3", "--json"]) == errors.OK
    told = json.loads(capsys.readouterr().out)
    assert [row["board"] for row in told["boards"]] == board.names()
    assert told["counts"]["passed"] >= least, told["counts"]
    assert told["counts"]["failed"] == 0
    for row in told["boards"]:
        assert row["equal"] == "passed" or ("apt install" in row["reason"] and row["equal"] == "not run here"), row
        if everything and row["equal"] != "passed":
            not_run_here(f"a network on {row['board']}", row["reason"])


def test_wrong_usage(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["check", str(net), "--all", "--board", "hifive1"], "--all takes no --board"),
        (["check", "--all"], "no MODEL.onnx"),
        (["build", str(net), "--board", "hifife1"], "did you mean 'hifive1'"),
    ):
        assert main(arguments) == errors.BAD_INPUT
        assert message in capsys.readouterr().err


def test_boards_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards", "--json"]) == errors.OK
    rows = json.loads(capsys.readouterr().out)
    assert [row["board"] for row in rows] == board.names()
    assert {row.board for row in boards.rows()} >= {"bbc-microbit", "arduino-uno", "raspberry-pi-4"}


def test_a_board_where_it_crashes_has_failed(net: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A crash or a hang is a difference; too little memory is none; what cannot be built is no missing tool."""
    monkeypatch.setattr(board, "names", lambda: ["bbc-microbit", "microbit-v2", "hifive1"])
    faults = {
        "bbc-microbit": emulator.EmulatorFault("net_run", 4, "sums", "a write to nowhere"),
        "microbit-v2": emulator.StackOverflow("net_run", "the 5 bytes"),
        "hifive1": LabcError("net.c: error: no such thing"),
    }

    def stops(ready: trial.Ready, made: Plan, tools: Toolchain, where: str, **more: object) -> trial.Tried:
        raise faults[where]

    monkeypatch.setattr(trial, "try_out", stops)
    assert main(["check", str(net), "--all", "--samples", "2", "--json"]) == errors.FAILED
    rows = {row["board"]: (row["built"], row["equal"], row["fits"]) for row in json.loads(capsys.readouterr().out)["boards"]}
    assert rows == {
        "bbc-microbit": (True, "failed", "not run here"),
        "microbit-v2": (True, "not run here", "failed"),
        "hifive1": (False, "failed", "not run here"),
    }


def test_all_boards_name_the_wrong_layer(net: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(board, "names", lambda: ["bbc-microbit"])
    wrong = (
        Verdict("library (bbc-microbit) = reference", "failed", "input 0, score 1"),
        Verdict("library (bbc-microbit): first wrong layer", "failed", "sign1, channel 3"),
    )
    monkeypatch.setattr(trial, "try_out", lambda *given, **more: trial.Tried(wrong))
    assert main(["check", str(net), "--all", "--samples", "2"]) == errors.FAILED
    assert "bbc-microbit: sign1, channel 3" in capsys.readouterr().out


def test_what_is_no_boards_file(tmp_path: Path) -> None:
    """A device without end, a pipe that nobody writes to, brackets without end."""
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "deep.toml").write_text(f"a = {'[' * 5000}")
    (tmp_path / "long.toml").write_text("#" * (1 << 17))
    for name, said in (("zero", "is not a file"), ("pipe", "is not a file"), ("deep", "not a board's file"), ("long", "larger than")):
        with pytest.raises(LabcError, match=rf"{name}\.toml: {said}"):
            board.find(str(tmp_path / f"{name}.toml"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--board", "uno"], "did you mean 'arduino-uno'?"),
        (["--target", "arm", "--cpu", "m5"], "did you mean 'cortex-m55'?"),
        (["--target", "m4"], "is a core; name it with --target arm --cpu cortex-m4"),
        (["--target", "x86-64", "--levels", "avx5"], "did you mean 'avx512'?"),
    ],
)
def test_the_nearest_name(options: list[str], said: str, net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(net), *options]) == errors.BAD_INPUT
    assert said in capsys.readouterr().err
