"""Binary convolutions: exact sums of every geometry, training, and the exported file, bit for bit in every evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spelled import agree, images, operators, runtime, settle
from torch import Tensor, nn
from torch.nn import functional

from labc.errors import LabcError
from labc.ir.windows import Window
from labc.ir.windows import convolve as by_hand
from labc.train.convolution import BinaryConv1d, BinaryConv2d
from labc.train.export import export
from labc.train.integers import ConvSums, SumPool
from labc.train.lab import LAB
from labc.train.layers import BinaryLinear, Sign
from labc.train.quantize import quantize


def test_initial_values_and_shapes() -> None:
    layer = BinaryConv2d(8, 12, (3, 2), groups=4, stride=2, padding=(1, 0), dilation=(1, 2))
    assert layer.weight.shape == (12, 2, 3, 2)
    assert float(layer.weight.detach().abs().max()) <= math.sqrt(1.5 / (2 * 6 + 3 * 6))
    torch.testing.assert_close(layer.alpha.detach(), layer.weight.detach().abs().mean())
    x = torch.rand(2, 8, 9, 9)
    assert layer(x).shape == layer.eval()(x).shape == (2, 12, 5, 4)
    assert BinaryConv1d(3, 5, 4, batch_norm=True, pool=nn.MaxPool1d(2))(torch.rand(2, 3, 9)).shape == (2, 5, 3)
    assert "groups=4" in repr(layer)


def test_training_is_torch_s_convolution_of_the_binary_weights() -> None:
    torch.manual_seed(0)
    layer, norm = BinaryConv2d(3, 4, 3, padding=1, batch_norm=True, pool=nn.MaxPool2d(2), eps=0.5), nn.BatchNorm2d(4, eps=0.5)
    layer.bias.data.normal_()
    x = torch.rand(5, 3, 8, 8, requires_grad=True)
    weight = (layer.alpha * torch.where(layer.weight >= 0, 1.0, -1.0)).detach().requires_grad_()
    expected = norm(functional.max_pool2d(functional.conv2d(x, weight, layer.bias, padding=1), 2))
    got = layer(x)
    torch.testing.assert_close(got, expected)
    direction = torch.randn_like(got)
    got.backward(direction)
    expected.backward(direction)
    # The gradient at α·b goes to w as it is.
    torch.testing.assert_close(layer.weight.grad, weight.grad)
    torch.testing.assert_close(layer.running_mean, norm.running_mean)
    torch.testing.assert_close(layer.running_var, norm.running_var)
    assert layer.alpha.grad is None


@st.composite
def geometries(draw: st.DrawFn, axes: int) -> dict[str, object]:
    groups, per_group, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pick = st.tuples(*[st.integers(1, 3)] * axes)
    return {
        "in_channels": groups * per_group,
        "out_channels": groups * outputs,
        "kernel_size": draw(pick),
        "stride": draw(pick),
        "padding": draw(st.tuples(*[st.integers(0, 2)] * axes)),
        "dilation": draw(st.tuples(*[st.integers(1, 2)] * axes)),
        "groups": groups,
    }


@settings(max_examples=60)
@given(st.data(), st.sampled_from([1, 2]), st.sampled_from([torch.uint8, torch.int8]), st.integers(0, 99))
def test_sums_are_exact(data: st.DataObject, axes: int, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    layer = (BinaryConv1d if axes == 1 else BinaryConv2d)(**data.draw(geometries(axes)), batch_norm=True)
    x = images(data.draw(st.sampled_from([1, 20])), (layer.in_channels, *[7] * axes), seed, dtype)
    layer.running_mean.uniform_(-9, 9)
    layer.beta.data.normal_()
    kernel, stride, dilation = ((1,) * (2 - axes) + v for v in (layer.kernel_size, layer.stride, layer.dilation))
    pads = (0,) * (2 - axes) + layer.padding
    signs = np.where(layer.weight.detach().numpy() >= 0, 1, -1).reshape(*layer.weight.shape[:2], *kernel)
    window = Window(kernel, stride, (*pads, *pads), dilation)
    acc = by_hand(x.numpy().reshape(len(x), -1, *[1] * (2 - axes), *[7] * axes), signs, window, layer.groups, np.float64)
    scale, shift = (vector.numpy().reshape(-1, 1, 1) for vector in layer.affine())
    with torch.no_grad():
        got = layer.eval()(x).numpy()
    assert np.array_equal(got, (acc.astype(np.float32) * scale + shift).reshape(got.shape))


def test_sums_of_a_batch_that_libraries_would_transform() -> None:
    # NNPACK's Winograd transform rounds at this size; with oneDNN off torch would take it for float32.
    torch.manual_seed(0)
    x = torch.randint(0, 256, (32, 64, 8, 8), dtype=torch.uint8)
    layer = BinaryConv2d(64, 16, 3, padding=1).eval()
    exact = functional.conv2d(x.double(), torch.where(layer.weight >= 0, 1.0, -1.0).double(), padding=1)
    sums = ConvSums(torch.where(layer.weight >= 0, 1, -1).to(torch.int8), (1, 1), (1, 1), (1, 1), 1)
    assert torch.equal(sums(x).double(), exact)
    before = torch._C._get_mkldnn_enabled()
    try:
        torch._C._set_mkldnn_enabled(False)
        assert torch.equal(sums(x).double(), exact)
    finally:
        torch._C._set_mkldnn_enabled(before)


@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated:DeprecationWarning:torch._dynamo")
def test_compiled() -> None:
    torch.manual_seed(0)
    model = settle(
        nn.Sequential(BinaryConv2d(3, 4, 3, batch_norm=True, pool=nn.MaxPool2d(2)), Sign(), BinaryConv2d(4, 4, 2, groups=4)), (3, 8, 8)
    )
    x = images(5, (3, 8, 8))
    assert torch.equal(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))


def conv(axes: int, fan_in: int, fan_out: int, kernel: int = 3, **options: object) -> nn.Module:
    return (BinaryConv1d if axes == 1 else BinaryConv2d)(fan_in, fan_out, kernel, **options)


def norm(axes: int, channels: int) -> nn.Module:
    return nn.BatchNorm1d(channels) if axes == 1 else nn.BatchNorm2d(channels)


def pool(axes: int, size: int = 2, **options: object) -> nn.Module:
    return nn.MaxPool1d(size, **options) if axes == 1 else nn.MaxPool2d(size, **options)


# What stands between two convolutions; each block takes 8 channels to 8.
ORDERS: dict[str, Callable[[int], list[nn.Module]]] = {
    "conv, pool, bn in one, sign": lambda a: [conv(a, 8, 8, padding=1, bias=False, batch_norm=True, pool=pool(a)), Sign()],
    "conv, pool, bn, sign": lambda a: [conv(a, 8, 8, padding=1), pool(a), norm(a, 8), Sign()],
    "conv, bn, sign, pool": lambda a: [conv(a, 8, 8, padding=1, batch_norm=True), Sign(), pool(a)],
    "conv, bn, pool, sign": lambda a: [conv(a, 8, 8, padding=1, batch_norm=True), pool(a), Sign()],
    "conv, pool, sign": lambda a: [conv(a, 8, 8), pool(a, 3, stride=2, padding=1), Sign()],
    "conv, bn, bn, hardtanh, sign": lambda a: [conv(a, 8, 8, batch_norm=True), norm(a, 8), nn.Hardtanh(), Sign()],
    "conv, bn, prelu, pool, bn, sign": lambda a: [conv(a, 8, 8, batch_norm=True), nn.PReLU(8), pool(a), norm(a, 8), Sign()],
    "conv, bn, relu, bn, sign": lambda a: [conv(a, 8, 8, batch_norm=True), nn.ReLU(), norm(a, 8), Sign()],
    "depthwise, bn, sign, 1x1": lambda a: [conv(a, 8, 8, groups=8, batch_norm=True), Sign(), conv(a, 8, 8, 1, batch_norm=True), Sign()],
    "dropout": lambda a: [nn.Dropout(0.3), conv(a, 8, 8, batch_norm=True), nn.Identity(), Sign()],
}
BITS8: dict[str, Callable[[int], list[nn.Module]]] = {
    "conv, pool, bn, relu": lambda a: [conv(a, 8, 8, padding=1), pool(a), norm(a, 8), nn.ReLU()],
    "conv, bn, relu, pool": lambda a: [conv(a, 8, 8, padding=1, batch_norm=True), nn.ReLU(), pool(a)],
    "conv, bn, pool, relu": lambda a: [conv(a, 8, 8, padding=1, batch_norm=True), pool(a), nn.ReLU()],
    "depthwise, bn, relu": lambda a: [conv(a, 8, 8, groups=8, batch_norm=True), nn.ReLU()],
}


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("order", [*ORDERS, *BITS8])
def test_every_order(tmp_path: Path, order: str, axes: int) -> None:
    torch.manual_seed(len(order) + axes)
    block = (ORDERS | BITS8)[order]
    first = [conv(axes, 3, 8, padding=1, batch_norm=True), nn.ReLU() if order in BITS8 else Sign()]
    body = nn.Sequential(*first, *block(axes), *block(axes), nn.Flatten())
    width = body.eval()(torch.zeros(1, 3, *[11] * axes)).shape[1]
    report = agree(tmp_path / "m.onnx", nn.Sequential(*body, BinaryLinear(width, 5, batch_norm=True)), (3, *[11] * axes), seed=axes)
    assert report.quantized == (order in BITS8)
    assert report.exact or "bn," in order


def test_batch_norm_first(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [norm(2, 3), Sign(), conv(2, 3, 8, bias=False), norm(2, 8), Sign(), conv(2, 8, 6), norm(2, 6), Sign(), nn.Flatten()]
    agree(tmp_path / "m.onnx", nn.Sequential(*layers, BinaryLinear(6 * 36, 4)), (3, 10, 10), dtype=torch.int8)
    # One multiply and one add stand between a convolution's sums and the next sign.
    assert operators(tmp_path / "m.onnx")[:7] == ["Mul", "Add", "BipolarQuant", "Conv", "Mul", "Add", "BipolarQuant"]


@settings(max_examples=20)
@given(st.data(), st.sampled_from([1, 2]), st.sampled_from(["sign", "relu"]), st.integers(0, 99))
def test_random_geometries(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, axes: int, kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    make = BinaryConv1d if axes == 1 else BinaryConv2d
    geometry = data.draw(geometries(axes))
    first = make(geometry["in_channels"], geometry["in_channels"], 1, batch_norm=True)
    act = Sign if kind == "sign" else nn.ReLU
    layers = [first, act(), make(**geometry, batch_norm=True), act(), nn.Flatten()]
    shape = (geometry["in_channels"], *[data.draw(st.integers(5, 9)) for _ in range(axes)])
    width = nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1]
    agree(tmp_path_factory.mktemp("export") / "m.onnx", nn.Sequential(*layers, BinaryLinear(width, 3)), shape, seed)


class Functions(nn.Module):
    """Pools, padding, concatenation and means as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(2, 3, 6, padding=1, batch_norm=True), conv(2, 3, 4, padding=1, batch_norm=True)
        self.c, self.sign, self.fc = conv(2, 10, 8, batch_norm=True), Sign(), BinaryLinear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([functional.max_pool2d(self.a(x), 2), functional.max_pool2d(self.b(x), kernel_size=2)], dim=1)
        x = functional.pad(self.sign(functional.hardtanh(x)), (1, 0, 2, 1), value=-1.0)
        x = functional.relu(self.c(x)).mean((2, 3))
        return self.fc(x)


