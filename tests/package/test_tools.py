"""The firmware formats by the programs of the build systems they are for, as far as these run without a network.

The programs come from tests/package/requirements.txt, in build/tools or on PATH. Each test also breaks the package and sees it refused.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from here import not_run_here

import labc

TOOLS = Path(__file__).parents[2] / "build" / "tools" / ("Scripts" if os.name == "nt" else "bin")


def here(what: str, *programs: str) -> dict[str, str] | None:
    """Where the programs are; None, said at the log's end, if one is missing."""
    path = os.pathsep.join([str(TOOLS), os.environ.get("PATH", os.defpath)])
    found = {program: shutil.which(program, path=path) for program in programs}
    if missing := [program for program, where in found.items() if where is None]:
        not_run_here(what, f"no {missing[0]}; tests/package/requirements.txt has the Python ones")
        return None
    return {program: str(where) for program, where in found.items()}


def attempt(*command: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run in `cwd`, with the settings and caches of all the programs in there too: not the user's, and nothing from an earlier test."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MAKE", "CMAKE", "GIT_", "KCONFIG"))}
    settings = {
        "HOME": str(cwd / "home"),
        "NO_COLOR": "1",
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    for who in ("AUTHOR", "COMMITTER"):
        settings |= {f"GIT_{who}_NAME": "nobody", f"GIT_{who}_EMAIL": "nobody@localhost"}
    return subprocess.run([str(w) for w in command], cwd=cwd, check=False, capture_output=True, text=True, env=clean | settings | more)


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    done = attempt(*command, cwd=cwd, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def packed(archive: Path) -> dict[str, bytes]:
    """The files in a tar archive."""
    with tarfile.open(archive) as tar:
        files = {member.name.removeprefix("./"): tar.extractfile(member) for member in tar if member.isfile()}
        return {name: stream.read() for name, stream in files.items() if stream is not None}


AVR_CORE = Path("/usr/share/arduino/hardware/arduino/avr")
OFFSETS = """\
#include <net.h>
static uint8_t bytes[NET_ARENA_BYTES + 3];
void setup()
{
    Serial.begin(115200);
    for (int at = 0; at < 4; at++) {
        Serial.println(net_self_test(bytes + at));
    }
    Serial.println("net: self-test anywhere");
}
void loop()
{
}
"""


def printed(simavr: str, program: Path) -> list[str]:
    """What a sketch for the Uno prints, up to the line with `self-test`: a sketch has no end."""
    command = [simavr, "-m", "atmega328p", "-f", "16000000", str(program)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    late = threading.Timer(60, running.kill)
    late.start()
    lines = []
    assert running.stdout is not None
    for line in running.stdout:
        lines.append(re.sub(r"\x1b\[[0-9;]*m", "", line).strip().removesuffix(".."))  # colours; dots are the end of line
        if "self-test" in line:
            break
    late.cancel()
    running.kill()
    running.communicate()
    return lines


@pytest.mark.parametrize("target", ["avr", "host"])
def test_arduino_builder_builds_the_sketch(target: str, digits_like: Path, tmp_path: Path) -> None:
    """Found as a library by its header, compiled with Arduino's flags (link-time optimization) for the Uno, and run in simavr.

    The core is a copy, with 10 for DECIMAL_DIG: Debian's WString.cpp does not compile with Debian's avr-gcc, which lacks it in C++.
    """
    tools = here("arduino by arduino-builder", "arduino-builder", "avr-gcc", "simavr")
    if tools is None:
        return
    if not AVR_CORE.is_dir():
        not_run_here("arduino by arduino-builder", f"no {AVR_CORE}, Debian's arduino-core-avr")
        return
    library = labc.compile(digits_like, target, out=tmp_path / "libraries" / "net", name="net", package="arduino")
    shutil.copytree(AVR_CORE, tmp_path / "hardware" / "arduino" / "avr")
    strings = tmp_path / "hardware" / "arduino" / "avr" / "cores" / "arduino" / "WString.cpp"
    strings.write_text(strings.read_text().replace("= DECIMAL_DIG", "= 10"))
    offsets = tmp_path / "Offsets" / "Offsets.ino"
    offsets.parent.mkdir()
    offsets.write_text(OFFSETS)
    (tmp_path / "build").mkdir()
    builder = "/usr/share/arduino-builder"
    for sketch, lines in (
        (library / "examples" / "SelfTest" / "SelfTest.ino", ["net: self-test passed"]),
        (offsets, ["0", "0", "0", "0", "net: self-test anywhere"]),
    ):
        where = ("-hardware", builder, "-hardware", tmp_path / "hardware", "-tools", builder, "-libraries", tmp_path / "libraries")
        options = ("-fqbn", "arduino:avr:uno", "-build-path", tmp_path / "build", "-warnings", "all")
        done = attempt(tools["arduino-builder"], "-compile", *where, *options, sketch, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert str(library) not in done.stderr, done.stderr  # no warning in the library
        out = printed(tools["simavr"], tmp_path / "build" / f"{sketch.name}.elf")
        assert [line for line in out if not line.startswith("Loaded")] == lines


@pytest.mark.parametrize("target", ["arm", "host"])
def test_pio_packs_the_library(target: str, digits_like: Path, tmp_path: Path) -> None:
    """`pio pkg pack` checks every field of library.json but `license`, whose list it downloads: the copy that it packs is without."""
    tools = here("platformio by pio pkg pack", "pio")
    if tools is None:
        return
    out = labc.compile(digits_like, target, out=tmp_path / "net", package="platformio")
    manifest = json.loads((out / "library.json").read_text())
    assert manifest.pop("license") == "Apache-2.0"  # an identifier of SPDX's list
    (out / "library.json").write_text(json.dumps(manifest))
    run(tools["pio"], "pkg", "pack", "-o", "net.tar.gz", out, cwd=tmp_path)
    inside = packed(tmp_path / "net.tar.gz")
    assert {path: data for path, data in inside.items() if path != "library.json"} == {
        path: data for path, data in tree(out).items() if path != "library.json"
    }
    read = json.loads(inside["library.json"])
    assert {key: read[key] for key in ("name", "version", "headers", "build")} == {
        key: manifest[key] for key in ("name", "version", "headers", "build")
    }
    (out / "library.json").write_text(json.dumps(manifest | {"version": "one"}))
    refused = attempt(tools["pio"], "pkg", "pack", "-o", "bad.tar.gz", out, cwd=tmp_path)
    assert refused.returncode != 0
    assert "Invalid manifest fields: {'version'" in refused.stdout + refused.stderr


def test_compote_packs_the_component(digits_like: Path, tmp_path: Path) -> None:
    """`compote component pack` reads the manifest and archives what a registry would take."""
    tools = here("esp-idf by compote component pack", "compote")
    if tools is None:
        return
    out = labc.compile(digits_like, "riscv32", out=tmp_path / "net", package="esp-idf")
    pack = (tools["compote"], "component", "pack", "--name", "net", "--project-dir", out, "--dest-dir", tmp_path / "dist")
    run(*pack, cwd=tmp_path)
    inside = packed(tmp_path / "dist" / f"net_{labc.__version__}.tgz")
    files = tree(out)
    assert set(inside) == set(files)
    assert all(inside[path] == data for path, data in files.items() if path != "idf_component.yml")
    good = files["idf_component.yml"].decode()
    for broken in (good.replace(f'"{labc.__version__}"', '"one"'), good.replace(">=5.0", ">=five")):
        (out / "idf_component.yml").write_text(broken)
        assert attempt(*pack, cwd=tmp_path).returncode != 0, broken


WEST = """\
manifest:
  self:
    path: application
  projects:
    - name: net
      url: {url}
      revision: main
      path: modules/net
"""

# What Zephyr's documentation ("Modules", "Module yaml file description") says of the keys that we have; others are refused.
MODULE = """\
type: map
mapping:
  name: {type: str, required: true}
  build:
    type: map
    required: true
    mapping:
      cmake: {type: str, required: true}
      kconfig: {type: str, required: true}
"""


def test_west_takes_the_module_into_a_workspace(digits_like: Path, tmp_path: Path) -> None:
    """As a user does: the package in a git repository, named in the application's west.yml; then where module.yml points to is there."""
    tools = here("zephyr by west and pykwalify", "west", "git", "pykwalify")
    if tools is None:
        return
    west, git = tools["west"], tools["git"]
    out = labc.compile(digits_like, "arm", out=tmp_path / "net", package="zephyr")
    run(git, "init", "-q", "-b", "main", out, cwd=tmp_path)
    run(git, "-C", out, "add", ".", cwd=tmp_path)
    run(git, "-C", out, "commit", "-q", "-m", "the package", cwd=tmp_path)
    workspace = tmp_path / "workspace"
    (workspace / "application").mkdir(parents=True)
    (workspace / "application" / "west.yml").write_text(WEST.format(url=out))
    run(west, "init", "-l", "application", cwd=workspace)
    run(west, "manifest", "--validate", cwd=workspace)
    run(west, "update", cwd=workspace)
    assert run(west, "list", "-f", "{name} {path} {cloned}", "net", cwd=workspace).split() == ["net", "modules/net", "cloned"]
    module = workspace / "modules" / "net"
    (tmp_path / "schema.yml").write_text(MODULE)
    check = (tools["pykwalify"], "-s", tmp_path / "schema.yml", "-d")
    run(*check, module / "zephyr" / "module.yml", cwd=tmp_path)
    assert (module / "zephyr" / "CMakeLists.txt").is_file()
    assert (module / "zephyr" / "Kconfig").is_file()
    (tmp_path / "bad.yml").write_text("name: net\nbuild:\n  cmake: zephyr\n")
    assert attempt(*check, tmp_path / "bad.yml", cwd=tmp_path).returncode != 0


KCONFIG = """\
mainmenu "stand-in"
config PRINTK
	bool "prints"
source "{module}/zephyr/Kconfig"
"""


def test_kconfiglib_reads_the_module(digits_like: Path, tmp_path: Path) -> None:
    """Zephyr's Kconfig, which is kconfiglib: the network is off unless asked for; the sample's prj.conf has no symbol that is not there."""
    tools = here("zephyr by kconfiglib", "alldefconfig", "olddefconfig")
    if tools is None:
        return
    out = labc.compile(digits_like, "arm", out=tmp_path / "net", package="zephyr")
    top = tmp_path / "Kconfig"
    top.write_text(KCONFIG.format(module=out))
    strict = {"KCONFIG_WARN_UNDEF": "y", "KCONFIG_WARN_UNDEF_ASSIGN": "y"}
    done = attempt(tools["alldefconfig"], top, cwd=tmp_path, KCONFIG_CONFIG="default", **strict)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout + done.stderr
    assert "# CONFIG_LABC_NET is not set" in (tmp_path / "default").read_text()
    for more, warns in (("", False), ("CONFIG_LABC_NOT=y\n", True)):
        (tmp_path / "asked").write_text((out / "samples" / "self_test" / "prj.conf").read_text() + more)
        done = attempt(tools["olddefconfig"], top, cwd=tmp_path, KCONFIG_CONFIG="asked", **strict)
        assert done.returncode == 0, done.stderr
        assert ("warning" in done.stdout + done.stderr) == warns, done.stdout + done.stderr
        assert "CONFIG_LABC_NET=y" in (tmp_path / "asked").read_text().splitlines()


# Run by the Python that has cmsis-pack-manager: what its reader makes of a description. An element that it does not know is left out.
COMPONENTS = """\
import sys
from cmsis_pack_manager import Cache, ffi, lib
cache = Cache(True, True, json_path="index", data_path="index")
parsed = cache.add_pack_from_path(sys.argv[1])
print(ffi.string(lib.dumps_components(parsed)).decode())
"""


def test_pack_manager_reads_the_component(digits_like: Path, tmp_path: Path) -> None:
    """cmsis-pack-manager (Arm's, that pyOCD uses) finds the component, its condition and each file with its category."""
    tools = here("cmsis-pack by cmsis-pack-manager", "pack-manager")
    if tools is None:
        return
    out = labc.compile(digits_like, "arm", cpu="cortex-m4", out=tmp_path / "net", package="cmsis-pack")
    python = Path(tools["pack-manager"]).with_name("python.exe" if os.name == "nt" else "python")
    with zipfile.ZipFile(out / f"labc.net.{labc.__version__}.pack") as pack:
        pack.extractall(tmp_path / "pack")
    description = tmp_path / "pack" / "labc.net.pdsc"
    (tmp_path / "index").mkdir()

    def read(path: Path) -> Any:
        return json.loads(run(python, "-c", COMPONENTS, path, cwd=tmp_path))

    (component,) = read(description)
    assert {key: component[key] for key in ("vendor", "class", "group", "sub_group", "version", "condition")} == {
        "vendor": "labc", "class": "Machine Learning", "group": "Binarized network", "sub_group": "net", "version": labc.__version__,
        "condition": "core",
    }  # fmt: skip
    categories = {file["path"]: file["category"] for file in component["files"]}
    assert categories == {"README.md": "Doc", "src/net.h": "Header", "src/net.c": "Source", "example/main.c": "Source"}
    assert all((tmp_path / "pack" / path).is_file() for path in categories)
    broken = tmp_path / "broken.pdsc"
    broken.write_text(description.read_text().replace("<name>net", "<title>net").replace("net</name>", "net</title>"))
    assert read(broken) == []
