"""A network's name is a C identifier, and no file of its library but its own is called so."""

from __future__ import annotations

from pathlib import Path

import pytest

from labc.errors import LabcError
from labc.naming import c_name
from labc.resources import folder

RUNTIME = sorted({path.stem for path in folder("runtime").glob("*.[ch]")})


@pytest.mark.parametrize("name", ["int", "Class", "stdio", "main", "labc", "LABC_net", "mve", *RUNTIME, RUNTIME[0].upper()])
def test_a_name_that_is_taken(name: str) -> None:
    with pytest.raises(LabcError, match=f"name '{name}': is taken by C, C\\+\\+ or labc itself; give another with --name"):
        c_name(name, Path("net.onnx"))


@pytest.mark.parametrize("name", ["", "9net", "_net", "nét", "a b", "n" * 41, "net-2"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(LabcError, match="not a C identifier of 1 to 40 letters"):
        c_name(name, Path("net.onnx"))


def test_a_name_from_the_file() -> None:
    assert c_name(None, Path("my net-2.onnx")) == "my_net_2"
    assert c_name("window2", Path("x.onnx")) == "window2"
