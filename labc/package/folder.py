"""folder: sources, headers and a Makefile, to drop into a project or to build as it is."""

from __future__ import annotations

from labc.package.core import Contents, Files, Format, common, render


def files(contents: Contents) -> Files:
    """The source tree with a Makefile that makes the archive and, where it runs here, the self-test."""
    return {
        **contents.tree,
        **contents.stack_check,
        **common(contents, "folder", "example/main.c"),
        "Makefile": render(contents, "folder/Makefile.j2"),
    }


FORMAT = Format("folder", "sources, headers and a Makefile", files, ("make",))
