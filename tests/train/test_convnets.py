"""Recipes with convolutions, small and on made-up data: network, augmentation, a run from files to C, resuming, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_data import write_mnist
from test_photos import write_cifar
from test_speech import spoken, write_tar
from torch import nn

import labc
from labc.errors import LabcError
from labc.train import BinaryConv1d, BinaryConv2d, BinaryLinear
from labc.train.data import cifar10, mnist, spoken_digits
from labc.train.methods import convnet, with_convolutions
from labc.train.quantize import quantize
from labc.train.recipes import RECIPES, run
from labc.train.recipes.augment import jittered, louder, moved


def kinds(model: nn.Sequential) -> list[str]:
    return [name for name, _ in model.named_children()]


def test_the_paper_s_network() -> None:
    recipe = RECIPES["cifar-vgg"]
    model = recipe.build("lab2", recipe.widths)
    assert isinstance(model, nn.Sequential)
    assert sum(layer.weight.numel() for layer in model if isinstance(layer, BinaryConv2d | BinaryLinear)) == 14_022_016
    pooled = [layer.pool is not None for layer in model if isinstance(layer, BinaryConv2d)]
    assert pooled == [False, True] * 3
    assert recipe.scaled(None, 0.125) == [3, 16, 16, 32, 32, 64, 64, 128, 128, 10]
    assert recipe.scaled(None, 1e-6) == [3, *[1] * 8, 10]
    assert recipe.scaled(7, None) == [3, *[7] * 8, 10]


def test_names_and_orders() -> None:
    widths = [2, 3, 4, 5, 6]
    assert kinds(convnet("lab2", widths, (8,), (2, 1))) == ["conv1", "sign1", "conv2", "sign2", "flatten", "fc3", "sign3", "fc4"]
    assert kinds(convnet("lab", widths, (8, 6), (2, 1)))[:4] == ["conv1", "relu1", "conv2", "relu2"]
    assert isinstance(convnet("lab", widths, (8,), (2, 1))[0], BinaryConv1d)
    for method in with_convolutions():
        for extents in ((9,), (9, 5)):
            model = convnet(method, widths, extents, (2, 1), kernel=5)
            assert model(torch.randint(0, 256, (2, 2, *extents)).float()).shape == (2, 6)


def test_a_method_without_convolutions() -> None:
    with pytest.raises(LabcError, match="--method fp: has no convolutions that can be exported; choose one of lab2, lab"):
        convnet("fp", [1, 2, 3], (4,), (1,))


@pytest.mark.parametrize(
    ("widths", "extents", "pools", "kernel", "text"),
    [
        ([1, 2, 3], (4, 4, 4), (1,), 3, "one or two extents"),
        ([1, 2, 3], (4,), (1,), 4, "an odd kernel"),
        ([1, 2], (4,), (1,), 3, "an input, 1 convolutions and an output"),
        ([1, 0, 3], (4,), (1,), 3, "each at least 1"),
        ([1, 2, 2, 3], (4, 3), (2, 2), 3, "nothing is left"),
    ],
)
def test_networks_that_cannot_be(widths: list[int], extents: tuple[int, ...], pools: tuple[int, ...], kernel: int, text: str) -> None:
    with pytest.raises(LabcError, match=text):
        convnet("lab2", widths, extents, pools, kernel)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_moved() -> None:
    rows = torch.arange(1, 11, dtype=torch.uint8).expand(200, 2, 10)
    found = moved(rows, 3, generator())
    assert found.dtype == torch.uint8
    assert torch.equal(found[:, 0], found[:, 1])  # all bands together
    shifts = set()
    for row in found[:, 0].tolist():
        shift = 10 - row.index(10) - 1 if 10 in row else row.index(1)
        shifts.add(shift if 10 in row else -shift)
        expected = [value if 1 <= value <= 10 else 0 for value in range(1 + shift, 11 + shift)]
        assert row == expected if 10 in row else row == [0] * shift + list(range(1, 11 - shift))
    assert shifts == set(range(-3, 4))
    images = rows.view(200, 2, 2, 5)
    assert moved(images, 2, generator()).shape == images.shape


def test_louder() -> None:
    levels = torch.tensor([0, 1, 100, 254], dtype=torch.uint8).expand(500, 1, 4)
    found = louder(levels, 5, generator())
    assert not found[..., 0].any()
    assert set(found[..., 2].flatten().tolist()) == set(range(95, 106))
    assert set(found[..., 3].flatten().tolist()) == set(range(249, 256))
    assert int(found[..., 1].max()) == 6
    assert int(found[..., 1].min()) == 0


def test_jitter_takes_both_shapes() -> None:
    flat = torch.randint(0, 256, (4, 144), generator=generator()).to(torch.uint8)
    shaped = flat.view(4, 1, 12, 12)
    changed = jittered(shaped, (1, 8, 0.1), generator())
    assert changed.shape == shaped.shape
    assert torch.equal(changed.flatten(1), jittered(flat, (1, 8, 0.1), generator()))


def write_data(name: str, folder: Path) -> Path:
    folder.mkdir()
    if name == "mnist-cnn":
        write_mnist(folder, train=120)
    elif name == "cifar-vgg":
        write_cifar(folder, count=30)
    else:
        return write_tar(folder / "recordings.tar.gz", spoken(12))
    return folder


LOADERS: dict[str, Callable[[Path], object]] = {
    "mnist-cnn": lambda path: mnist(path).shaped(1, 28, 28),
    "cifar-vgg": cifar10,
    "keywords": spoken_digits,
}


@pytest.mark.parametrize(("name", "method"), [("mnist-cnn", "lab2"), ("cifar-vgg", "lab"), ("keywords", "lab2")])
def test_from_files_to_c(tmp_path: Path, name: str, method: str) -> None:
    data = write_data(name, tmp_path / "data")
    result = run(name, method=method, epochs=1, width_multiplier=1 / 16, data=data, out=tmp_path / "out", progress=False)
    assert result.widths == RECIPES[name].scaled(None, 1 / 16)
    inputs = np.load(result.test_inputs)
    test = LOADERS[name](data).test  # type: ignore[attr-defined]
    assert inputs.dtype == np.uint8
    assert np.array_equal(inputs, test.images.numpy())
    assert inputs.shape[1:] == {"mnist-cnn": (1, 28, 28), "cifar-vgg": (3, 32, 32), "keywords": (32, 64)}[name]
    model = RECIPES[name].build(method, result.widths)
    state = torch.load(result.best_checkpoint, weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
    training = LOADERS[name](data).train  # type: ignore[attr-defined]
    evaluated = quantize(model.eval(), training.images[:1000])
    library = labc.load(labc.compile(result.onnx, "host", out=tmp_path / "library"))
    with torch.no_grad():
        scores = evaluated(test.images).numpy()
    assert np.array_equal(library(inputs).view(np.int32), scores.view(np.int32))
    exported = result.test_accuracy if result.quantized_test_accuracy is None else result.quantized_test_accuracy
    assert float((scores.argmax(1) == test.labels.numpy()).mean()) == pytest.approx(exported)


def test_the_same_run_twice_and_resumed(tmp_path: Path) -> None:
    data = write_data("keywords", tmp_path / "data")
    options = {"width_multiplier": 0.125, "data": data, "progress": False, "seed": 4}
    whole = run("keywords", epochs=2, out=tmp_path / "whole", **options)  # type: ignore[arg-type]
    again = run("keywords", epochs=2, out=tmp_path / "again", **options)  # type: ignore[arg-type]
    assert Path(whole.onnx).read_bytes() == Path(again.onnx).read_bytes()
    resumed = run("keywords", epochs=2, out=tmp_path / "again", resume=True, **options)  # type: ignore[arg-type]
    assert resumed.test_accuracy == whole.test_accuracy
    with pytest.raises(LabcError, match=r"of keywords 32-8-8-12-16-10 .* asked for keywords 32-16-16-24-32-10"):
        run("keywords", epochs=2, out=tmp_path / "again", resume=True, **{**options, "width_multiplier": 0.25})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("keywords", {}, "keywords: no recordings; give --data"),
        ("cifar-vgg", {}, "cifar-vgg: no images; give --data"),
        ("keywords", {"data": "/nowhere"}, "no such file or folder"),
        ("cifar-vgg", {"data": "/nowhere"}, "no such directory"),
        ("cifar-vgg", {"width_multiplier": 0.0}, "--width-multiplier 0: must be above 0"),
        ("cifar-vgg", {"width_multiplier": float("nan")}, "--width-multiplier nan: must be above 0"),
        ("cifar-vgg", {"width_multiplier": 65.0}, "at most 64"),
        ("cifar-vgg", {"width_multiplier": 0.5, "width": 8}, "both set the hidden layers' widths"),
        ("keywords", {"split": 1}, "keywords has one split"),
        ("keywords", {"method": "fp"}, "--method fp: keywords is not trained with it; choose one of lab2, lab"),
    ],
)
def test_refusals(tmp_path: Path, name: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(LabcError, match=text):
        run(name, out=tmp_path, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
