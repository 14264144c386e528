"""docs/adding.md, "An ISA", followed to the letter: in a copy of labc a toy ISA is two files, and is proven, used, or caught."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from here import not_run_here

from labc import emulator
from labc.resources import folder

ROOT = Path(__file__).resolve().parents[2]

# Rows interleaved four by four, words of 8 signs: a layout that no other kernel has.
TOY = """/* SPDX-License-Identifier: Apache-2.0 */
/* A toy: signs compared bit by bit. */
#include "kernels.h"

void labc_sign_matvec_sums_toy(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    const uint32_t words = (inputs + 7) / 8;
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = 0;
        for (uint32_t k = 0; k < inputs; ++k) {
            const uint32_t p = ((n / 4 * words + k / 8) * 4 + n % 4) * 8 + k % 8;
            y[n] += ((x[k / 32] >> k % 32) ^ (w[p / 32] >> p % 32)) & 1 ? -1 : 1;
        }
    }
}
"""
ROWS = """LABC_ISA(toy, any, "-funroll-loops", 0)
LABC_KERNEL(sign_matvec_sums, toy, 8, 4, 1, 4, 0)

"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with labc as a checkout has it."""
    for name in ("labc", "runtime", "templates"):
        source = ROOT / "labc" if name == "labc" else folder(name)
        shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def add_toy(copy: Path, text: str = TOY) -> None:
    """The recipe: a C file, and its rows in the table, best first. The toy stands before all others, so that it is the one taken."""
    (copy / "runtime" / "toy.c").write_text(text)
    table = copy / "runtime" / "kernels.def"
    rows = table.read_text()
    before = rows.index("#if defined(__x86_64__)\nLABC_ISA(")
    table.write_text(rows[:before] + ROWS + rows[before:])


def labc(copy: Path, *words: str) -> tuple[int, Any]:
    """Exit status and JSON of the copy's command."""
    here = f"import sys; sys.path.insert(0, {str(copy)!r}); import labc; assert labc.__file__.startswith({str(copy)!r})"
    command = [sys.executable, "-c", f"{here}; from labc.cli import main; sys.exit(main())", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=copy)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_an_isa_is_proven_on_this_machine_and_used(copy: Path, rng: np.random.Generator) -> None:
    add_toy(copy)
    status, plain = labc(copy, "check", "--kernels", "--target", "host")
    assert status == 0, plain
    verdicts = {verdict["what"]: verdict for verdict in plain["columns"][0]["kernels"]}
    assert verdicts["sign_matvec_sums toy"] == {"what": "sign_matvec_sums toy", "status": "passed", "detail": "1836 cases"}
    assert len(verdicts) > 7
    model = zoo.save(zoo.own(zoo.random_layers(rng, [64, 48, 33, 10])), copy / "net.onnx")
    status, manifest = labc(copy, "build", str(model))
    assert status == 0
    assert "labc_sign_matvec_sums_toy" in {step["kernel"] for step in manifest["steps"]}
    status, checked = labc(copy, "check", str(model), "--samples", "50")
    assert status == 0, checked


@pytest.mark.parametrize(
    ("sound", "faulty"),
    [
        ("k < inputs;", "k < (inputs + 7) / 8 * 8;"),
        ("n < rows;", "n < (rows + 3) / 4 * 4;"),
        ("n / 4 * words", "n / 4 * (words + 1)"),
        ("& 1 ? -1 : 1", "& 1 ? -1 : 2"),
    ],
    ids=["padding of a row", "rows that only fill up", "layout", "value"],
)
def test_a_broken_isa_is_caught(copy: Path, sound: str, faulty: str) -> None:
    assert sound in TOY
    add_toy(copy, TOY.replace(sound, faulty))
    status, plain = labc(copy, "check", "--kernels", "--target", "host")
    assert status == 1
    failed = [verdict["what"] for verdict in plain["columns"][0]["kernels"] if verdict["status"] == "failed"]
    assert failed == ["sign_matvec_sums toy"]


def test_an_isa_is_used_by_an_emulated_target_that_names_it(copy: Path, rng: np.random.Generator) -> None:
    if reason := emulator.available():
        not_run_here("a toy ISA on an emulated core", reason)
        return
    add_toy(copy)
    target = copy / "labc" / "target.py"
    text = target.read_text()
    assert '("cortexm", "scalar")' in text
    target.write_text(text.replace('("cortexm", "scalar")', '("toy", "cortexm", "scalar")'))
    model = zoo.save(zoo.own(zoo.random_layers(rng, [64, 48, 33, 10])), copy / "net.onnx")
    status, checked = labc(copy, "check", str(model), "--target", "arm", "--samples", "20")
    assert status == 0, checked
    status, manifest = labc(copy, "build", str(model), "--target", "arm")
    assert status == 0
    assert "labc_sign_matvec_sums_toy" in {step["kernel"] for step in manifest["steps"]}
