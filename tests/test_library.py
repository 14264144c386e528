"""Loading a built library: wrong folders, wrong files and wrong inputs are errors, never crashes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zoo

import labc
from labc import library
from labc.compiling import shared_name
from labc.errors import NOT_HERE, LabcError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    path = zoo.save(zoo.own(zoo.random_layers(np.random.default_rng(0), [12, 9, 4]), image=[3, 4]), folder / "net.onnx")
    return labc.compile(path, "host", out=folder / "net")


def test_shapes_that_fit(built: Path) -> None:
    library = labc.load(built)
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 4)).astype(np.uint8)
    assert library.input_shape == (3, 4)
    assert library(x).tolist() == library(x.reshape(5, 12)).tolist()  # a batch may come flat
    assert library(x).shape == (5, 4)
    assert library(np.asfortranarray(x.reshape(5, 12))).tolist() == library(x.reshape(5, 12)).tolist()
    assert library.predict(x.reshape(5, 12)).tolist() == np.argmax(library(x.reshape(5, 12)), axis=1).tolist()
    assert library(np.zeros((0, 12), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 12)), "the input is float64, the network takes uint8"),
        (np.zeros((2, 12), np.int8), "the input is int8"),
        (np.zeros((2, 13), np.uint8), r"shape \[2, 13\], expected \[n, "),
        (np.zeros(12, np.uint8), r"shape \[12\]"),
    ],
)
def test_inputs_that_do_not_fit(built: Path, x: np.ndarray, message: str) -> None:
    with pytest.raises(LabcError, match=message):
        labc.load(built)(x)


def test_folders_that_are_no_library(built: Path, tmp_path: Path) -> None:
    with pytest.raises(LabcError, match=r"no manifest\.json"):
        labc.load(tmp_path)
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "is no manifest"),
        ("{}", "lacks or garbles 'name'"),
        ('{"name": "x", "input": 3}', "lacks or garbles"),
    ):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(LabcError, match=message):
            labc.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "net; #include"}, "name or sizes are not a library's"),
        ({"arena": {"bytes": 1 << 60, "align": 4}}, "name or sizes are not a library's"),
        ({"outputs": -1}, "name or sizes are not a library's"),
        ({"files": {"../../lib/libc.so": ""}}, "not for this machine"),
        ({"name": "other"}, "other_run"),
    ],
)
def test_a_manifest_that_lies(built: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    manifest = json.loads((copy / "manifest.json").read_text()) | change
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LabcError, match=message):
        labc.load(copy)


@pytest.mark.parametrize("change", [{"needs": 5}, {"needs": [["a"]]}, {"needs": "AVX2"}, {"isas": []}, {"isas": 3}])
def test_a_manifest_that_garbles_its_processor(built: Path, tmp_path: Path, change: dict[str, object]) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    (copy / "manifest.json").write_text(json.dumps(json.loads((copy / "manifest.json").read_text()) | change))
    with pytest.raises(LabcError, match=f"the manifest lacks or garbles {next(iter(change))}; build the library again"):
        labc.load(copy)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="this system does not tell what its processor has: needs no tool")
def test_a_feature_nobody_knows_is_missing(built: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    (copy / "manifest.json").write_text(json.dumps(json.loads((copy / "manifest.json").read_text()) | {"needs": ["NOSUCH"]}))
    with pytest.raises(LabcError, match="built for a processor with NOSUCH, which this one lacks"):
        labc.load(copy)


def test_a_library_that_was_changed(built: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    binary = copy / "lib" / shared_name("net")
    binary.write_bytes(binary.read_bytes() + b"\0")
    with pytest.raises(LabcError, match="is not the file the manifest lists"):
        labc.load(copy)


def test_an_arm_library_is_not_loaded_here(tmp_path: Path, digits_like: Path) -> None:
    with pytest.raises(LabcError, match="built for arm, not for this machine; build with --target host"):
        labc.load(labc.compile(digits_like, "arm", out=tmp_path / "arm"))


def test_a_package_is_no_library(tmp_path: Path, digits_like: Path) -> None:
    labc.compile(digits_like, out=tmp_path / "out", package="folder")
    with pytest.raises(LabcError, match="is a package, folder; build the library without --package"):
        labc.load(tmp_path / "out")


def test_a_library_built_again_is_the_new_one(tmp_path: Path) -> None:
    """Also while the old one is still in use: dlopen remembers paths."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (4, 12)).astype(np.uint8)
    paths = [zoo.save(zoo.own(zoo.random_layers(rng, [12, 9, 4])), tmp_path / f"{i}.onnx") for i in range(2)]
    libraries = [labc.load(labc.compile(path, "host", out=tmp_path / "net", name="net")) for path in paths]
    want = [labc.load(labc.compile(path, "host", out=tmp_path / path.stem, name="net"))(x).tolist() for path in paths]
    assert want[0] != want[1]
    assert [library(x).tolist() for library in libraries] == want


def test_threads_may_share_a_library(built: Path) -> None:
    library = labc.load(built)
    x = np.random.default_rng(0).integers(0, 256, (2000, 12)).astype(np.uint8)
    want = library(x).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert all(scores.tolist() == want for scores in pool.map(lambda _: library(x), range(12)))


def test_a_library_for_a_better_processor_is_refused(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its first instruction that is not there would end the program."""
    folder = labc.compile(digits_like, "host", out=tmp_path / "out")
    needs = json.loads((folder / "manifest.json").read_text())["needs"]
    if not needs:
        pytest.skip("this processor has plain C only: needs no tool")
    lesser = tmp_path / "cpuinfo"
    lesser.write_text("processor : 0\nflags\t\t: fpu sse2\n")
    monkeypatch.setattr(library, "_CPUINFO", lesser)
    with pytest.raises(LabcError, match=f"built for a processor with {needs[0]}, which this one lacks; build it here") as caught:
        labc.load(folder)
    assert caught.value.code == NOT_HERE
    monkeypatch.setattr(library, "_CPUINFO", tmp_path / "not there")
    assert labc.load(folder).self_test() == 0
