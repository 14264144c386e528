"""mnist-mlp: 784-2048-2048-2048-10 on MNIST, the network of the paper's Table 1.

As in the paper: batches of 100, 50 epochs, 50,000 + 10,000 training and validation images, learning rates 0.005 with binary activations
and 0.01 without, squared hinge loss, no augmentation. Not as in the paper: raw pixels, and a learning rate that falls along half a
cosine. The protocol of `python benchmarks/accuracy.py mnist`, fixed before its first run: width 512, 12 epochs, seed 0…2; the epoch with
the least validation loss is tested. The paper's rates were kept after one look at validation with seed 100, plain Adam in LAB's place:
1.95 % error with binary activations, 1.42 % without.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labc.train.recipes.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from labc.train.data import Data


def _load(split: int, source: Path | None) -> Data:
    from labc.train.data import mnist

    return mnist(source)


def _build(method: str, widths: Sequence[int]) -> nn.Module:
    from labc.train.methods import mlp

    return mlp(method, widths)


RECIPE = Recipe(
    name="mnist-mlp",
    file="mnist.onnx",
    widths=(784, 2048, 2048, 2048, 10),
    build=_build,
    epochs=50,
    batch=100,
    lr={"lab2": 0.005, "lab": 0.01, "fp": 0.001},
    augment=None,
    threads=None,
    takes_data=True,
    takes_split=False,
    load=_load,
)
