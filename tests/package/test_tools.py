"""The formats' own programs: those of tools.txt on PATH or in build/tools, where .ci/run installs them, and Debian's arduino-builder."""

from __future__ import annotations

import os
import subprocess
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import zoo
from consumers import run, tree
from here import not_run_here
from packaging.licenses import canonicalize_license_expression

import labc
from labc.package.core import which


def tools(*names: str) -> list[str] | None:
    """Where the programs are. None, noted as not run here, if one is missing."""
    found = [which(name) for name in names]
    for name, path in zip(names, found, strict=True):
        if path is None:
            not_run_here(
                f"packages, {name}", "not on PATH and not in build/tools; tests/package/tools.txt and .ci/run say where it comes from"
            )
    return None if None in found else [str(path) for path in found]


def packed(archive: Path) -> dict[str, bytes]:
    """The files of a tar archive."""
    with tarfile.open(archive) as pack:
        files = ((member, pack.extractfile(member)) for member in pack.getmembers())
        return {os.path.normpath(member.name): file.read() for member, file in files if file is not None}


def planted(file: Path, old: str, new: str) -> None:
    """Write a mistake that the program must find."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_platformio_packs_it(digits_like: Path, tmp_path: Path) -> None:
    """`pio pkg pack` checks the manifest and packs it. The licence alone needs the network, for SPDX's list, which packaging has."""
    if (found := tools("pio")) is None:
        return
    out = labc.compile(digits_like, "arm", out=tmp_path / "net", package="platformio")
    assert canonicalize_license_expression("Apache-2.0") == "Apache-2.0"
    planted(out / "library.json", '  "license": "Apache-2.0",\n', "")
    own = {"PLATFORMIO_CORE_DIR": str(tmp_path / "core"), "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no"}
    run(found[0], "pkg", "pack", out, "--output", tmp_path / "net.tar.gz", cwd=tmp_path, more=own)
    assert packed(tmp_path / "net.tar.gz") == tree(out)
    planted(out / "library.json", f'"version": "{labc.__version__}"', '"version": "new"')
    assert "'version': ['Invalid semantic versioning format" in run(
        found[0], "pkg", "pack", out, "--output", tmp_path / "wrong.tar.gz", cwd=tmp_path, more=own, fails=True
    )


def test_the_component_manager_of_esp_idf_packs_it(digits_like: Path, tmp_path: Path) -> None:
    """`compote manifest lint` accepts the component and its example, `compote component pack` makes the archive that the registry takes."""
    if (found := tools("compote")) is None:
        return
    out = labc.compile(digits_like, "riscv32", out=tmp_path / "net", package="esp-idf")
    own = {"IDF_TOOLS_PATH": str(tmp_path / "idf"), "HOME": str(tmp_path)}
    run(found[0], "manifest", "lint", out, cwd=tmp_path, more=own)
    run(found[0], "component", "pack", "--project-dir", out, "--name", "net", "--dest-dir", tmp_path / "dist", cwd=tmp_path, more=own)
    held, made = packed(tmp_path / "dist" / f"net_{labc.__version__}.tgz"), tree(out)
    assert f"version: {labc.__version__}\n".encode() in held.pop("idf_component.yml")  # written anew, with its own quotes
    assert made.pop("idf_component.yml")
    assert held == made
    planted(out / "idf_component.yml", f'version: "{labc.__version__}"', 'version: "new"')
    assert "Invalid version" in run(found[0], "manifest", "lint", out, cwd=tmp_path, more=own, fails=True)


