"""Residual networks: 16-bit activations of one step around their sums, bit for bit in every evaluation, and what they lose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from spelled import agree, images, operators, settle
from torch import Tensor, nn
from torch.nn import functional

from labc.errors import LabcError
from labc.train.convolution import BinaryConv1d, BinaryConv2d
from labc.train.export import export
from labc.train.integers import Add16, Clip16, PRelu16, Requantize
from labc.train.lab import LAB
from labc.train.layers import BinaryLinear, Sign
from labc.train.quantize import quantize


class Block(nn.Module):
    """x + bn(conv(sign(x))), then an activation, as in Bi-Real Net; with stride 2 the shortcut averages and has a 1x1 convolution."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, activation: nn.Module | None, axes: int = 2, first: bool = False) -> None:
        super().__init__()
        make = BinaryConv2d if axes == 2 else BinaryConv1d
        self.sign, self.activation = Sign(), activation
        self.norm = (nn.BatchNorm2d(fan_in) if axes == 2 else nn.BatchNorm1d(fan_in)) if first else None
        self.conv = make(fan_in, fan_out, 3, stride=stride, padding=1, bias=False, batch_norm=True)
        self.down = self.small = None
        if stride > 1:
            self.down = nn.AvgPool2d(2) if axes == 2 else nn.AvgPool1d(2)
            self.small = make(fan_in, fan_out, 1, batch_norm=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.down is None else self.small(self.sign(self.down(x)))
        x = self.conv(self.sign(x if self.norm is None else self.norm(x))) + shortcut
        return x if self.activation is None else self.activation(x)


class Residual(nn.Module):
    def __init__(
        self, activation: Callable[[int], nn.Module | None], axes: int = 2, last: nn.Module | None = None, first: bool = False
    ) -> None:
        super().__init__()
        make = BinaryConv2d if axes == 2 else BinaryConv1d
        self.stem = make(3, 8, 3, padding=1, batch_norm=True)
        self.body = nn.Sequential(
            Block(8, 8, 1, activation(8), axes, first), Block(8, 12, 2, activation(12), axes, first), Block(12, 12, 1, activation(12), axes)
        )
        self.last = last if last is not None else nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1) if axes == 2 else nn.AdaptiveAvgPool1d(1)
        self.flatten, self.fc = nn.Flatten(), BinaryLinear(12, 5, batch_norm=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.pool(self.last(self.body(self.stem(x))))))


def prelu(channels: int) -> nn.Module:
    layer = nn.PReLU(channels)
    layer.weight.data.uniform_(-1, 1)
    return layer


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("activation", [prelu, lambda c: nn.PReLU(), lambda c: nn.Hardtanh(), lambda c: nn.ReLU(), lambda c: None])
def test_residual_networks(tmp_path: Path, activation: Callable[[int], nn.Module | None], axes: int, first: bool) -> None:
    torch.manual_seed(3)
    shape = (3, *[8] * axes)
    model = Residual(activation, axes, first=first)
    report = agree(tmp_path / "m.onnx", model, shape, dtype=torch.int8 if first else torch.uint8)
    assert report.exact
    assert report.quantized
    assert report.bits == 16
    assert report.mean_difference < 0.05
    assert "16-bit activations against float ones" in str(report)
    assert operators(tmp_path / "m.onnx").count("PRelu") == (3 if isinstance(activation(1), nn.PReLU) else 0)


def test_one_power_of_two_step_per_stream() -> None:
    torch.manual_seed(0)
    model = settle(Residual(prelu), (3, 8, 8))
    calibration = images(50, (3, 8, 8), 7)
    graph = quantize(model, calibration)
    values: dict[str, Tensor] = {}
    graph.run(calibration, lambda name, value: values.update({name: value}))
    steps = [module.step for module in graph.layers if isinstance(module, Requantize) and module.element == "i16"]
    # The stem, the first block's sum and its activation are one stream; behind the 1x1 shortcut begins another.
    assert len(steps) == 5
    assert steps[0] == steps[1]
    assert steps[2] == steps[3] == steps[4]
    assert all(np.frexp(step)[0] == 0.5 for step in steps)
    for step in graph.steps():
        if isinstance(step.module, Add16 | PRelu16):
            assert 2**10 < float(values[step.name].abs().max()) <= 2**14 + 2
    slopes = [module.slopes for module in graph.layers if isinstance(module, PRelu16)]
    assert torch.equal(slopes[0], torch.round(model.body[0].activation.weight.detach() * 256).to(torch.int16))


def test_adds_and_activations_saturate() -> None:
    ends = torch.tensor([[32767.0, -32768.0, 20000.0, -3.0, 5.0]])
    assert Add16()(ends, ends).tolist() == [[32767, -32768, 32767, -6, 10]]
    slopes = torch.tensor([256, -256, 128, 128, 7], dtype=torch.int16)
    assert PRelu16(slopes)(torch.full((1, 5), -32768.0)).tolist() == [[-32768, 32767, -16384, -16384, -896]]
    x = torch.arange(-32768, 32768).float().reshape(-1, 1)
    for slope in (-256, -255, -1, 0, 1, 77, 255, 256):
        expected = np.where(x.numpy() >= 0, x.numpy(), np.clip((x.numpy().astype(np.int64) * slope + 128) >> 8, -32768, 32767))
        assert np.array_equal(PRelu16(torch.tensor([slope], dtype=torch.int16))(x).numpy(), expected)
    assert Clip16(-2, 7)(ends).tolist() == [[7, -2, 7, -2, 5]]


