"""digits-mlp: 64-256-256-10 on the 8×8 digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labc.train.recipes.recipe import Recipe

if TYPE_CHECKING:
    from labc.train.data import Data


def _load(split: int, directory: Path | None) -> Data:
    from labc.train.data import digits

    return digits(split)


RECIPE = Recipe(
    name="digits-mlp",
    about="64-256-256-10 on scikit-learn's 8x8 digits",
    file="digits.onnx",
    widths=(64, 256, 256, 10),
    epochs=150,
    batch=64,
    lr={"lab2": 0.005, "lab": 0.005, "fp": 0.005},
    jitter=(0.5, 10, 0.1),
    # A second thread gains nothing on so small a network, and on a machine with other work its barriers cost 10x (measured, 2 cores).
    threads=1,
    load=_load,
)