# Zephyr's own schemas are in its source tree, which no registry has; these are the keys that its documentation gives ("Modules",
# section "Module yaml file description"; "Test Runner (Twister)", section "Tests").
MODULE = """\
type: map
mapping:
  name: {type: str}
  build:
    type: map
    mapping:
      cmake: {type: str}
      kconfig: {type: str}
      cmake-ext: {type: bool}
      kconfig-ext: {type: bool}
      depends: {type: seq, sequence: [{type: str}]}
  tests: {type: seq, sequence: [{type: str}]}
  samples: {type: seq, sequence: [{type: str}]}
  boards: {type: seq, sequence: [{type: str}]}
"""
SAMPLE = """\
type: map
mapping:
  sample:
    required: true
    type: map
    mapping:
      name: {type: str, required: true}
      description: {type: str}
  tests:
    required: true
    type: map
    matching-rule: any
    mapping:
      regex;([a-z0-9_]+(\\.[a-z0-9_]+)+):
        type: map
        mapping:
          harness: {type: str, enum: [console, ztest, shell]}
          harness_config:
            type: map
            mapping:
              type: {type: str, enum: [one_line, multi_line]}
              regex: {type: seq, sequence: [{type: str}]}
"""
WEST = """\
manifest:
  self:
    path: app
  projects:
    - name: net
      url: {url}
      revision: main
      path: modules/net
"""


def test_west_brings_the_module(digits_like: Path, tmp_path: Path) -> None:
    """In a workspace whose west.yml names it: fetched, listed, its description as Zephyr documents it, the files it names there."""
    if (found := tools("west", "pykwalify", "git")) is None:
        return
    west, pykwalify, git = found
    out = labc.compile(digits_like, "arm", out=tmp_path / "net", package="zephyr")
    alone = {"HOME": str(tmp_path), "WEST_CONFIG_GLOBAL": str(tmp_path / "west.config"), "GIT_CONFIG_NOSYSTEM": "1"}
    run(git, "init", "-q", "-b", "main", ".", cwd=out, more=alone)
    run(git, "add", ".", cwd=out, more=alone)
    run(git, "-c", "user.name=labc", "-c", "user.email=labc@example.org", "commit", "-q", "-m", "net", cwd=out, more=alone)
    (tmp_path / "workspace" / "app").mkdir(parents=True)
    (tmp_path / "workspace" / "app" / "west.yml").write_text(WEST.format(url=out))
    run(west, "init", "-l", "app", cwd=tmp_path / "workspace", more=alone)
    run(west, "manifest", "--validate", cwd=tmp_path / "workspace", more=alone)
    run(west, "update", cwd=tmp_path / "workspace", more=alone)
    module = Path(run(west, "list", "-f", "{abspath}", "net", cwd=tmp_path / "workspace", more=alone).strip())
    assert module == (tmp_path / "workspace" / "modules" / "net").resolve()
    (tmp_path / "module-schema.yml").write_text(MODULE)
    (tmp_path / "sample-schema.yml").write_text(SAMPLE)
    check = [pykwalify, "-s", tmp_path / "module-schema.yml", "-d", module / "zephyr" / "module.yml"]
    run(*check, cwd=tmp_path)
    run(pykwalify, "-s", tmp_path / "sample-schema.yml", "-d", module / "samples" / "self_test" / "sample.yaml", cwd=tmp_path)
    assert (module / "zephyr" / "CMakeLists.txt").is_file()
    assert (module / "zephyr" / "Kconfig").is_file()
    planted(module / "zephyr" / "module.yml", "kconfig:", "kcnofig:")
    assert "kcnofig" in run(*check, cwd=tmp_path, fails=True)


# As Zephyr's build lists the modules it finds; PRINTK is its own.
KCONFIG = """\
menu "net"
osource "$(ZEPHYR_NET_KCONFIG)"
config ZEPHYR_NET_MODULE
	bool
	default y
endmenu
config PRINTK
	bool "printk"
"""


def test_kconfig_knows_the_network(digits_like: Path, tmp_path: Path) -> None:
    """Off unless asked for; the sample's prj.conf switches it on; nothing in either is undefined."""
    if (found := tools("alldefconfig", "defconfig")) is None:
        return
    out = labc.compile(digits_like, "arm", out=tmp_path / "net", package="zephyr")
    (tmp_path / "Kconfig").write_text(KCONFIG)
    project = out / "samples" / "self_test" / "prj.conf"
    here = {"ZEPHYR_NET_KCONFIG": str(out / "zephyr" / "Kconfig"), "KCONFIG_WARN_UNDEF": "y", "KCONFIG_WARN_UNDEF_ASSIGN": "y"}
    assert "warning" not in run(found[0], "Kconfig", cwd=tmp_path, more=here)
    assert "# CONFIG_LABC_NET is not set" in (tmp_path / ".config").read_text()
    assert "warning" not in run(found[1], "--kconfig", "Kconfig", project, cwd=tmp_path, more=here)
    assert "CONFIG_LABC_NET=y" in (tmp_path / ".config").read_text()
    planted(project, "LABC_NET", "LABC_OTHER")
    assert "undefined symbol" in run(found[1], "--kconfig", "Kconfig", project, cwd=tmp_path, more=here)


