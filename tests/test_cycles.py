"""Estimates of time: every executed instruction is in one class, the tables' numbers come out, and wrong tables name the key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from here import not_run_here

from labc import board, cycles, decode, emulator, report, resources, toolchain, trial
from labc import target as targets
from labc.cli import main
from labc.compiling import compile_objects
from labc.emulator import qemu
from labc.errors import LabcError
from labc.image import image_files, link_image

CODE = """
#include <stdint.h>
int32_t mix(int n);
int32_t mix(int n)
{
    volatile int32_t y[4] = {1, 2, 3, 4};
    int32_t s = 0;
    float f = 1.5f;
    for (int i = 1; i <= n; i++) {
        if (i & 4) { s += i * n; }
        if (s & 0x80) { y[i & 3]++; }
        s = (s << 1 | (y[1] & 1)) & 0x3fff;
        f = f * 1.01f + (float)i;
        s += (int32_t)((uint32_t)(f * 3.0f) / (uint32_t)i);
    }
    return s + y[2];
}
"""
TIMED = """
__attribute__((naked)) int timed(int n);
__attribute__((naked)) int timed(int n)
{
    __asm__(".syntax unified\\n"
            "push {r4, lr}\\nmovs r1, #1\\n"
            "1: ldr r2, [sp]\\nmuls r1, r0, r1\\nstr r2, [sp]\\nsubs r0, #1\\nbne 1b\\n"
            "bl 2f\\npop {r4, pc}\\n"
            "2: bx lr");
}
#if __ARM_ARCH_ISA_THUMB == 2
__attribute__((naked)) int unless(int n);
__attribute__((naked)) int unless(int n)
{
    __asm__(".syntax unified\\n1: cmp r0, #0\\nit eq\\nbxeq lr\\nsubs r0, #1\\nb 1b");
}
#endif
"""
CORES = ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imac", "rv32imc", "atmega328p"]


def loaded(code: str, cpu: str, keep: list[str], place: Path) -> emulator.Core | None:
    """`code` on a core; None, and noted, where it cannot be built or run here."""
    where = targets.with_core(targets.TARGETS[targets.CORES[cpu].target], cpu)
    try:
        tools = toolchain.find(where)
        reason = emulator.available(cpu)
    except LabcError as error:
        reason = str(error)
    if reason:
        not_run_here(f"cycles on {cpu}", reason)
        return None
    sources, script = image_files(where)
    (place / "code.c").write_text(code)
    objects = compile_objects(tools, where, [*sources, place / "code.c"], [], place, ["-Wno-unused-parameter"])
    image = link_image(tools, where, objects, script, place / "code.elf", keep=keep)
    return emulator.load(image, cpu)


@pytest.mark.parametrize("cpu", CORES)
def test_every_instruction_is_in_a_class(cpu: str, tmp_path: Path) -> None:
    image = loaded(CODE, cpu, ["mix"], tmp_path)
    if image is None:
        return
    call = image.call("mix", 20, measure=True)
    if call.instructions is None:
        not_run_here(f"cycles on {cpu}", f"{emulator.name(cpu)} counts no instructions here")
        return
    found = decode.tally(call.blocks, decode.UNITS[targets.CORES[cpu].target])
    assert sum(one.executed for one in found.values()) == call.instructions
    assert "other" not in found
    assert found["branch_taken"].executed + found["branch_not_taken"].executed >= 20
    estimate = cycles.of(call.blocks, cpu)
    assert isinstance(estimate, cycles.Estimate), estimate
    assert sum(n for _, n in estimate.classes) == call.instructions
    assert call.instructions / 2 <= estimate.least <= estimate.most <= 5 * call.instructions
    assert image.call("mix", 20).blocks == ()


@pytest.mark.parametrize("n", [1, 2, 100])
def test_a_cortex_m0_takes_what_the_table_says(n: int, tmp_path: Path) -> None:
    """By hand: PUSH of two 1 + 2, MOV 1; LDR 2, MUL 1, STR 2, SUB 1, BNE 3 or at last 1; BL 4, BX 3, POP of two with return 4 + 2."""
    image = loaded(TIMED, "cortex-m0", ["timed"], tmp_path)
    if image is None:
        return
    estimate = cycles.of(image.call("timed", n, measure=True).blocks, "cortex-m0")
    assert isinstance(estimate, cycles.Estimate)
    assert estimate.least == estimate.most == 3 + 1 + n * 6 + (n - 1) * 3 + 1 + 4 + 3 + 6
    assert dict(estimate.classes) == {
        "alu": n + 1,
        "multiply": n,
        "load": n,
        "store": n,
        "store_multiple": 1,
        "branch_not_taken": 1,
        "branch_register": 1,
        "call": 1,
        "return": 1,
    } | ({"branch_taken": n - 1} if n > 1 else {})


def test_a_branch_that_an_it_block_leaves_out_is_not_taken(tmp_path: Path) -> None:
    image = loaded(TIMED, "cortex-m4", ["unless"], tmp_path)
    if image is None:
        return
    found = decode.tally(image.call("unless", 5, measure=True).blocks, "thumb")
    assert {kind: one.executed for kind, one in found.items()} == {
        "alu": 6 + 5,
        "if_then": 6,
        "branch": 5,
        "branch_register": 1,
        "branch_not_taken": 5,
    }


SIMULATED = """
#include <avr/io.h>
#include <avr/sleep.h>
__attribute__((naked, noinline)) int32_t nothing(int n);
__attribute__((naked, noinline)) int32_t nothing(int n) { __asm__ volatile("ret"); }
static void say(int32_t (*function)(int))
{
    TCCR1B = 1; /* Timer 1 counts cycles */
    TCNT1 = 0;
    (void)function(9);
    const uint16_t cycles = TCNT1;
    UCSR0B = 1 << TXEN0;
    for (int8_t i = 12; i >= -4; i = (int8_t)(i - 4)) {
        while (!(UCSR0A & 1 << UDRE0)) { }
        UDR0 = (uint8_t)(i < 0 ? '\\n' : "0123456789abcdef"[cycles >> (i < 0 ? 0 : i) & 15]);
    }
}
int main(void);
int main(void)
{
    say(nothing);
    say(mix);
    while (!(UCSR0A & 1 << UDRE0)) { }
    __asm__ volatile("cli");
    sleep_mode();
    return 0;
}
"""


def test_avr_takes_what_simavr_counts(tmp_path: Path) -> None:
    """Cycle for cycle: soft floats, a division and skips, against Timer 1 of simavr's ATmega328P; calling it is subtracted."""
    tools = {name: shutil.which(name) for name in ("simavr", "avr-gcc")}
    reason = qemu.available("atmega328p") or next((f"{name} is not on PATH" for name, path in tools.items() if path is None), None)
    if reason:
        not_run_here("cycles against simavr", reason)
        return
    (tmp_path / "code.c").write_text(CODE.replace("int32_t mix(int n)\n{", "__attribute__((noinline)) int32_t mix(int n)\n{") + SIMULATED)
    elf = tmp_path / "code.elf"
    subprocess.run([str(tools["avr-gcc"]), "-mmcu=atmega328p", "-Os", tmp_path / "code.c", "-o", elf], check=True)
    run = subprocess.run(
        [str(tools["simavr"]), "-m", "atmega328p", "-f", "16000000", elf], capture_output=True, text=True, timeout=60, check=False
    )
    nothing, mix = (int(word, 16) for word in re.findall(r"([0-9a-f]{4})\.", run.stdout + run.stderr))
    image, estimates = qemu.Image(elf, "atmega328p"), []
    for name in ("nothing", "mix"):
        call = image.call(name, 9, measure=True)
        if call.instructions is None:
            not_run_here("cycles against simavr", f"{emulator.name('atmega328p')} counts no instructions here")
            return
        estimates.append(cycles.of(call.blocks, "atmega328p"))
    before, after = estimates
    assert isinstance(before, cycles.Estimate)
    assert isinstance(after, cycles.Estimate)
    assert before.least == before.most == 4
    assert {"skip", "skipped", "multiply", "branch_taken"} <= dict(after.classes).keys()
    assert after.least <= mix - nothing + 4 <= after.most
    assert "after_skip" in dict(after.classes) or after.least == after.most


