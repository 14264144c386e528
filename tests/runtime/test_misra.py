"""MISRA C:2012: cppcheck's addon finds in the runtime and in generated code what docs/misra.md lists, no more and no less."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import zoo
import zoo_images
from building import RUNTIME
from here import not_run_here

from labc import driver, emit
from labc.target import TARGETS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "misra.md").read_text(encoding="utf-8")
VERSION = re.search(r"cppcheck (\d+\.\d+)", PAGE)
# What the compilers define of the macros that #if asks for: arm-none-eabi-gcc -Os -dM -E, and gcc on x86-64.
_CORTEX_M = {"UINTPTR_MAX": "0xffffffff", "__thumb__": "1", "__ARM_ARCH_PROFILE": "77", "__OPTIMIZE_SIZE__": "1"}
MACHINES: dict[str, tuple[str, Mapping[str, str]]] = {
    "cortex-m0": ("unix32", _CORTEX_M),
    "cortex-m4": ("unix32", _CORTEX_M | {"__thumb2__": "1", "__ARM_FEATURE_SIMD32": "1", "__ARM_FEATURE_UNALIGNED": "1"}),
    "x86-64": ("unix64", {"UINTPTR_MAX": "0xffffffffffffffff", "__x86_64__": "1"}),
}
_SCALAR = ("scalar.c", "scalar_conv.c", "scalar_pool.c", "scalar_point.c")
_CORTEXM = (*_SCALAR, "labc_runtime.c", "cortexm.c", "cortexm_conv.c")
SOURCES = {"cortex-m0": _CORTEXM, "cortex-m4": _CORTEXM, "x86-64": (*_SCALAR, "labc_runtime.c", "dispatch.c", "cpu.c")}

Found = dict[str, set[str]]  # rule → files


def listed() -> Found:
    """The table of docs/misra.md."""
    rows = re.findall(r"^\| (\d+\.\d+) \| (\w+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert all(len(reason.strip()) > 20 for *_, reason in rows)
    assert len({rule for rule, *_ in rows}) == len(rows), "a rule has two rows"
    return {rule: {name.strip() for name in where.split(",")} for rule, _, where, _ in rows}


def cppcheck(machine: str, files: Sequence[Path], include: Sequence[Path]) -> Found:
    """The rules that `files` and what they include break, as compiled for `machine`."""
    platform, macros = MACHINES[machine]
    defines = [f"-D{name}={value}" for name, value in ({"FLT_EVAL_METHOD": "0"} | macros).items()]
    command = ["cppcheck", "-q", "--enable=style", "--addon=misra", "--std=c11", f"--platform={platform}", *defines]
    command += [*(f"-I{folder}" for folder in include), "--template={file}:{line}:{id}", *map(str, files)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert told.returncode == 0, told
    found: Found = defaultdict(set)
    for line in told.stderr.splitlines():
        file, _, what = line.rsplit(":", 2)
        assert what not in ("preprocessorErrorDirective", "syntaxError", "internalError", "internalAstError"), line
        if what.startswith("misra-c2012-"):
            found[what.removeprefix("misra-c2012-")].add(Path(file).name)
    return found


def networks(folder: Path) -> list[Path]:
    """A dense network and one with convolutions and a pool."""
    rng = np.random.default_rng(5)
    dense = zoo.save(zoo.own(zoo.random_layers(rng, [40, 33, 20, 4])), folder / "dense.onnx")
    net = zoo_images.Images(rng, [1, 6, 6])
    same, halves = zoo_images.Slide((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), zoo_images.Slide((2, 2), (2, 2), (0, 0, 0, 0), (1, 1))
    x = net.max_pool(net.sign(net.affine(net.conv(net.input, 8, same))), halves)
    x = net.sign(net.affine(net.conv(x, 12, same)))
    return [dense, zoo.save(net.model(net.scores(net.dense(net.flatten(x), 4))), folder / "conv.onnx")]


def generated(folder: Path) -> Found:
    """The rules that generated code breaks, for a Cortex-M and with the choice between levels; the network is called NAME."""
    found: Found = defaultdict(set)
    for path in networks(folder):
        for target, machine in (("arm", "cortex-m4"), ("x86-64", "x86-64")):
            place = folder / path.stem / target
            for name, text in emit.emit(driver.planned(driver.front(path, "NAME"), TARGETS[target])).items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
            made = sorted((place / "src").glob("NAME*.c"))
            assert len(made) == 4
            for rule, files in cppcheck(machine, made, [place / "include", place / "src"]).items():
                if own := {file for file in files if file.startswith("NAME")}:
                    found[rule] |= own
    return found


@pytest.mark.sweep
def test_the_deviations_are_those_listed(tmp_path: Path) -> None:
    if shutil.which("cppcheck") is None:
        not_run_here("MISRA C", "cppcheck is not on PATH")
        return
    version = subprocess.run(["cppcheck", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    assert VERSION is not None
    if not version.startswith(VERSION[1]):
        not_run_here("MISRA C", f"docs/misra.md is of cppcheck {VERSION[1]}, this is {version}; other versions find other things")
        return
    found = generated(tmp_path)
    for machine, sources in SOURCES.items():
        for rule, files in cppcheck(machine, [RUNTIME / name for name in sources], [RUNTIME]).items():
            found[rule] |= files
    wanted = listed()
    new = {rule: sorted(files - wanted.get(rule, set())) for rule, files in found.items() if files - wanted.get(rule, set())}
    gone = {rule: sorted(files - found.get(rule, set())) for rule, files in wanted.items() if files - found.get(rule, set())}
    assert not new, f"mend it, or list it with a reason in docs/misra.md: {new}"
    assert not gone, f"docs/misra.md lists what is no longer there: {gone}"


def test_it_finds_what_is_planted(tmp_path: Path) -> None:
    if shutil.which("cppcheck") is None:
        not_run_here("MISRA C of a planted fault", "cppcheck is not on PATH")
        return
    (tmp_path / "bad.c").write_text("int f(int a);\nint f(int a)\n{\n    if (a) {\n        a = 1;\n    }\n    return a;\n}\n")
    assert {"14.4", "17.8"} <= set(cppcheck("cortex-m0", [tmp_path / "bad.c"], []))
    (tmp_path / "worse.c").write_text("#error no\n")
    with pytest.raises(AssertionError, match="preprocessorErrorDirective"):
        cppcheck("cortex-m0", [tmp_path / "worse.c"], [])
