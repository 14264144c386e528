"""platformio: a library for PlatformIO (library.json)."""

from __future__ import annotations

import json

from labc import __version__
from labc.package.core import Contents, Files, Format, common
from labc.package.single import pair


def files(contents: Contents) -> Files:
    """The pair of files in src/, and the library's manifest."""
    name = contents.plan.name
    manifest = {
        "name": name,
        "version": __version__,
        "description": contents.values["summary"],
        "keywords": ["neural network", "binarized", "tinyml"],
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",  # more have such cores than can be listed here; the README names the target
        "headers": f"{name}.h",
        "examples": [{"name": "self_test", "base": "examples/self_test", "files": ["main.c"]}],
        "build": {"srcDir": "src", "includeDir": "src", "flags": ["-ffp-contract=off"]},
    }
    return {
        **pair(contents, "src/"),
        **common(contents, "platformio", "examples/self_test/main.c"),
        "library.json": json.dumps(manifest, indent=2) + "\n",
    }


FORMAT = Format(
    "platformio", "a library for PlatformIO", files, ("pio",), ("arm", "avr", "riscv32", "host"), flags_per_file=False, portable=True
)
