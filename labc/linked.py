"""A library linked into a bare-metal image: what its functions take of a chip's memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labc import elf
from labc.compiling import compile_objects
from labc.errors import NOT_HERE, LabcError
from labc.flags import Toolchain, kind_of
from labc.image import image_files, link_image
from labc.plan import Plan, largest
from labc.target import Target


def link(folder: Path, name: str, target: Target, tools: Toolchain, keep: Sequence[str], out: Path, objects: Sequence[Path] = ()) -> Path:
    """A bare-metal image `out` of the library in `folder`, and of more `objects`, with the functions `keep` and what they call."""
    sources, script = image_files(target)
    started = compile_objects(tools, target, sources, [], out.parent / f"{out.stem}-objects")
    inputs = [*started, *objects, folder / "lib" / f"lib{name}.a"]
    return link_image(tools, target, inputs, script, out, keep=keep)


def fits(folder: Path, made: Plan, tools: Toolchain, work: Path) -> None:
    """Raises LabcError where the library in `folder`, linked for `run` and `predict` in the folder `work`, exceeds the flash of its target
    or, with the arena, the RAM: by how much, and which layer to shrink. Stack, self-test, input and output come on top. Where images cannot
    be read (labc[cross] is not installed), or the target has no flash, nothing is judged."""
    flash, ram = made.target.flash_bytes, made.target.ram_bytes
    if flash is None or made.target.cpu is None or kind_of(made.target) == "wasm32":
        return
    try:
        found = elf.sections(link(folder, made.name, made.target, tools, (f"{made.name}_run", f"{made.name}_predict"), work / "size.elf"))
    except LabcError as error:
        if error.code != NOT_HERE:
            raise
        return
    code = found["flash"] - found["image"]
    if code > flash:
        layer, nbytes = largest(made)
        raise LabcError(
            f"{layer}: code and constants, linked, take {code:,} bytes, {code - flash:,} more than the {flash:,} bytes of flash, and the "
            f"constants of this layer {nbytes:,} of them; make it narrower"
        )
    data = found["ram"] + made.arena_bytes
    if ram is not None and data > ram:
        raise LabcError(
            f"{made.arena_layer}: arena and data, linked, take {data:,} bytes, {data - ram:,} more than the {ram:,} bytes of RAM, and the "
            f"arena, which this layer sets, {made.arena_bytes:,} of them; make it narrower"
        )
