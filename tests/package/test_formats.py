"""Every format: what is in it, the same bytes every time, and its own tool where that is here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
import tomllib
import venv
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import zoo_images
from breadth import some
from consumers import BOTH, CONSUMER, STRICT, run, tree
from here import not_run_here

import labc
from labc import package, toolchain
from labc.cli import main
from labc.errors import BAD_INPUT, OK, LabcError
from labc.target import CORES, TARGETS

# A target of each format that is not the host.
FIRMWARE = {"arduino": "avr", "platformio": "arm", "zephyr": "arm", "esp-idf": "riscv32", "cmsis-pack": "arm"}
# Text files that are no programs' own format may not name a path, a date or the machine.
_DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b")


def here(format_name: str, target: str = "host", programs: Sequence[str] = ()) -> bool:
    """Whether the programs, or else those of the format, are here and what is built for `target` runs; says so if not."""
    missing = [program for program in programs or package.FORMATS[format_name].validators if shutil.which(program) is None]
    if reason := (f"no {missing[0]}" if missing else toolchain.not_here(TARGETS[target])):
        not_run_here(f"package {format_name}", reason)
    return reason is None


@pytest.mark.parametrize("name", package.FORMATS)
def test_what_is_in_each(name: str, digits_like: Path, tmp_path: Path) -> None:
    target = FIRMWARE.get(name)
    out = labc.compile(digits_like, target, out=tmp_path / "one", package=name)
    files = tree(out)
    manifest = json.loads(files["manifest.json"])
    assert manifest["package"] == name
    assert manifest["files"] == {path: hashlib.sha256(data).hexdigest() for path, data in files.items() if path != "manifest.json"}
    assert manifest["constants"]["bytes"] > 0
    inside = files
    for path in out.glob("*.pack"):
        with zipfile.ZipFile(path) as pack:
            inside = {entry: pack.read(entry) for entry in pack.namelist()}
    assert b"Apache License" in inside["LICENSE"]
    readme = inside["README.md"].decode()
    for needed in ("net_run", "net_predict", "net_self_test", f"{manifest['constants']['bytes']:,}", f"{manifest['arena']['bytes']:,}"):
        assert needed in readme
    if name != "python":
        assert any(b"net_self_test(arena)" in data for path, data in inside.items() if path.endswith(("main.c", ".ino")))
    for path, data in inside.items():
        if not path.endswith((".whl", "LICENSE")):
            text = data.decode()
            assert str(tmp_path) not in text, path
            assert not _DATE.search(text), path
            assert text.isascii(), path
            assert text.endswith("\n"), path
    again = tmp_path / "elsewhere" / "other.onnx"
    again.parent.mkdir()
    shutil.copy(digits_like, again)
    assert tree(labc.compile(again, target, out=tmp_path / "deeper" / "two", name="net", package=name)) == files


# Every file of each format, beyond what all have, of a dense network for Cortex-M4 or, if the format is not for that, a target of its own.
_TREE = {
    "include/net.h", "src/cortexm.c", "src/cortexm.h", "src/kernels.def", "src/kernels.h", "src/labc_runtime.c", "src/net.c",
    "src/net_info.c", "src/net_self_test.c", "src/net_weights.c", "src/net_weights.h", "src/scalar.c", "src/scalar.h", "example/main.c",
}  # fmt: skip
_PAIR = {"src/net.c", "src/net.h"}
CONTENTS = {
    "folder": {*_TREE, "Makefile", "net.ld"},
    "single": {"net.c", "net.h", "main.c"},
    "cmake": {*_TREE, "CMakeLists.txt", "cmake/netConfig.cmake", "net.ld"},
    "pkg-config": {*_TREE, "Makefile", "net.pc.in", "net.ld"},
    "arduino": {*_PAIR, "library.properties", "keywords.txt", "examples/SelfTest/SelfTest.ino"},
    "platformio": {*_PAIR, "library.json", "examples/self_test/main.c"},
    "zephyr": {
        *_PAIR, "zephyr/module.yml", "zephyr/CMakeLists.txt", "zephyr/Kconfig",
        *(f"samples/self_test/{file}" for file in ("CMakeLists.txt", "prj.conf", "sample.yaml", "src/main.c")),
    },
    "esp-idf": {
        *_PAIR, "CMakeLists.txt", "idf_component.yml",
        *(f"examples/self_test/{file}" for file in ("CMakeLists.txt", "main/CMakeLists.txt", "main/idf_component.yml", "main/main.c")),
    },
    "cmsis-pack": {*_PAIR, "labc.net.pdsc", "example/main.c"},
    "python": {
        "net/__init__.py", "net/__main__.py", "net/py.typed", "net/libnet.so",
        *(f"net-{labc.__version__}.dist-info/{file}" for file in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", package.FORMATS)
def test_nothing_else_is_in_it(name: str, digits_like: Path, tmp_path: Path) -> None:
    """Of a pack and a wheel the files inside; only the runtime's files that the network calls."""
    target = {"esp-idf": "riscv32", "python": None}.get(name, "arm")
    out = labc.compile(digits_like, target, out=tmp_path / "net", package=name)
    everywhere = {"LICENSE", "README.md", "manifest.json"}
    found = set(tree(out))
    archives = [path for path in out.iterdir() if path.suffix in (".pack", ".whl")]
    for path in archives:
        with zipfile.ZipFile(path) as pack:
            found = found - {path.name} | set(pack.namelist())
    assert len(archives) == (name in ("cmsis-pack", "python"))
    assert found == CONTENTS[name] | everywhere


