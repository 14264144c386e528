"""The cache of objects: the same bytes with and without, nothing stale, bounded, and shared by processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labc import cache, compiling, driver, toolchain
from labc.cache import ObjectCache
from labc.cli import main
from labc.compiling import compile_objects
from labc.errors import LabcError
from labc.flags import Toolchain
from labc.resources import folder
from labc.target import TARGETS, Target

HOST = TARGETS["host"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; where its objects will be."""
    toolchain.find(HOST)  # whose trial, once a process, compiles too
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "labc" / "objects"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sources that a compiler was started for, as it happens."""
    started: list[str] = []
    real = compiling.run

    def run(jobs: list[tuple[str, list[str]]], *more: object) -> list[str]:
        started.extend(place for place, command in jobs if "-c" in command)
        return real(jobs, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(compiling, "run", run)
    return started


def entries(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["host", "arm"])
def test_a_build_from_the_cache_has_the_same_bytes(
    name: str, digits_like: Path, tmp_path: Path, home: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cache, into an empty one, and from it, by the compiler that is found."""

    def build(out: str) -> dict[str, bytes]:
        folder = driver.compile(digits_like, name, out=tmp_path / out)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    filled = build("filled")
    assert "net.c" in compiled
    assert entries(home)
    compiled.clear()
    taken = build("elsewhere/taken")
    assert not compiled
    with monkeypatch.context() as patch:
        patch.setattr(ObjectCache, "key", lambda *arguments: None)
        without = build("without")
    assert "net.c" in compiled
    assert filled == taken == without


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_every_compiler_makes_the_same_object(target: Target, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cache asks a compiler for besides changes nothing."""
    for name, tools in toolchain.survey(target):
        if isinstance(tools, str):
            continue
        found = []
        for use in ("fill", "take", "without"):
            with monkeypatch.context() as patch:
                if use == "without":
                    patch.setattr(ObjectCache, "key", lambda *arguments: None)
                (built,) = compile_objects(tools, target, [folder("runtime") / "scalar.c"], [], tmp_path / name / use)
            found.append(built.read_bytes())
        assert found[0] == found[1] == found[2], name


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """A source with a header beside it, one in another folder, and one that its header includes."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "far.h").write_text('#include "farther.h"\n')
    (tmp_path / "include" / "farther.h").write_text("#define FAR 2\n")
    (tmp_path / "near.h").write_text("#define NEAR 1\n")
    (tmp_path / "odd.h").write_text("#define ODD 1\n")
    (tmp_path / "odder.h").write_text("#define ODDER 1\n")
    text = '/* a comment */ #include "odd.h"\n#inc\\\nlude "odder.h"\n'
    text += (
        '#include <stdint.h>\n#include "near.h"\n#include "far.h"\nint32_t f(void);\nint32_t f(void) { return NEAR + FAR + ODD + ODDER; }\n'
    )
    (tmp_path / "f.c").write_text(text)
    return [tmp_path / "f.c"]


def once(sources: list[Path], tools: Toolchain | None = None, flags: tuple[str, ...] = ()) -> bytes:
    folder = sources[0].parent
    (built,) = compile_objects(tools or toolchain.find(HOST), HOST, sources, [folder / "include"], folder / "o", flags)
    return built.read_bytes()


CHANGES: dict[str, Callable[[Path], object]] = {
    "the source": lambda folder: (folder / "f.c").write_text((folder / "f.c").read_text().replace("NEAR +", "NEAR -")),
    "a header": lambda folder: (folder / "near.h").write_text("#define NEAR 3\n"),
    "a header of a header": lambda folder: (folder / "include" / "farther.h").write_text("#define FAR 4\n"),
    "a header after a comment": lambda folder: (folder / "odd.h").write_text("#define ODD 2\n"),
    "a header on two lines": lambda folder: (folder / "odder.h").write_text("#define ODDER 2\n"),
    "a header that hides another": lambda folder: (folder / "far.h").write_text("#define FAR 5\n"),
    "a header that hides the compiler's": lambda folder: (folder / "include" / "stdint.h").write_text("typedef _Bool int32_t;\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_an_object_is_made_from_is_in_its_key(change: str, sources: list[Path], home: Path, compiled: list[str]) -> None:
    first = once(sources)
    assert once(sources) == first
    assert compiled == ["f.c"]
    CHANGES[change](sources[0].parent)
    assert once(sources) != first
    assert compiled == ["f.c"] * 2


def test_a_flag_or_a_compiler_is_in_the_key(sources: list[Path], home: Path, compiled: list[str]) -> None:
    tools = toolchain.find(HOST)
    once(sources, tools)
    for flag in ("-DOTHER=1", "-O1", "-fno-inline"):
        once(sources, tools, (flag,))
    once(sources, replace(tools, version=f"{tools.version}.1"))
    assert len(compiled) == 5
    wrapper = sources[0].parent / "cc"
    for comment in ("one", "other"):
        wrapper.write_text(f'#!/bin/sh\n# {comment}\nexec {tools.cc[0]} "$@"\n')
        wrapper.chmod(0o755)
        once(sources, replace(tools, cc=(str(wrapper), *tools.cc[1:])))
    assert len(compiled) == 7


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("-include", "farther.h"), ""),
        (("-I/nowhere",), ""),
        (("-Wp,-include,farther.h",), ""),
        (("-march=native",), ""),
        (("-DX=1",), "const char *when = __TIME__;\n"),
        ((), '#define WHICH "near.h"\n#include WHICH\n'),
        ((), "#if __has_include(<none.h>)\n#endif\n"),
    ],
)
def test_what_depends_on_more_is_not_kept(flags: tuple[str, ...], text: str, sources: list[Path], home: Path, compiled: list[str]) -> None:
    sources[0].write_text(sources[0].read_text() + text.replace("const", "extern const char *when;\nconst"))
    tools, folder = toolchain.find(HOST), sources[0].parent
    for _ in range(2):
        compile_objects(tools, HOST, sources, [folder / "include"], folder / "o", flags)
    assert compiled == ["f.c"] * 2
    assert not entries(home)


