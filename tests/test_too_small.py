"""Where a network cannot fit, its code does not compile: whoever takes the sources elsewhere is told which layer to make narrower."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zoo
from here import not_run_here

import labc
from labc import toolchain
from labc.compiling import compile_objects
from labc.errors import LabcError
from labc.target import TARGETS, Target


def compiled(target: Target, source: Path, include: Path, place: Path, *flags: str) -> None:
    compile_objects(toolchain.find(target), target, [source], [include], place, flags)


@pytest.mark.parametrize("package", [None, "single"])
@pytest.mark.parametrize("ram", [None, 4096])
def test_less_ram_than_the_arena_does_not_compile(package: str | None, ram: int | None, digits_like: Path, tmp_path: Path) -> None:
    """The RAM labc was told is the default; NAME_RAM_BYTES names another, also where it was told none."""
    out = labc.compile(digits_like, "host", out=tmp_path / "out", ram=ram, package=package)
    arena = json.loads((out / "manifest.json").read_text())["arena"]
    source, include = (out / "src" / "net.c", out / "include") if package is None else (out / "net.c", out)
    compiled(TARGETS["host"], source, include, tmp_path)
    compiled(TARGETS["host"], source, include, tmp_path, f"-DNET_RAM_BYTES={arena['bytes']}")
    with pytest.raises(LabcError, match=f"net: the arena is larger than the RAM; make layer {arena['layer']} narrower"):
        compiled(TARGETS["host"], source, include, tmp_path, f"-DNET_RAM_BYTES={arena['bytes'] - 1}")
    if ram is not None:
        header = include / "net.h"
        header.write_text(header.read_text().replace(f"ARENA_BYTES {arena['bytes']} ", f"ARENA_BYTES {ram + 4} "))
        with pytest.raises(LabcError, match="net: the arena is larger than the RAM"):
            compiled(TARGETS["host"], source, include, tmp_path)


@pytest.mark.parametrize("package", ["folder", "arduino"])
def test_an_avr_with_less_ram_does_not_compile(package: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """Built for an ATmega328P, or for any processor; compiled for an ATtiny13, which has 64 bytes."""
    try:
        tools = toolchain.find(TARGETS["avr"])
    except LabcError as error:
        not_run_here("an AVR with too little RAM", str(error))
        return
    path = zoo.save(zoo.own(zoo.random_layers(rng, [20, 100, 4], method="lab")), tmp_path / "net.onnx")
    out = labc.compile(path, None if package == "arduino" else "avr", out=tmp_path / "out", package=package)
    source, header = next(out.rglob("net.c")), next(out.rglob("net.h"))
    said = {}
    for processor in ("atmega328p", "attiny13"):
        command = [
            *tools.cc,
            f"-mmcu={processor}",
            "-std=c11",
            "-Os",
            f"-I{header.parent}",
            "-c",
            str(source),
            "-o",
            str(tmp_path / "net.o"),
        ]
        said[processor] = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said["atmega328p"].returncode == 0
    assert said["attiny13"].returncode != 0
    assert re.search(r"net: the arena is larger than this processor's RAM; make layer \w+ narrower", said["attiny13"].stderr)


def test_more_constants_than_a_near_pointer_of_avr_reaches(rng: np.random.Generator, tmp_path: Path) -> None:
    """Plain C for any processor, on an ATmega2560 with 256 KiB of flash: what lies beyond 64 KiB would be read wrong."""
    try:
        tools = toolchain.find(TARGETS["avr"])
    except LabcError as error:
        not_run_here("an AVR with much flash", str(error))
        return
    vectors = r"net: constants and golden vectors are more than .* leave net_self_test.c out, or .* define NET_NO_SELF_TEST"
    for width, flags, told in (
        (300, [], None),
        (382, [], vectors),
        (382, ["-DNET_NO_SELF_TEST"], None),
        (450, ["-DNET_NO_SELF_TEST"], r"net: the constants are more than the 64 KiB of flash .* make layer sign\d narrower"),
    ):
        path = zoo.save(zoo.own(zoo.random_layers(rng, [64, width, width, width, width, 10])), tmp_path / "net.onnx")
        out = labc.compile(path, out=tmp_path / "out", package="arduino")
        command = [
            *tools.cc,
            "-mmcu=atmega2560",
            "-std=c11",
            "-Os",
            *flags,
            "-c",
            str(out / "src" / "net.c"),
            "-o",
            str(tmp_path / "net.o"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (told is None), done.stderr
        assert told is None or re.search(told, done.stderr)