def test_a_package_is_replaced_by_the_next(digits_like: Path, tmp_path: Path) -> None:
    labc.compile(digits_like, "arm", out=tmp_path / "out", package="folder")
    out = labc.compile(digits_like, "arm", out=tmp_path / "out", package="arduino")
    assert not (out / "Makefile").exists()
    assert (out / "library.properties").is_file()


@pytest.mark.parametrize("target", ["host", "x86-64"])
def test_folder(target: str, digits_like: Path, tmp_path: Path) -> None:
    if here("folder", target):
        out = labc.compile(digits_like, target, out=tmp_path / "out", package="folder")
        assert "self-test passed" in run("make", "-s", "check", f"CFLAGS=-O2 {STRICT}", cwd=out)


def test_folder_for_firmware(digits_like: Path, tmp_path: Path) -> None:
    if not here("folder") or shutil.which("arm-none-eabi-gcc") is None:
        not_run_here("the folder's Makefile for arm", "no make and arm-none-eabi-gcc")
        return
    out = labc.compile(digits_like, board="bbc-microbit", out=tmp_path / "out", package="folder")
    run("make", "-s", cwd=out)
    assert (out / "build" / "libnet.a").is_file()


@pytest.mark.parametrize("target", some(["host", "x86-64"], ["host"]))
def test_cmake(target: str, digits_like: Path, tmp_path: Path) -> None:
    """By itself with ctest, by add_subdirectory, and installed by find_package."""
    if not here("cmake", target):
        return
    out = labc.compile(digits_like, target, out=tmp_path / "net", package="cmake")
    strict = f"-DCMAKE_C_FLAGS={STRICT}"
    run("cmake", "-S", out, "-B", "alone", strict, f"-DCMAKE_INSTALL_PREFIX={tmp_path / 'prefix'}", cwd=tmp_path)
    run("cmake", "--build", "alone", cwd=tmp_path)
    run("ctest", cwd=tmp_path / "alone")
    run("cmake", "--install", "alone", cwd=tmp_path)
    (tmp_path / "main.c").write_text(CONSUMER)
    for kind, line in (("inside", "add_subdirectory(net)"), ("installed", "find_package(net 0.1.0 REQUIRED)")):
        (tmp_path / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.15)\nproject(consumer C)\n"
            f"{line}\nadd_executable(program main.c)\ntarget_link_libraries(program PRIVATE net::net)\n"
        )
        run("cmake", "-S", ".", "-B", kind, f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}", cwd=tmp_path)
        run("cmake", "--build", kind, cwd=tmp_path)
        run(tmp_path / kind / "program", cwd=tmp_path)


