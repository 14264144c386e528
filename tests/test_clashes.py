"""Two networks in one program: of one name, or of two labc versions, they neither compile nor link together, and it is said why."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zoo
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from labc import build, driver, emit, kernels, toolchain
from labc.compiling import archive, compile_objects, link_program
from labc.errors import LabcError
from labc.flags import Toolchain
from labc.image import image_files, link_image
from labc.target import TARGETS, Target

HOST = TARGETS["host"]
TOOLS = [
    pytest.param(target, tool, marks=pytest.mark.sweep if (target, name) == (HOST, "zig") else ())  # the first such link takes 15 s
    for target in (HOST, TARGETS["arm"])
    for name, tool in toolchain.survey(target)
    if isinstance(tool, Toolchain) and name != "cc"
]


def network(folder: Path, name: str, target: Target, seed: int) -> Path:
    """The sources of a random network called `name`, in plain C."""
    path = zoo.save(zoo.own(zoo.random_layers(np.random.default_rng(seed), [40, 33, 4])), folder.with_suffix(".onnx"))
    tree = emit.emit(driver.planned(driver.front(path, name), replace(target, isas=("scalar",))))
    build.write(folder, tree)
    return folder


def calling(name: str, function: str) -> str:
    """A C file whose `function` runs the self-test of a network."""
    macro = name.upper()
    return (
        f'#include "{name}.h"\nstatic uint32_t arena[{macro}_ARENA_BYTES / 4];\nint {function}(void);\n'
        f"int {function}(void)\n{{\n    return {name}_self_test(arena) + (int){name}_abi_version() - 1;\n}}\n"
    )


def archived(target: Target, tool: Toolchain, library: Path, place: Path) -> Path:
    """The library's sources as an archive, by this compiler."""
    sources = sorted((library / "src").glob("*.c"))
    objects = compile_objects(tool, target, sources, [library / "include", library / "src"], place)
    return archive(tool, objects, place / "lib.a")


def linked(target: Target, tool: Toolchain, one: Path, two: Path, names: tuple[str, str], place: Path) -> Path:
    """A program that calls both networks, of archives: each caller sees one header."""
    inputs = []
    for library, name, function in ((one, names[0], "first"), (two, names[1], "second")):
        (place / f"{function}.c").write_text(calling(name, function))
        inputs += compile_objects(tool, target, [place / f"{function}.c"], [library / "include"], place / function)
    (place / "main.c").write_text("int first(void);\nint second(void);\nint main(void)\n{\n    return first() + second();\n}\n")
    start, script = ([], None) if target.cpu is None else image_files(target)
    inputs += compile_objects(tool, target, [place / "main.c", *start], [], place / "main")
    inputs += [archived(target, tool, library, place / f"archive{i}") for i, library in enumerate((one, two))]
    if target.cpu is None:
        return link_program(tool, target, inputs, place / "program")
    return link_image(tool, target, inputs, script, place / "program", keep=["main"])


def loaded(path: Path) -> list[tuple[str, bytes]]:
    """The sections of an object that take memory."""
    with path.open("rb") as file:
        return [(s.name, s.data()) for s in ELFFile(file).iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_ALLOC and s["sh_size"]]


@pytest.mark.parametrize(("target", "tool"), TOOLS, ids=lambda value: value.name)
def test_two_networks_share_a_program(target: Target, tool: Toolchain, tmp_path: Path) -> None:
    one, two = network(tmp_path / "one", "alpha", target, 1), network(tmp_path / "two", "beta", target, 2)
    program = linked(target, tool, one, two, ("alpha", "beta"), tmp_path)
    if target.cpu is None:
        assert subprocess.run([str(program)], check=False).returncode == 0


@pytest.mark.parametrize(("target", "tool"), TOOLS, ids=lambda value: value.name)
def test_two_networks_of_one_name_do_not_link(target: Target, tool: Toolchain, tmp_path: Path) -> None:
    one, two = network(tmp_path / "one", "net", target, 1), network(tmp_path / "two", "net", target, 2)
    with pytest.raises(LabcError, match=r"(multiple definition of `|duplicate symbol: )net_"):
        linked(target, tool, one, two, ("net", "net"), tmp_path)
    (tmp_path / "same").mkdir()
    linked(target, tool, one, one, ("net", "net"), tmp_path / "same")


def test_two_headers_of_one_name_do_not_compile(tmp_path: Path) -> None:
    one, two = network(tmp_path / "one", "net", HOST, 1), network(tmp_path / "two", "net", HOST, 2)
    tool = toolchain.find(HOST)
    for other, told in ((two, "two networks are called net: build one of them with another --name"), (one, None)):
        (tmp_path / "both.c").write_text(f'#include "{one}/include/net.h"\n#include "{other}/include/net.h"\nint f(void);\n')
        if told is None:
            compile_objects(tool, HOST, [tmp_path / "both.c"], [], tmp_path)
            continue
        with pytest.raises(LabcError, match=told):
            compile_objects(tool, HOST, [tmp_path / "both.c"], [], tmp_path)


def of_another_version(library: Path, files: tuple[str, ...]) -> Path:
    """The library with the runtime's next number in some of its files."""
    number = kernels.table().runtime
    for name in files:
        text = (library / "src" / name).read_text()
        changed = re.sub(rf"(LABC_RUNTIME |LABC_RUNTIME == |labc_runtime_){number}\b", rf"\g<1>{number + 1}", text)
        assert changed != text
        (library / "src" / name).write_text(changed)
    return library


@pytest.mark.parametrize(("target", "tool"), TOOLS, ids=lambda value: value.name)
def test_networks_of_two_versions_do_not_link(target: Target, tool: Toolchain, tmp_path: Path) -> None:
    one = network(tmp_path / "one", "alpha", target, 1)
    two = of_another_version(network(tmp_path / "two", "beta", target, 2), ("kernels.h", "beta.c"))
    with pytest.raises(LabcError, match="labc_error_two_versions_of_labc_in_one_program"):
        linked(target, tool, one, two, ("alpha", "beta"), tmp_path)


def test_a_network_and_a_runtime_of_two_versions_do_not_compile(tmp_path: Path) -> None:
    two = of_another_version(network(tmp_path / "two", "beta", HOST, 2), ("kernels.h",))
    with pytest.raises(LabcError, match="files are of another labc version than this network"):
        archived(HOST, toolchain.find(HOST), two, tmp_path)


@pytest.mark.parametrize("target", [HOST, TARGETS["arm"]], ids=lambda value: value.name)
def test_the_symbols_cost_nothing(target: Target, tmp_path: Path) -> None:
    """Objects with and without them have the same bytes in memory."""
    tool = toolchain.find(target)
    library = network(tmp_path / "one", "net", target, 1)
    found = []
    for name in ("with", "without"):
        if name == "without":
            for path in (library / "src" / "net.c", library / "src" / "labc_runtime.c", library / "include" / "net.h"):
                text = path.read_text()
                assert "#ifdef __ELF__" in text
                path.write_text(text.replace("#ifdef __ELF__", "#ifdef NOWHERE"))
        objects = compile_objects(tool, target, sorted((library / "src").glob("*.c")), [library / "include"], tmp_path / name)
        found.append([loaded(path) for path in objects])
    assert found[0] == found[1]
    assert sum(map(len, found[0])) > 5
