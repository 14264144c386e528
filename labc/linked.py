"""A library linked into a bare-metal image: what its functions take of a chip's memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labc.compiling import compile_objects
from labc.flags import Toolchain
from labc.image import image_files, link_image
from labc.target import Target


def link(folder: Path, name: str, target: Target, tools: Toolchain, keep: Sequence[str], out: Path, objects: Sequence[Path] = ()) -> Path:
    """A bare-metal image `out` of the library in `folder`, and of more `objects`, with the functions `keep` and what they call."""
    sources, script = image_files(target)
    started = compile_objects(tools, target, sources, [], out.parent / f"{out.stem}-objects")
    inputs = [*started, *objects, folder / "lib" / f"lib{name}.a"]
    return link_image(tools, target, inputs, script, out, keep=keep)
