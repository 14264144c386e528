"""The one training loop of all recipes: PyTorch Lightning's Trainer around a model, its data and its optimizer."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from labc.errors import INTERRUPTED, LabcError
from labc.train import files, methods
from labc.train.data import Data, Part
from labc.train.export import export
from labc.train.graph import trace
from labc.train.layers import BinaryLayer
from labc.train.quantize import needs_quantizing, quantize
from labc.train.recipes import checkpoints
from labc.train.recipes.batches import Batch, Shuffled, Whole
from labc.train.recipes.recipe import Recipe, TrainResult

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an error that names no file
_CALIBRATION = 1000  # training images that calibrate 8-bit activations and are compared on export


def squared_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """mean over batch and classes of max(0, 1 − t·o)², t = ±1 (the paper's code). scores [batch, n], labels int64 [batch]."""
    signs = torch.full_like(scores, -1).scatter_(1, labels[:, None], 1)
    return torch.relu(1 - signs * scores).square().mean()


class Training(pl.LightningModule):
    """The loss, the optimizer, and the recipe's facts in every checkpoint."""

    def __init__(self, model: nn.Module, method: methods.Method, lr: float, facts: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.method, self.lr, self.facts = model, method, lr, facts
        self._sums = torch.zeros(3, dtype=torch.float64)  # loss, hits, images of the validation part so far
        self._losses: list[Tensor] = []

    def training_step(self, batch: Batch, index: int) -> Tensor:
        images, labels = batch
        loss = squared_hinge(self.model(images.float()), labels)
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("training_loss", torch.stack(self._losses).mean(), sync_dist=True)
        self._losses.clear()

    def on_validation_epoch_start(self) -> None:
        self._sums.zero_()

    def validation_step(self, batch: Batch, index: int) -> None:
        images, labels = batch
        scores = self.model(images.float())
        loss, hits = squared_hinge(scores, labels), (scores.argmax(1) == labels).sum()
        self._sums += torch.tensor([float(loss) * len(labels), float(hits), len(labels)], dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        loss, hits, images = self._sums.tolist()
        self.log("validation_loss", loss / images, sync_dist=True)
        self.log("validation_accuracy", hits / images, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.method.optimizer(self.model, self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["labc"] = self.facts


def train(
    recipe: Recipe,
    *,
    method_name: str,
    epochs: int | None,
    seed: int,
    split: int,
    data: Path | None,
    out: Path,
    width: int | None,
    width_multiplier: float | None,
    resume: bool,
    progress: bool,
    accelerator: str,
    devices: int,
) -> TrainResult:
    """`labc.train.recipes.run` behind its argument checks; see there."""
    start, began = time.perf_counter(), time.time_ns()
    method = methods.method(method_name)
    if method_name not in recipe.lr:
        raise LabcError(f"--method {method_name}: {recipe.name} is not trained with it; choose one of {', '.join(recipe.lr)}")
    widths = recipe.scaled(width, width_multiplier)
    epochs = epochs or recipe.epochs
    facts = {"format": checkpoints.FORMAT, "recipe": recipe.name, "method": method_name, "widths": widths, "seed": seed, "split": split}
    _make(out)
    last, best = out / "last.ckpt", out / "best.ckpt"
    if resume:
        checkpoints.same_run(last, facts, epochs, recipe.build(method_name, widths))
    parts = recipe.load(split, data)
    # fork_rng: the caller's random numbers go on as if nothing had happened.
    with torch.random.fork_rng(devices=[]), _threads(recipe.threads):
        torch.manual_seed(seed)
        module = Training(recipe.build(method_name, widths), method, recipe.lr[method_name], facts)
        # Not save_last: that writes only when the best is written.
        every_epoch: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
        keep_best = checkpoints.Checkpoint(out, "best", monitor="validation_loss", **every_epoch)
        keep_last = checkpoints.Checkpoint(out, "last", **every_epoch)
        with _quiet(), _interruptible(recipe.name, last, began, resume):
            trainer = pl.Trainer(
                max_epochs=epochs,
                # Lightning's own "auto" takes Apple's GPU too, which has no float64 for the scales.
                accelerator=("cuda" if torch.cuda.is_available() else "cpu") if accelerator == "auto" else accelerator,
                devices=devices,
                logger=[CSVLogger(out, name="csv"), TensorBoardLogger(out, name="tensorboard")],
                callbacks=[keep_best, keep_last, *_bar(recipe.name, progress)],
                plugins=[checkpoints.WholeFiles()],
                default_root_dir=out,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                use_distributed_sampler=False,
            )
            shuffled = Shuffled(
                parts.train,
                recipe.batch,
                seed,
                recipe.augment,
                lambda: (trainer.current_epoch, trainer.global_rank, trainer.world_size),
            )
            trainer.fit(module, shuffled, Whole(parts.validation), ckpt_path=last if resume else None, weights_only=True)
    if not trainer.is_global_zero:  # the other processes of a DDP run have done their part
        raise SystemExit(0)
    with _interruptible(recipe.name, last, began, resume):
        return _finish(recipe, facts, module.model, parts, out, best, last, epochs, start)


def _finish(
    recipe: Recipe,
    facts: dict[str, Any],
    model: nn.Module,
    data: Data,
    out: Path,
    best: Path,
    last: Path,
    epochs: int,
    start: float,
) -> TrainResult:
    """Test and export the checkpoint that is best on validation."""
    checkpoint = checkpoints.load(best)
    model.load_state_dict({key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items()})
    model.cpu().eval()
    calibration = data.train.images[:_CALIBRATION]
    report = export(model, calibration, out / recipe.file)
    quantized = quantize(model, calibration) if needs_quantizing(trace(model)) else None
    binary = [layer.weight for layer in model.modules() if isinstance(layer, BinaryLayer)]
    weights = sum(weight.numel() for weight in binary)
    result = TrainResult(
        recipe=recipe.name,
        method=facts["method"],
        widths=facts["widths"],
        images=[len(data.train), len(data.validation), len(data.test)],
        epochs=epochs,
        seed=facts["seed"],
        split=facts["split"],
        best_epoch=int(checkpoint["epoch"]) + 1,
        validation_accuracy=_accuracy(model, data.validation),
        test_accuracy=_accuracy(model, data.test),
        quantized_validation_accuracy=None if quantized is None else _accuracy(quantized, data.validation),
        quantized_test_accuracy=None if quantized is None else _accuracy(quantized, data.test),
        binary_weights=weights,
        float_parameters=sum(parameter.numel() for parameter in model.parameters()) - weights,
        onnx=str(out / recipe.file),
        best_checkpoint=str(best),
        last_checkpoint=str(last),
        metrics=str(_metrics(out)),
        test_inputs=str(out / "test_inputs.npy"),
        export=str(report),
        seconds=round(time.perf_counter() - start, 2),
    )
    images = io.BytesIO()
    np.save(images, data.test.images.numpy())
    files.replace(out / "test_inputs.npy", images.getvalue())
    files.replace(out / "train.json", (json.dumps(result.data(), indent=2) + "\n").encode())
    return result


def _metrics(out: Path) -> Path:
    """The newest metrics file; a resumed run with nothing left to train writes none of its own."""
    return max(out.glob("csv/version_*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns, default=out / "csv")


@torch.no_grad()
def _accuracy(model: nn.Module, part: Part) -> float:
    hits = sum(int((model(images.float()).argmax(1) == labels).sum()) for images, labels in Whole(part))
    return hits / len(part)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabcError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise LabcError(f"{out}: not writable; choose another --out")


def _bar(name: str, progress: bool) -> list[pl.Callback]:
    if not progress:
        return []
    from labc.train.recipes.progress import OneLine

    return [OneLine(name)]


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _interruptible(name: str, last: Path, began: int, resumed: bool) -> Iterator[None]:
    """Ctrl-C, which Lightning answers with SystemExit and a disabled Ctrl-C, becomes a LabcError with code 130; an output that cannot be
    written another. Lightning writes in many places, so the error itself tells that it is about the output."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        # A checkpoint from before is another run's, unless this one resumed it.
        ours = last.exists() and (resumed or last.stat().st_mtime_ns >= began)
        kept = f"epoch {checkpoints.load(last)['epoch'] + 1} is kept in {last}; go on with --resume" if ours else "no epoch was finished"
        raise LabcError(f"{name}: interrupted; {kept}", code=INTERRUPTED) from error
    except OSError as error:
        ours = error.errno in _FULL if error.filename is None else Path(str(error.filename)).is_relative_to(last.parent)
        if not ours:
            raise
        raise LabcError(
            f"{last.parent}: cannot be written ({error.strerror or error}); make room, choose another --out, or go on with --resume"
        ) from error
    finally:
        if main:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning talks about its hardware and gives tips; a run here says what matters itself."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Training again into the same folder, and resuming, are meant.
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            # Lightning 2.6 calls LeafSpec, which torch 2.13 deprecates; nothing of ours.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
