"""The same model, board, labc version and compiler give the same bytes of every file: whoever builds, wherever and whenever."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from here import not_run_here

from labc import board, package, toolchain
from labc.errors import LabcError
from labc.target import TARGETS

# What is built: the folder's name → the options of `labc build`.
BUILDS = {
    "host": ["--target", "host"],
    "x86-64": ["--target", "x86-64"],
    "microbit-v2": ["--board", "microbit-v2"],
    "esp32-c3": ["--board", "esp32-c3"],
    "uno": ["--board", "arduino-uno"],
    **{name: ["--package", name] for name in package.FORMATS},
    "cmake-arm": ["--package", "cmake", "--board", "nucleo-f446re"],
}
# Builds all in one process whose clock, umask and hash seed are given.
SCRIPT = """
import json, os, sys, time
late, mask, model, out, builds = json.loads(sys.argv[1])
now, local = time.time, time.localtime
time.time = lambda: now() + late
time.localtime = lambda seconds=None: local(time.time() if seconds is None else seconds)
os.umask(mask)
from labc.cli import main
for name, options in builds.items():
    assert main(["build", model, "--name", "net", "-o", f"{out}/{name}", *options]) == 0, name
"""


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def builds_here() -> dict[str, list[str]]:
    """The builds whose compilers are here; the others are said not to be."""
    found = {}
    for name, options in BUILDS.items():
        try:
            toolchain.find(board.find(options[-1]).on if "--board" in options else TARGETS["host"])
        except LabcError as error:
            not_run_here(f"the same bytes for {name}", str(error))
        else:
            found[name] = options
    return found


def build(place: Path, model: Path, builds: dict[str, list[str]], late: int, mask: int, env: dict[str, str]) -> dict[str, bytes]:
    """All builds with `place` as the current folder, by a process of its own."""
    for folder in ("home", "tmp"):
        (place / folder).mkdir(parents=True)
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "PYTHONPATH", "SystemRoot")}
    own = {"HOME": str(place / "home"), "XDG_CACHE_HOME": str(place / "home" / "cache"), "TMPDIR": str(place / "tmp")}
    told = json.dumps([late, mask, str(model), str(place / "out"), builds])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, told], cwd=place, env=kept | own | env, check=False, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return everything(place / "out")


def test_the_same_bytes_wherever_and_whenever(digits_like: Path, tmp_path: Path) -> None:
    """Other folders, file names, dates, umasks, homes, languages, time zones, hash seeds, and variables that compilers and zip read."""
    builds = builds_here()
    started = time.time()
    plain = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC"}
    one = build(tmp_path / "one", digits_like, builds, 0, 0o022, plain)
    other = tmp_path / "another" / "folder, with blanks" / "model of today.onnx"
    other.parent.mkdir(parents=True)
    shutil.copy(digits_like, other)
    os.utime(other, (1e9, 1e9))
    odd = {"PYTHONHASHSEED": "77", "LC_ALL": "C.UTF-8", "LANG": "de_DE.UTF-8", "TZ": "Asia/Kathmandu", "SOURCE_DATE_EPOCH": "86400"}
    odd |= {"CFLAGS": "-O0 -g", "CPATH": str(tmp_path), "USER": "somebody", "COLUMNS": "40", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    time.sleep(max(0.0, started + 2.1 - time.time()))  # zip counts two seconds, ar one
    two = build(other.parent, other, builds, 40_000_000, 0o077, odd)
    assert {name.split("/")[0] for name in one} == set(builds)
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
    assert len(one) > 10 * len(builds)
