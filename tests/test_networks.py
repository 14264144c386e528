"""60 random networks, in the sweeps 200: C = reference = onnxruntime, bit for bit; also under other flags, ABIs and compilers."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zoo
from breadth import in_turn, some
from here import not_run_here
from linking import inputs, run_all

from labc import driver, emit, reference, toolchain
from labc.build import write
from labc.check import cost as costs
from labc.check.referee import referee
from labc.check.runners import chip
from labc.compiling import compile_objects
from labc.emulator import unicorn
from labc.errors import LabcError
from labc.target import TARGETS

NETWORKS = 200
HOST, TOOLS = driver.tools_for("host")  # the kernels this machine's processor has
PER_LIBRARY = 20  # networks linked into one library: they must not know of each other


def network(seed: int, tmp_path: Path) -> tuple[Path, int]:
    """Network `seed`: 1 to 5 layers, widths 1 to 100, every third with negative, zero, tiny and huge affine parameters."""
    rng = np.random.default_rng(seed)
    widths = [int(w) for w in rng.integers(1, 101, int(rng.integers(2, 7)))]
    made = zoo.random_layers(rng, widths, method=("lab2", "lab")[seed % 2], wild=seed % 3 == 0)
    element = zoo.TensorProto.INT8 if seed % 7 == 6 else zoo.TensorProto.UINT8
    return zoo.save(zoo.own(made, element=element), tmp_path / f"n{seed}.onnx"), seed


@pytest.mark.parametrize("first", some(range(0, NETWORKS, PER_LIBRARY), range(0, 3 * PER_LIBRARY, PER_LIBRARY)))
def test_random_networks_are_equal_everywhere(first: int, tmp_path: Path) -> None:
    paths = [network(seed, tmp_path)[0] for seed in range(first, first + PER_LIBRARY)]
    compiled = [driver.front(path) for path in paths]
    xs = [inputs(one) for one in compiled]
    found = run_all([driver.planned(one, HOST) for one in compiled], xs, tmp_path / "library", TOOLS)
    for path, one, x, got in zip(paths, compiled, xs, found, strict=True):
        want = reference.run(one.model.graph, x)[one.model.graph.output]
        assert (got.view(np.int32) == want.view(np.int32)).all(), path
        verdict = referee(path, x, want, one.model.notes)
        assert verdict.status == "passed", f"{path}: {verdict}"
        assert "bit for bit" in verdict.detail


def test_hostile_flags_do_not_change_a_bit(tmp_path: Path) -> None:
    """A user's flags: another dialect, full optimization, fused multiply-add on (gcc's default in gnu modes)."""
    if TOOLS.family == "zig" or platform.machine() not in ("x86_64", "AMD64"):
        not_run_here("-mfma", f"{TOOLS.name} on {platform.machine()} does not take it")
        flags: tuple[str, ...] = ("-std=gnu11", "-O3", "-ffp-contract=fast")
    else:
        flags = ("-std=gnu11", "-O3", "-mfma", "-ffp-contract=fast")
    compiled = [driver.front(network(seed, tmp_path)[0]) for seed in range(12)]
    xs = [inputs(one) for one in compiled]
    for one, x, got in zip(
        compiled, xs, run_all([driver.planned(o, HOST) for o in compiled], xs, tmp_path / "l", TOOLS, flags), strict=True
    ):
        want = reference.run(one.machine, x.reshape(len(x), -1))[one.machine.output]
        assert (got.view(np.int32) == want.view(np.int32)).all()


def test_fast_math_is_refused(tmp_path: Path) -> None:
    made = driver.planned(driver.front(network(0, tmp_path)[0]), HOST)
    write(tmp_path, emit.emit(made))
    with pytest.raises(LabcError, match="without -ffast-math"):
        compile_objects(TOOLS, HOST, [tmp_path / "src" / f"{made.name}.c"], [tmp_path / "include"], tmp_path, ["-ffast-math"])


ARM = TARGETS["arm"]
CHIPS = {
    "M4 hard": ARM,
    "M4 soft": replace(ARM, float_abi="soft"),
    "M0 soft": replace(ARM, float_abi="soft", cpu="cortex-m0"),
}


@pytest.mark.parametrize(("kind", "force"), in_turn(list(CHIPS), ["zig", "arm-none-eabi-gcc"]))
def test_chips_give_the_same_bits(kind: str, force: str, tmp_path: Path) -> None:
    target = CHIPS[kind]
    tools = dict(toolchain.survey(target))[force]
    if isinstance(tools, str):
        assert force != "zig", tools  # the wheel is always there
        not_run_here(f"{kind} with {force}", tools)
        return
    assert unicorn.available() is None
    for seed in (3, 6, 10, 12):
        compiled = driver.front(network(seed, tmp_path)[0])
        made = driver.planned(compiled, target)
        work = tmp_path / f"{seed}"
        work.mkdir()
        runner, sections = chip(driver.write(made, tools, work / "library"), made, tools, work)
        x = inputs(compiled, 12).reshape(12, -1)
        want = reference.run(compiled.machine, x)[compiled.machine.output]
        assert (runner.scores(x).view(np.int32) == want.view(np.int32)).all()
        assert runner.classes(x).tolist() == np.argmax(want, axis=1).tolist()
        assert runner.self_test() == 0
        cost = costs.run(runner, x[0], sections)
        assert made.packed_bytes < cost.flash < made.packed_bytes + 6000
        assert cost.flash == sum(sections.get(name, 0) for name in (".text", ".rodata", ".ARM.exidx", ".data"))  # not .image
        assert cost.instructions > made.input_size
        assert cost.ram >= made.arena_bytes + cost.stack > made.arena_bytes
