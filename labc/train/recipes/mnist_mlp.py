"""mnist-mlp: 784-2048-2048-2048-10 on MNIST, the network of the paper's Table 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labc.train.recipes.recipe import Recipe

if TYPE_CHECKING:
    from labc.train.data import Data


def _load(split: int, directory: Path | None) -> Data:
    from labc.train.data import mnist

    return mnist(directory)


RECIPE = Recipe(
    name="mnist-mlp",
    about="784-2048-2048-2048-10 on MNIST",
    file="mnist.onnx",
    widths=(784, 2048, 2048, 2048, 10),
    epochs=50,
    batch=100,
    lr={"lab2": 0.005, "lab": 0.01, "fp": 0.001},
    jitter=None,
    threads=None,
    load=_load,
)
