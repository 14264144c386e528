"""The model check finds what is wrong and says where; planted faults prove that it can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zoo

from labc import build, driver, emit, library, toolchain, trial
from labc.check import model as proof
from labc.check import samples
from labc.check.referee import referee
from labc.check.runners import HostRunner, chip
from labc.emulator import unicorn
from labc.errors import LabcError
from labc.ir.core import Type
from labc.passes.threshold import dead_channels
from labc.target import TARGETS


def corrupted(compiled: driver.Compiled, folder: Path, value: str, *, reuse: bool) -> tuple[HostRunner, driver.plan.Plan]:
    """A library one of whose constants for the value `value` is changed in the generated C."""
    made = driver.planned(compiled, TARGETS["host"], reuse=reuse)
    for array in made.constants:
        if array.layer == value and array.ctype == "int32_t":
            always = replace(array, values=array.values + 1000)  # every sign of this layer becomes +1
            made = replace(made, constants=tuple(always if a is array else a for a in made.constants))
    facts = {
        "name": made.name,
        "input": {"element": made.input_element, "shape": list(made.input_shape)},
        "outputs": made.output_size,
        "arena": {"bytes": made.arena_bytes, "align": made.arena_align},
    }
    target = TARGETS["host"]
    return HostRunner(library.load(build.build(emit.emit(made), facts, target, toolchain.find(target), folder))), made


def test_a_wrong_layer_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    path = zoo.save(zoo.own(zoo.random_layers(rng, [40, 32, 24, 16, 5])), tmp_path / "net.onnx")
    compiled = driver.front(path)
    graph = compiled.model.graph
    x = samples.draw(graph.types["input"], 400, 0)
    verdict, scores = proof.levels(graph, compiled.machine, x)
    assert verdict.status == "passed"
    runner, _ = corrupted(compiled, tmp_path / "bad", "sign2", reuse=True)
    found = proof.library(runner, x, scores, "library")
    assert [found[0].status, found[2].status] == ["failed", "failed"]
    assert "first: input" in found[0].detail
    kept, made = corrupted(compiled, tmp_path / "kept", "sign2", reuse=False)
    assert proof.first_difference(kept, made.levels[0], compiled.machine, x, scores).startswith("sign2, channel ")


def test_the_driver_reports_the_first_wrong_layer(digits_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in emitted constants, seen through `trial.check` itself."""
    honest = emit.literals

    def faulty(array: emit.FlashArray) -> str:
        if array.layer == "sign1" and array.ctype == "int32_t":
            return honest(replace(array, values=array.values + 40))
        return honest(array)

    monkeypatch.setattr(emit, "literals", faulty)
    checked = trial.check(digits_like, sample_count=200)
    assert checked.failed
    by_name = {v.what: v for v in checked.verdicts}
    assert by_name["layers IR = machine IR"].status == "passed"
    assert by_name["library (host) = reference"].status == "failed"
    assert by_name["library (host): first wrong layer"].detail.startswith("sign1, channel ")


def test_everything_agrees_on_the_host_and_the_chip(digits_like: Path) -> None:
    for target in ("host", "arm"):
        checked = trial.check(digits_like, target, sample_count=40)
        assert not checked.failed
        assert checked.counts == {"passed": 6, "failed": 0, "not run here": 0}
    assert checked.chip is not None
    assert checked.chip.flash > checked.size.packed
    assert checked.chip.instructions > checked.chip.predict_instructions / 2 > 0


def test_without_an_emulator_it_is_not_run_here(digits_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn, "available", lambda: "unicorn is not installed; pip install 'labc[cross]'")
    checked = trial.check(digits_like, "arm", sample_count=5)
    assert checked.counts["not run here"] == 1
    assert not checked.failed
    assert "pip install" in checked.verdicts[-1].detail


def test_the_referee_can_disagree(digits_like: Path) -> None:
    compiled = driver.front(digits_like)
    graph = compiled.model.graph
    x = samples.draw(graph.types["input"], 20, 0)
    _, scores = proof.levels(graph, compiled.machine, x)
    assert referee(digits_like, x, scores, ()).status == "passed"
    wrong = scores.copy()
    wrong[7, 2] = np.nextafter(wrong[7, 2], np.float32(1e9))
    verdict = referee(digits_like, x, wrong, ())
    assert verdict.status == "failed"
    assert "first: input 7" in verdict.detail
    measured = referee(digits_like, x, wrong, ("a note",))  # another spelling is measured
    assert measured.status == "passed"
    assert "scores of 19 of 20 inputs equal bit for bit" in measured.detail
    assert referee(digits_like, x, -scores, ("a note",)).status == "failed"  # but not believed whatever it says


