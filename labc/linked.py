"""A library linked into a bare-metal image: what its functions take of a chip's memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labc import toolchain
from labc.target import Target


def link(
    folder: Path, name: str, target: Target, tools: toolchain.Toolchain, keep: Sequence[str], out: Path, objects: Sequence[Path] = ()
) -> Path:
    """A bare-metal image `out` of the library in `folder`, and of more `objects`, with the functions `keep` and what they call."""
    sources, script = toolchain.image_files(target)
    started = toolchain.compile_objects(tools, target, sources, [], out.parent / f"{out.stem}-objects")
    inputs = [*started, *objects, folder / "lib" / f"lib{name}.a"]
    return toolchain.link_image(tools, target, inputs, script, out, keep=keep)
