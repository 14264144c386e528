"""docs/adding.md, "An ISA", followed to the letter: in a copy of labc a toy ISA is three files, and is proven, used, or caught."""

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
import zoo_images
from breadth import some
from here import not_run_here

from labc.emulator import unicorn
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
# The same over windows: each tap is filled up to whole bytes.
TOY_CONV = """/* SPDX-License-Identifier: Apache-2.0 */
/* The toy's convolution of signs. */
#include "window.h"

void labc_sign_conv_sums_toy(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    const uint32_t words = (window->channels + 7) / 8, x_words = (window->channels + 31) / 32;
    (void)scratch;
    for (uint32_t pixel = 0; pixel < window->out_height * window->out_width; ++pixel) {
        const sight s = sight_of(window, pixel / window->out_width, pixel % window->out_width);
        for (uint32_t n = 0; n < rows; ++n, ++y) {
            *y = 0;
            for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                    const uint32_t *at = x + pixel_of(window, &s, a, b) * x_words;
                    const uint32_t tap = (n / 4 * taps_of(window) + a * window->kernel_width + b) * words;
                    for (uint32_t c = 0; c < window->channels; ++c) {
                        const uint32_t p = ((tap + c / 8) * 4 + n % 4) * 8 + c % 8;
                        *y += ((at[c / 32] >> c % 32) ^ (w[p / 32] >> p % 32)) & 1 ? -1 : 1;
                    }
                }
            }
        }
    }
}
"""
ROWS = """LABC_ISA(toy, any, "-funroll-loops", 0)
LABC_KERNEL(sign_matvec_sums, toy, 8, 4, 1, 4, 0)
LABC_KERNEL(sign_conv_sums, toy, 8, 4, 1, 4, 0)

"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with labc as a checkout has it."""
    for name in ("labc", "runtime", "templates"):
        source = ROOT / "labc" if name == "labc" else folder(name)
        shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def add_toy(copy: Path, text: str = TOY, conv: str = TOY_CONV) -> None:
    """The recipe: C files, and their rows in the table, best first. The toy stands before all others, so that it is the one taken."""
    (copy / "runtime" / "toy.c").write_text(text)
    (copy / "runtime" / "toy_conv.c").write_text(conv)
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
    assert status == 0, [verdict for column in plain["columns"] for verdict in column["kernels"] if verdict["status"] != "passed"]
    verdicts = {verdict["what"]: verdict for verdict in plain["columns"][0]["kernels"]}
    assert verdicts["sign_matvec_sums toy"] == {"what": "sign_matvec_sums toy", "status": "passed", "detail": "1836 cases"}
    assert verdicts["sign_conv_sums toy"]["status"] == "passed"
    assert len(verdicts) > 7
    dense = zoo.save(zoo.own(zoo.random_layers(rng, [64, 48, 33, 10])), copy / "net.onnx")
    images = zoo.save(zoo_images.random_network(rng, kind="residual", rank=2), copy / "images.onnx")  # its sums become 16 bits
    for model, kernel in ((dense, "labc_sign_matvec_sums_toy"), (images, "labc_sign_conv_sums_toy")):
        status, manifest = labc(copy, "build", str(model))
        assert status == 0
        assert kernel in {step["kernel"] for step in manifest["steps"]}
        status, checked = labc(copy, "check", str(model), "--samples", "50")
        assert status == 0, checked


BROKEN = {
    "padding": (("k < inputs;", "k < (inputs + 7) / 8 * 8;"), ("+ c / 8)", "+ c / 16)")),
    "rows that only fill up, taps outside": (
        ("n < rows;", "n < (rows + 3) / 4 * 4;"),
        ("s.rows.first; a < s.rows.end", "0; a < window->kernel_height"),
    ),
    "layout": (("n / 4 * words", "n / 4 * (words + 1)"), ("a * window->kernel_width", "a * window->kernel_height")),
    "value, place": (("& 1 ? -1 : 1", "& 1 ? -1 : 2"), ("% window->out_width)", "% window->out_height)")),
}


@pytest.mark.parametrize("how", some(BROKEN, ["rows that only fill up, taps outside"]))
def test_a_broken_isa_is_caught(copy: Path, how: str) -> None:
    """Both kernels have a fault, so that one run of the check shows that it finds either."""
    dense, conv = BROKEN[how]
    assert dense[0] in TOY
    assert conv[0] in TOY_CONV
    add_toy(copy, TOY.replace(*dense), TOY_CONV.replace(*conv))
    status, plain = labc(copy, "check", "--kernels", "--target", "host")
    assert status == 1
    failed = [verdict["what"] for verdict in plain["columns"][0]["kernels"] if verdict["status"] == "failed"]
    assert failed == ["sign_matvec_sums toy", "sign_conv_sums toy"]


def test_an_isa_is_used_by_an_emulated_target_that_names_it(copy: Path, rng: np.random.Generator) -> None:
    if reason := unicorn.available():
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
