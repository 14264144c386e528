"""Binary convolutions: the layers of `labc.train.layers` that slide over a row or an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from labc.errors import LabcError
from labc.train.layers import ChannelLayer, affine, signs


def convolve(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> Tensor:
    """Exact sums of integers, float32 [batch, N, …]: x [batch, C, …] with weight ±1 [N, C/groups, …], zeros outside.

    Exact while every sum stays below 2²⁴. oneDNN adds products directly, so float32 does; elsewhere a library may choose Winograd's
    or Fourier's algorithm, which rounds on the way (NNPACK does, measured: 3x3, batch 32, 128 channels), and float64 leaves so much
    room that rounding to the nearest integer takes the error away. A gradient passes as through any convolution.
    """
    slide = functional.conv2d if x.dim() == 4 else functional.conv1d
    if _adds_products(x, weight):
        return slide(x.float(), weight.float(), None, stride, padding, dilation, groups)
    sums = slide(x.double(), weight.double(), None, stride, padding, dilation, groups)
    return (sums + (torch.round(sums) - sums).detach()).float()


def _adds_products(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's convolution of float32 is known to be a plain sum of products: oneDNN's, which is not used where depthwise."""
    if torch.compiler.is_compiling():  # cannot ask what is enabled
        return False
    return x.device.type == "cpu" and weight.shape[1] > 1 and torch._C._has_mkldnn and torch._C._get_mkldnn_enabled()


def per_channel(values: Tensor, dimensions: int) -> Tensor:
    """values [C] shaped to meet [batch, C, …] of so many dimensions."""
    return values.reshape(-1, *[1] * (dimensions - 2))


def _tuple(value: int | Sequence[int], count: int, what: str, least: int) -> tuple[int, ...]:
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count or not all(isinstance(v, int) and v >= least for v in values):
        raise LabcError(f"{what} is {value!r}; give {count} whole number(s) of at least {least}, or one for all axes")
    return values


class _BinaryConv(ChannelLayer):
    """What both convolutions share; `axes` is 1 or 2."""

    axes: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        batch_norm: bool = False,
        pool: nn.Module | None = None,
        padding_mode: str = "zeros",
        eps: float = 1e-4,
        momentum: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        me = type(self).__name__
        if in_channels < 1 or out_channels < 1:
            raise LabcError(f"{me}: {in_channels} to {out_channels} channels; both must be at least 1")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise LabcError(f"{me}: {in_channels} to {out_channels} channels in {groups} groups; both must be multiples of groups")
        if padding_mode != "zeros":
            raise LabcError(
                f"{me}: padding_mode is {padding_mode!r}; use 'zeros', or padding=0 behind functional.pad of the signs with value 1 or -1"
            )
        if pool is not None and type(pool) is not (nn.MaxPool2d if self.axes == 2 else nn.MaxPool1d):
            raise LabcError(f"{me}: pool is {type(pool).__name__}; it must be an nn.MaxPool{self.axes}d, others stand behind the layer")
        kernel = _tuple(kernel_size, self.axes, f"{me}: kernel_size", 1)
        taps = 1
        for extent in kernel:
            taps *= extent
        shape, fans = (out_channels, in_channels // groups, *kernel), (in_channels // groups * taps, out_channels // groups * taps)
        super().__init__(shape, fans, bias, batch_norm, eps, momentum, device, dtype)
        self.in_channels, self.out_channels, self.kernel_size, self.groups = in_channels, out_channels, kernel, groups
        self.stride = _tuple(stride, self.axes, f"{me}: stride", 1)
        self.padding = _tuple(padding, self.axes, f"{me}: padding", 0)
        self.dilation = _tuple(dilation, self.axes, f"{me}: dilation", 1)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 + self.axes or x.shape[1] != self.in_channels:
            raise LabcError(
                f"{type(self).__name__}({self.in_channels}, {self.out_channels}): the input has shape {tuple(x.shape)}; "
                f"the layer expects [batch, {self.in_channels}, {'height, width' if self.axes == 2 else 'length'}]"
            )
        if not self.training:
            return self._evaluate(x)
        if not x.is_floating_point():
            x = x.to(self.weight.dtype)
        slide = functional.conv2d if self.axes == 2 else functional.conv1d
        z = slide(x, self.binarized(), self.bias, self.stride, self.padding, self.dilation, self.groups)
        return self.normalized(z if self.pool is None else self.pool(z))

    def _evaluate(self, x: Tensor) -> Tensor:
        # Autocast would run the sums in bfloat16, which holds integers only up to 256.
        with torch.autocast(x.device.type, enabled=False):
            acc = convolve(x, signs(self.weight.detach()), self.stride, self.padding, self.dilation, self.groups)
            acc = acc if self.pool is None else self.pool(acc)
            scale, shift = (per_channel(vector, acc.dim()) for vector in self.affine())
            return affine(acc, scale, shift).to(self.weight.dtype)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{text}, dilation={self.dilation}, groups={self.groups}, bias={self.bias is not None}, batch_norm={self.batch_norm}"


class BinaryConv2d(_BinaryConv):
    """A convolution (`torch.nn.Conv2d`'s arguments) with weights ±α, and, if wished, max pooling and its own batch norm.

    Training: z = conv(x, α sign(w)) + bias, then (pool) max pooling, then (batch_norm) batch norm over the batch, as in
    `torch.nn.BatchNorm2d`; conv → pool → batch norm is the paper's order. Evaluation computes what `labc.train.export` writes: exact
    integer sums (zeros outside the image; float32 holds them while taps·channels·max|x| ≤ 2²⁴), pooled, then one multiply and one add
    per channel. In evaluation a gradient reaches the input only.

    x: [batch, in_channels, height, width], any float type, uint8 or int8 (integers are cast). Returns [batch, out_channels, height',
    width']. groups = in_channels makes it depthwise. Latent weights start uniform in ±√(1.5/(fan_in + fan_out)), the paper's code;
    one α per layer. Raises LabcError for sizes below 1, channels that groups do not divide, a padding_mode other than zeros, a pool
    other than nn.MaxPool2d, eps ≤ 0, and an input of another shape.
    """

    axes = 2


class BinaryConv1d(_BinaryConv):
    """`BinaryConv2d` over a row: x [batch, in_channels, length] → [batch, out_channels, length']; pool is an nn.MaxPool1d."""

    axes = 1