# What objdump calls them: the classes that every encoding with such a mnemonic must have.
THUMB = {
    "alu": r"adcs|adds|ands|asrs|bics|cmn|cmp|eors|lsls|lsrs|movs|mvns|negs|nop|orrs|rev|rev16|revsh|rors|sbcs|sub|subs|[su]xt[bh]|tst",
    "alu branch_register": "add|mov",
    "multiply": "muls",
    "load": r"ldr|ldrs?[bh]",
    "store": r"str[bh]?",
    "load_multiple": "ldmia",
    "load_multiple return": "pop",
    "store_multiple": "push|stmia",
    "branch": r"b\.n",
    "branch_if": r"b..\.n|cbn?z",
    "branch_register": r"blx?ns|bxn?s?|blx",
    "if_then": r"it[te]*",
    "system": "bkpt|cpsi[de]|svc|udf",
}
AVR = {
    "alu": "adc|add|and|andi|asr|bld|bst|cl.|com|cp|cpc|cpi|dec|eor|in|inc|ldi|lsr|mov|movw|neg|nop|or|ori|out|ror|sbci?|se[^r]|subi?|swap",
    "alu_word": "adiw|sbiw",
    "multiply": r"f?mulsu?|f?mul",
    "load": "ld|ldd|lds|pop",
    "store": "push|st|std|sts",
    "load_flash": "lpm",
    "io_bit": "cbi|sbi",
    "skip": "cpse|sbi[cs]|sbr[cs]",
    "branch": "rjmp",
    "branch_if": "br..",
    "branch_long": "jmp",
    "branch_register": "e?ijmp",
    "call": "rcall",
    "call_long": "call",
    "call_register": "e?icall",
    "return": "reti?",
    "system": "break|sleep|spm|wdr",
}