def arduino(*programs: str) -> list[str] | None:
    """The programs, if Arduino's core for AVR is here too."""
    if not Path("/usr/share/arduino/hardware/arduino/avr").is_dir():
        not_run_here("packages, Arduino's core for AVR", "not in /usr/share/arduino; apt install arduino-core-avr")
        return None
    return tools("arduino-builder", "qemu-system-avr", *programs)


def on_an_uno(builder: str, qemu: str, sketch: Path, libraries: Path, folder: Path, lines: int) -> list[str]:
    """What a sketch prints on an Arduino Uno, built as the IDE does it, with all warnings; there must be none of the libraries."""
    (folder / "build").mkdir(parents=True)
    roots = ["-hardware", "/usr/share/arduino-builder", "-hardware", "/usr/share/arduino/hardware"]
    roots += ["-tools", "/usr/share/arduino-builder", "-tools", "/usr/bin", "-libraries", str(libraries)]
    # Debian's gcc-avr is older than Arduino's: its float.h has no DECIMAL_DIG in C++, which the core's WString.cpp needs.
    older = "-prefs=compiler.cpp.extra_flags=-DDECIMAL_DIG=10"
    options = ["-fqbn", "arduino:avr:uno", "-warnings", "all", older, "-build-path", str(folder / "build")]
    assert str(libraries) not in run(builder, "-compile", *roots, *options, sketch, cwd=folder)
    command = [qemu, "-M", "uno", "-nographic", "-monitor", "none", "-serial", "stdio", "-bios", folder / "build" / f"{sketch.name}.elf"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as machine:
        guard = threading.Timer(60, machine.kill)  # a sketch never ends
        guard.start()
        assert machine.stdout is not None
        said = [machine.stdout.readline().strip() for _ in range(lines)]
        guard.cancel()
        machine.kill()
    return said


@pytest.mark.parametrize("target", ["avr", "host"])
def test_the_arduino_builder_builds_the_sketch(target: str, digits_like: Path, tmp_path: Path) -> None:
    if found := arduino():
        out = labc.compile(digits_like, target, out=tmp_path / "libraries" / "net", package="arduino")
        sketch = out / "examples" / "SelfTest" / "SelfTest.ino"
        assert on_an_uno(found[0], found[1], sketch, tmp_path / "libraries", tmp_path / "one", 1) == ["net: self-test passed"]


# On AVR words may lie anywhere, and the linker puts them anywhere.
SKETCH = """\
#include <first.h>
#include <second.h>
static uint8_t memory[(FIRST_ARENA_BYTES > SECOND_ARENA_BYTES ? FIRST_ARENA_BYTES : SECOND_ARENA_BYTES) + 3];
void setup()
{
    Serial.begin(115200);
    for (int i = 0; i < 4; i++) {
        Serial.println(first_self_test(memory + i));
        Serial.println(second_self_test(memory + i));
    }
}
void loop()
{
}
"""


def test_two_networks_in_one_sketch(digits_like: Path, tmp_path: Path) -> None:
    """Two libraries, linked together; their arena at each of four addresses, of which at most one is a multiple of 4."""
    if found := arduino():
        rng = np.random.default_rng(5)
        other = zoo.save(zoo.own(zoo.random_layers(rng, [40, 20, 6], method="lab")), tmp_path / "other.onnx")
        for model, name in ((digits_like, "first"), (other, "second")):
            labc.compile(model, "avr", out=tmp_path / "libraries" / name, name=name, package="arduino")
        sketch = tmp_path / "Both" / "Both.ino"
        sketch.parent.mkdir()
        sketch.write_text(SKETCH)
        assert on_an_uno(found[0], found[1], sketch, tmp_path / "libraries", tmp_path / "one", 8) == ["0"] * 8