def test_negative_zero_is_not_zero() -> None:
    assert (proof.bits(np.float32([0.0])) != proof.bits(np.float32([-0.0]))).all()


def test_samples_reach_the_ends() -> None:
    for element, low, high in (("u8", 0, 255), ("i8", -128, 127)):
        x = samples.draw(Type(element, (5, 4)), 300, 3)  # type: ignore[arg-type]
        assert x.shape == (300, 5, 4)
        assert x[0].min() == x[0].max() == low
        assert x[2].min() == x[2].max() == high
        assert (np.abs(x[1].astype(int)) == 0).all()
        assert 0 < (np.abs(x[4:].astype(int)).max(axis=(1, 2)) <= 2).mean() < 0.9
        assert (samples.draw(Type(element, (5, 4)), 300, 3) == x).all()  # type: ignore[arg-type]
        assert len(samples.draw(Type(element, (5, 4)), 1, 3)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda p: None, "No such file"),
        (lambda p: p.write_bytes(b"not numpy"), "not a plain .npy"),
        (lambda p: np.save(p, np.array([{}], dtype=object)), "not a plain .npy"),
        (lambda p: np.save(p, np.zeros((3, 6), np.float32)), "holds float32"),
        (lambda p: np.save(p, np.zeros((3, 7), np.uint8)), r"has shape \[3, 7\]"),
        (lambda p: np.save(p, np.zeros((0, 6), np.uint8)), r"has shape \[0, 6\]"),
        (lambda p: np.savez(p.with_suffix(""), a=1) or p.with_suffix(".npz").rename(p), "holds several arrays"),
    ],
)
def test_bad_input_files_are_refused(save, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.npy"
    save(path)
    with pytest.raises(LabcError, match=message):
        samples.from_file(path, Type("u8", (2, 3)))


def test_good_input_files_are_read(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.uint8)
    for shape in ((2, 6), (2, 2, 3)):
        np.save(tmp_path / "x.npy", x.reshape(shape))
        assert samples.from_file(tmp_path / "x.npy", Type("u8", (2, 3))).shape == (2, 2, 3)


def test_the_chip_runner_names_the_layer_too(tmp_path: Path, rng: np.random.Generator) -> None:
    compiled = driver.front(zoo.save(zoo.own(zoo.random_layers(rng, [20, 32, 4])), tmp_path / "net.onnx"))
    made = driver.planned(compiled, TARGETS["arm"], reuse=False)
    tools = toolchain.find(TARGETS["arm"])
    (tmp_path / "image").mkdir()
    runner, _ = chip(driver.write(made, tools, tmp_path / "library"), made, tools, tmp_path / "image")
    x = samples.draw(Type("u8", (20,)), 10, 0)
    _, scores = proof.levels(compiled.model.graph, compiled.machine, x)
    wrong = scores.copy()
    wrong[2] += 1  # the library is right, so every value before the scores is
    assert (
        proof.first_difference(runner, made.levels[0], compiled.machine, x, wrong)
        == "fc2.affine of input 2: every value before it is right"
    )


def test_the_referee_tells_zeros_apart(tmp_path: Path) -> None:
    """0·(−1) + (−0) is −0, in onnxruntime too."""
    layer = zoo.Layer(np.ones((1, 2), np.int8), np.float32([-1]), np.float32([-0.0]), "scores")
    path = zoo.save(zoo.own([layer]), tmp_path / "net.onnx")
    x = np.zeros((1, 2), np.uint8)
    assert referee(path, x, np.float32([[-0.0]]), ()).status == "passed"
    assert referee(path, x, np.float32([[0.0]]), ()).status == "failed"


def test_dead_channels_are_counted(tmp_path: Path) -> None:
    """Always +1, never, and a channel that lives."""
    signs = zoo.Layer(np.ones((3, 2), np.int8), np.float32([0, 0, 1]), np.float32([1, -1, -5]), "sign")
    scores = zoo.Layer(np.ones((1, 3), np.int8), np.float32([1]), np.float32([0]), "scores")
    compiled = driver.front(zoo.save(zoo.own([signs, scores]), tmp_path / "net.onnx"))
    assert dead_channels(compiled.machine) == 2