@pytest.mark.parametrize(
    ("units", "tool", "options", "classes", "end"),
    [
        ("thumb", "arm-none-eabi-objdump", ["-marm", "-Mforce-thumb"], THUMB, 0xE800),
        ("avr", "avr-objdump", ["-mavr:5"], AVR, 0x10000),
    ],
)
def test_all_16_bit_encodings_against_objdump(
    units: str, tool: str, options: list[str], classes: dict[str, str], end: int, tmp_path: Path
) -> None:
    if shutil.which(tool) is None:
        not_run_here(f"classes of {units} against {tool}", f"{tool} is not on PATH")
        return
    data = np.arange(end, dtype="<u2").tobytes()
    (tmp_path / "all.bin").write_bytes(data)
    run = subprocess.run([tool, "-bbinary", "-D", *options, tmp_path / "all.bin"], capture_output=True, text=True, check=True)
    seen: dict[str, set[str]] = {}
    for at, code, mnemonic in re.findall(r"^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t([a-z]\S*)", run.stdout, re.M):
        start = int(at, 16)
        one = decode.instructions(data[start : start + 4], units)[0]
        assert one.size == len(code.replace(" ", "")) // 2, (at, mnemonic)
        seen.setdefault(mnemonic, set()).add(one.kind)
    for kinds, mnemonics in classes.items():
        found = {m: k for m, k in seen.items() if re.fullmatch(mnemonics, m)}
        assert found, kinds
        assert set().union(*found.values()) == set(kinds.split()), kinds
    known = re.compile("|".join(classes.values()))
    left = {m for m in seen if not known.fullmatch(m)}
    assert len(seen) - len(left) > 60