def test_functions_and_branches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = agree(tmp_path / "m.onnx", Functions(), (3, 10, 10))
    assert report.quantized
    assert [op for op in operators(tmp_path / "m.onnx") if op in ("Concat", "Pad", "ReduceSum", "MaxPool")] == [
        "MaxPool",
        "MaxPool",
        "Concat",
        "Pad",
        "ReduceSum",
    ]


class Average(nn.Module):
    """Scores that are averages: of signs, of bytes or of sums."""

    def __init__(self, axes: int, behind: str, window: nn.Module, flat: int) -> None:
        super().__init__()
        self.first, self.sign, self.relu = conv(axes, 3, 8, padding=1, batch_norm=True), Sign(), nn.ReLU()
        self.second, self.window, self.behind, self.flatten = conv(axes, 8, 6, batch_norm=True), window, behind, nn.Flatten()
        self.fc = BinaryLinear(6 * flat, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.sign(self.first(x)))
        if self.behind == "sums":
            return self.flatten(self.window(x))
        x = self.flatten(self.window(self.sign(x) if self.behind == "signs" else self.relu(x)))
        return self.fc(self.sign(x) if self.behind == "signs" else x)


@pytest.mark.parametrize("behind", ["sums", "signs", "bytes"])
@pytest.mark.parametrize("window", ["global", "2", "3, padded"])
@pytest.mark.parametrize("axes", [1, 2])
def test_averages(tmp_path: Path, behind: str, window: str, axes: int) -> None:
    torch.manual_seed(0)
    average = nn.AvgPool1d if axes == 1 else nn.AvgPool2d
    if window == "global":
        layer: nn.Module = nn.AdaptiveAvgPool1d(1) if axes == 1 else nn.AdaptiveAvgPool2d(1)
        flat = 1
    else:
        layer, flat = (average(2), 3**axes) if window == "2" else (average(3, stride=2, padding=1), 4**axes)
    model = Average(axes, behind, layer, flat)
    if behind == "sums" and "padded" in window:
        with pytest.raises(LabcError, match="window: padded average pooling behind a shift"):
            export(settle(model, (3, *[9] * axes)), images(5, (3, *[9] * axes)), tmp_path / "m.onnx")
        return
    agree(tmp_path / "m.onnx", model, (3, *[9] * axes))
    sums = [module for module in quantize(model, images(5, (3, *[9] * axes))).layers if isinstance(module, SumPool)]
    assert len(sums) == 1


