"""The kernel check, in C: built and run on this machine, under sanitizers, and on emulated Cortex-M cores. And the check's own check."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from building import CHECK, CHECK_SOURCES, CORTEX_M, CORTEX_M_KERNELS, HOST, RUNTIME, cortex_m_compilers, host_compilers, named

from labc import kernels, toolchain
from labc.emulator import Image
from labc.errors import LabcError
from labc.toolchain import Toolchain

FENCE = CHECK / ("fence_none.c" if sys.platform == "win32" else "fence_mmap.c")
PROGRAM = [*CHECK_SOURCES, CHECK / "host_main.c"]
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
Build = Callable[..., Path]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """program(sources, tool, flags): their path as a program of this machine."""

    def build(sources: Sequence[Path], tool: Toolchain, flags: Sequence[str] = ()) -> Path:
        place = tmp_path_factory.mktemp("program")
        objects = toolchain.compile_objects(tool, HOST, sources, [], place, flags)
        command = [*tool.cc, *toolchain.machine_flags(tool, HOST), *flags, *map(str, objects), "-o", str(place / "check")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise LabcError(done.stderr)
        return place / "check"

    return build


def run(program: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def tap(text: str) -> list[str]:
    """The test lines of a TAP text, after its plan was seen to hold."""
    planned = re.search(r"^1\.\.(\d+)$", text, re.MULTILINE)
    assert planned is not None, text
    lines = re.findall(r"^(?:not )?ok \d+ - .*$", text, re.MULTILINE)
    assert len(lines) == int(planned[1]), text
    return lines


def kernels_pass(text: str) -> None:
    lines = tap(text)
    rows = [f"{op} {isa}" for op, isa in kernels.table().kernels]
    assert all(line.startswith("ok ") for line in lines), text
    assert [re.sub(r"^ok \d+ - (.*): \d+ cases$", r"\1", line) for line in lines] == [row for row in rows if f" - {row}: " in text]
    assert sum(" scalar: " in line for line in lines) == len(kernels.table().ops)


def faults_are_found(text: str, *, fence: bool) -> None:
    lines = tap(text)
    assert all(line.startswith("ok ") for line in lines), text
    skipped = [line for line in lines if "# SKIP" in line]
    if fence:
        assert not skipped
    else:
        assert len(skipped) == 1
        assert skipped[0].endswith("sums_read_past_end # SKIP not run here: no unreadable page")
        print(skipped[0])
    for finding in ("nothing", "a wrong value", "unused bits", "wrote before", "wrote past", "changed an input"):
        assert f"found: {finding}" in text


@pytest.mark.parametrize("tool", host_compilers(), ids=named)
def test_on_this_machine(program: Build, tool: Toolchain) -> None:
    check = program([RUNTIME / "scalar.c", *PROGRAM, FENCE], tool)
    for seed in ("1", "20240501", "0x7fffffff"):
        status, text = run(check, seed)
        assert status == 0, text
        assert f"# seed {int(seed, 0)}\n" in text
        kernels_pass(text)
    status, text = run(check, "--faults")
    assert status == 0, text
    faults_are_found(text, fence=FENCE.stem == "fence_mmap")


def test_a_wrong_command_line(program: Build) -> None:
    check = program([RUNTIME / "scalar.c", *PROGRAM, FENCE], toolchain.find(HOST))
    status, text = run(check, "seven")
    assert status == 2
    assert "usage:" in text


def test_under_sanitizers(program: Build) -> None:
    """AddressSanitizer ends every array of fence_none.c at a red zone of its own; UndefinedBehaviorSanitizer watches the kernels."""
    reasons = []
    for tool in host_compilers():
        try:
            check = program([RUNTIME / "scalar.c", *PROGRAM, CHECK / "fence_none.c"], tool, SANITIZERS)
        except LabcError as error:
            reasons.append(f"{named(tool)}: {str(error).splitlines()[0]}")
            continue
        status, text = run(check)
        assert status == 0, text
        kernels_pass(text)
        return
    pytest.skip(f"not run here: no compiler has the sanitizers ({'; '.join(reasons)})")


@pytest.mark.parametrize(
    ("sound", "faulty", "message"),
    [
        (
            "8 * count + ",
            "7 * count + ",
            r"# sign_matvec_sums scalar: inputs \d+ rows \d+ fill \w+ \w+ case \d+ seed 5: index \d+ got -?\d+ want -?\d+\n",
        ),
        ("return product + t;", "return product - t;", r"# affine scalar: .* seed 5: index \d+ got float 0x\w{8} want 0x\w{8}\n"),
        (
            "for (; i < words; ++i)",
            "for (; i <= words; ++i)",
            r"# sign_matvec_sums scalar: .*: (a wrong|touched memory past the end|index)",
        ),
        ("rows - n < 32 ? rows - n : 32", "32", r"# sign_matvec_threshold scalar: .*"),
    ],
)
def test_a_faulty_kernel_is_named_with_all_that_is_needed_to_see_it_again(
    program: Build, tmp_path: Path, sound: str, faulty: str, message: str
) -> None:
    text = (RUNTIME / "scalar.c").read_text()
    assert sound in text
    source = tmp_path / "scalar.c"
    source.write_text(text.replace(sound, faulty).replace('"kernels.h"', f'"{(RUNTIME / "kernels.h").as_posix()}"'))
    check = program([source, *PROGRAM, FENCE], toolchain.find(HOST))
    status, text = run(check, "5")
    assert status == 1
    assert re.search(message, text), text
    assert any(line.startswith("not ok ") for line in tap(text))
    assert run(check, "5") == (status, text)


@pytest.mark.parametrize("tool", cortex_m_compilers(), ids=named)
@pytest.mark.parametrize("core", ["m4-hard", "m0"])
def test_on_an_emulated_core(image: Any, core: str, tool: Toolchain) -> None:
    target = CORTEX_M[core]
    keep = ["labc_check_all", "labc_check_faults", "labc_check_output_text", "labc_check_output_used"]
    sources = [*CORTEX_M_KERNELS, *CHECK_SOURCES, CHECK / "fence_none.c", CHECK / "memory_main.c"]
    elf = image(target, tool, sources, keep)
    for entry in ("labc_check_all", "labc_check_faults"):
        core_image = Image(elf, cpu=target.cpu)
        failures = core_image.call(entry, 1, budget=20_000_000_000).result
        used = int.from_bytes(core_image.read(core_image.symbols["labc_check_output_used"].address, 4), "little")
        text = core_image.read(core_image.symbols["labc_check_output_text"].address, used).decode("ascii")
        assert failures == 0, text
        if entry == "labc_check_all":
            kernels_pass(text)
            assert all(f" {isa}: " in text for isa in target.isas)
        else:
            faults_are_found(text, fence=False)
