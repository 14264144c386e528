"""esp-idf: a component for ESP-IDF, with an example project."""

from __future__ import annotations

from labc.package.core import Contents, Files, Format, common, render
from labc.package.single import pair


def files(contents: Contents) -> Files:
    """The pair of files in src/, the component's description, and a project that runs the self-test."""
    one = {path: render(contents, f"esp-idf/{template}") for path, template in _RENDERED.items()}
    return {**pair(contents, "src/"), **common(contents, "esp-idf"), **one}


_RENDERED = {
    "CMakeLists.txt": "CMakeLists.txt.j2",
    "idf_component.yml": "idf_component.yml.j2",
    "examples/self_test/CMakeLists.txt": "project.cmake.j2",
    "examples/self_test/main/CMakeLists.txt": "main.cmake.j2",
    "examples/self_test/main/idf_component.yml": "main_component.yml.j2",
    "examples/self_test/main/main.c": "main.c.j2",
}

FORMAT = Format(
    "esp-idf",
    "a component for ESP-IDF, with an example project",
    files,
    ("compote", "cmake"),
    ("riscv32", "host"),
    flags_per_file=False,
    portable=True,
    folder_is_name=True,
)
