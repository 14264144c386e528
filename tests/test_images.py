"""Random convolutional and residual networks: layers IR = machine IR = C on every instruction set here = onnxruntime, bit for bit.

Kernels of 1x1 to 7x7, strides, dilations, paddings of 0 and of ±1, groups, depthwise, odd channel counts, images smaller than the kernel,
rows, 16-bit residual streams, 8-bit activations, joins: tests/zoo_images.py draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import breadth
import numpy as np
import pytest
import zoo_images
from here import not_run_here
from hypothesis import Phase, example, given, note, settings
from linking import Kept, inputs, run_all
from zoo_images import Network

from labc import driver, kernels, passes, reference, toolchain
from labc.check import model as proof
from labc.check.referee import referee
from labc.check.runners import chip
from labc.emulator import unicorn
from labc.frontend.onnx import Model
from labc.ir import layers
from labc.ir.core import Const, Graph
from labc.ir.text import digest, text
from labc.ir.windows import Window
from labc.target import TARGETS

HOST, TOOLS = driver.tools_for("host")  # the kernels this machine's processor has
EXAMPLES = [zoo_images.seeded(seed) for seed in (18, 117, 36, 38, 11)]  # together every op that networks without rare layers have

# For tests that compile each example: one failure is shrunk (Hypothesis stops after five minutes), and not explained line by line.
COMPILING = settings(phases=[phase for phase in Phase if phase is not Phase.explain], report_multiple_bugs=False)


def compiled(network: Network, folder: Path) -> tuple[Path, driver.Compiled]:
    """The network as a file, and its levels; a failing test prints both."""
    path = folder / "network.onnx"
    path.write_bytes(network.content)
    note(f"the network, {path}:")
    one = driver.front(path)
    note(text(one.model.graph))
    return path, one


def proven(path: Path, one: driver.Compiled, x: np.ndarray) -> np.ndarray:
    """The scores; layers IR = machine IR = onnxruntime on x, and every threshold."""
    verdict, scores = proof.levels(one.model.graph, one.machine, x)
    assert verdict.status == "passed", verdict
    assert proof.thresholds(dict(one.stages), one.machine).status == "passed"
    judged = referee(path, x, scores, one.model.notes)
    assert judged.status == "passed", judged
    assert "bit for bit" in judged.detail
    return scores


@pytest.mark.wider
@settings(max_examples=breadth.examples(100, 500))
@given(zoo_images.networks())
def test_any_network_is_lowered_exactly(tmp_path_factory: pytest.TempPathFactory, network: Network) -> None:
    path, one = compiled(network, tmp_path_factory.mktemp("any"))
    proven(path, one, inputs(one, 8))


@pytest.fixture(scope="module")
def kept() -> Kept:
    """The runtime's objects, for the networks of a test."""
    return Kept()


def each_example(test: Callable[..., None]) -> Callable[..., None]:
    for network in EXAMPLES:
        test = example(network)(test)
    return test


@pytest.mark.wider
@each_example
@settings(COMPILING, max_examples=breadth.examples(12, 120))
@given(zoo_images.networks())
def test_any_network_is_equal_everywhere(tmp_path_factory: pytest.TempPathFactory, kept: Kept, network: Network) -> None:
    """C too, on each instruction set with what it falls back to, as on a processor that has no better."""
    folder = tmp_path_factory.mktemp("any")
    path, one = compiled(network, folder)
    x = inputs(one, 20)
    scores = proven(path, one, x)
    levels = [replace(HOST, isas=HOST.isas[at:]) for at in range(len(HOST.isas))]
    plans = [driver.planned(replace(one, name=f"network_{to.isas[0]}"), to) for to in levels]
    for to, got in zip(levels, run_all(plans, [x] * len(plans), folder / "library", TOOLS, ("-O1",), kept), strict=True):
        assert np.array_equal(proof.bits(got), proof.bits(scores)), to.isas


