"""What is generated compiles without a warning for systems that are not here: Windows and macOS, by the wheel's compiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zoo
import zoo_images
from breadth import some

from labc import driver, emit, toolchain
from labc.build import write
from labc.compiling import compile_objects
from labc.target import TARGETS

# How an object begins: COFF by its machine (Microsoft, "PE Format"), Mach-O by its magic and its processor.
OBJECTS = {
    "x86_64-windows-gnu": (b"\x64\x86", "x86-64"),
    "aarch64-windows-gnu": (b"\x64\xaa", "aarch64"),
    "x86_64-macos": (b"\xcf\xfa\xed\xfe\x07\x00\x00\x01", "x86-64"),
    "aarch64-macos": (b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01", "aarch64"),
}


@pytest.mark.parametrize("system", some(OBJECTS, ["x86_64-windows-gnu"]))
def test_sources_compile_for_other_systems(system: str, tmp_path: Path) -> None:
    magic, target = OBJECTS[system]
    zig = toolchain.find(TARGETS[target], "zig")
    rng = np.random.default_rng(1)
    for name, model in (("dense", zoo.own(zoo.random_layers(rng, [40, 33, 10]))), ("image", zoo_images.random_network(rng))):
        compiled = driver.front(zoo.save(model, tmp_path / f"{name}.onnx"))
        write(tmp_path / name, emit.emit(driver.planned(compiled, TARGETS[target])))
        sources = sorted((tmp_path / name / "src").glob("*.c"))
        folders = [tmp_path / name / "include", tmp_path / name / "src"]
        objects = compile_objects(zig, TARGETS[target], sources, folders, tmp_path / "objects", ("-target", system))
        assert len(objects) == len(sources) > 3
        assert all(made.read_bytes().startswith(magic) for made in objects)
