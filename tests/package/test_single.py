"""single: random networks of every kind as one C file, without a warning, right where it runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import zoo
import zoo_images
from breadth import some
from here import not_run_here

import labc
from labc import driver, package, toolchain
from labc.check import runners
from labc.compiling import archive, compile_objects
from labc.errors import NOT_HERE, LabcError
from labc.target import TARGETS

STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]


def models(folder: Path) -> list[Path]:
    """A file per kind of network."""
    paths = [
        zoo.save(zoo.own(zoo.random_layers(np.random.default_rng(8), [70, 40, 5], method=method)), folder / f"{method}.onnx")
        for method in ("lab2", "lab")
    ]
    for kind in ("signs", "bytes", "residual"):
        paths.append(folder / f"{kind}.onnx")
        paths[-1].write_bytes(zoo_images.random_network(np.random.default_rng(3), kind=kind, rank=2, blocks=2).SerializeToString())
    return paths


def compile_with(command: Sequence[str], folder: Path, *names: str) -> None:
    done = subprocess.run([*command, *STRICT, *names], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["host", "x86-64"])
def test_it_compiles_alone_and_is_right(target: str, tmp_path: Path) -> None:
    compilers = [cc for cc in ("gcc", "clang") if shutil.which(cc)]
    if (reason := toolchain.not_here(TARGETS[target])) or not compilers:
        not_run_here(f"single for {target}", reason or "neither gcc nor clang is here")
        return
    for path in models(tmp_path):
        out = labc.compile(path, target, out=tmp_path / f"{path.stem}-single", package="single")
        assert {p.name for p in out.iterdir()} == {f"{path.stem}.c", f"{path.stem}.h", "main.c", "README.md", "LICENSE", "manifest.json"}
        for cc in compilers:
            compile_with([cc, "-O2"], out, "main.c", f"{path.stem}.c", "-o", str(tmp_path / "program"))
            assert subprocess.run([str(tmp_path / "program")], check=False, capture_output=True).returncode == 0, (path.stem, cc)
        special = [f"-D{path.stem.upper()}_SPECIALIZE", "main.c", f"{path.stem}.c", "-o", str(tmp_path / "special")]
        compile_with([compilers[0], "-O2"], out, *special, "-Wno-error=aggressive-loop-optimizations")
        assert subprocess.run([str(tmp_path / "special")], check=False, capture_output=True).returncode == 0, path.stem


@pytest.mark.parametrize("target", some(["arm", "avr", "aarch64", "armv7", "riscv32"], ["arm", "avr"]))
def test_it_compiles_for_firmware(target: str, tmp_path: Path) -> None:
    """With the flags of the first compiler there is; what a library for the target answers is the emulators' matter."""
    survey = [tools for _, tools in toolchain.survey(TARGETS[target]) if not isinstance(tools, str)]
    if not survey:
        not_run_here(f"single for {target}", "no compiler for it")
        return
    for path in models(tmp_path):
        out = labc.compile(path, target, out=tmp_path / f"{path.stem}-single", package="single")
        assert "compile src/" not in (out / f"{path.stem}.h").read_text()  # there are no such files
        compile_objects(survey[0], TARGETS[target], [out / f"{path.stem}.c"], [out], tmp_path / "objects")
        if target == "arm" and shutil.which("clang"):  # which, unlike gcc, warns of inline functions that nobody calls
            thumb = ["clang", "--target=thumbv7em-none-eabihf", "-mcpu=cortex-m4", "-ffreestanding", "-fsyntax-only"]
            compile_with(thumb, out, f"{path.stem}.c")


@pytest.mark.parametrize(("target", "cpu"), [("arm", "cortex-m0"), ("arm", "cortex-m4"), ("aarch64", None), ("avr", None)])
def test_it_answers_right_in_an_emulator(target: str, cpu: str | None, tmp_path: Path) -> None:
    wanted = driver.target_for(target, cpu=cpu)
    try:
        tools = toolchain.find(wanted)
        for path in models(tmp_path)[: 1 if target == "avr" else None]:  # of the others inputs and vectors do not fit its 2 KB
            made = driver.planned(driver.front(path), package.suited(package.FORMATS["single"], wanted))
            out = labc.compile(path, target, cpu=cpu, out=tmp_path / path.stem / "single", package="single")
            objects = compile_objects(tools, wanted, [out / f"{path.stem}.c"], [out], tmp_path / "objects")
            (tmp_path / path.stem / "lib").mkdir()
            archive(tools, objects, tmp_path / path.stem / "lib" / f"lib{path.stem}.a")
            chip, _ = runners.chip(tmp_path / path.stem, made, tools, tmp_path)
            assert chip.self_test() == 0, path.stem
    except LabcError as error:
        if error.code != NOT_HERE:
            raise
        not_run_here(f"single on {wanted.cpu}", str(error))


def test_only_what_is_used_is_there(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "x86-64", out=tmp_path / "out", package="single")
    text = (out / "net.c").read_text()
    assert "labc_sign_matvec_threshold_scalar" in text
    for absent in (
        "labc_sign_conv",
        "max_pool",
        "labc_flash_i64",
        "avx2",
        "LABC_OP",
        'kernels.def"',
        "SPDX-License-Identifier: Apache-2.0 */",
    ):
        assert absent not in text, absent
    assert 'extern "C"' not in text


def test_several_link_together(digits_like: Path, tmp_path: Path) -> None:
    """All but the network's own functions are static."""
    if shutil.which("gcc") is None:
        not_run_here("two single networks in one program", "no gcc")
        return
    for name in ("first", "second"):
        out = labc.compile(digits_like, "host", out=tmp_path / name, name=name, package="single")
        for suffix in (".c", ".h"):
            shutil.copy(out / f"{name}{suffix}", tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "first.h"\n#include "second.h"\nstatic uint32_t arena[FIRST_ARENA_BYTES / 4];\n'
        "int main(void)\n{\n    return first_self_test(arena) + second_self_test(arena);\n}\n"
    )
    compile_with(["gcc"], tmp_path, "main.c", "first.c", "second.c", "-o", "program")
    assert subprocess.run([str(tmp_path / "program")], check=False).returncode == 0
    compile_with(["gcc", "-DFIRST_NO_SELF_TEST"], tmp_path, "-c", "first.c", "-o", "small.o")
    compile_with(["gcc"], tmp_path, "-c", "first.c", "-o", "whole.o")
    assert (tmp_path / "small.o").stat().st_size < (tmp_path / "whole.o").stat().st_size
