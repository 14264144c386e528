"""Recipes end to end, small: what a run leaves behind, resuming, Ctrl-C, refusals."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import pickle
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from test_data import write_mnist

from labc.errors import INTERRUPTED, LabcError
from labc.train.data import Part, digits
from labc.train.methods import METHODS, mlp
from labc.train.quantize import quantize
from labc.train.recipes import RECIPES, TrainResult, run
from labc.train.recipes.batches import Shuffled
from labc.train.recipes.fit import squared_hinge


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """A background job of a shell starts with Ctrl-C ignored; here it works."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


QUICK = {"epochs": 2, "width": 16, "progress": False}
BINARY = pytest.mark.parametrize("method", ["lab2", "lab", "fp"])


def test_the_result_is_kept(tmp_path: Path) -> None:
    result = run("digits-mlp", method="fp", out=tmp_path / "new", **QUICK)
    assert isinstance(result, TrainResult)
    assert json.loads((tmp_path / "new" / "train.json").read_text()) == dataclasses.asdict(result) == result.data()
    assert result.widths == [64, 16, 16, 10]


@BINARY
def test_a_run_and_what_it_leaves(trained_digits: Callable[[str], TrainResult], method: str) -> None:
    result = trained_digits(method)
    assert f"test {result.test_accuracy:.2%}" in str(result)
    assert ("8-bit activations: validation" in str(result)) == (method == "lab")
    assert {path.name for path in Path(result.onnx).parent.iterdir()} == {
        "digits.onnx", "best.ckpt", "last.ckpt", "train.json", "test_inputs.npy", "csv", "tensorboard",
    }  # fmt: skip
    assert result.widths == [64, 256, 256, 10]
    assert result.images == [1293, 144, 360]
    assert "1293 inputs to train, 144 to validate, 360 to test" in str(result)
    assert 0.2 < result.test_accuracy <= 1
    assert result.best_epoch in (1, 2, 3)
    assert (result.quantized_test_accuracy is not None) == (method == "lab")
    assert result.binary_weights == (0 if method == "fp" else 64 * 256 + 256 * 256 + 2560)
    assert "1000 inputs" in result.export
    assert "validation_accuracy" in Path(result.metrics).read_text()
    checkpoint = torch.load(result.last_checkpoint, weights_only=True)
    assert checkpoint["labc"]["recipe"] == "digits-mlp"
    assert checkpoint["epoch"] == 2
    assert checkpoint["lr_schedulers"][0]["_last_lr"] == [0]


