"""8-bit activations, and the rule that 16-bit ones share: the choice of the shift and the step, channels at the edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train.fixedpoint import best_step, fixed_point, stream_step
from labc.train.graph import trace
from labc.train.integers import Affine, Requantize, Sums
from labc.train.layers import BinaryLinear, Sign
from labc.train.quantize import needs_quantizing, quantize


def rule(acc: int, multiplier: int, offset: int, shift: int, low: int = 0, high: int = 255) -> int:
    """The definition, in Python's integers."""
    return min(max((acc * multiplier + offset + (1 << (shift - 1))) >> shift, low), high)


def pixels(n: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6).map(lambda x: x * 10.0 ** -abs(int(x) % 9)), st.floats(-1e5, 1e5)), min_size=1, max_size=6),
    st.integers(1, 65793),
    st.sampled_from(["u8", "i16"]),
)
def test_fixed_point_stays_exact(channels: list[tuple[float, float]], features: int, element: str) -> None:
    bound = 255 * features
    low, high = (0, 255) if element == "u8" else (-32768, 32767)
    scale, offset = (torch.tensor(column, dtype=torch.float64) for column in zip(*channels, strict=True))
    try:
        multiplier, shift, bits = fixed_point("fc", scale, offset, bound, low, high)
    except LabcError:
        # Refused only where even s = 1 does not fit.
        assert float((scale.abs() * 2).max()) >= 2**30 or float((scale.abs() * bound + offset.abs()).max()) * 2 + 1 >= 2**51
        return
    assert 1 <= bits <= 50
    for m, b in zip(multiplier.tolist(), shift.tolist(), strict=True):
        assert abs(m) < 2**31
        assert bound * abs(m) + abs(b) + 2 ** (bits - 1) < 2**52
    layer = Requantize(multiplier, shift, bits, 1.0, element)
    assert layer.range() == (low, high)
    m64, b64 = (vector.numpy() for vector in layer.constants())
    for acc in (-bound, -bound // 3, -1, 0, 1, bound // 7, bound):
        y = np.clip(np.floor(acc * m64 + b64), low, high)
        assert y.tolist() == [rule(acc, m, b, bits, low, high) for m, b in zip(multiplier.tolist(), shift.tolist(), strict=True)]
        assert layer(torch.full((1, len(channels)), float(acc)))[0].tolist() == y.tolist()


def test_the_largest_shift_is_taken() -> None:
    scale, shift = torch.tensor([0.7, -0.01], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    multiplier, _, bits = fixed_point("fc", scale, shift, 1000)
    assert bits == 31
    assert multiplier.tolist() == [round(0.7 * 2**31), round(-0.01 * 2**31)]


def test_channels_that_never_or_always_saturate_cost_no_precision() -> None:
    scale = torch.tensor([1e-3, 0.0, 1e5, 1e5], dtype=torch.float64)
    shift = torch.tensor([0.0, 3.0, -1e30, 1e30], dtype=torch.float64)
    multiplier, offset, bits = fixed_point("fc", scale, shift, 1000)
    assert multiplier.tolist()[1:] == [0, 0, 0]
    assert bits > 38
    assert [rule(1000, m, b, bits) for m, b in zip(multiplier.tolist(), offset.tolist(), strict=True)] == [1, 3, 0, 255]


def test_the_step_is_the_best_of_the_candidates() -> None:
    assert best_step(torch.zeros(4, 4, dtype=torch.float64)) == 1.0
    even = torch.arange(256, dtype=torch.float64)
    assert best_step(even) == 1.0
    outlier = torch.cat([torch.rand(10000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.tensor([1.2])])
    assert best_step(outlier) < 1.2 / 255


def trained(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(
        BinaryLinear(64, 40, batch_norm=True), nn.ReLU(), BinaryLinear(40, 30), nn.BatchNorm1d(30), nn.ReLU(), BinaryLinear(30, 5)
    )
    for number in range(30):
        model(pixels(100, 64, number))
    return model.eval()


def test_a_network_of_it() -> None:
    model, images = trained(), pixels(400, 64, 99)
    quantized = quantize(model, images)
    assert [type(module) for module in quantized.layers] == [Sums, Requantize, Sums, Requantize, Sums, Affine]
    assert quantized.names == ("0", "0.requantize", "2", "2.requantize", "5", "5.affine")
    with torch.no_grad():
        exact, rounded = model(images), quantized(images)
    assert float((exact - rounded).abs().max()) < 0.02 * float(exact.abs().max())
    assert torch.equal(quantize(model, images)(images), rounded)
    assert not quantized.train().layers[0].training
    assert model[0].weight.requires_grad
    assert torch.equal(quantize(quantized, images)(images), rounded)


def test_rule_matches_integers_inside_a_network() -> None:
    model, images = trained(1), pixels(20, 64, 5)
    sums, layer = quantize(model, images).layers[:2]
    assert isinstance(layer, Requantize)
    acc = images.numpy().astype(int) @ sums.weight.numpy().astype(int).T
    m, b = layer.multiplier.tolist(), layer.offset.tolist()
    expected = [[rule(int(value), m[c], b[c], layer.shift) for c, value in enumerate(row)] for row in acc]
    assert layer(sums(images)).tolist() == expected


def test_dead_and_negative_channels() -> None:
    model = trained(2)
    model[0].gamma.data[:5], model[0].gamma.data[5:20] = 0, -1
    model[0].beta.data[:2] = 1
    images = pixels(200, 64, 7)
    with torch.no_grad():
        assert float((model(images) - quantize(model, images)(images)).abs().max()) < 0.05 * float(model(images).abs().max())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m[0].running_var.fill_(-1.0), "0: the scale of channel 0 is not finite"),
        (lambda m: m[3].running_mean.fill_(float("nan")), "3.running_mean: 30 of 30"),
    ],
)
def test_errors_name_the_layer(change: object, text: str) -> None:
    model = trained(3)
    change(model)  # type: ignore[operator]
    with pytest.raises(LabcError, match=text):
        quantize(model, pixels(50, 64))


def test_a_channel_unseen_in_calibration_and_huge_is_refused() -> None:
    model = trained(4)
    model[0].gamma.data[3], model[0].beta.data[3] = 1e12, -1e12
    model[0].running_mean[3] = 0
    with pytest.raises(LabcError, match="channel 3 multiplies its sum"):
        quantize(model, torch.zeros(20, 64, dtype=torch.uint8))


def test_a_huge_gamma_for_every_channel_is_only_another_step() -> None:
    model = trained(3)
    model[0].gamma.data.fill_(1e35)
    assert quantize(model, pixels(50, 64)).layers[1].step > 1e30


def test_a_layer_that_calibration_never_wakes_keeps_its_range() -> None:
    layer = BinaryLinear(2, 1, bias=True)
    layer.weight.data.fill_(1)
    layer.alpha.data.fill_(1e12)
    layer.bias.data.fill_(-100e12)
    quantized = quantize(nn.Sequential(layer, nn.ReLU(), BinaryLinear(1, 1)), torch.zeros(3, 2, dtype=torch.uint8)).layers[:2]
    assert quantized[1].step == pytest.approx((2 * 255 - 100) * 1e12 / 255)
    assert nn.Sequential(*quantized)(torch.tensor([[50, 50], [250, 55], [255, 255]], dtype=torch.uint8)).flatten().tolist() == [0, 127, 255]


def test_a_last_scale_past_float32_is_refused() -> None:
    model = trained(5)
    model[0].gamma.data.fill_(1e30)
    model[3].weight.data.fill_(1e30)
    with pytest.raises(LabcError, match="5: channel 0 leaves float32"):
        quantize(model, pixels(50, 64))


def test_int8_inputs_reach_128_only() -> None:
    quantize(nn.Sequential(BinaryLinear(2**17, 1), nn.ReLU(), BinaryLinear(1, 1)), torch.full((1, 2**17), -128, dtype=torch.int8))


def test_float_inputs_are_refused() -> None:
    with pytest.raises(LabcError, match="uint8 or int8"):
        quantize(trained(), torch.rand(3, 64))


@settings(max_examples=60)
@given(st.floats(1e-20, 1e20))
def test_a_stream_s_step_is_the_finest_that_fits(peak: float) -> None:
    step = stream_step(peak)
    assert peak <= step * 2**14 < 2 * peak
    assert np.frexp(step)[0] == 0.5


def test_needs_quantizing() -> None:
    cases = [
        (nn.Sequential(BinaryLinear(4, 4), nn.ReLU(), BinaryLinear(4, 2)), True),
        (nn.Sequential(BinaryLinear(4, 4), nn.ReLU(), Sign(), BinaryLinear(4, 2)), False),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), False),
        (nn.Sequential(BinaryLinear(4, 4), nn.PReLU(), BinaryLinear(4, 2)), True),
    ]
    for model, needed in cases:
        assert needs_quantizing(trace(model)) == needed
    assert needs_quantizing(quantize(trained(), pixels(50, 64)))


def test_it_is_frozen_and_the_model_is_not() -> None:
    model = nn.Sequential(BinaryLinear(4, 4), nn.PReLU(4), Sign(), BinaryLinear(4, 2))
    steps = quantize(model, pixels(5, 4))
    assert not steps(pixels(5, 4)).requires_grad
    assert all(parameter.requires_grad for name, parameter in model.named_parameters() if "alpha" not in name)
