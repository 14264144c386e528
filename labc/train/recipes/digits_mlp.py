"""digits-mlp: 64-256-256-10 on the 8×8 digits that come with scikit-learn.

The protocol, fixed before its first run: split 0…4 (stratified, 20 % test, a tenth of the rest validation) × seed 0…2; 150 epochs of
batches of 64, learning rate 0.005 falling along half a cosine, squared hinge loss; every training image shifted by up to half a pixel,
rotated by up to 10° and scaled by up to 10 %; the epoch with the least validation loss is tested. `python benchmarks/accuracy.py digits`
runs it.

Epochs, batch, learning rate and jitter were chosen by accuracy on two validation parts of splits 100…102, among 19 settings for binary
activations (mean of the two: 96.3 to 98.7 %) and 14 for ReLU (98.3 to 99.0 %), as one setting that is among the best for both. That search
clipped the latent weights and used plain Adam: under batch norm it differs from LAB only through batch norm's eps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labc.train.recipes.recipe import Recipe

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from labc.train.data import Data


def _load(split: int, source: Path | None) -> Data:
    from labc.train.data import digits

    return digits(split)


def _build(method: str, widths: Sequence[int]) -> nn.Module:
    from labc.train.methods import mlp

    return mlp(method, widths)


def _augment(images: Tensor, generator: Generator) -> Tensor:
    from labc.train.recipes.augment import jittered

    return jittered(images, (0.5, 10, 0.1), generator)


RECIPE = Recipe(
    name="digits-mlp",
    file="digits.onnx",
    widths=(64, 256, 256, 10),
    build=_build,
    epochs=150,
    batch=64,
    lr={"lab2": 0.005, "lab": 0.005, "fp": 0.005},
    augment=_augment,
    # A second thread gains nothing on so small a network, and on a machine with other work its barriers cost 10x (measured, 2 cores).
    threads=1,
    takes_data=False,
    takes_split=True,
    load=_load,
)
