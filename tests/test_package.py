"""The wheel: built, installed in a fresh environment, and used from there to compile a network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import labc

ROOT = Path(__file__).resolve().parents[1]


def test_the_wheel_compiles_a_network(digits_like: Path, tmp_path: Path) -> None:
    # --no-build-isolation and --no-deps: hatchling and what labc needs are here already, and a test needs no network.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("labc-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "labc/templates/model.c.j2",
        "labc/runtime/kernels.def",
        "labc/runtime/scalar.c",
        "labc/runtime/image/cortexm.ld",
        "labc/boards/arduino-uno.toml",
        "labc/boards/cores/cortex-m0.toml",
        "labc/LICENSE",
        "labc/templates/package/main.c.j2",
    ):
        assert needed in names
    assert not any(name.startswith(("tests/", "docs/")) or "__pycache__" in name for name in names)

    fresh = tmp_path / "env"
    venv.create(fresh, with_pip=False, symlinks=os.name != "nt")
    python = fresh / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    # A path file makes this environment's third parties visible; the path files in it, such as an editable labc's, are not followed.
    where = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
    )
    (Path(where.stdout.strip()) / "thirdparty.pth").write_text(sysconfig.get_path("purelib") + "\n")

    code = (
        "import labc, sys, numpy as np\n"
        f"assert labc.__file__.startswith({str(fresh)!r}), labc.__file__\n"
        f"library = labc.load(labc.compile({str(digits_like)!r}, 'host', out='out'))\n"
        "assert library.self_test() == 0 and library(np.zeros((2, 64), np.uint8)).shape == (2, 10)\n"
        f"labc.compile({str(digits_like)!r}, 'arm', out='arm')\n"
        f"labc.compile({str(digits_like)!r}, 'arm', out='zephyr', package='zephyr')\n"
        "print(labc.__version__)\n"
    )
    work = tmp_path / "work"
    work.mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    run = subprocess.run([str(python), "-c", code], check=False, cwd=work, capture_output=True, text=True, env=clean)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == labc.__version__
    command = [str(python.with_name("labc")), "inspect", str(digits_like)]
    assert "can be built" in subprocess.run(command, check=True, cwd=work, capture_output=True, text=True, env=clean).stdout