@pytest.mark.parametrize(
    ("units", "code", "kind", "words"),
    [
        ("riscv", 0x0000_A503, "load", 0),  # lw
        ("riscv", 0x0000_C503, "load_narrow", 0),  # lbu
        ("riscv", 0x00A5_A023, "store", 0),  # sw
        ("riscv", 0x02B5_0533, "multiply", 0),  # mul
        ("riscv", 0x02B5_5533, "divide", 0),  # divu
        ("riscv", 0x6025_1513, "alu", 0),  # cpop, Zbb
        ("riscv", 0x00B5_0463, "branch_if", 0),  # beq
        ("riscv", 0x0000_8067, "jump_register", 0),  # ret
        ("riscv", 0x8082, "jump_register", 0),  # c.ret
        ("riscv", 0x4108, "load", 0),  # c.lw
        ("riscv", 0xC119, "branch_if", 0),  # c.beqz
        ("thumb", 0x4FF0_E92D, "store_multiple", 9),  # push {r4-r11, lr}
        ("thumb", 0x8FF0_E8BD, "return", 9),  # pop {r4-r11, pc}
        ("thumb", 0x2300_E9D0, "load_multiple", 2),  # ldrd
        ("thumb", 0xF001_E8DF, "load_pc", 0),  # tbb
        ("thumb", 0x0A01_EE30, "float", 0),  # vadd.f32
        ("thumb", 0x0A10_EE00, "float_core", 0),  # vmov s0, r0
        ("thumb", 0x0A90_EE10, "float_core", 0),  # vmov r0, s1
        ("thumb", 0x0B10_EC51, "float_core", 0),  # vmov r0, r1, d0
        ("thumb", 0x0B10_EE00, "float", 0),  # vmov.32 d0[0], r0
        ("thumb", 0xFA10_EEF1, "float", 0),  # vmrs APSR_nzcv, fpscr
        ("thumb", 0x0A20_EE80, "float_divide", 0),  # vdiv.f32
        ("thumb", 0x0A01_EEA0, "float_accumulate", 0),  # vfma.f32
        ("thumb", 0x0A00_ED90, "load_multiple", 1),  # vldr
        ("thumb", 0x8B02_ECBD, "load_multiple", 2),  # vpop {d8}
        ("thumb", 0x1F00_ED90, "vector", 0),  # vldrw.u32
        ("thumb", 0x0842_EF20, "vector", 0),  # vadd.i32
        ("thumb", 0xC009_F00F, "loop", 0),  # le
        ("thumb", 0xF2F1_FBB0, "divide", 0),  # udiv
        ("thumb", 0x2302_FBA0, "multiply_long", 0),  # umull
    ],
)
def test_encodings(units: str, code: int, kind: str, words: int) -> None:
    one = decode.instructions(code.to_bytes(4, "little"), units)[0]
    assert (one.kind, one.words) == (kind, words)


def test_every_board_has_a_table_or_says_why_not() -> None:
    for path in (resources.folder("boards") / "cores").glob("*.toml"):
        table = cycles.read(path)
        assert table.none or table.source
        assert table.none or table.cycles["alu"][1] == 1
    assert all(cycles.find(board.find(name).cpu) for name in board.names())


