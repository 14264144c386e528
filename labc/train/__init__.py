"""Train binarized networks in PyTorch and write them as ONNX. Each name is loaded when it is first used (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labc.train.export import ExportReport as ExportReport
    from labc.train.export import export as export
    from labc.train.lab import LAB as LAB
    from labc.train.layers import BinaryLayer as BinaryLayer
    from labc.train.layers import BinaryLinear as BinaryLinear
    from labc.train.layers import Sign as Sign
    from labc.train.methods import METHODS as METHODS
    from labc.train.quantize import quantize as quantize

__all__ = ["LAB", "METHODS", "BinaryLayer", "BinaryLinear", "ExportReport", "Sign", "export", "quantize"]

_HOME = {
    "LAB": "lab",
    "METHODS": "methods",
    "BinaryLayer": "layers",
    "BinaryLinear": "layers",
    "Sign": "layers",
    "ExportReport": "export",
    "export": "export",
    "quantize": "quantize",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'labc.train' has no attribute {name!r}")
    from importlib import import_module

    # The function shares its name with the module that holds it: once loaded, the function stays.
    value: object = getattr(import_module(f"labc.train.{_HOME[name]}"), name)
    globals()[name] = value
    return value
