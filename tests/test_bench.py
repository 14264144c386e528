"""labc bench: what it reports, not how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zoo

from labc import bench, kernels, report, resources, timing, toolchain
from labc.cli import main
from labc.compiling import compile_objects
from labc.errors import BAD_INPUT, LabcError
from labc.flags import Toolchain, host_machine
from labc.target import TARGETS

HERE = host_machine()


@pytest.fixture(autouse=True)
def few_short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SAMPLES", 5)
    monkeypatch.setattr(bench, "SAMPLE_NS", 5_000)


@pytest.mark.parametrize("target", ["host", *(["x86-64"] if HERE == "x86_64" else [])])
def test_every_layer_has_its_time_and_share(digits_like: Path, target: str) -> None:
    taken = timing.benchmark(digits_like, target)
    assert [layer.layer for layer in taken.bench.layers] == ["sign1", "sign2", "fc3", "fc3.affine"]
    assert [layer.macs for layer in taken.bench.layers] == [64 * 48, 48 * 33, 33 * 10, 0]
    assert taken.macs == 64 * 48 + 48 * 33 + 33 * 10
    assert taken.bench.whole.low_ns <= taken.bench.whole.median_ns <= taken.bench.whole.high_ns
    assert taken.bench.ceilings.stream > 0
    assert all(speed > 0 for speed in taken.bench.ceilings.loops.values())
    for layer in taken.bench.layers[:3]:
        assert layer.ceiling is not None, layer.kernel
        assert layer.stream == 8 * taken.bench.ceilings.stream
        if layer.macs_per_ns is not None:  # None where a look at the clock takes as long as the layer
            assert layer.share == layer.macs_per_ns / min(layer.ceiling, layer.stream)
    assert taken.bench.layers[3].share is None


def test_the_parts_make_up_the_whole(tmp_path: Path) -> None:
    """Layers are timed where they stand. (Generously: this says that nothing is counted twice or left out, not how fast it is.)"""
    path = zoo.save(zoo.own(zoo.random_layers(np.random.default_rng(3), [512, 512, 512, 10])), tmp_path / "net.onnx")
    taken = timing.benchmark(path).bench
    parts = sum(layer.time.median_ns for layer in taken.layers)
    assert taken.whole.median_ns / 4 < parts < 4 * taken.whole.median_ns


def test_json_and_table(digits_like: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(digits_like), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["target"] == "host"
    assert plain["bench"]["layers"][0]["kernel"].startswith("labc_byte_matvec_threshold_")
    assert main(["bench", str(digits_like)]) == 0
    text = capsys.readouterr().out
    assert "share: of the lower of the two" in text
    assert "whole" in text


def test_another_machine_is_not_timed(digits_like: Path) -> None:
    with pytest.raises(LabcError, match=r"bench: arm: it is for cortex-m4, .*; time with --target host") as caught:
        timing.benchmark(digits_like, "arm")
    assert caught.value.code == BAD_INPUT


def test_every_kernel_of_this_machine_has_a_register_loop() -> None:
    """So that no share is silently missing."""
    header = (resources.folder("runtime") / "bench" / "ceilings.h").read_text()
    table = kernels.table()
    for op, isa in table.kernels:
        if table.isas[isa].machine in ("any", "x86_64") and op.partition("_")[0] in ("sign", "byte"):
            assert f"labc_ceiling_{op.partition('_')[0]}_{isa}" in header


@pytest.mark.parametrize("tool", [t for _, t in toolchain.survey(TARGETS["host"]) if isinstance(t, Toolchain)], ids=lambda tool: tool.name)
def test_the_loops_compile_without_a_warning(tool: Toolchain, tmp_path: Path) -> None:
    folder = resources.folder("runtime") / "bench"
    isas = [isa for isa, row in kernels.table().isas.items() if row.machine in ("any", HERE) and (folder / f"{isa}.c").is_file()]
    compile_objects(tool, TARGETS["host"], [folder / "timer.c", *(folder / f"{isa}.c" for isa in isas)], [], tmp_path)


def test_a_report_is_plain_data(digits_like: Path) -> None:
    assert json.loads(json.dumps(report.data(timing.benchmark(digits_like))))["name"] == "net"
