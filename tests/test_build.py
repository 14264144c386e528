"""Writing a library: swapped in whole or not at all, reproducible, warning-free, usable from C and C++."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zoo
from breadth import in_turn, some
from here import NOT_RUN, not_run_here

import labc
from labc import build, driver, toolchain
from labc.compiling import compile_objects, shared_name
from labc.errors import LabcError
from labc.flags import compile_flags, machine_flags
from labc.target import TARGETS, Target


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_laid_out(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out", name="mine")
    assert set(tree(out)) >= {"include/mine.h", "src/mine.c", "lib/libmine.a", "manifest.json", f"lib/{shared_name('mine')}"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["name"] == "mine"
    assert set(manifest["files"]) == set(tree(out)) - {"manifest.json"}
    assert all(build.sha256(out / path) == digest for path, digest in manifest["files"].items())
    assert list(tmp_path.glob(".out*")) == []


@pytest.mark.parametrize("target", ["host", "x86-64", "arm"])
def test_two_builds_are_the_same_bytes(target: str, digits_like: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "net.onnx"
    copy.parent.mkdir()
    shutil.copy(digits_like, copy)
    one = labc.compile(digits_like, target, out=tmp_path / "one")
    two = labc.compile(copy, target, out=tmp_path / "deeper" / "two")
    assert tree(one) == tree(two)


def test_an_old_library_is_replaced_and_a_stranger_is_not(digits_like: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labc.compile(digits_like, "host", out=out, name="first")
    labc.compile(digits_like, "host", out=out, name="second")
    assert not (out / "include" / "first.h").exists()
    stranger = tmp_path / "precious"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("…")
    with pytest.raises(LabcError, match="exists and was not made by labc"):
        labc.compile(digits_like, "host", out=stranger)
    assert tree(stranger) == {"thesis.tex": "…".encode()}
    (tmp_path / "file").write_text("")
    with pytest.raises(LabcError, match="exists and was not made by labc"):
        labc.compile(digits_like, "host", out=tmp_path / "file")


def test_a_file_that_was_added_is_not_lost(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    (out / "src" / "main.c").write_text("mine")
    with pytest.raises(LabcError, match=r"holds src/main\.c, which labc did not write; name another folder with -o"):
        labc.compile(digits_like, "host", out=out)
    assert (out / "src" / "main.c").read_text() == "mine"


def test_a_link_stays_a_link(digits_like: Path, tmp_path: Path) -> None:
    labc.compile(digits_like, "host", out=tmp_path / "real", name="first")
    (tmp_path / "link").symlink_to("real")
    labc.compile(digits_like, "host", out=tmp_path / "link", name="second")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "include" / "second.h").is_file()
    assert {p.name for p in tmp_path.iterdir() if p.name.startswith((".", "real", "link"))} == {"real", "link"}


@pytest.mark.parametrize("where", [".", ".."])
def test_the_folder_one_is_in_is_not_replaced(where: str, digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    before = tree(out)
    monkeypatch.chdir(out if where == "." else out / "src")
    with pytest.raises(LabcError, match="is the folder you are in"):
        labc.compile(digits_like, "host", out=where)
    assert tree(out) == before


@pytest.mark.parametrize("keep", ["out", "out/stages", "."])
def test_stages_are_not_kept_where_a_build_would_remove_them(keep: str, digits_like: Path, tmp_path: Path) -> None:
    with pytest.raises(LabcError, match=r"--keep: .* which a build replaces as a whole"):
        labc.compile(digits_like, "host", out=tmp_path / "out", keep=tmp_path / keep)
    assert not (tmp_path / "out").exists()


def test_a_failed_build_leaves_the_old_library(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    before = tree(out)
    monkeypatch.setattr(driver.emit, "emit", lambda plan: {"src/broken.c": "int f(void) { return }\n"})
    with pytest.raises(LabcError, match=r"broken\.c"):
        labc.compile(digits_like, "host", out=out)
    assert tree(out) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_unwritable_place_is_an_error(digits_like: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabcError, match=r"cannot be written .* name another folder with -o"):
        labc.compile(digits_like, "host", out=tmp_path / "file" / "out")


def test_every_stage_can_be_kept(digits_like: Path, tmp_path: Path) -> None:
    labc.compile(digits_like, "arm", out=tmp_path / "out", keep=tmp_path / "stages")
    kept = tree(tmp_path / "stages")
    assert {name.split("/")[0] for name in kept} == {
        "0-read.txt", "1-lower.txt", "2-pool.txt", "3-threshold.txt", "4-fuse.txt", "5-plan.txt", "6-sources", "manifest.json"
    }  # fmt: skip
    assert b"mat_vec_threshold" in kept["4-fuse.txt"]
    assert b"labc_sign_matvec_threshold_" in kept["5-plan.txt"]
    assert kept["6-sources/src/net.c"] == (tmp_path / "out" / "src" / "net.c").read_bytes()
    labc.compile(digits_like, "arm", out=tmp_path / "out", keep=tmp_path / "stages")  # replaced by the next


def test_stages_replace_nothing_of_somebody_elses(digits_like: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0-read.txt").write_text("hi")
    with pytest.raises(LabcError, match=r"mine: exists and was not made by labc; name another folder with --keep"):
        labc.compile(digits_like, "arm", out=tmp_path / "out", keep=tmp_path / "mine")
    assert (tmp_path / "mine" / "0-read.txt").read_text() == "hi"
    assert not (tmp_path / "out").exists()


STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]


def test_the_header_is_cplusplus_and_the_library_links_into_it(digits_like: Path, tmp_path: Path) -> None:
    tools = toolchain.find(TARGETS["host"])
    plus = {"gcc": shutil.which("g++"), "clang": shutil.which("clang++"), "zig": "zig"}[tools.family]
    if plus is None:
        not_run_here("the header in C++", f"no C++ compiler beside {tools.name}")
        return
    command = [tools.cc[0], "c++", *machine_flags(tools, TARGETS["host"])] if plus == "zig" else [plus]
    out = labc.compile(digits_like, "host", out=tmp_path / "out", name="net")
    (tmp_path / "main.cpp").write_text(
        '#include "net.h"\n#include "net.h"\n'
        "static uint32_t arena[NET_ARENA_BYTES / 4];\n"
        "int main() {\n    const uint8_t input[NET_INPUT_SIZE] = {};\n    float output[NET_OUTPUT_SIZE];\n"
        "    if (net_self_test(arena) != 0) return 1;\n    if (net_run(input, output, arena) != 0) return 2;\n"
        "    if (net_run(nullptr, output, arena) != NET_E_NULL) return 3;\n"
        "    if (net_run(input, output, reinterpret_cast<char *>(arena) + 1) != NET_E_ALIGN) return 4;\n"
        "    if (net_predict(input, nullptr) != NET_E_NULL) return 5;\n    return net_predict(input, arena) >= 0 ? 0 : 6;\n}\n"
    )
    program = tmp_path / "main"
    files = [str(tmp_path / "main.cpp"), str(out / "lib" / "libnet.a"), "-o", str(program)]
    subprocess.run([*command, "-std=c++11", *STRICT, f"-I{out / 'include'}", *files], check=True)
    assert subprocess.run([str(program)], check=False).returncode == 0


@pytest.mark.parametrize(("target", "method"), in_turn(list(TARGETS.values()), ["lab2", "lab"]), ids=lambda v: getattr(v, "name", v))
def test_sources_compile_without_warnings_everywhere(target: Target, method: str, tmp_path: Path) -> None:
    """compile_flags carry -Wall -Wextra -Wpedantic -Wconversion -Werror; every compiler found here must accept them."""
    layers = zoo.random_layers(np.random.default_rng(0), [30, 20, 5], method=method)
    path = zoo.save(zoo.own(layers, element=zoo.TensorProto.INT8), tmp_path / f"{method}.onnx")
    for name, tools in toolchain.survey(target):
        if isinstance(tools, str) and target.name in ("riscv32", "riscv64", "big-endian"):
            NOT_RUN.append(f"warnings of {name} for {target.name}: not run here ({tools}); zig, which CI has, compiles it")
            continue
        if isinstance(tools, str):
            not_run_here(f"warnings of {name} for {target.name}", tools)
            continue
        assert set(STRICT) <= set(compile_flags(tools, target))
        driver.write(driver.planned(driver.front(path), target), tools, tmp_path / method / name)


@pytest.mark.parametrize("target", some(["host", "x86-64"], ["host"]))
def test_sanitizers_find_nothing(target: str, digits_like: Path, tmp_path: Path) -> None:
    """The self-test, at every level, under AddressSanitizer and UndefinedBehaviorSanitizer, with an arena of exactly its size."""
    cc = shutil.which("gcc")
    if reason := toolchain.not_here(TARGETS[target]):
        not_run_here(f"sanitizers on a library for {target}", reason)
        return
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    if cc is None or subprocess.run([cc, *flags, str(probe), "-o", str(tmp_path / "probe")], check=False, capture_output=True).returncode:
        not_run_here("sanitizers on generated code", "no gcc with libasan and libubsan")
        return
    rng = np.random.default_rng(1)
    lab = zoo.save(zoo.own(zoo.random_layers(rng, [33, 65, 31, 3], method="lab")), tmp_path / "lab.onnx")
    for path in (digits_like, lab):
        out = labc.compile(path, target, out=tmp_path / path.stem, name="net")
        levels = json.loads((out / "manifest.json").read_text()).get("levels", {})
        forced = "".join(f'    if (net_force_level("{level}") == 0) failed |= net_self_test(arena);\n' for level in levels)
        (tmp_path / "main.c").write_text(
            '#include "net.h"\n#include <stdlib.h>\nint main(void)\n{\n    void *arena = malloc(NET_ARENA_BYTES);\n'
            f"    int failed = net_self_test(arena);\n{forced}    free(arena);\n    return failed;\n}}\n"
        )
        sources = [tmp_path / "main.c", *sorted((out / "src").glob("*.c"))]
        tools = toolchain.find(TARGETS[target], cc)
        objects = compile_objects(tools, TARGETS[target], sources, [out / "include"], tmp_path / "o", [*flags, "-O1"])
        subprocess.run([cc, *flags, *map(str, objects), "-o", str(tmp_path / "main")], check=True)
        done = subprocess.run([str(tmp_path / "main")], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_failed_build_leaves_no_folders(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.emit, "emit", lambda plan: {"src/broken.c": "int f(void) { return }\n"})
    with pytest.raises(LabcError, match=r"broken\.c"):
        labc.compile(digits_like, "host", out=tmp_path / "deep" / "er" / "out")
    assert not (tmp_path / "deep").exists()


def test_a_swap_that_fails_puts_the_old_library_back(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    before = tree(out)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.startswith(".out.") and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(LabcError, match="cannot be written"):
        labc.compile(digits_like, "host", out=out, name="other")
    assert tree(out) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


ELSEWHERE = [
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    TimeoutError("timed out"),
    FileNotFoundError(2, "No such file or directory", "/a/tool"),
    OSError(28, "No space left on device", "/elsewhere/file"),
    OSError("a library's own words"),
]


@pytest.mark.parametrize("error", ELSEWHERE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("old", [False, True], ids=["new", "replaced"])
def test_an_error_of_another_place_is_not_the_folders(old: bool, error: OSError, digits_like: Path, tmp_path: Path) -> None:
    """What `look` meets, in a connection or a file of its own, comes out as it is, and the folder is as it was."""
    target = TARGETS["host"]
    tools, tree_of = toolchain.find(target), driver.emit.emit(driver.planned(driver.front(digits_like), target))
    out = tmp_path / "deep" / "out"
    before = tree(labc.compile(digits_like, "host", out=out)) if old else {}

    def look(place: Path) -> dict[str, str]:
        raise error

    with pytest.raises(type(error)) as caught:
        build.build(tree_of, {"name": "net"}, target, tools, out, look)
    assert caught.value is error
    assert (tree(out) if old else out.parent.exists()) == (before if old else False)
    assert [p.name for p in tmp_path.rglob(".*")] == []


@pytest.mark.parametrize("written", ["src/net.c", "manifest.json"])
def test_a_full_disk_is_the_folders(written: str, digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.as_posix().endswith(written):
            raise OSError(28, "No space left on device", str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LabcError, match=r"out: cannot be written \(No space left on device\); name another folder with -o"):
        labc.compile(digits_like, "host", out=tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
