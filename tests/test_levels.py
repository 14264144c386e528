"""One library for every x86-64: the same bits at every level, the best level the processor has, and never an instruction it lacks."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zoo
from breadth import some
from elftools.elf.elffile import ELFFile
from here import not_run_here

import labc
from labc import driver, emit, errors, kernels, reference, running, toolchain, trial
from labc.build import write
from labc.check.samples import draw
from labc.cli import main
from labc.compiling import compile_objects
from labc.errors import LabcError
from labc.flags import machine_flags
from labc.target import TARGETS

X86 = TARGETS["x86-64"]
HERE = toolchain.not_here(X86)


def runs_here(what: str) -> bool:
    """Whether this machine is an x86-64; if not, it is noted that `what` was not run."""
    if HERE is not None:
        not_run_here(what, HERE)
    return HERE is None


def levels_here() -> list[str]:
    """The levels of this processor, best first."""
    return [level for level in toolchain.host_isas(toolchain.find(X86)) if level in X86.levels]


def network(seed: int, folder: Path) -> Path:
    """Network `seed`: LAB2 and LAB in turn, with layers on both sides of what kernels do at once; every third with wild parameters."""
    rng = np.random.default_rng(seed)
    widths = [int(rng.choice([1, 3, 8, 31, 33, 64, 127, 130, 257])) for _ in range(int(rng.integers(2, 6)))]
    made = zoo.random_layers(rng, widths, method=("lab2", "lab")[seed % 2], wild=seed % 3 == 0)
    element = zoo.TensorProto.INT8 if seed % 5 == 4 else zoo.TensorProto.UINT8
    return zoo.save(zoo.own(made, element=element), folder / f"n{seed}.onnx")


def inputs(compiled: driver.Compiled, n: int = 40) -> np.ndarray:
    graph = compiled.model.graph
    return draw(graph.types[graph.input().name], n, 1)


@pytest.mark.parametrize("force", some(["gcc", "clang", "zig"], ["gcc", "clang"]))
def test_every_level_gives_the_references_bits(force: str, tmp_path: Path) -> None:
    tools = dict(toolchain.survey(X86))[force]
    if isinstance(tools, str):
        not_run_here(f"x86-64 with {force}", tools)
        return
    if not runs_here("the levels of x86-64"):
        return
    for seed in range(10 if force == "gcc" else 3):
        compiled = driver.front(network(seed, tmp_path))
        library = labc.load(driver.write(driver.planned(compiled, X86), tools, tmp_path / f"{seed}"))
        x = inputs(compiled)
        want = reference.run(compiled.model.graph, x)[compiled.model.graph.output]
        assert library.levels == X86.levels
        assert library.level == levels_here()[0]
        for level in levels_here():
            library.force_level(level)
            assert library.level == level
            assert (library(x).view(np.int32) == want.view(np.int32)).all(), (seed, level)
            assert library.predict(x).tolist() == np.argmax(want, axis=1).tolist(), (seed, level)
            assert library.self_test() == 0, (seed, level)
        library.force_level(None)
        assert library.level == levels_here()[0]


PROGRAM = """\
#include "lab.h"
#include "lab2.h"
#include <stdio.h>
static uint32_t arena[(LAB_ARENA_BYTES + LAB2_ARENA_BYTES) / 4];
int main(void)
{
    printf("%s %d %s %d\\n", lab_level(), lab_self_test(arena), lab2_level(), lab2_self_test(arena));
    const int forced = lab_force_level("avx2"), unknown = lab2_force_level("none");
    printf("%d %d %s", forced, unknown, lab_level());
    return lab_force_level(NULL);
}
"""


def program(folder: Path, levels: dict[str, list[str] | None]) -> Path:
    """A program, linked statically, that holds two networks with these levels and says what it does."""
    tools = toolchain.find(X86)
    for method in levels:
        path = zoo.save(zoo.own(zoo.random_layers(np.random.default_rng(8), [130, 70, 33, 5], method=method)), folder / f"{method}.onnx")
        labc.compile(path, "x86-64", out=folder / method, levels=levels[method])
    (folder / "main.c").write_text(PROGRAM)
    include = [folder / method / "include" for method in levels]
    objects = compile_objects(tools, X86, [folder / "main.c"], include, folder / "o")
    archives = [str(folder / method / "lib" / f"lib{method}.a") for method in levels]
    static = ["-static", *machine_flags(tools, X86)]
    subprocess.run([*tools.cc, *static, *map(str, objects), *archives, "-o", str(folder / "main")], check=True)
    return folder / "main"


# What qemu plays, the best level it may run, and what forcing avx2 answers there.
PLAYED = [("Nehalem", "scalar", "-3"), ("Haswell", "avx2", "0"), ("max", "avx2", "0")]


@pytest.fixture(scope="module")
def every_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with two networks of every level."""
    return program(tmp_path_factory.mktemp("program"), {"lab": None, "lab2": None})