GOOD = """\
instructions = "thumb"
source = "A manual"

[cycles]
alu = 1
load = [1, 2]
load_multiple = 1

[cycles_per_word]
load_multiple = 1
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source", "sauce", "key 'sauce': not known; did you mean 'source'"),
        ('source = "A manual"\n', "", "key 'source': is not a text"),
        ('"thumb"', '"avr"', "key 'instructions': 'avr' is not what cortex-m4 executes; say one of thumb, riscv, avr"),
        ("load =", "laod =", "key 'cycles.laod': not a class; did you mean 'load'"),  # codespell:ignore laod
        ("alu = 1", "other = 1", "key 'cycles.other': not a class"),
        ("alu = 1", "alu = true", "key 'cycles.alu': True is neither a number"),
        ("alu = 1", "alu = -1", "key 'cycles.alu': -1 is neither a number"),
        ("[1, 2]", "[2, 1]", r"key 'cycles.load': \[2, 1\] has the least last"),
        ("[1, 2]", "[1, 2, 3]", "key 'cycles.load'"),
        ("[cycles_per_word]\nload_multiple", "[cycles_per_word]\nload", "key 'cycles_per_word.load': not a class"),
        ("instructions", 'none = "no"\ninstructions', "key 'none': stands beside others"),
        ("[cycles]", "[cycles", "not a table of cycles"),
    ],
)
def test_a_wrong_table_names_the_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cortex-m4.toml"
    path.write_text(GOOD)
    table = cycles.read(path)
    assert (table.cycles["alu"], table.cycles["load"]) == ((1, 1), (1, 2))
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(LabcError, match=message) as caught:
        cycles.read(path)
    assert str(caught.value).startswith(str(path))


def test_unknown_cores_and_missing_classes(tmp_path: Path) -> None:
    (tmp_path / "cortex-m5.toml").write_text(GOOD)
    with pytest.raises(LabcError, match="core 'cortex-m5': not known; did you mean 'cortex-m"):
        cycles.read(tmp_path / "cortex-m5.toml")
    with pytest.raises(LabcError, match="no table for core 'cortex-m5'; did you mean 'cortex-m"):
        cycles.find("cortex-m5")
    (tmp_path / "cortex-m4.toml").write_text(GOOD)
    block = decode.Block(0, (0x4348_6001).to_bytes(4, "little"), 3, 0)  # str, muls
    reason = cycles.estimate([block], cycles.read(tmp_path / "cortex-m4.toml"))
    assert reason == "boards/cores/cortex-m4.toml has no cycles for multiply, store"
    assert cycles.of([block], "wasm32") == "there is no table of cycles for wasm32"
    assert cycles.of([], "cortex-m4") == "its instructions were not counted"


def test_times_as_text() -> None:
    assert cycles.time(73_600, 73_600, 16) == "4.60 ms"
    assert cycles.time(1000, 2000, 100) == "10.0 to 20.0 µs"
    assert cycles.time(900_000, 1.1e6, 1) == "0.90 to 1.10 s"
    assert (cycles.number(1000, 1000), cycles.number(999, 1000)) == ("1,000", "999 to 1,000")


@pytest.mark.parametrize(
    ("on", "what", "text"),
    [
        ({"board": "bbc-microbit"}, "estimated time", r"≈ \S+ µs at 16 MHz \([\d,]+ cycles; estimate, zero wait states; Arm, Cortex-M0"),
        ({"board": "microbit-v2"}, "estimated time", r"≈ \S+ to \S+ µs at 64 MHz \([\d,]+ to [\d,]+ cycles; estimate, zero wait"),
        ({"target": "arm"}, "estimated cycles", r"≈ [\d,]+ to [\d,]+ per inference \(estimate, zero wait states; Arm, Cortex-M4"),
        ({"board": "raspberry-pi-4"}, "estimated time", "no estimate: out of order, with caches"),
    ],
)
def test_the_report(on: dict[str, Any], what: str, text: str, rng: np.random.Generator, tmp_path: Path) -> None:
    net = zoo.save(zoo.own(zoo.random_layers(rng, [20, 32, 4])), tmp_path / "net.onnx")
    if reason := emulator.available("cortex-m4"):
        not_run_here("estimates in the report", reason)
        return
    checked = trial.check(net, **on, sample_count=2)
    lines = report.costs(checked)
    at = next(i for i, line in enumerate(lines) if line[0] == what)
    assert re.match(text, lines[at][1])
    assert checked.chip is not None
    if checked.chip.cycles is None:
        assert checked.estimated_ms is None
        return
    assert [layer for layer, *_ in checked.chip.layer_cycles] == ["sign1", "fc2", "fc2.affine"]
    assert sum(most for _, _, most in checked.chip.layer_cycles) == pytest.approx(checked.chip.cycles.most, rel=0.05)  # less the call's own
    assert lines[at + 1][0] == "  by layer"
    told = json.loads(json.dumps(report.data(checked)))
    assert told["chip"]["cycles"]["most"] == checked.chip.cycles.most
    if checked.clock_mhz is None:
        assert told["estimated_ms"] is None
    else:
        assert told["estimated_ms"][1] == pytest.approx(checked.chip.cycles.most / checked.clock_mhz / 1000)


def test_boards_with_one_core_differ_by_their_clocks(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net = zoo.save(zoo.own(zoo.random_layers(rng, [20, 32, 4])), tmp_path / "net.onnx")
    if reason := emulator.available("cortex-m4"):
        not_run_here("estimates of boards", reason)
        return
    monkeypatch.setattr(board, "names", lambda: ["microbit-v2", "mps2-an386", "raspberry-pi-4"])
    assert main(["check", str(net), "--all", "--samples", "2", "--json"]) == 0
    rows = {row["board"]: row["estimated_ms"] for row in json.loads(capsys.readouterr().out)["boards"]}
    assert rows["microbit-v2"][0] * 64 == pytest.approx(rows["mps2-an386"][0] * 25)
    assert rows["raspberry-pi-4"] is None
    assert main(["check", str(net), "--all", "--samples", "2"]) == 0
    assert "an estimate of one inference at the board's clock" in capsys.readouterr().out
