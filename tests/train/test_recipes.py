"""Recipes end to end, small: what a run leaves behind, resuming, Ctrl-C, refusals."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from test_data import write_mnist

from labc.errors import INTERRUPTED, LabcError
from labc.train.methods import METHODS, mlp
from labc.train.recipes import RECIPES, TrainResult, run

QUICK = {"epochs": 2, "width": 16, "progress": False}
BINARY = pytest.mark.parametrize("method", ["lab2", "lab", "fp"])


@BINARY
def test_a_run_and_what_it_leaves(tmp_path: Path, method: str) -> None:
    result = run("digits-mlp", method=method, out=tmp_path / "new", **QUICK)
    assert isinstance(result, TrainResult)
    assert json.loads((tmp_path / "new" / "train.json").read_text()) == dataclasses.asdict(result) == result.data()
    assert f"test {result.test_accuracy:.2%}" in str(result)
    assert ("8-bit activations: validation" in str(result)) == (method == "lab")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "digits.onnx", "best.ckpt", "last.ckpt", "train.json", "test_inputs.npy", "csv", "tensorboard",
    }  # fmt: skip
    assert result.widths == [64, 16, 16, 10]
    assert 0.2 < result.test_accuracy <= 1
    assert result.best_epoch in (1, 2)
    assert (result.quantized_test_accuracy is not None) == (method == "lab")
    assert result.binary_weights == (0 if method == "fp" else 64 * 16 + 16 * 16 + 160)
    assert "1000 inputs" in result.export
    assert "validation_accuracy" in Path(result.metrics).read_text()
    checkpoint = torch.load(result.last_checkpoint, weights_only=True)
    assert checkpoint["labc"]["recipe"] == "digits-mlp"
    assert checkpoint["epoch"] == 1


def test_the_last_checkpoint_is_the_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labc.train.recipes import fit

    monkeypatch.setattr(fit, "squared_hinge", lambda scores, labels: scores.sum() * 0 + labels.sum() * 0 + 1)  # no epoch is better
    result = run("digits-mlp", method="fp", epochs=3, width=8, out=tmp_path, progress=False)
    assert result.best_epoch == 1
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 2


def test_the_same_run_twice_and_resumed(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    whole = run("digits-mlp", seed=5, out=tmp_path / "whole", **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.MonkeyPatch.context() as patch:
        _interrupt_in_epoch(patch, 1)
        with pytest.raises(LabcError):
            run("digits-mlp", seed=5, out=tmp_path / "parts", **QUICK)
    resumed = run("digits-mlp", seed=5, out=tmp_path / "parts", resume=True, **QUICK)
    assert (tmp_path / "whole/digits.onnx").read_bytes() == (tmp_path / "parts/digits.onnx").read_bytes()
    assert resumed.test_accuracy == whole.test_accuracy


def _interrupt_in_epoch(patch: pytest.MonkeyPatch, epoch: int) -> None:
    from labc.train.recipes import fit

    step = fit.Training.training_step

    def interrupted(self: fit.Training, batch: object, index: int) -> object:
        if self.trainer.current_epoch == epoch and index == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, index)  # type: ignore[arg-type]

    patch.setattr(fit.Training, "training_step", interrupted)


@pytest.mark.parametrize("epoch", [0, 1])
def test_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    _interrupt_in_epoch(monkeypatch, epoch)
    handler = signal.getsignal(signal.SIGINT)
    text = "interrupted; epoch 1 is kept in .*last.ckpt; go on with --resume" if epoch else "interrupted; no epoch was finished"
    with pytest.raises(LabcError, match=text) as error:
        run("digits-mlp", method="fp", out=tmp_path, **QUICK)
    assert error.value.code == INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / "last.ckpt").exists() == (epoch == 1)
    assert not list(tmp_path.glob("*.part"))
    assert not (tmp_path / "digits.onnx").exists()


def test_mnist_and_progress(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_mnist(tmp_path, train=600)
    result = run("mnist-mlp", method="fp", epochs=2, width=8, data=tmp_path, out=tmp_path / "out")
    assert result.widths == [784, 8, 8, 8, 10]
    assert (tmp_path / "out/mnist.onnx").exists()
    out, err = capfd.readouterr()
    assert out == ""
    assert "mnist-mlp" in err
    assert "epoch 2/2" in err


def test_resume_refuses_other_runs(tmp_path: Path) -> None:
    with pytest.raises(LabcError, match="no checkpoint there"):
        run("digits-mlp", method="fp", out=tmp_path, resume=True, **QUICK)
    run("digits-mlp", method="fp", out=tmp_path, **QUICK)
    write_mnist(tmp_path)
    for name, options, text in [
        ("mnist-mlp", {"method": "fp", "data": tmp_path}, "of digits-mlp .*asked for mnist-mlp"),
        ("digits-mlp", {"method": "lab2"}, "--method fp .*asked for .*--method lab2"),
        ("digits-mlp", {"method": "fp", "width": 17}, "64-16-16-10 .*asked for .* 64-17-17-10"),
        ("digits-mlp", {"method": "fp", "seed": 1}, "--seed 0 .*--seed 1"),
    ]:
        with pytest.raises(LabcError, match=text):
            run(name, out=tmp_path, resume=True, **{**QUICK, **options})


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(50)])
def test_a_corrupt_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(LabcError, match="not a whole checkpoint"):
        run("digits-mlp", method="fp", out=tmp_path, resume=True, **QUICK)


def test_a_foreign_checkpoint(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(3)}, tmp_path / "last.ckpt")
    with pytest.raises(LabcError, match="not one of labc's recipes"):
        run("digits-mlp", method="fp", out=tmp_path, resume=True, **QUICK)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("digit-mlp", {}, "no such recipe; choose one of digits-mlp, mnist-mlp"),
        ("digits-mlp", {"method": "bwn"}, "no such method; choose one of lab2, lab, fp"),
        ("digits-mlp", {"epochs": 0}, "--epochs 0: must be at least 1"),
        ("digits-mlp", {"width": -3}, "--width -3: must be at least 1"),
        ("digits-mlp", {"seed": -1}, "--seed -1"),
        ("mnist-mlp", {"data": "/nowhere"}, "no such directory"),
    ],
)
def test_refusals(tmp_path: Path, name: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(LabcError, match=text):
        run(name, out=tmp_path, **{**QUICK, **options})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabcError, match="cannot be made"):
        run("digits-mlp", method="fp", out=tmp_path / "file", **QUICK)


def test_tables() -> None:
    for recipe in RECIPES.values():
        assert set(recipe.lr) == set(METHODS)
    with pytest.raises(LabcError, match="at least an input and an output"):
        mlp("fp", [3])
    assert [name for name, _ in mlp("lab2", [4, 3, 2]).named_children()] == ["fc1", "sign1", "fc2"]