@pytest.mark.parametrize(("cpu", "level", "forced"), PLAYED)
def test_a_processor_without_an_isa_never_meets_it(cpu: str, level: str, forced: str, request: pytest.FixtureRequest) -> None:
    """Two networks in one program on processors that lack what this machine may have: an unknown instruction would end it."""
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None or not shutil.which("gcc") or HERE is not None:
        not_run_here(f"a library for x86-64 on {cpu}", HERE or "no qemu-x86_64 (Debian, Ubuntu: apt install qemu-user), or no gcc")
        return
    binary = request.getfixturevalue("every_level")
    done = subprocess.run([emulator, "-cpu", cpu, str(binary)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [f"{level} 0 {level} 0", f"{forced} -3 {level}"]


def test_the_best_level_is_taken_here(request: pytest.FixtureRequest) -> None:
    if not runs_here("a program for any x86-64"):
        return
    best = levels_here()
    done = subprocess.run([str(request.getfixturevalue("every_level"))], capture_output=True, text=True, check=True)
    forced = "0 -3 avx2" if "avx2" in best else "-3 -3 scalar"
    assert done.stdout.splitlines() == [f"{best[0]} 0 {best[0]} 0", forced]


def test_two_networks_with_other_levels_share_a_program(tmp_path: Path) -> None:
    """Each uses the best of its own levels that the processor has; forcing holds for both."""
    if not runs_here("two networks with levels in a program"):
        return
    binary = program(tmp_path, {"lab": ["avx2"], "lab2": ["avx512bw"]})
    best = levels_here()
    lab, lab2 = (next(level for level in best if level in has) for has in (("avx2", "scalar"), ("avx512bw", "scalar")))
    done = subprocess.run([str(binary)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{lab} 0 {lab2} 0", f"{0 if 'avx2' in best else -3} -3 {lab}"]


def test_levels_are_chosen(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "x86-64", out=tmp_path / "out", levels=["avx2"])
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest["levels"]) == ["avx2", "scalar"]  # scalar is always there
    assert manifest["isas"] == ["avx2", "scalar"]
    assert {path.name for path in (out / "src").iterdir()} == {
        "avx2.c", "avx2.h", "scalar.c", "scalar.h", "cpu.c", "cpu.h", "dispatch.c", "dispatch.h", "kernels.def", "kernels.h",
        "labc_runtime.c", "net.c", "net_info.c", "net_self_test.c", "net_weights.c", "net_weights.h",
    }  # fmt: skip
    if runs_here("a library with two levels"):
        library = labc.load(out)
        assert library.level == ("avx2" if "avx2" in levels_here() else "scalar")
        with pytest.raises(LabcError, match="level 'avx512' not known; it has avx2, scalar"):
            library.force_level("avx512")


def test_only_a_library_with_a_choice_holds_what_chooses(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    assert not {path.name for path in (out / "src").iterdir()} & {"cpu.c", "cpu.h", "dispatch.c", "dispatch.h"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert "levels" not in manifest
    library = labc.load(out)
    assert library.levels == ()
    assert library.level == manifest["isas"][0]
    library.force_level(None)
    with pytest.raises(LabcError, match=r"has one level, \w+; build with --target x86-64"):
        library.force_level("avx2")


def test_the_manifest_says_what_each_level_costs(tmp_path: Path) -> None:
    path = zoo.save(zoo.own(zoo.random_layers(np.random.default_rng(8), [130, 70, 33, 5])), tmp_path / "net.onnx")
    sizes = {}
    for levels in (None, ["avx512", "avx512bw"], ["avx2"], ["avx512", "avx2"], []):
        out = labc.compile(path, "x86-64", out=tmp_path / "out", levels=levels)
        manifest = json.loads((out / "manifest.json").read_text())
        sizes[tuple(manifest["levels"])] = manifest["constants"]["bytes"], manifest["levels"]
    every, costs = sizes["avx512", "avx512bw", "avx2", "scalar"]
    assert sizes["avx512", "avx512bw", "scalar"][0] == every - costs["avx2"]["saved_without"] < every
    assert costs["avx512"]["saved_without"] == 0  # its weights lie as those of avx512bw
    assert costs["scalar"]["saved_without"] == 0  # there is no library without it
    assert sizes["avx512", "avx2", "scalar"][0] == every
    assert sizes["avx2", "scalar"][1]["avx2"]["bytes"] == costs["avx2"]["bytes"]
    assert sizes[("scalar",)][0] == costs["scalar"]["bytes"] == sizes["avx2", "scalar"][0] - costs["avx2"]["saved_without"]
    assert costs["avx512"]["needs"] == ["AVX512", "VPOPCNTDQ"]
    assert costs["avx2"]["needs"] == ["AVX2"]
    assert costs["scalar"]["needs"] == []
    assert [step["kernel"] for step in costs["avx2"]["steps"]][1:3] == ["labc_sign_matvec_threshold_avx2", "labc_sign_matvec_sums_avx2"]


def test_each_file_is_compiled_for_its_isa(digits_like: Path, tmp_path: Path) -> None:
    """Only the ISAs' own files may use what not every x86-64 has; the manifest and the header say with which flags."""
    out = labc.compile(digits_like, "x86-64", out=tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    table = kernels.table()
    assert manifest["file_flags"] == {f"src/{isa}.c": list(table.isas[isa].flags) for isa in ("avx2", "avx512", "avx512bw")}
    assert not any(flag.startswith("-mavx") for flag in manifest["flags"])
    header = (out / "include" / "net.h").read_text()
    assert all(f"{file} with {' '.join(flags)}\n" in header for file, flags in manifest["file_flags"].items())


def test_weights_lie_as_their_kernels_are_promised(digits_like: Path) -> None:
    made = driver.planned(driver.front(digits_like), X86)
    table = kernels.table()
    wanted: dict[str, int] = {}
    for level in made.levels:
        for step in level.steps:
            for parameter, argument in zip(table.ops[step.op].parameters, step.arguments, strict=True):
                if parameter.name == "w":
                    wanted[argument] = max(wanted.get(argument, 1), table.kernels[step.op, step.isa].alignment)
    assert {wanted.get(f"@{array.name}", 1) for array in made.constants} >= {1, 32, 64}
    text = emit.emit(made)["src/net_weights.c"]
    for array in made.constants:
        align = wanted.get(f"@{array.name}", 1)
        assert array.align == align
        assert f"\n{f'_Alignas({align}) ' if align > 1 else ''}const {array.ctype} net_{array.name}[" in text
    assert made.arena_align == 4


def test_a_constant_of_two_kernels_has_the_larger_alignment(digits_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = kernels.table()
    looser = {key: replace(kernel, alignment=32) for key, kernel in table.kernels.items() if kernel.isa == "avx512bw" and kernel.lanes}
    monkeypatch.setattr(kernels, "table", lambda: replace(table, kernels={**table.kernels, **looser}))
    made = driver.planned(driver.front(digits_like), replace(X86, levels=("avx512bw", "scalar")))
    assert {array.align for array in made.constants} == {1, 32}
    made = driver.planned(driver.front(digits_like), X86)  # and the other order: the level that is promised more comes first
    shared = [array for array in made.constants if array.name in made.levels[0].constants and array.name.startswith("w_")]
    assert {array.align for array in shared[1:]} == {64}


def test_one_number_is_all_that_changes(digits_like: Path, tmp_path: Path) -> None:
    """Writable memory of all objects: the level, one int (a table of addresses is writable only until the loader has filled it in)."""
    tools = toolchain.find(X86)
    write(tmp_path, emit.emit(driver.planned(driver.front(digits_like), X86)))
    objects = compile_objects(tools, X86, sorted((tmp_path / "src").glob("*.c")), [tmp_path / "include"], tmp_path / "o")
    found = {}
    for path in objects:
        with path.open("rb") as file:
            for section in ELFFile(file).iter_sections():
                if (
                    section["sh_flags"] & 3 == 3 and section["sh_size"] and not section.name.startswith(".data.rel.ro")
                ):  # written, in memory
                    found[path.stem, section.name] = section["sh_size"]
    assert found == {("dispatch", ".bss"): 4}


def test_the_header_is_cplusplus(digits_like: Path, tmp_path: Path) -> None:
    plus = shutil.which("g++") or shutil.which("clang++")
    if plus is None or not runs_here("the header with levels in C++"):
        not_run_here("the header with levels in C++", "no g++ and no clang++")
        return
    out = labc.compile(digits_like, "x86-64", out=tmp_path / "out", name="mine")
    (tmp_path / "main.cpp").write_text(
        '#include "mine.h"\n#include <cstring>\nstatic uint32_t arena[MINE_ARENA_BYTES / 4];\n'
        'int main() { return mine_self_test(arena) + mine_force_level("scalar") + std::strcmp(mine_level(), "scalar"); }\n'
    )
    strict = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    command = [plus, *strict, f"-I{out / 'include'}", str(tmp_path / "main.cpp"), str(out / "lib" / "libmine.a"), "-o", str(tmp_path / "m")]
    subprocess.run(command, check=True)
    assert subprocess.run([str(tmp_path / "m")], check=False).returncode == 0


def test_check_judges_every_level(digits_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not runs_here("labc check --target x86-64"):
        return
    forced = labc.library.Library.force_level

    def without_avx2(library: labc.library.Library, level: str | None) -> None:
        if level == "avx2":
            raise LabcError("played: this processor does not run level avx2", code=errors.NOT_HERE)
        forced(library, level)

    monkeypatch.setattr(labc.library.Library, "force_level", without_avx2)
    checked = trial.check(digits_like, "x86-64", sample_count=50)
    told = {verdict.what: verdict for verdict in checked.verdicts if verdict.what.startswith("library")}
    for level in X86.levels:
        verdict = told[f"library (x86-64, {level}) = reference"]
        if level in levels_here() and level != "avx2":
            assert verdict.status == "passed"
            assert told[f"library (x86-64, {level}): self-test"].status == "passed"
        else:
            assert verdict.status == "not run here"
            assert verdict.detail.startswith("this processor does not have all of AV")
            assert f"library (x86-64, {level}): self-test" not in told
    assert [cost.level for cost in checked.levels] == list(X86.levels)


def test_check_names_the_level_that_is_wrong(digits_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the plan of one level is found at that level, and the layer that has it is named."""
    if not runs_here("labc check --target x86-64 of a wrong level"):
        return
    planned = driver.planned

    def wrong(*arguments: object, **how: object):  # type: ignore[no-untyped-def]
        made = planned(*arguments, **how)  # type: ignore[arg-type]
        last = made.levels[-1]
        step = last.body[1]
        half = replace(step, arguments=tuple("16u" if argument == "48u" else argument for argument in step.arguments))
        return replace(made, levels=(*made.levels[:-1], replace(last, body=(last.body[0], half, *last.body[2:]))))

    for module in (trial, running):
        monkeypatch.setattr(module, "planned", wrong)
    checked = trial.check(digits_like, "x86-64", sample_count=50, levels=["avx2"])
    failed = [verdict for verdict in checked.verdicts if verdict.status == "failed"]
    assert failed[0].what == "library (x86-64, scalar) = reference"
    assert failed[-1].what == "library (x86-64, scalar): first wrong layer"
    assert failed[-1].detail.startswith("sign2, channel ")


def test_another_machine_builds_and_does_not_run(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played: this machine says it is another. The ziglang wheel, which makes code for both, is what is found there."""
    tools = dict(toolchain.survey(X86))["zig"]
    monkeypatch.setattr(toolchain, "host_machine", lambda: "riscv64")
    assert toolchain.find(X86, "zig") == tools
    monkeypatch.setattr(toolchain, "find", lambda target, force=None: tools)
    (verdict,) = (v for v in trial.check(digits_like, "x86-64", sample_count=5).verdicts if v.what.startswith("library"))
    assert (verdict.status, verdict.detail) == ("not run here", "it is for x86_64, this machine is riscv64")
    with pytest.raises(LabcError, match="--time: x86-64 is not this machine"):
        trial.check(digits_like, "x86-64", timed=True)


def test_a_compiler_for_another_machine_is_refused() -> None:
    cross = shutil.which("aarch64-linux-gnu-gcc")
    if cross is None:
        not_run_here("a compiler for another machine", "no aarch64-linux-gnu-gcc")
        return
    with pytest.raises(LabcError, match=r"compiles for aarch64\S*, not for x86_64"):
        toolchain.find(X86, cross)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "x86-64", "--levels", "avx512,sse2"], "--levels: level 'sse2' not known; x86-64 has avx512, avx512bw, avx2, scalar"),
        (["--target", "x86-64", "--levels", ""], "--levels: level '' not known"),
        (["--levels", "avx2"], "--levels: target host has none to choose from; leave it out, or name --target x86-64"),
        (["--target", "arm", "--levels", "scalar"], "--levels: target arm has none to choose from"),
        (["--target", "x86-64", "--name", "Dispatch"], "name 'Dispatch': is taken by"),
        (["--target", "x86-64", "--name", "cpu"], "name 'cpu': is taken by"),
    ],
)
@pytest.mark.parametrize("command", ["build", "check"])
def test_wrong_levels_are_told(
    command: str, arguments: list[str], message: str, digits_like: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(digits_like), *arguments]) == errors.BAD_INPUT
    assert message in capsys.readouterr().err


def test_build_prints_what_levels_cost(digits_like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(digits_like), "--target", "x86-64", "--levels", "avx2", "-o", str(tmp_path / "out")]) == errors.OK
    levels = json.loads((tmp_path / "out" / "manifest.json").read_text())["levels"]
    cost = levels["avx2"]
    line = f"level avx2 (avx2, scalar): {cost['bytes']:,} bytes of constants; a library without it saves {cost['saved_without']:,}"
    assert line in capsys.readouterr().out


def test_every_stage_of_every_level_can_be_kept(digits_like: Path, tmp_path: Path) -> None:
    labc.compile(digits_like, "x86-64", out=tmp_path / "out", keep=tmp_path / "stages")
    kept = (tmp_path / "stages" / "5-plan.txt").read_text()
    assert [line for line in kept.splitlines() if line.startswith("level ")] == [f"level {level}:" for level in X86.levels]


# ---- the table's rows and a processor's features ----


def test_what_a_processor_runs() -> None:
    """Features include those before them (runtime/cpu.h); so each set of them runs a row and all below it."""
    bits = kernels.features()
    assert list(bits.values()) == [1 << i for i in range(len(bits))]
    assert kernels.runnable("x86_64", 0) == ("scalar",)
    assert kernels.runnable("x86_64", bits["POPCNT"] + bits["AVX2"]) == ("avx2", "scalar")
    assert kernels.runnable("x86_64", sum(bits.values()) - bits["VPOPCNTDQ"]) == ("avx512bw", "avx2", "scalar")
    assert kernels.runnable("x86_64", sum(bits.values())) == X86.isas
    assert kernels.runnable("sparc", sum(bits.values())) == ("scalar",)
    every = list(kernels.table().isas)
    for machine, count in itertools.product({isa.machine for isa in kernels.table().isas.values()}, range(len(bits) + 1)):
        runs = kernels.runnable(machine, (1 << count) - 1)
        rows = [isa for isa in every if kernels.table().isas[isa].machine in ("any", machine)]
        assert list(runs) == rows[len(rows) - len(runs) :]


def test_an_unknown_feature_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "features", lambda: {"POPCNT": 1})
    with pytest.raises(LabcError, match=r"kernels\.def: ISA \w+ needs \w+, which runtime/cpu\.h does not define; define it there"):
        kernels.runnable("x86_64", 1)


def test_the_host_is_asked() -> None:
    """Against what the system says of the processor, where it does."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file() or not runs_here("the processor's features against /proc/cpuinfo"):
        not_run_here("the processor's features", "no /proc/cpuinfo")
        return
    flags = set(next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")).split())
    isas = toolchain.host_isas(toolchain.find(TARGETS["host"]))
    assert ("avx2" in isas) == ("avx2" in flags)
    assert ("avx512bw" in isas) == ({"avx512f", "avx512bw", "avx512vl"} <= flags)
    assert ("avx512" in isas) == ({"avx512f", "avx512bw", "avx512vl", "avx512_vpopcntdq"} <= flags)
    wanted, _ = driver.tools_for("host")
    assert wanted.isas == isas