class Weights(nn.Module):
    """A ResNet's basic block with binary weights and ReLU: its sums are 16-bit, what the convolutions read is 8-bit."""

    def __init__(self, joined: bool = False) -> None:
        super().__init__()
        self.a = BinaryConv2d(3, 6, 3, padding=1, batch_norm=True)
        self.b = BinaryConv2d(6, 6, 3, padding=1, batch_norm=True)
        self.c = BinaryConv2d(6, 6, 3, padding=1, batch_norm=True)
        self.d, self.fc, self.joined = BinaryConv2d(12 if joined else 6, 6, 1, batch_norm=True), BinaryLinear(6, 4), joined

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.a(x))
        y = functional.max_pool2d(functional.relu(torch.add(self.c(functional.relu(self.b(x))), x)), 2)
        if self.joined:
            y = torch.cat([y, functional.max_pool2d(x, 2)], 1)
        return self.fc(functional.adaptive_avg_pool2d(functional.relu6(self.d(y)), 1).flatten(1))


@pytest.mark.parametrize("joined", [False, True])
def test_binary_weights_with_relu(tmp_path: Path, joined: bool) -> None:
    torch.manual_seed(1)
    report = agree(tmp_path / "m.onnx", Weights(joined), (3, 8, 8))
    assert report.bits == 16
    elements = [
        module.element for module in quantize(Weights(joined).eval(), images(5, (3, 8, 8))).layers if isinstance(module, Requantize)
    ]
    assert elements.count("u8") >= 3


def test_scores_that_are_sums(tmp_path: Path) -> None:
    class Tail(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.sign = BinaryLinear(12, 6, batch_norm=True), BinaryLinear(6, 6), Sign()

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x += self.b(self.sign(x))
            return x

    torch.manual_seed(0)
    report = agree(tmp_path / "m.onnx", Tail(), (12,))
    assert report.largest_difference < 1e-2


def test_a_stream_that_is_all_zero(tmp_path: Path) -> None:
    model = settle(Residual(prelu), (3, 8, 8))
    for layer in model.modules():
        if isinstance(layer, BinaryConv2d):
            layer.gamma.data.zero_()
            layer.beta.data.zero_()
    assert export(model, images(4, (3, 8, 8)), tmp_path / "m.onnx").differing == 0


def test_it_trains_and_keeps_its_accuracy(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Residual(prelu)
    x, y = images(60, (3, 8, 8)), torch.arange(60) % 3
    for digit in range(3):
        x[y == digit, :, 2 * digit : 2 * digit + 4] //= 4
    optimizer, losses = LAB(model, lr=0.01), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    report = export(model, x, tmp_path / "m.onnx")
    assert report.changed_predictions <= 3
    slopes = model.body[0].activation.weight
    assert slopes.grad is not None


class Float(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), BinaryLinear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x)


class Shapes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = BinaryLinear(4, 4), BinaryLinear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x)


def broken(gamma: float, variance: float = 1.0) -> nn.Module:
    model = Residual(prelu)
    model.body[1].conv.gamma.data.fill_(gamma)
    model.body[1].conv.running_var.fill_(variance)
    return model


def steep() -> nn.Module:
    model = Residual(prelu)
    model.body[1].activation.weight.data[2] = -1.5
    return model


@pytest.mark.parametrize(
    ("model", "shape", "text"),
    [
        (Residual(prelu, last=nn.Identity()), (3, 8, 8), "fc: its input is float; put a Sign or, after a BinaryLinear, a ReLU before it"),
        (Residual(prelu, last=nn.Hardtanh()), (3, 8, 8), "fc: its input is float; put a Sign"),
        (steep(), (3, 8, 8), "body.1.activation: a slope of -1.5; 16-bit activations take slopes from -1 to 1"),
        (broken(float("nan")), (3, 8, 8), "body.1.conv.gamma: 12 of 12 values are NaN"),
        (broken(3e38, 0.0), (3, 8, 8), "body.1.conv: values that are added leave float32"),
        (broken(1.0, -1.0), (3, 8, 8), "body.1.conv: values that are added leave float32"),
        (Float(), (4,), "a: it adds or bends float values; put a binary layer"),
        (Shapes(), (4,), r"add: Add cannot take \(1, 4\), \(1, 1\) .*make their shapes fit"),
        (Residual(prelu), (3, 7, 7), "body.1.add_1: .*make their shapes fit"),
    ],
)
def test_errors_leave_nothing(tmp_path: Path, model: nn.Module, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(LabcError, match=text):
        export(model.eval(), images(3, shape), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
