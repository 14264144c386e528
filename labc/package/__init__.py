"""Source trees as the packages that build systems know: one module per format, one row each in FORMATS."""

from __future__ import annotations

from typing import Any

from labc.errors import LabcError
from labc.package import arduino, cmake, cmsispack, espidf, folder, pkgconfig, platformio, python, single, zephyr
from labc.package.core import Contents as Contents
from labc.package.core import Format as Format
from labc.package.core import here as here
from labc.package.core import suited as suited
from labc.target import nearest

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        folder.FORMAT,
        single.FORMAT,
        cmake.FORMAT,
        pkgconfig.FORMAT,
        arduino.FORMAT,
        platformio.FORMAT,
        zephyr.FORMAT,
        espidf.FORMAT,
        cmsispack.FORMAT,
        python.FORMAT,
    )
}  # fmt: skip


def find(name: str) -> Format:
    """The format called `name`; LabcError names the nearest and all there are."""
    if name in FORMATS:
        return FORMATS[name]
    raise LabcError(f"package {name!r}: not known; {nearest(name, FORMATS)}known formats: {', '.join(FORMATS)}")


def rows() -> list[dict[str, Any]]:
    """Each format as plain data: name, title, targets (None: all), and per program that validates it where it is here (None: nowhere)."""
    return [
        {"name": form.name, "title": form.title, "targets": list(form.targets) if form.targets else None, "validated_by": here(form)}
        for form in FORMATS.values()
    ]


def listing(rows: list[dict[str, Any]]) -> str:
    """The rows as lines for people."""
    lines = []
    for row in rows:
        tools = [f"{program} ({'here' if path else 'not here'})" for program, path in row["validated_by"].items()]
        lines.append(f"{row['name']:<12} {row['title']}")
        lines.append(f"{'':<12}   for {', '.join(row['targets'] or ['every target'])}; validated by {', '.join(tools) or 'its structure'}")
    return "\n".join(lines)