def test_the_accuracies_are_those_of_the_best_checkpoint(trained_digits: Callable[[str], TrainResult]) -> None:
    result = trained_digits("lab")
    model, data = mlp("lab", result.widths).eval(), digits(0)
    state = torch.load(result.best_checkpoint, weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
    quantized = quantize(model, data.train.images[:1000])
    found = [
        float((network(part.images).argmax(1) == part.labels).double().mean())
        for network in (model, quantized)
        for part in (data.validation, data.test)
    ]
    assert found == [
        result.validation_accuracy,
        result.test_accuracy,
        result.quantized_validation_accuracy,
        result.quantized_test_accuracy,
    ]


def test_every_epoch_and_process_has_its_own_batches() -> None:
    part = Part(torch.arange(40, dtype=torch.uint8)[:, None], torch.arange(40))

    def drawn(epoch: int, rank: int, world: int) -> list[int]:
        batches = Shuffled(part, 5, seed=3, augment=None, place=lambda: (epoch, rank, world))
        return [int(label) for _, labels in batches for label in labels]

    assert sorted(drawn(0, 0, 1)) == list(range(40))
    assert drawn(0, 0, 1) == drawn(0, 0, 1) != drawn(1, 0, 1)
    assert sorted(drawn(2, 0, 2) + drawn(2, 1, 2)) == list(range(40))


def test_squared_hinge() -> None:
    scores = torch.tensor([[0.5, -3.0], [2.0, 0.25]])
    assert squared_hinge(scores, torch.tensor([0, 1])).item() == (0.25 + 0 + 9 + 0.5625) / 4


def test_the_best_epoch_is_validation_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labc.train.recipes import fit

    calls = itertools.count(1)

    def diverging(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Better and better in training, worse and worse in validation."""
        call = next(calls)
        return scores.sum() * 0 + (1 / call if scores.requires_grad else call)

    monkeypatch.setattr(fit, "squared_hinge", diverging)
    assert run("digits-mlp", method="fp", epochs=3, width=8, out=tmp_path, progress=False).best_epoch == 1


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


def test_resuming_later(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    once = run("digits-mlp", method="fp", out=first, **QUICK)
    again = run("digits-mlp", method="fp", out=first, resume=True, **QUICK)
    assert again.metrics == once.metrics  # nothing was left to train
    with pytest.raises(LabcError, match="has 2 epochs, asked for 1; ask for --epochs 2 or more"):
        run("digits-mlp", method="fp", out=first, resume=True, **{**QUICK, "epochs": 1})
    first.rename(second)
    with pytest.MonkeyPatch.context() as patch:
        _worse(patch)
        more = run("digits-mlp", method="fp", out=second, resume=True, **{**QUICK, "epochs": 3})
    assert (more.best_epoch, more.test_accuracy) == (once.best_epoch, once.test_accuracy)
    assert torch.load(second / "last.ckpt", weights_only=True)["epoch"] == 2


def _worse(patch: pytest.MonkeyPatch) -> None:
    """From here on, no epoch is as good as those before."""
    from labc.train.recipes import fit

    hinge = fit.squared_hinge
    patch.setattr(fit, "squared_hinge", lambda scores, labels: hinge(scores, labels) + 1000)


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


def test_ctrl_c_does_not_claim_an_older_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("digits-mlp", method="fp", out=tmp_path, **QUICK)
    _interrupt_in_epoch(monkeypatch, 0)
    with pytest.raises(LabcError, match="interrupted; no epoch was finished"):
        run("digits-mlp", method="fp", out=tmp_path, **QUICK)


def test_resume_refuses_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    run("digits-mlp", method="fp", out=tmp_path, **QUICK)
    whole = torch.load(tmp_path / "last.ckpt", weights_only=True)
    wrong = {key: torch.zeros(3) if key.endswith("fc1.weight") else value for key, value in whole["state_dict"].items()}
    for change, text in (
        ({"state_dict": wrong}, "holds other tensors than the network's"),
        ({"state_dict": {}}, "holds other tensors than the network's"),
        ({"optimizer_states": None}, "no optimizer_states"),
    ):
        changed = {key: value for key, value in {**whole, **change}.items() if value is not None}
        torch.save(changed, tmp_path / "last.ckpt")
        with pytest.raises(LabcError, match=text):
            run("digits-mlp", method="fp", out=tmp_path, resume=True, **QUICK)


def test_a_split_where_there_is_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabcError, match="--split 1: mnist-mlp has one split"):
        run("mnist-mlp", split=1, data=tmp_path, out=tmp_path, **QUICK)


def test_ctrl_c_while_exporting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labc.train.recipes import fit

    monkeypatch.setattr(fit, "_accuracy", lambda model, part: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(LabcError, match=r"interrupted; epoch 2 is kept in .*last\.ckpt; go on with --resume") as error:
        run("digits-mlp", method="fp", out=tmp_path, **QUICK)
    assert error.value.code == INTERRUPTED


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


def _whole() -> bytes:
    file = io.BytesIO()
    torch.save({"labc": {}, "weights": torch.full((1000,), 1.5)}, file)
    return file.getvalue()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def _evil() -> bytes:
    file = io.BytesIO()
    torch.save({"labc": Evil()}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        b"PK\x03\x04" + bytes(50),
        _whole()[:-30],
        _whole().replace(struct.pack("<f", 1.5), struct.pack("<f", 2.5), 1),  # only the checksum tells
        pickle.dumps(Evil()),
        _evil(),
    ],
)
def test_a_corrupt_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(LabcError, match="not a whole checkpoint"):
        run("digits-mlp", method="fp", out=tmp_path, resume=True, **QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_foreign_checkpoint(tmp_path: Path) -> None:
    for content in ({"weights": torch.ones(3)}, {"labc": {}}):
        torch.save(content, tmp_path / "last.ckpt")
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
    (tmp_path / "csv").write_text("")
    with pytest.raises(LabcError, match=r"cannot be written \(File exists\); make room"):
        run("digits-mlp", method="fp", out=tmp_path, **QUICK)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(5, "Input/output error", "OUT/csv/metrics.csv"), True),
        (ConnectionResetError(104, "Connection reset by peer"), False),
        (FileNotFoundError(2, "No such file or directory", "/a/library"), False),
    ],
)
def test_an_error_of_another_place_is_not_the_outputs(error: OSError, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if error.filename:
        error.filename = error.filename.replace("OUT", str(tmp_path))

    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pl.Trainer, "fit", refused)
    with pytest.raises(LabcError if ours else type(error), match="cannot be written .*; make room" if ours else str(error.strerror)):
        run("digits-mlp", method="fp", out=tmp_path, **QUICK)


def test_tables() -> None:
    for recipe in RECIPES.values():
        assert {"lab2", "lab"} <= set(recipe.lr) <= set(METHODS)
    with pytest.raises(LabcError, match="at least an input and an output"):
        mlp("fp", [3])
    assert [name for name, _ in mlp("lab2", [4, 3, 2]).named_children()] == ["fc1", "sign1", "fc2"]