def test_cmake_takes_a_network_called_test(digits_like: Path, tmp_path: Path) -> None:
    if here("cmake"):
        out = labc.compile(digits_like, "host", out=tmp_path / "test", name="test", package="cmake")
        run("cmake", "-S", out, "-B", "build", cwd=tmp_path)


@pytest.mark.parametrize("target", some(["host", "x86-64"], ["host"]))
def test_two_networks_in_one_cmake_project(target: str, digits_like: Path, tmp_path: Path) -> None:
    """A dense one and one of images, which share some of the runtime's files and not others: the linker takes each file once."""
    if not here("cmake", target):
        return
    (tmp_path / "other.onnx").write_bytes(zoo_images.random_network(np.random.default_rng(3), kind="signs", rank=2).SerializeToString())
    for model, name in ((digits_like, "first"), (tmp_path / "other.onnx", "second")):
        labc.compile(model, target, out=tmp_path / name, name=name, package="cmake")
    (tmp_path / "main.c").write_text(BOTH)
    for order in ("first::first second::second", "second::second first::first"):
        (tmp_path / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.15)\nproject(consumer C)\nadd_subdirectory(first)\nadd_subdirectory(second)\n"
            f"add_executable(program main.c)\ntarget_link_libraries(program PRIVATE {order})\n"
        )
        run("cmake", "-S", ".", "-B", "build", f"-DCMAKE_C_FLAGS={STRICT}", cwd=tmp_path)
        run("cmake", "--build", "build", cwd=tmp_path)
        run(tmp_path / "build" / "program", cwd=tmp_path)


