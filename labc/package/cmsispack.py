"""cmsis-pack: a .pack file (Open-CMSIS-Pack, schema 1.7) with one software component."""

from __future__ import annotations

from labc import __version__
from labc.errors import LabcError
from labc.package.archive import archive
from labc.package.core import Contents, Files, Format, common, render
from labc.package.single import pair

VENDOR = "labc"
_LONGEST = 32  # the schema's, of the component's Csub
# labc's cores → Dcore of the schema.
_CORES = {
    "cortex-m0": "Cortex-M0", "cortex-m0plus": "Cortex-M0+", "cortex-m3": "Cortex-M3", "cortex-m4": "Cortex-M4", "cortex-m7": "Cortex-M7",
    "cortex-m33": "Cortex-M33", "cortex-m55": "Cortex-M55",
}  # fmt: skip


def files(contents: Contents) -> Files:
    """The pack, which is a zip file, and beside it the same description that is inside. Raises LabcError for a network whose name is longer
    than a component's may be."""
    name = contents.plan.name
    if len(name) > _LONGEST:
        raise LabcError(
            f"package cmsis-pack: {name!r} has {len(name)} letters, a component's name up to {_LONGEST}; give another with --name"
        )
    description = f"{VENDOR}.{name}.pdsc"
    inside: Files = {
        **pair(contents, "src/"),
        **common(contents, "cmsis-pack", "example/main.c"),
        description: render(contents, "cmsis-pack/package.pdsc.j2", vendor=VENDOR, core=_CORES.get(contents.plan.target.cpu or "")),
    }
    return {f"{VENDOR}.{name}.{__version__}.pack": archive(inside), description: inside[description]}


FORMAT = Format(
    "cmsis-pack", "a .pack file with one software component", files, targets=("arm", "host"), flags_per_file=False, portable=True
)
