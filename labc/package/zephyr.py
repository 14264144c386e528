"""zephyr: a module with Kconfig, and a sample."""

from __future__ import annotations

from labc.package.core import Contents, Files, Format, common, render
from labc.package.single import pair


def files(contents: Contents) -> Files:
    """The pair of files in src/, the module's description, and an application that runs the self-test."""
    one = {path: render(contents, f"zephyr/{template}") for path, template in _RENDERED.items()}
    return {**pair(contents, "src/"), **common(contents, "zephyr"), **one}


_RENDERED = {
    "zephyr/module.yml": "module.yml.j2",
    "zephyr/CMakeLists.txt": "CMakeLists.txt.j2",
    "zephyr/Kconfig": "Kconfig.j2",
    "samples/self_test/CMakeLists.txt": "sample.cmake.j2",
    "samples/self_test/prj.conf": "prj.conf.j2",
    "samples/self_test/sample.yaml": "sample.yaml.j2",
    "samples/self_test/src/main.c": "main.c.j2",
}

FORMAT = Format(
    "zephyr",
    "a Zephyr module with Kconfig and a sample",
    files,
    ("west", "pykwalify", "cmake"),
    ("arm", "aarch64", "riscv32", "riscv64", "host"),
    flags_per_file=False,
    portable=True,
)