def test_pkg_config(digits_like: Path, tmp_path: Path) -> None:
    if not here("pkg-config"):
        return
    out = labc.compile(digits_like, "host", out=tmp_path / "net", package="pkg-config")
    prefix = tmp_path / "prefix"
    assert "self-test passed" in run("make", "-s", "check", f"CFLAGS=-O2 {STRICT}", cwd=out)
    run("make", "-s", "install", f"PREFIX={prefix}", cwd=out)
    found = {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    run("pkg-config", "--validate", "net", cwd=tmp_path, more=found)
    assert run("pkg-config", "--modversion", "net", cwd=tmp_path, more=found).strip() == labc.__version__
    words = run("pkg-config", "--cflags", "--libs", "net", cwd=tmp_path, more=found).split()
    (tmp_path / "main.c").write_text(CONSUMER)
    run("cc", "main.c", *words, "-o", "program", cwd=tmp_path)
    run(tmp_path / "program", cwd=tmp_path)


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.mark.parametrize(("target", "architectures"), [("avr", "avr"), ("arm", "mbed"), ("host", "*")])
def test_arduino_has_what_the_specification_asks_for(target: str, architectures: str, digits_like: Path, tmp_path: Path) -> None:
    """Arduino library specification 1.5: the keys, a version, a name of at most 63 characters; sources in src/ only."""
    out = labc.compile(digits_like, target, out=tmp_path / "net", package="arduino")
    found = properties((out / "library.properties").read_text())
    needed = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures", "includes"}
    assert set(found) == needed
    assert all(value for key, value in found.items() if key != "url")
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    assert found["architectures"].split(",")[0] == architectures
    assert {p.name for p in (out / "src").iterdir()} == {"net.c", "net.h"}
    assert (out / "examples" / "SelfTest" / "SelfTest.ino").is_file()


ARDUINO = """\
#include <cstdint>
#include <cstdio>
struct Port {
    void begin(long) {}
    void print(const char *text) { std::printf("%s", text); }
    void println(const char *text) { std::printf("%s\\n", text); }
};
static Port Serial;
void setup();
void loop();
"""


def test_arduino_compiles_as_a_sketch(digits_like: Path, tmp_path: Path) -> None:
    """As the Arduino builder does it: the sketch as C++ behind Arduino.h, the library's C as C, linked together; here for this machine."""
    if not here("arduino", programs=("gcc", "g++")):
        return
    out = labc.compile(digits_like, "host", out=tmp_path / "net", package="arduino")
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    (tmp_path / "core.cpp").write_text("void setup();\nvoid loop();\nint main()\n{\n    setup();\n    loop();\n}\n")
    sketch = (out / "examples" / "SelfTest" / "SelfTest.ino").read_text()
    (tmp_path / "SelfTest.ino.cpp").write_text(f"#include <Arduino.h>\n{sketch}")
    run("gcc", "-Os", "-std=gnu11", "-c", out / "src" / "net.c", "-o", "net.o", cwd=tmp_path)
    flags = ["-Os", "-std=gnu++11", "-fno-exceptions", "-fpermissive", "-I.", f"-I{out / 'src'}"]
    run("g++", *flags, "SelfTest.ino.cpp", "core.cpp", "net.o", "-o", "program", cwd=tmp_path)
    assert run(tmp_path / "program", cwd=tmp_path) == "net: self-test passed\n"


def test_platformio_manifest(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "arm", out=tmp_path / "net", package="platformio")
    found = json.loads((out / "library.json").read_text())
    assert {"name", "version", "description", "keywords", "license", "frameworks", "platforms", "build"} <= set(found)
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    assert (out / found["build"]["srcDir"] / found["headers"]).is_file()
    for example in found["examples"]:
        assert all((out / example["base"] / file).is_file() for file in example["files"])


ZEPHYR = """\
cmake_minimum_required(VERSION 3.15)
project(stand_in C)
function(zephyr_library_named name)
  add_library(${name} STATIC)
  set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
endfunction()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_compile_options)
  target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories)
  include_directories(${ARGN})
  set_property(GLOBAL PROPERTY includes ${ARGN})
endfunction()
set(CONFIG_LABC_NET y)
add_subdirectory(${MODULE}/zephyr module)
get_property(includes GLOBAL PROPERTY includes)
add_executable(program main.c)
target_include_directories(program PRIVATE ${includes})
target_link_libraries(program PRIVATE labc_net)
"""


def test_zephyr(digits_like: Path, tmp_path: Path) -> None:
    """The module's keys and files; and that its CMake file, with stand-ins for Zephyr's functions, makes the library."""
    out = labc.compile(digits_like, "host", out=tmp_path / "net", package="zephyr")
    assert (out / "zephyr" / "module.yml").read_text() == "name: net\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n"
    assert (out / "zephyr" / "Kconfig").read_text().splitlines()[1].startswith("config LABC_NET")
    sample = out / "samples" / "self_test"
    assert {p.name for p in sample.iterdir()} == {"CMakeLists.txt", "prj.conf", "sample.yaml", "src"}
    assert "CONFIG_LABC_NET=y" in (sample / "prj.conf").read_text()
    if here("zephyr", programs=("cmake",)):
        (tmp_path / "CMakeLists.txt").write_text(ZEPHYR)
        (tmp_path / "main.c").write_text(CONSUMER)
        run("cmake", "-S", ".", "-B", "build", f"-DMODULE={out}", cwd=tmp_path)
        run("cmake", "--build", "build", cwd=tmp_path)
        run(tmp_path / "build" / "program", cwd=tmp_path)


def test_zephyr_keeps_the_speed_of_cortex_m(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "arm", out=tmp_path / "net", package="zephyr")
    assert "-ffp-contract=off -O2 -fno-unroll-loops" in (out / "zephyr" / "CMakeLists.txt").read_text()


IDF = """\
cmake_minimum_required(VERSION 3.15)
project(stand_in C)
function(idf_component_register)
  cmake_parse_arguments(PARSE_ARGV 0 one "" "" "SRCS;INCLUDE_DIRS")
  add_library(component STATIC ${one_SRCS})
  target_include_directories(component PUBLIC ${one_INCLUDE_DIRS})
  set(COMPONENT_LIB component PARENT_SCOPE)
endfunction()
add_subdirectory(${COMPONENT} component)
add_executable(program main.c)
target_link_libraries(program PRIVATE component)
"""


def test_esp_idf(digits_like: Path, tmp_path: Path) -> None:
    """The component's keys and files; and that its CMake file, with a stand-in for ESP-IDF's function, makes the library."""
    out = labc.compile(digits_like, "host", out=tmp_path / "net", package="esp-idf")
    lines = (out / "idf_component.yml").read_text().splitlines()
    keys = dict(line.split(": ", 1) for line in lines if not line.startswith(" ") and ": " in line)
    assert re.fullmatch(r'"\d+\.\d+\.\d+"', keys["version"])
    assert {"version", "description", "license"} == set(keys)
    assert (out / "examples" / "self_test" / "main" / "main.c").is_file()
    if here("esp-idf", programs=("cmake",)):
        (tmp_path / "CMakeLists.txt").write_text(IDF)
        (tmp_path / "main.c").write_text(CONSUMER)
        run("cmake", "-S", ".", "-B", "build", f"-DCOMPONENT={out}", cwd=tmp_path)
        run("cmake", "--build", "build", cwd=tmp_path)
        run(tmp_path / "build" / "program", cwd=tmp_path)


@pytest.mark.parametrize(("target", "cpu"), [*(("arm", cpu) for cpu, core in CORES.items() if core.target == "arm"), ("host", None)])
def test_cmsis_pack(target: str, cpu: str | None, digits_like: Path, tmp_path: Path) -> None:
    """The rules of PACK.xsd 1.7.32, written anew, for what is in it: elements and, where it has one, their order; attributes; how names and
    versions look and how long they are; its cores. Nothing else is there, so an element or attribute that it does not know fails."""
    out = labc.compile(digits_like, target, cpu=cpu, out=tmp_path / "net", package="cmsis-pack")
    with zipfile.ZipFile(out / f"labc.net.{labc.__version__}.pack") as pack:
        assert pack.testzip() is None
        names = pack.namelist()
        assert pack.read("labc.net.pdsc") == (out / "labc.net.pdsc").read_bytes()
    description = ElementTree.parse(out / "labc.net.pdsc").getroot()
    needed = {"vendor", "name", "description", "url", "releases"}
    tags = [element.tag for element in description]
    assert description.tag == "package"
    assert {key.rpartition("}")[2] for key in description.attrib} == {"schemaVersion", "noNamespaceSchemaLocation"}
    assert all(not element.attrib for element in description)
    assert len(set(tags)) == len(tags)
    assert needed <= set(tags) <= needed | {"license", "conditions", "components"}
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", description.attrib["schemaVersion"])
    assert all(re.fullmatch(r"[-_A-Za-z0-9]+", str(description.findtext(tag))) for tag in ("vendor", "name"))
    assert [release.attrib for release in description.findall("releases/release")] == [{"version": labc.__version__}]
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[-0-9A-Za-z.]+)?", labc.__version__)  # a release needs all three numbers
    assert [element.tag for element in description.iterfind("releases/*")] == ["release"]
    assert [element.tag for element in description.iterfind("components/*")] == ["component"]
    assert all(1 <= len(str(element.text)) <= 256 for element in description.iter("description"))
    (component,) = description.findall("components/component")
    assert {"Cclass", "Cgroup", "Cversion"} <= set(component.attrib) <= {"Cclass", "Cgroup", "Csub", "Cversion", "condition"}
    assert all(re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9_+()'/\s.]{1,31}", component.attrib[key]) for key in ("Cclass", "Cgroup"))
    assert re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9_+():/ .]{0,31}", component.attrib["Csub"])
    assert component.attrib["Cversion"] == labc.__version__
    assert {element.tag for element in component} == {"description", "files"}
    files = component.findall("files/file")
    assert files == component.findall("files/*")
    assert all({"category", "name"} <= set(file.attrib) <= {"category", "name", "attr", "select"} for file in files)
    assert {file.attrib["category"] for file in files} == {"doc", "header", "source"}
    assert [file.attrib["name"] for file in files if file.attrib.get("attr") == "template"] == ["example/main.c"]
    assert {file.attrib["name"] for file in files} | {description.findtext("license")} <= set(names)
    conditions = {condition.attrib["id"]: condition for condition in description.findall("conditions/condition")}
    assert set(conditions) == {component.attrib["condition"]} if cpu else not conditions
    for condition in conditions.values():
        assert [element.tag for element in condition] == ["description", "require"]  # in this order
        (require,) = condition.findall("require")
        assert set(require.attrib) == {"Dcore"}
        assert require.attrib["Dcore"] in {f"Cortex-M{core}" for core in ("0", "0+", "1", "3", "4", "7", "23", "33", "52", "55", "85")}


