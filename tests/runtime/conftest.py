"""Fixtures of the tests of the runtime: it as a shared library, and as an image for an emulated core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from building import HOST, RUNTIME

from labc import toolchain
from labc.compiling import compile_objects, link_shared, shared_name
from labc.emulator import unicorn
from labc.flags import Toolchain
from labc.image import image_files, link_image
from labc.target import Target


@pytest.fixture(scope="session")
def shared_library(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """shared_library(sources, flags, tool): their path as a shared library; the first host compiler unless named."""

    def build(sources: Sequence[Path], flags: Sequence[str] = (), tool: Toolchain | None = None) -> Path:
        tool = tool or toolchain.find(HOST)
        place = tmp_path_factory.mktemp("library")
        objects = compile_objects(tool, HOST, sources, [RUNTIME], place, flags)
        return link_shared(tool, HOST, objects, place / shared_name("tested"))

    return build


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """image(target, tool, sources, keep, flags): the ELF image with what `keep` needs of `sources`."""

    def build(target: Target, tool: Toolchain, sources: Sequence[Path], keep: Sequence[str], flags: Sequence[str] = ()) -> Path:
        reason = unicorn.available()
        if reason is not None:
            pytest.skip(f"not run here: {reason}")
        place = tmp_path_factory.mktemp("image")
        start, script = image_files(target)
        objects = compile_objects(tool, target, start, [], place / "start")
        objects += compile_objects(tool, target, sources, [RUNTIME], place, flags)
        return link_image(tool, target, objects, script, place / "image.elf", keep=keep)

    return build
