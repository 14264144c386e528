"""Torch eval = exported file = reference = C, scores bit for bit: a trained network on 10,000 random inputs and all real test images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import labc
from labc import trial
from labc.check import samples
from labc.ir.core import Type
from labc.train import BinaryLinear, quantize
from labc.train.data import digits
from labc.train.methods import mlp
from labc.train.recipes import TrainResult

RANDOM = 10_000


@pytest.mark.parametrize("method", ["lab2", "lab"])
def test_ten_thousand_inputs_and_all_test_images(method: str, tmp_path: Path, trained_digits: Callable[[str], TrainResult]) -> None:
    result = trained_digits(method)
    real = digits(0).test.images.numpy()
    np.save(tmp_path / "real.npy", real)
    checked = trial.check(result.onnx, sample_count=RANDOM, seed=7, inputs=tmp_path / "real.npy")
    assert [v.status for v in checked.verdicts] == ["passed"] * len(checked.verdicts), checked.verdicts
    assert checked.notes == ()
    assert f"{RANDOM + len(real)} inputs, scores bit for bit" in next(
        v.detail for v in checked.verdicts if v.what == "library (host) = reference"
    )
    assert "scores bit for bit" in next(v.detail for v in checked.verdicts if v.what.startswith("onnxruntime"))

    model = mlp(method, result.widths)
    state = torch.load(result.best_checkpoint, weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
    evaluated = quantize(model.eval(), digits(0).train.images[:1000]) if method == "lab" else model.eval()
    library = labc.load(labc.compile(result.onnx, "host", out=tmp_path / "library"))
    assert sum(isinstance(layer, BinaryLinear) for layer in model) == 3
    for x in (samples.draw(Type("u8", (64,)), RANDOM, 7), real):
        with torch.no_grad():
            want = evaluated(torch.from_numpy(x)).numpy()
        assert (library(x).view(np.int32) == want.view(np.int32)).all()