def test_cmsis_pack_takes_no_name_longer_than_a_component_may_have(digits_like: Path, tmp_path: Path) -> None:
    labc.compile(digits_like, "arm", out=tmp_path / "32", name="n" * 32, package="cmsis-pack")
    with pytest.raises(LabcError, match=r"package cmsis-pack: 'n{33}' has 33 letters, a component's name up to 32; give another"):
        labc.compile(digits_like, "arm", out=tmp_path / "33", name="n" * 33, package="cmsis-pack")


def test_python_wheel(digits_like: Path, tmp_path: Path) -> None:
    """Installed by pip in a fresh environment that has NumPy and nothing else of ours, and equal to the library."""
    out = labc.compile(digits_like, out=tmp_path / "net", package="python")
    (wheel,) = out.glob("net-*.whl")
    inputs = np.random.default_rng(4).integers(0, 256, (5, 64), np.uint8)
    np.save(tmp_path / "inputs.npy", inputs)
    library = labc.load(labc.compile(digits_like, "host", out=tmp_path / "library"))
    np.save(tmp_path / "scores.npy", library(inputs))
    fresh = tmp_path / "env"
    venv.create(fresh, with_pip=False, symlinks=os.name != "nt")
    python = fresh / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # NumPy alone becomes visible: a folder with links to it.
    visible = tmp_path / "visible"
    visible.mkdir()
    installed = Path(sysconfig.get_path("purelib"))
    for found in [installed / "numpy", *installed.glob("numpy-*.dist-info"), *installed.glob("numpy.libs")]:
        (visible / found.name).symlink_to(found)
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(where) / "numpy_only.pth").write_text(f"{visible}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "--python", python, "install", "--no-index", wheel, cwd=tmp_path)
    assert "self-test passed" in run(python, "-m", "net", cwd=tmp_path)
    code = (
        "import sys, numpy as np, net\n"
        "x, y = np.load('inputs.npy'), np.load('scores.npy')\n"
        "assert (net.run(x).view(np.int32) == y.view(np.int32)).all() and (net.run(x[0]) == y[0]).all()\n"
        "assert (net.predict(x) == y.argmax(1)).all() and net.predict(x[0]).shape == ()\n"
        "assert net.run(x[:0]).shape == (0, 10) and net.predict(x[:0]).shape == (0,)\n"
        "for wrong, error in ((x.astype(float), TypeError), ([1], TypeError), (x[:, 1:], ValueError), (x[None], ValueError)):\n"
        "    try:\n        net.run(wrong)\n    except error as found:\n        assert 'net: inputs are' in str(found)\n"
        "    else:\n        raise AssertionError(error)\n"
        "assert 'labc' not in sys.modules\n"
    )
    run(python, "-c", code, cwd=tmp_path)
    assert "labc" not in run(python, "-c", "import importlib.util as u; print(u.find_spec('labc') and 'labc')", cwd=tmp_path)


def test_python_wheel_is_typed(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, out=tmp_path / "net", package="python")
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "inside")
        record = wheel.read(f"net-{labc.__version__}.dist-info/RECORD").decode().splitlines()
    assert {line.split(",")[0] for line in record} == set(tree(tmp_path / "inside"))
    assert (tmp_path / "inside" / "net" / "py.typed").is_file()
    run(
        sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--python-version", "3.11", "net/__init__.py", cwd=tmp_path / "inside"
    )