def rare(rng: np.random.Generator) -> Graph:
    """Layers that few networks have: a sign of the input, of signs and of pooled sums; sums pooled for two readers; 16 bits to bytes."""

    def signs(*shape: int) -> Const:
        return Const("sign", rng.choice(np.array([-1, 1], np.int8), shape))

    def norm(name: str, of: str, n: int, spread: float, middle: float = 0) -> layers.Affine:
        s = (rng.uniform(0.5, 1, n) * rng.choice([-1, 1], n) / spread).astype(np.float32)
        return layers.Affine(name, (of,), Const("f32", s), Const("f32", (rng.normal(0, 0.3, n) - s * middle).astype(np.float32)))

    def fixed(name: str, of: str, n: int, element: Literal["u8", "i16"]) -> layers.Requantize:
        m = rng.integers(200, 4000, n) * rng.choice([-1, 1], n)
        return layers.Requantize(name, (of,), Const("i32", m), Const("i64", rng.integers(0, 20000, n)), 9, element)

    two = Window((2, 2), (2, 2))
    return Graph(
        (
            layers.Input("x", (), "u8", (3, 9, 10)),
            norm("bytes", "x", 3, 60, 127),
            layers.Sign("of_bytes", ("bytes",)),
            layers.Conv("c1", ("of_bytes",), signs(40, 3, 3, 3), Window((3, 3), pads=(1, 1, 1, 1))),
            layers.SumPool("average", ("c1",), two),
            norm("n1", "average", 40, 10),
            layers.Sign("of_average", ("n1",)),
            norm("again", "of_average", 40, 1),
            layers.Sign("of_signs", ("again",)),
            layers.Conv("c2", ("of_signs",), signs(33, 40, 3, 3), Window((3, 3), pads=(1, 1, 1, 1))),
            layers.MaxPool("most", ("c2",), Window((2, 2))),
            norm("n2", "most", 33, 20, 20),
            layers.Sign("of_most", ("n2",)),
            fixed("stream", "most", 33, "i16"),
            fixed("narrow", "stream", 33, "u8"),
            layers.Flatten("flat", ("narrow",)),
            layers.Dense("fc", ("flat",), signs(7, 33 * 3 * 4)),
            layers.Flatten("flat2", ("of_most",)),
            layers.Dense("fc2", ("flat2",), signs(7, 33 * 3 * 4)),
            layers.Concat("both", ("fc", "fc2")),
            norm("scores", "both", 14, 100),
        ),
        "scores",
    )


def test_rare_layers_and_ops(tmp_path: Path) -> None:
    """With these, some network of the examples has every op of the table but those of dense layers, which tests/test_networks.py has."""
    used = set()
    for network in EXAMPLES:
        (tmp_path / "network.onnx").write_bytes(network.content)
        one = driver.front(tmp_path / "network.onnx")
        used |= {step.op for level in driver.planned(one, TARGETS["host"]).levels for step in level.steps}
    graph = rare(np.random.default_rng(5))
    machine = passes.run(graph)
    one = driver.Compiled("rare", Model(graph, ()), digest(graph), machine, ())
    plan = driver.planned(one, HOST)
    used |= {step.op for step in plan.levels[0].steps}
    assert {op for op, row in kernels.table().ops.items() if row.family != "dense"} <= used
    x = inputs(one, 50)
    verdict, scores = proof.levels(graph, machine, x)
    assert verdict.status == "passed"
    assert len(np.unique(scores)) > 100
    (got,) = run_all([plan], [x], tmp_path / "library", TOOLS)
    assert np.array_equal(proof.bits(got), proof.bits(scores))


@pytest.mark.wider
@pytest.mark.parametrize("name", ["arm", "aarch64", "armv7"])
@settings(COMPILING, max_examples=breadth.examples(2, 7))
@given(network=zoo_images.networks(largest=6))
def test_chips_give_the_same_bits(name: str, tmp_path_factory: pytest.TempPathFactory, network: Network) -> None:
    target = TARGETS[name]
    if reason := unicorn.available():
        not_run_here(name, reason)
        return
    tools = toolchain.find(target)
    work = tmp_path_factory.mktemp(name)
    _, one = compiled(network, work)
    made = driver.planned(one, target)
    runner, _ = chip(driver.write(made, tools, work / "library"), made, tools, work)
    x = inputs(one, 6)
    want = reference.run(one.model.graph, x)[one.model.graph.output].reshape(len(x), -1)
    assert np.array_equal(proof.bits(runner.scores(x.reshape(len(x), -1))), proof.bits(want))
    assert runner.self_test() == 0
