"""The steps of an exported network: exact arithmetic on integers, then one multiply and one add. Each is a few nodes of the file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from labc.train.convolution import convolve, per_channel
from labc.train.layers import affine

TOP = 255  # the largest 8-bit activation
LOW16, HIGH16 = -32768, 32767  # 16-bit activations
SLOPE_BITS = 8  # a PReLU on 16-bit activations multiplies by M / 2⁸


class Sums(nn.Module):
    """Exact sums of integers with ±1 weights: `weight` int8 [out, in], float32 [batch, in] → [batch, out]."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.float(), self.weight.float())


class ConvSums(nn.Module):
    """The same for a window that slides: `weight` int8 [N, C/groups, kh, kw] or [N, C/groups, k]; zeros outside the image."""

    weight: Tensor

    def __init__(self, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.stride, self.padding, self.dilation, self.groups = tuple(stride), tuple(padding), tuple(dilation), groups

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.stride, self.padding, self.dilation, self.groups)


class Affine(nn.Module):
    """x·scale + shift per channel: one float32 multiply, one float32 add; float32 [C]."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        return affine(x.float(), per_channel(self.scale, x.dim()), per_channel(self.shift, x.dim()))


class Requantize(nn.Module):
    """y = clamp((x·M + B + 2^(s−1)) >> s): `multiplier` M and `offset` B int64 [C], `shift` s; y stands for `step`·y.

    element "u8": uint8, clamped to 0…255, which is a ReLU. "i16": −32768…32767, as float32.
    """

    multiplier: Tensor
    offset: Tensor

    def __init__(self, multiplier: Tensor, offset: Tensor, shift: int, step: float, element: str = "u8") -> None:
        super().__init__()
        self.register_buffer("multiplier", multiplier)
        self.register_buffer("offset", offset)
        self.shift, self.step, self.element = shift, step, element

    def constants(self) -> tuple[Tensor, Tensor]:
        """(M·2^−s, B·2^−s + ½), float64 [C]: exact, and what `export` writes."""
        unit = 2.0**-self.shift
        return self.multiplier.double() * unit, self.offset.double() * unit + 0.5

    def range(self) -> tuple[int, int]:
        return (0, TOP) if self.element == "u8" else (LOW16, HIGH16)

    def forward(self, x: Tensor) -> Tensor:
        multiplier, offset = (per_channel(vector, x.dim()) for vector in self.constants())
        y = torch.floor(x.double() * multiplier + offset).clamp(*self.range())
        return y.to(torch.uint8) if self.element == "u8" else y.float()


class SumPool(nn.Module):
    """The sum of what a window covers, zeros outside; `kernel` None: of the whole image. An average is this and a scale."""

    def __init__(self, kernel: Sequence[int] | None, stride: Sequence[int] = (), padding: Sequence[int] = ()) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.kernel is None:
            return x.sum(tuple(range(2, x.dim())), keepdim=True)
        ones = torch.ones(x.shape[1], 1, *self.kernel)
        return convolve(x, ones, self.stride, self.padding, [1] * len(self.kernel), x.shape[1])


class Add16(nn.Module):
    """a + b of 16-bit activations of one step, saturating."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a + b).clamp(LOW16, HIGH16)


class PRelu16(nn.Module):
    """x where x ≥ 0, else (x·M + 128) >> 8, of 16-bit activations; `slopes` M int16 [C] in −256…256."""

    slopes: Tensor

    def __init__(self, slopes: Tensor) -> None:
        super().__init__()
        self.register_buffer("slopes", slopes)

    def forward(self, x: Tensor) -> Tensor:
        slopes = per_channel(self.slopes.float() / (1 << SLOPE_BITS), x.dim())
        return torch.floor(torch.where(x < 0, x * slopes, x) + 0.5).clamp(LOW16, HIGH16)


class Clip16(nn.Module):
    """min(max(x, low), high) of 16-bit activations, in steps."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


class Pad(nn.Module):
    """Signs with a border of `value` +1 or −1; `pads` as functional.pad takes them: left, right(, top, bottom)."""

    def __init__(self, pads: Sequence[int], value: int) -> None:
        super().__init__()
        self.pads, self.value = tuple(pads), value

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.pads, value=self.value)