def test_folders_are_in_the_key_where_they_are_in_the_object(sources: list[Path], home: Path, tmp_path: Path) -> None:
    """Debug information and sanitizers name files."""
    folder = sources[0].parent
    for flags, same in (((), True), (("-g",), False)):
        kept = ObjectCache(["some compiler"])
        keys = []
        for name in ("a", "b"):
            copy = tmp_path / name / "f.c"
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(sources[0].read_text())
            (copy.parent / "near.h").write_text("#define NEAR 1\n")
            keys.append(kept.key(copy, [folder / "include"], flags, flags))
        assert None not in keys
        assert (keys[0] == keys[1]) == same, flags


def test_a_changed_header_of_the_compiler_is_noticed(sources: list[Path], home: Path, compiled: list[str]) -> None:
    once(sources)
    (entry,) = entries(home)
    head, _, content = entry.read_bytes().partition(b"\n")
    facts = json.loads(head)
    stdint = next(path for path in facts["headers"] if path.endswith("stdint.h"))
    facts["headers"][stdint][1] -= 1  # as if it had been replaced since
    entry.write_bytes(json.dumps(facts).encode() + b"\n" + content)
    once(sources)
    assert compiled == ["f.c"] * 2


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"[1]\nx", b"\xff\n", b"{\n"])
def test_a_damaged_object_is_compiled_again(damage: bytes, sources: list[Path], home: Path) -> None:
    first = once(sources)
    (entry,) = entries(home)
    entry.write_bytes(damage)
    assert once(sources) == first
    entry.write_bytes(entry.read_bytes()[:-1])  # the disk was full
    assert once(sources) == first


def test_an_error_is_told_each_time(sources: list[Path], home: Path) -> None:
    sources[0].write_text("int f(void) { return g(); }\n")
    for _ in range(2):
        with pytest.raises(LabcError, match=r"f\.c: .*error"):
            once(sources)
    assert not entries(home)


