"""pkg-config: a Makefile that installs archive, header and a .pc file."""

from __future__ import annotations

from labc.package.core import Contents, Files, Format, common, render


def files(contents: Contents) -> Files:
    """The source tree with a Makefile that also installs."""
    return {
        **contents.tree,
        **contents.stack_check,
        **common(contents, "pkg-config", "example/main.c"),
        "Makefile": render(contents, "folder/Makefile.j2") + render(contents, "pkg-config/install.mk.j2"),
        f"{contents.plan.name}.pc.in": render(contents, "pkg-config/package.pc.in.j2"),
    }


FORMAT = Format("pkg-config", "a Makefile that installs the archive, the header and a .pc file", files, ("make", "pkg-config"))
