"""The plan: one kernel call per node, arguments by name, constants once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zoo

from labc import driver
from labc.errors import LabcError
from labc.target import TARGETS


def plan_of(tmp_path: Path, rng: np.random.Generator, widths: list[int], **how: object):  # type: ignore[no-untyped-def]
    path = zoo.save(zoo.own(zoo.random_layers(rng, widths, **how)), tmp_path / "net.onnx")  # type: ignore[arg-type]
    return driver.planned(driver.front(path), TARGETS["host"])


def test_steps_follow_the_network(tmp_path: Path, rng: np.random.Generator) -> None:
    made = plan_of(tmp_path, rng, [40, 33, 31, 5])
    assert [step.op for step in made.levels[0].steps] == [
        "byte_matvec_threshold",
        "sign_matvec_threshold",
        "sign_matvec_sums",
        "affine",
        "affine_argmax",
    ]
    assert all(step.isa == "scalar" for step in made.levels[0].steps)
    assert made.levels[0].scores.arguments[1:3] == made.levels[0].winner.arguments[1:3]  # one affine in flash, read by both
    assert made.arena_bytes == made.arena_bound


def test_packed_bytes_are_what_the_constants_take(tmp_path: Path, rng: np.random.Generator) -> None:
    made = plan_of(tmp_path, rng, [40, 33, 5])
    weights = 4 * (33 * 2 + 5 * 2)
    assert made.packed_bytes == weights + 4 * 33 + 8 * 5


def test_names_that_differ_only_in_dots_stay_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = zoo.own(zoo.random_layers(rng, [6, 5, 4, 3]))
    for node in model.graph.node:
        node.name = {"sign1": "a.b", "sign2": "a_b"}.get(node.name, node.name)
    made = driver.planned(driver.front(zoo.save(model, tmp_path / "net.onnx")), TARGETS["host"])
    assert len({slot.place for slot in made.levels[0].slots}) == len(made.levels[0].slots)
    assert len({array.name for array in made.constants}) == len(made.constants)


def test_a_target_without_kernels_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    path = zoo.save(zoo.own(zoo.random_layers(rng, [4, 3])), tmp_path / "net.onnx")
    with pytest.raises(LabcError, match="fc1: no kernel for byte_matvec_sums on target host"):
        driver.planned(driver.front(path), replace(TARGETS["host"], isas=("none",)))


def test_scratch_gets_a_place_of_its_own(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that wants scratch has it during its step only; where it does not fit, the next kernel is taken."""
    from labc import kernels

    table = kernels.table()
    scalar = table.kernels["byte_matvec_threshold", "scalar"]
    hungry = {("byte_matvec_threshold", "hungry"): replace(scalar, isa="hungry", scratch="inputs * 16")}
    monkeypatch.setattr(kernels, "table", lambda: replace(table, kernels={**hungry, **table.kernels}))
    path = zoo.save(zoo.own(zoo.random_layers(rng, [40, 33, 5])), tmp_path / "net.onnx")
    target = replace(TARGETS["arm"], isas=("hungry", "scalar"))
    made = driver.planned(driver.front(path), target)
    assert made.levels[0].steps[0].function == "labc_byte_matvec_threshold_hungry"
    assert made.levels[0].steps[0].arguments[-1] == "AT_0_sign1_scratch"
    (scratch,) = (slot for slot in made.levels[0].slots if slot.place == "AT_0_sign1_scratch")
    assert (scratch.bytes, scratch.first, scratch.last) == (640, 0, 0)
    assert made.arena_bytes == made.arena_bound == 640 + 8
    small = driver.planned(driver.front(path), replace(target, ram_bytes=512))
    assert small.levels[0].steps[0].function == "labc_byte_matvec_threshold_scalar"
    assert small.levels[0].steps[0].arguments[-1] == "NULL"


def test_equal_weights_in_different_layouts_are_stored_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One matrix read by two kernels: once in flash if their layouts are equal, else once for each."""
    from labc import kernels

    weights = np.ones((8, 8), np.int8)
    weights[0, 1] = -1
    ones = np.ones(8, np.float32)
    made = [zoo.Layer(weights, ones, ones, end) for end in ("sign", "sign", "scores")]
    compiled = driver.front(zoo.save(zoo.own(made), tmp_path / "net.onnx"))
    held = [a for a in driver.planned(compiled, TARGETS["host"]).constants if a.values.dtype == np.uint32]
    assert len(held) == 1
    table = kernels.table()
    wide = replace(table.kernels["sign_matvec_sums", "scalar"], lanes=4)
    monkeypatch.setattr(kernels, "table", lambda: replace(table, kernels={**table.kernels, ("sign_matvec_sums", "scalar"): wide}))
    held = [a for a in driver.planned(compiled, TARGETS["host"]).constants if a.values.dtype == np.uint32]
    assert len(held) == 2