def test_a_folder_that_others_may_write_is_not_used(sources: list[Path], home: Path, compiled: list[str]) -> None:
    home.mkdir(parents=True)
    home.chmod(0o777)
    once(sources)
    once(sources)
    assert compiled == ["f.c"] * 2
    assert not entries(home)
    home.rmdir()
    (home.parent / "elsewhere").mkdir()
    home.symlink_to(home.parent / "elsewhere")
    once(sources)
    assert not entries(home.parent / "elsewhere")


def test_its_size_is_bounded(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objects that were not used for the longest time go first; one that is too large is not kept at all."""
    monkeypatch.setattr(cache, "_SHARE", 10_000)
    monkeypatch.setattr(cache, "_LARGEST", 2000)
    kept = ObjectCache(["some compiler"])
    (tmp_path / "list").write_text("x.o:")
    for i in range(30):
        (tmp_path / "x.o").write_bytes(bytes([i]) * 1000)
        kept.keep(f"0{i:02}", tmp_path / "x.o", tmp_path / "list", [])
        os.utime(home / "0" / f"0{i:02}", ns=(i, i))
        if i == 9:
            kept.take("000", tmp_path / "y.o", [])
        kept.trim()
        assert sum(path.stat().st_size for path in entries(home)) <= 10_000
    assert kept.take("000", tmp_path / "y.o", [])  # used since
    assert not kept.take("001", tmp_path / "y.o", [])
    assert kept.take("029", tmp_path / "y.o", [])
    (tmp_path / "x.o").write_bytes(bytes(3000))
    kept.keep("0f", tmp_path / "x.o", tmp_path / "list", [])
    assert not kept.take("0f", tmp_path / "y.o", [])


SHARED = """
import sys
from pathlib import Path
from labc import cache
cache._SHARE = 20_000
kept, folder = cache.ObjectCache(["some compiler"]), Path(sys.argv[1])
folder.mkdir()
(folder / "list").write_text("x.o:")
for i in range(300):
    key, content = f"0{i % 40:02}", bytes([i % 40]) * 1000
    if kept.take(key, folder / "y.o", []):
        assert (folder / "y.o").read_bytes() == content, key
    else:
        (folder / "x.o").write_bytes(content)
        kept.keep(key, folder / "x.o", folder / "list", [])
        kept.trim()
"""


def test_processes_share_it(tmp_path: Path, home: Path) -> None:
    """Some take what others remove: each object is whole, or compiled again."""
    runs = [subprocess.Popen([sys.executable, "-c", SHARED, str(tmp_path / str(n))]) for n in range(4)]
    assert [run.wait(60) for run in runs] == [0] * 4
    assert 0 < sum(path.stat().st_size for path in entries(home)) <= 20_000


def test_doctor_shows_and_clears_it(sources: list[Path], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = once(sources)
    used = {one.name: one for one in cache.usage()}
    assert (used["objects"].files, used["objects"].limit) == (1, cache.LIMIT)
    assert used["objects"].bytes > len(built)
    assert main(["doctor"]) == 0
    assert re.search(rf"cache of objects: \d+ files, 0\.\d MiB of at most 256 MiB; {home}", capsys.readouterr().out)
    assert main(["doctor", "--clear-cache"]) == 0
    assert re.search(rf"cache of objects: \d+ files, 0\.\d MiB, removed; {home}", capsys.readouterr().out)
    assert not entries(home)
    assert main(["doctor", "--clear-cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cleared"][0]["files"] == 0
    assert once(sources) == built


def test_without_a_home_nothing_is_kept(sources: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    assert once(sources) == once(sources)
    assert main(["doctor", "--clear-cache"]) == 0
    assert "no cache" in capsys.readouterr().out


def test_the_runtime_may_be_kept(home: Path) -> None:
    """Whatever labc ships or emits: no source of it is left out."""
    for source in folder("runtime").rglob("*.c"):
        assert ObjectCache(["some compiler"]).key(source, [], [], []), source
