"""Recipes: networks that train on real data with one call, or one command (`labc train digits-mlp`)."""

from __future__ import annotations

import os
from pathlib import Path

from labc.errors import NOT_HERE, LabcError
from labc.train.recipes import cifar_vgg, digits_mlp, keywords, mnist_cnn, mnist_mlp
from labc.train.recipes.recipe import Recipe, TrainResult

__all__ = ["RECIPES", "Recipe", "TrainResult", "run"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (digits_mlp.RECIPE, mnist_mlp.RECIPE, mnist_cnn.RECIPE, cifar_vgg.RECIPE, keywords.RECIPE)
}

_WIDEST = 64  # times a recipe's own widths


def run(
    name: str,
    *,
    method: str = "lab2",
    epochs: int | None = None,
    seed: int = 0,
    split: int = 0,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    width: int | None = None,
    width_multiplier: float | None = None,
    resume: bool = False,
    progress: bool = True,
    accelerator: str = "auto",
    devices: int = 1,
) -> TrainResult:
    """Train a recipe's network, keep the checkpoint that is best on validation, test it and export it into `out`.

    Writes `out`/last.ckpt and best.ckpt (after every epoch), csv/ and tensorboard/ logs, the recipe's ONNX file, test_inputs.npy (the
    test images) and train.json (the result). method: a name in `labc.train.METHODS`; epochs and width (of the hidden layers) replace
    the recipe's, width_multiplier makes the hidden layers wider or narrower; split numbers the train/test split (digits); data: the
    data set's folder, or file; resume goes on from
    `out`/last.ckpt, with the same epochs to the same result (with more, the learning rate goes over to the longer run's curve).
    accelerator: "auto" (CUDA, else CPU) or another of Lightning's; several devices train with DDP. The same arguments give the same
    result on the same machine.

    Raises LabcError for unknown names, bad data, a checkpoint of another run, an `out` that cannot be written; and on Ctrl-C while
    training or exporting, with code 130, saying which epoch survives in last.ckpt. Ctrl-C before that is an ordinary KeyboardInterrupt.
    """
    if name not in RECIPES:
        raise LabcError(f"{name}: no such recipe; choose one of {', '.join(RECIPES)}")
    for what, number in (("--epochs", epochs), ("--width", width), ("devices", devices)):
        if number is not None and number < 1:
            raise LabcError(f"{what} {number}: must be at least 1")
    if width_multiplier is not None and not 0 < width_multiplier <= _WIDEST:
        raise LabcError(f"--width-multiplier {width_multiplier:g}: must be above 0 and at most {_WIDEST}")
    if width is not None and width_multiplier is not None:
        raise LabcError(f"--width {width} and --width-multiplier {width_multiplier:g}: both set the hidden layers' widths; leave one out")
    if seed < 0 or split < 0 or max(seed, split) >= 2**32:
        raise LabcError(f"--seed {seed}, split {split}: must be from 0 to {2**32 - 1}")
    if split and not RECIPES[name].takes_split:
        raise LabcError(f"--split {split}: {name} has one split, its authors'; leave it out")
    try:
        from labc.train.recipes import fit
    except ModuleNotFoundError as error:
        raise LabcError(f"labc train: {error.name} is not installed; pip install 'labc[train]'", code=NOT_HERE) from error
    return fit.train(
        RECIPES[name],
        method_name=method,
        epochs=epochs,
        seed=seed,
        split=split,
        data=None if data is None else Path(data),
        out=Path(out),
        width=width,
        width_multiplier=width_multiplier,
        resume=resume,
        progress=progress,
        accelerator=accelerator,
        devices=devices,
    )