@pytest.mark.parametrize("name", ["json", "test", "pip", "numpy", "pip_", "Numpy"])
def test_python_refuses_names_of_its_own(name: str, digits_like: Path, tmp_path: Path) -> None:
    with pytest.raises(LabcError, match=rf"package python: '{name}' is a name of Python's own.*--name"):
        labc.compile(digits_like, out=tmp_path / "net", name=name, package="python")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(("name", "project"), [("my__net", "my-net"), ("net_", "net"), ("A_b", "A-b")])
def test_pip_takes_every_name(name: str, project: str, digits_like: Path, tmp_path: Path) -> None:
    """The project's name has no two - in a row and none at its ends (core metadata, "Name"); the module's is the network's."""
    out = labc.compile(digits_like, out=tmp_path / "out", name=name, package="python")
    (wheel,) = out.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "install", "--no-index", "--no-deps", "--target", tmp_path / "there", wheel, cwd=tmp_path)
    assert (tmp_path / "there" / name / "py.typed").is_file()
    (metadata,) = (tmp_path / "there").glob("*.dist-info/METADATA")
    assert f"\nName: {project}\n" in metadata.read_text()


def test_arduino_refuses_the_name_of_its_own(digits_like: Path, tmp_path: Path) -> None:
    with pytest.raises(LabcError, match="package arduino: 'Arduino_net' begins as only Arduino's own libraries may"):
        labc.compile(digits_like, out=tmp_path / "net", name="Arduino_net", package="arduino")


