"""Checkpoints: whole files, tensors and plain values only, and the facts of the run they belong to."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from labc.errors import LabcError

FORMAT = 1  # of the facts in a checkpoint
# What Lightning's Trainer takes up again.
_RESUMED = ("pytorch-lightning_version", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers")


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that a crash or Ctrl-C cannot cut in half."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None) -> None:
        temporary = f"{path}.part"
        super().save_checkpoint(checkpoint, temporary, storage_options)
        Path(temporary).replace(path)


class Checkpoint(ModelCheckpoint):
    """Knows the best epoch so far also where the folder was moved since; Lightning's own would take the next epoch for the best."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


def load(path: Path) -> dict[str, Any]:
    """The checkpoint: tensors and plain values, nothing that runs code."""
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise LabcError(f"{path}: no checkpoint there; train without --resume, or give the --out of the run to go on with") from error
    except OSError as error:
        raise LabcError(f"{path}: cannot be read ({error.strerror}); check its permissions, or train without --resume") from error
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the checksums
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError) as error:
        raise LabcError(f"{path}: not a whole checkpoint ({type(error).__name__}); train without --resume") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("labc"), dict) or not {"epoch", "state_dict"} <= checkpoint.keys():
        raise LabcError(f"{path}: a checkpoint, but not one of labc's recipes; train without --resume")
    return checkpoint


def same_run(path: Path, facts: dict[str, Any], epochs: int, model: nn.Module) -> None:
    """Raises LabcError unless the checkpoint is one of the run that these facts describe, has no more than so many epochs, and fits."""
    checkpoint = load(path)
    found, done = checkpoint["labc"], int(checkpoint["epoch"]) + 1
    if found != facts:
        raise LabcError(f"{path}: of {_spelled(found)}, asked for {_spelled(facts)}; repeat its options, or choose another --out")
    if done > epochs:
        raise LabcError(f"{path}: has {done} epochs, asked for {epochs}; ask for --epochs {done} or more, or choose another --out")
    shapes = {f"model.{key}": value.shape for key, value in model.state_dict().items()}
    if {key: getattr(value, "shape", None) for key, value in checkpoint["state_dict"].items()} != shapes:
        raise LabcError(f"{path}: holds other tensors than the network's; train without --resume")
    if missing := [key for key in _RESUMED if key not in checkpoint]:
        raise LabcError(f"{path}: not a whole checkpoint (no {missing[0]}); train without --resume")


def _spelled(facts: dict[str, Any]) -> str:
    widths = "-".join(str(width) for width in facts.get("widths", ()))
    return f"{facts.get('recipe')} {widths} --method {facts.get('method')} --seed {facts.get('seed')} split {facts.get('split')}"
