"""cmake: a project for add_subdirectory, and for find_package once it is installed."""

from __future__ import annotations

from labc.package.core import Contents, Files, Format, common, render


def files(contents: Contents) -> Files:
    """The source tree with its project."""
    return {
        **contents.tree,
        **contents.stack_check,
        **common(contents, "cmake", "example/main.c"),
        "CMakeLists.txt": render(contents, "cmake/CMakeLists.txt.j2"),
        f"cmake/{contents.plan.name}Config.cmake": render(contents, "cmake/config.cmake.j2"),
    }


FORMAT = Format("cmake", "a project for add_subdirectory and find_package", files, ("cmake",))