def test_concat_of_sums_of_different_scales_and_of_bytes(tmp_path: Path) -> None:
    class Join(nn.Module):
        def __init__(self, early: bool) -> None:
            super().__init__()
            self.a, self.b, self.fc = conv(2, 3, 4, batch_norm=True), conv(2, 3, 3), BinaryLinear(7 * 36, 4)
            self.relu, self.early, self.flatten = nn.ReLU(), early, nn.Flatten()

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x), self.b(x)
            x = self.relu(torch.cat((a, b), 1)) if self.early else torch.cat((self.relu(a), self.relu(b)), 1)
            return self.fc(self.flatten(x))

    torch.manual_seed(0)
    agree(tmp_path / "m.onnx", Join(True), (3, 8, 8))
    agree(tmp_path / "m.onnx", Join(False), (3, 8, 8))


def test_concat_in_front_of_a_sign(tmp_path: Path) -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.tanh, self.sign = conv(2, 3, 4, batch_norm=True), conv(2, 3, 3), nn.Hardtanh(), Sign()
            self.flatten, self.fc = nn.Flatten(), BinaryLinear(7 * 36, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.flatten(self.sign(torch.cat((self.tanh(self.a(x)), self.b(x)), 1))))

    torch.manual_seed(0)
    report = agree(tmp_path / "m.onnx", Join(), (3, 8, 8))
    assert report.exact
    assert not report.quantized


