"""arduino: a library for the Arduino IDE and CLI (Arduino library specification 1.5), with a sketch."""

from __future__ import annotations

from labc.errors import LabcError
from labc.package.core import Contents, Files, Format, common, render
from labc.package.single import pair

# What labc calls a target → the architectures of Arduino cores.
_ARCHITECTURES = {
    "avr": "avr",
    "arm": "mbed,mbed_nano,mbed_rp2040,nrf52,renesas_uno,rp2040,sam,samd,stm32",
    "riscv32": "esp32,rp2040",
    "host": "*",
}


def files(contents: Contents) -> Files:
    """The pair of files in src/, the library's properties, and a sketch that runs the self-test."""
    name = contents.plan.name
    if name.lower().startswith("arduino"):  # library specification, "name"
        raise LabcError(f"package arduino: {name!r} begins as only Arduino's own libraries may; give another with --name")
    architectures = _ARCHITECTURES[contents.plan.target.name]
    return {
        **pair(contents, "src/"),
        **common(contents, "arduino"),
        "library.properties": render(contents, "arduino/library.properties.j2", architectures=architectures),
        "examples/SelfTest/SelfTest.ino": render(contents, "arduino/SelfTest.ino.j2"),
        "keywords.txt": f"{name}_run\tKEYWORD2\n{name}_predict\tKEYWORD2\n{name}_self_test\tKEYWORD2\n",
    }


FORMAT = Format(
    "arduino",
    "a library for the Arduino IDE, with a sketch",
    files,
    ("arduino-builder",),
    tuple(_ARCHITECTURES),
    flags_per_file=False,
    portable=True,
)
