"""What a recipe is, and what a run of one leaves behind. Imports nothing heavy: the command line lists recipes without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from labc.train.data import Data


class Load(Protocol):
    """Loads the data: `split` numbers the train/test split where there is a choice, `source` is a folder or file where there is any."""

    def __call__(self, split: int, source: Path | None) -> Data: ...


class Build(Protocol):
    """The untrained network of a method in `labc.train.METHODS`, `widths` from inputs to scores."""

    def __call__(self, method: str, widths: Sequence[int]) -> nn.Module: ...


class Augment(Protocol):
    """A batch of training inputs, uint8 [n, …] → the same, changed a little, by the generator's numbers alone."""

    def __call__(self, images: Tensor, generator: Generator) -> Tensor: ...


@dataclass(frozen=True)
class Recipe:
    """A network, its data and how it is trained.

    `file` names the exported network; `widths` from inputs (pixels, or channels) to scores, which `build` makes a network of; `epochs`,
    `batch`; `lr`: learning rate per method, falling to 0 along half a cosine; `augment`: what is done to every batch of training
    images, or None; `threads`: CPU threads for torch, None leaves its choice; `takes_data`, `takes_split`: whether a path to files, or
    a number of a split, means anything to it.
    """

    name: str
    file: str
    widths: tuple[int, ...]
    build: Build
    epochs: int
    batch: int
    lr: dict[str, float]
    augment: Augment | None
    threads: int | None
    takes_data: bool
    takes_split: bool
    load: Load

    def scaled(self, width: int | None, multiplier: float | None) -> list[int]:
        """The widths with every hidden one replaced by `width`, or multiplied (rounded, at least 1)."""
        hidden = [width or max(1, round(units * (multiplier or 1))) for units in self.widths[1:-1]]
        return [self.widths[0], *hidden, self.widths[-1]]


@dataclass(frozen=True)
class TrainResult:
    """What a run did; plain values only (`data()` for JSON, `str()` for people). Accuracies are fractions of 1, of the checkpoint that is
    best on validation.

    `images`: how many train, validate and test. `quantized_*`: with the 8-bit activations of the exported file, None where it has none.
    `test_inputs`: the test images as a .npy file, for `labc check --inputs`. `seconds`: training and export.
    """

    recipe: str
    method: str
    widths: list[int]
    images: list[int]
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
    test_inputs: str
    export: str
    seconds: float

    def data(self) -> dict[str, object]:
        """The fields by name, as JSON takes them."""
        return asdict(self)

    def __str__(self) -> str:
        widths = "-".join(str(width) for width in self.widths)
        training, validation, test = self.images
        lines = [
            f"{self.recipe} {widths}, {self.method}, seed {self.seed}, {self.seconds:.0f} s",
            f"{training} inputs to train, {validation} to validate, {test} to test",
            f"epoch {self.best_epoch} of {self.epochs} is the best on validation",
            f"validation {self.validation_accuracy:.2%}, test {self.test_accuracy:.2%}",
        ]
        if self.quantized_validation_accuracy is not None and self.quantized_test_accuracy is not None:
            quantized = self.quantized_validation_accuracy, self.quantized_test_accuracy
            lines.append("with the file's 8-bit activations: validation {:.2%}, test {:.2%}".format(*quantized))
        lines += [f"{self.binary_weights} binary weights, {self.float_parameters} float parameters", self.export]
        return "\n".join([*lines, f"logs: {self.metrics}; checkpoints: {self.best_checkpoint}, {self.last_checkpoint}"])
