"""platformio: a library for PlatformIO (library.json)."""

from __future__ import annotations

import json

from labc import __version__
from labc.package.core import Contents, Files, Format, common
from labc.package.single import pair

# What labc calls a target → PlatformIO's platforms with such processors.
_PLATFORMS: dict[str, str | list[str]] = {
    "arm": ["atmelsam", "nordicnrf51", "nordicnrf52", "nxpimxrt", "nxplpc", "raspberrypi", "renesas-ra", "ststm32", "teensy"],
    "avr": ["atmelavr", "atmelmegaavr"],
    "riscv32": ["espressif32", "gd32v", "sifive"],
    "host": "*",
}


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
        "platforms": _PLATFORMS[contents.plan.target.name],
        "headers": f"{name}.h",
        "examples": [{"name": "self_test", "base": "examples/self_test", "files": ["main.c"]}],
        "build": {"srcDir": "src", "includeDir": "src", "flags": ["-ffp-contract=off"]},
    }
    return {
        **pair(contents, "src/"),
        **common(contents, "platformio", "examples/self_test/main.c"),
        "library.json": json.dumps(manifest, indent=2) + "\n",
    }


FORMAT = Format("platformio", "a library for PlatformIO", files, ("pio",), tuple(_PLATFORMS), flags_per_file=False, portable=True)