def test_a_component_of_esp_idf_is_called_as_its_folder_is(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ESP-IDF takes the folder's name, not the manifest's: the default is the network's, also from where the example looks."""
    monkeypatch.chdir(tmp_path)
    out = labc.compile(digits_like, board="esp32-c3", package="esp-idf")
    assert out == Path("net-esp32-c3-esp-idf", "net")
    example = out / "examples" / "self_test" / "main"
    path = re.search(r'override_path: "(.*)"', (example / "idf_component.yml").read_text())
    assert path is not None
    assert (example / path[1]).resolve() == out.resolve()
    assert "components/net`" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"package": "ardunio"}, r"package 'ardunio': not known; did you mean 'arduino'\? known formats: folder, single, "),
        ({"package": "esp-idf", "target": "avr"}, "package esp-idf: is not for target avr; name one of riscv32, host, or another format"),
        ({"package": "single", "target": "x86-64", "levels": ["avx2"]}, "package single: has one C file, .*leave out --levels"),
        ({"package": "arduino", "cc": "gcc"}, "--cc: package arduino holds sources and is made without a compiler; leave --cc out"),
    ],
)
def test_what_cannot_be_packed(options: dict[str, object], message: str, digits_like: Path, tmp_path: Path) -> None:
    with pytest.raises(LabcError, match=message):
        labc.compile(digits_like, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_command_line(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["build", str(digits_like), "--board", "arduino-uno", "--package", "arduino"]) == OK
    assert "net-arduino-uno-arduino: " in capsys.readouterr().out
    assert (tmp_path / "net-arduino-uno-arduino" / "library.properties").is_file()
    assert main(["build", str(digits_like), "--package", "nothing-like-it"]) == BAD_INPUT
    assert "known formats: " in capsys.readouterr().err
    assert main(["packages", "--json"]) == OK
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(package.FORMATS)
    assert main(["packages"]) == OK
    shown = capsys.readouterr().out
    assert all(name in shown for name in package.FORMATS)


def test_the_table_in_the_docs_has_every_format() -> None:
    text = (Path(__file__).parents[2] / "docs" / "packages.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == list(package.FORMATS)


def test_the_licence_is_in_labcs_own_wheel() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]["LICENSE"] == "labc/LICENSE"
