"""labc: binarized networks, from PyTorch to exact C firmware libraries.

Importing the package costs nothing; each name below is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labc.driver import compile as compile
    from labc.library import load as load

__version__ = "0.1.0"
ABI = 1  # of generated libraries: raised when a program that calls one must be changed
__all__ = ["__version__", "compile", "load"]

_HOME = {"compile": "labc.driver", "load": "labc.library"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'labc' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