@pytest.mark.parametrize("signs", [True, False])
def test_it_trains(signs: bool) -> None:
    torch.manual_seed(0)
    act = Sign if signs else nn.ReLU
    model = nn.Sequential(
        BinaryConv2d(1, 8, 3, padding=1, bias=False, batch_norm=True, pool=nn.MaxPool2d(2)),
        act(),
        BinaryConv2d(8, 8, 3, bias=False, batch_norm=True),
        act(),
        nn.Flatten(),
        BinaryLinear(32, 3, bias=False, batch_norm=True),
    )
    x, y = images(60, (1, 8, 8)), torch.arange(60) % 3
    for digit in range(3):
        x[y == digit, :, 2 * digit : 2 * digit + 4] //= 4
    targets = 2.0 * functional.one_hot(y) - 1
    optimizer, losses = LAB(model, lr=0.01), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = functional.relu(1 - model(x) * targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    layer = model[0]
    assert float(layer.weight.detach().abs().max()) <= 1
    assert float(layer.alpha) != pytest.approx(float(layer.weight.detach().abs().mean()), rel=1e-6)


class Kinds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.sign = conv(2, 6, 4), Sign()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.cat([self.sign(x), x], 1))


class Shared(nn.Module):
    """Sums with scales of both signs, which a max pool and a sign read: the pool cannot turn the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.average, self.sign = conv(2, 3, 4, batch_norm=True), nn.MaxPool2d(2), nn.AvgPool2d(3), Sign()
        self.conv.gamma.data[:] = torch.tensor([1.0, -1.0, 1.0, 1.0])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.cat([self.sign(self.average(self.pool(x))), self.sign(x)], 1)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: BinaryConv2d(0, 4, 3), "0 to 4 channels; both must be at least 1"),
        (lambda: BinaryConv2d(3, 4, 3, groups=2), "3 to 4 channels in 2 groups; both must be multiples of groups"),
        (lambda: BinaryConv2d(4, 3, 3, groups=2), "must be multiples of groups"),
        (lambda: BinaryConv2d(3, 4, 3, padding_mode="reflect"), "padding_mode is 'reflect'; use 'zeros'"),
        (lambda: BinaryConv2d(3, 4, 3, padding="same"), "padding is 'same'; give 2 whole number"),
        (lambda: BinaryConv1d(3, 4, (3, 3)), r"kernel_size is \(3, 3\); give 1 whole number"),
        (lambda: BinaryConv2d(3, 4, 3, stride=0), "stride is 0"),
        (lambda: BinaryConv2d(3, 4, 3, pool=nn.AvgPool2d(2)), "pool is AvgPool2d; it must be an nn.MaxPool2d"),
        (lambda: BinaryConv2d(3, 4, 3, eps=0.0), "BinaryConv2d: eps is 0.0"),
        (lambda: BinaryConv2d(3, 4, 3)(torch.rand(1, 4, 8, 8)), r"the layer expects \[batch, 3, height, width\]"),
    ],
)
def test_errors_of_the_layers(make: Callable[[], object], text: str) -> None:
    with pytest.raises(LabcError, match=text):
        make()


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (nn.Sequential(conv(2, 4, 4)), r"0: its input has shape \(1, 3, 8, 8\), the layer expects 4 channels"),
        (nn.Sequential(nn.Flatten(), conv(2, 3, 4)), "1: its input has shape .* the layer expects 3 channels of height x width"),
        (nn.Sequential(conv(2, 3, 4, 9)), "0: ConvSums cannot take .*; make their shapes fit"),
        (nn.Sequential(conv(2, 3, 4), conv(2, 4, 4)), "1: its input is float; put a Sign"),
        (nn.Sequential(conv(2, 3, 4), nn.MaxPool2d(2, ceil_mode=True)), "1: max pooling with ceil_mode=True"),
        (nn.Sequential(conv(2, 3, 4, pool=nn.MaxPool2d(2, ceil_mode=True))), "0: max pooling with ceil_mode=True"),
        (nn.Sequential(conv(2, 3, 4), nn.AvgPool2d(2, ceil_mode=True)), "1: average pooling with ceil_mode=True"),
        (nn.Sequential(conv(2, 3, 4), nn.AvgPool2d(2, padding=1, count_include_pad=False)), "1: .*count_include_pad=False"),
        (nn.Sequential(conv(2, 3, 4), nn.AvgPool2d(2, divisor_override=3)), "1: average pooling with divisor_override"),
        (nn.Sequential(conv(2, 3, 4), nn.AdaptiveAvgPool2d(2)), "1: adaptive pooling to 2; only to 1"),
        (
            nn.Sequential(conv(2, 3, 4), nn.ReLU(), Sign(), nn.ConstantPad2d(1, 0.0)),
            "3: pads sign values with 0.0; .* use the convolution's",
        ),
        (nn.Sequential(conv(2, 3, 4), nn.ConstantPad2d(1, 1.0)), "1: pads i32 values with 1.0; pad signs"),
        (nn.Sequential(conv(2, 3, 4), nn.Softmax(1)), "1: torch.nn.*Softmax cannot be exported; use BinaryLinear, BinaryConv1d"),
        (nn.Sequential(conv(2, 3, 4), nn.BatchNorm2d(5)), "1: "),
        (nn.Sequential(conv(2, 3, 4), Sign()), r"1: the network's output has shape \(1, 4, 6, 6\); it must end in float scores"),
        (Kinds(), "cat: joins values of different kinds \\(sign, u8\\); put a Sign"),
        (Shared(), "average: it averages float values"),
    ],
)
def test_errors_of_the_export_leave_nothing(tmp_path: Path, model: nn.Module, text: str) -> None:
    with pytest.raises(LabcError, match=text):
        export(model, images(3, (3, 8, 8)), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_sums_past_what_float32_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabcError, match=r"0: sums up to 16777470, float32 counts exactly to 16777216; use at most 65793 taps times"):
        export(nn.Sequential(BinaryConv1d(1, 1, 65794)), images(1, (1, 65794)), tmp_path / "m.onnx")
    average = nn.Sequential(BinaryConv1d(1, 1, 1000), nn.AvgPool1d(100))
    with pytest.raises(LabcError, match=r"1: sums up to 25500000, .* average fewer pixels"):
        export(average, images(1, (1, 1100)), tmp_path / "m.onnx")


@pytest.mark.parametrize("enabled", [True, False])
def test_evaluation_passes_a_gradient_to_the_input(enabled: bool) -> None:
    layer, x = BinaryConv2d(3, 4, 3).eval(), torch.rand(2, 3, 6, 6).round().requires_grad_()
    before = torch._C._get_mkldnn_enabled()
    try:
        torch._C._set_mkldnn_enabled(enabled)
        layer(x).sum().backward()
    finally:
        torch._C._set_mkldnn_enabled(before)
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize("axes", [1, 2])
def test_plain_convolutions_are_counted(tmp_path: Path, axes: int) -> None:
    torch.manual_seed(0)
    make = nn.Conv1d if axes == 1 else nn.Conv2d
    layers = [make(3, 6, 3, padding=1, bias=False), pool(axes), norm(axes, 6), nn.ReLU(), make(6, 4, 3, stride=2), nn.ReLU(), nn.Flatten()]
    model, shape = settle(nn.Sequential(*layers, nn.Linear(4 * 2**axes, 5)), (3, *[11] * axes)), (3, *[11] * axes)
    report = export(model, images(20, shape), tmp_path / "m.onnx")
    assert not report.exact
    assert not report.quantized
    with torch.no_grad():
        expected = model(images(20, shape).float()).numpy()
    np.testing.assert_allclose(runtime(tmp_path / "m.onnx", images(20, shape), 99), expected, rtol=1e-3, atol=1e-3)


def test_a_negative_slope_in_front_of_a_sign_is_refused(tmp_path: Path) -> None:
    """The sign would not be a comparison with one number; build would refuse the file."""
    model = nn.Sequential(conv(2, 3, 4, batch_norm=True), nn.PReLU(init=-0.5), Sign(), nn.Flatten(), BinaryLinear(4 * 81, 3))
    with pytest.raises(LabcError, match=r"1: a slope of -0.5 in front of a sign, which then falls and rises; clamp"):
        export(model, torch.zeros(2, 3, 11, 11, dtype=torch.uint8), tmp_path / "m.onnx")
