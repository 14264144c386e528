"""A progress bar for Lightning's Trainer: one line for the whole run, on standard error."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class OneLine(pl.Callback):
    """Epoch, validation accuracy, time gone and to go."""

    def __init__(self, name: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
        )
        self._task = self._bar.add_task(name, total=None)
        self._name = name

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.update(self._task, total=float(trainer.estimated_stepping_batches), completed=trainer.global_step)
        self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any, **keywords: Any) -> None:
        self._bar.update(self._task, completed=trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        accuracy = float(trainer.callback_metrics["validation_accuracy"])
        text = f"{self._name}  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  validation {accuracy:.2%}"
        self._bar.update(self._task, description=text)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.stop()
