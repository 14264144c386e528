"""The generated C, whole: a change in it is a decision, not an accident."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zoo

from labc import driver, emit
from labc.target import TARGETS


@pytest.mark.parametrize("method", ["lab2", "lab"])
def test_sources_are_golden(method: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    path = zoo.save(zoo.own(zoo.random_layers(np.random.default_rng(5), [6, 5, 33, 3], method=method)), tmp_path / "toy.onnx")
    compiled = driver.front(path)
    tree = emit.emit(driver.planned(compiled, replace(TARGETS["arm"], isas=("scalar",))))
    for name in ("include/toy.h", "src/toy.c", "src/toy_weights.h", "src/toy_weights.c", "src/toy_self_test.c", "src/toy_info.c"):
        golden(f"{method}/{Path(name).name}", tree[name])
    tree = emit.emit(driver.planned(compiled, TARGETS["x86-64"]))
    for name in ("include/toy.h", "src/toy.c"):
        golden(f"{method}-x86-64/{Path(name).name}", tree[name])


def test_the_same_model_gives_the_same_bytes(digits_like: Path) -> None:
    first, second = (emit.emit(driver.planned(driver.front(digits_like), TARGETS["arm"])) for _ in range(2))
    assert first == second


def test_no_path_date_or_machine_is_in_the_text(digits_like: Path) -> None:
    for name, text in emit.emit(driver.planned(driver.front(digits_like), TARGETS["host"])).items():
        assert str(digits_like.parent) not in text, name
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text), name
        assert "SPDX-License-Identifier: Apache-2.0" in text.splitlines()[0], name
        assert text.isascii(), name


def test_floats_cross_exactly() -> None:
    from labc.plan.core import FlashArray

    values = np.float32([1 / 3, -0.0, 1e-45, 3.4028235e38, -7.5])
    written = emit.literals(FlashArray("s", "float", values, "fc"))
    back = np.float32([float.fromhex(word.strip().removesuffix("f")) for word in written.replace("\n", "").split(",") if word.strip()])
    assert (back.view(np.int32) == values.view(np.int32)).all()
