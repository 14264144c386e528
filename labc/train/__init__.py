"""Train binarized networks in PyTorch and write them as ONNX. Each name is loaded when it is first used (PEP 562)."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labc.train.convolution import BinaryConv1d as BinaryConv1d
    from labc.train.convolution import BinaryConv2d as BinaryConv2d
    from labc.train.export import ExportReport as ExportReport
    from labc.train.export import export as export
    from labc.train.lab import LAB as LAB
    from labc.train.layers import BinaryLayer as BinaryLayer
    from labc.train.layers import BinaryLinear as BinaryLinear
    from labc.train.layers import Sign as Sign
    from labc.train.methods import METHODS as METHODS
    from labc.train.quantize import quantize as quantize

__all__ = [
    "LAB",
    "METHODS",
    "BinaryConv1d",
    "BinaryConv2d",
    "BinaryLayer",
    "BinaryLinear",
    "ExportReport",
    "Sign",
    "export",
    "quantize",
]

_HOME = {
    "LAB": "lab",
    "METHODS": "methods",
    "BinaryConv1d": "convolution",
    "BinaryConv2d": "convolution",
    "BinaryLayer": "layers",
    "BinaryLinear": "layers",
    "Sign": "layers",
    "ExportReport": "export",
    "export": "export",
    "quantize": "quantize",
}


class _Package(ModuleType):
    """`export` and `quantize` each name a module and the function in it; as an attribute of the package it is always the function.

    Without this, the import system would put the module there as soon as anyone imports it.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'labc.train' has no attribute {name!r}")
    value: object = getattr(import_module(f"labc.train.{_HOME[name]}"), name)
    globals()[name] = value
    return value
