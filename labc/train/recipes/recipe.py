"""What a recipe is, and what a run of one leaves behind. Imports nothing heavy: the command line lists recipes without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from labc.train.data import Data


class Load(Protocol):
    """Loads the data: `split` numbers the train/test split where there is a choice, `directory` holds files where there are any."""

    def __call__(self, split: int, directory: Path | None) -> Data: ...


@dataclass(frozen=True)
class Recipe:
    """A network, its data and how it is trained.

    `file` names the exported network; `widths` from pixels to scores; `epochs`, `batch`; `lr`: learning rate per method, falling to 0
    along half a cosine; `jitter`: random (shift in pixels, rotation in degrees, relative scale) of every training image, or None;
    `threads`: CPU threads for torch, None leaves its choice.
    """

    name: str
    about: str
    file: str
    widths: tuple[int, ...]
    epochs: int
    batch: int
    lr: dict[str, float]
    jitter: tuple[float, float, float] | None
    threads: int | None
    load: Load


@dataclass(frozen=True)
class TrainResult:
    """What a run did; plain values only. Accuracies are fractions of 1, of the checkpoint that is best on validation.

    `quantized_*`: with the 8-bit activations of the exported file, None where it has none. `seconds`: training and export.
    """

    recipe: str
    method: str
    widths: list[int]
    epochs: int
    seed: int
    split: int
    best_epoch: int
    validation_accuracy: float
    test_accuracy: float
    quantized_validation_accuracy: float | None
    quantized_test_accuracy: float | None
    binary_weights: int
    float_parameters: int
    onnx: str
    best_checkpoint: str
    last_checkpoint: str
    metrics: str
    export: str
    seconds: float
