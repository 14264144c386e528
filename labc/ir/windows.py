"""Windows that slide over images: what convolutions and pools have in common. Images are [C, H, W], or [C, L], which is one row high."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labc.ir.core import Array

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A kernel's size, its steps, what is added around the image (top, left, bottom, right), and the distance of its taps.

    Tap (a, b) of output pixel (i, j) is the input's pixel (i·stride + a·dilation − top, j·stride + b·dilation − left).
    """

    kernel: Pair
    stride: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    def __str__(self) -> str:
        text = "x".join(map(str, self.kernel))
        if self.stride != (1, 1):
            text += f" stride {'x'.join(map(str, self.stride))}"
        if self.pads != (0, 0, 0, 0):
            text += f" pads {','.join(map(str, self.pads))}"
        if self.dilation != (1, 1):
            text += f" dilation {'x'.join(map(str, self.dilation))}"
        return text

    @property
    def taps(self) -> int:
        """How many pixels a window covers."""
        return self.kernel[0] * self.kernel[1]

    def reach(self) -> Pair:
        """Rows and columns from a window's first tap to its last, both counted."""
        return (self.kernel[0] - 1) * self.dilation[0] + 1, (self.kernel[1] - 1) * self.dilation[1] + 1

    def output(self, height: int, width: int) -> Pair:
        """Height and width of the result (rounded down, as ONNX does with ceil_mode = 0); below 1 where the image is too small."""
        top, left, bottom, right = self.pads
        high, wide = self.reach()
        return (height + top + bottom - high) // self.stride[0] + 1, (width + left + right - wide) // self.stride[1] + 1

    def covers(self, height: int, width: int) -> bool:
        """Whether every window has a tap inside the image."""
        for extent, count, kernel, stride, dilation, before in zip(
            (height, width), self.output(height, width), self.kernel, self.stride, self.dilation, self.pads[:2], strict=True
        ):
            if (count - 1) * stride - before >= extent:
                return False
            start = np.arange(0, before, stride)[:count] - before  # the windows that begin outside
            tap = -(start // dilation)  # the first tap that is not above, or left of, the image
            if np.any(tap >= kernel) or np.any(start + tap * dilation >= extent):
                return False
        return True

    def views(self, x: Array, fill: int | float) -> Iterator[tuple[int, int, Array]]:
        """(a, b, what tap (a, b) of every output pixel sees: [batch, C, H', W']); `fill` outside the image. x: [batch, C, H, W]."""
        top, left, bottom, right = self.pads
        out_height, out_width = self.output(*x.shape[2:])
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill) if any(self.pads) else x
        for a in range(self.kernel[0]):
            for b in range(self.kernel[1]):
                y, z = a * self.dilation[0], b * self.dilation[1]
                rows = slice(y, y + (out_height - 1) * self.stride[0] + 1, self.stride[0])
                columns = slice(z, z + (out_width - 1) * self.stride[1] + 1, self.stride[1])
                yield a, b, padded[:, :, rows, columns]


def image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width) of a shape [C], [C, L] or [C, H, W]."""
    height, width = (1, 1, *shape[1:])[-2:]
    return shape[0], height, width


def images(x: Array) -> Array:
    """x [batch, C, …] as [batch, C, H, W]."""
    return x.reshape(len(x), *image(x.shape[1:]))


def channels(values: Array, rank: int) -> Array:
    """One value per channel, shaped to meet values [batch, C, …] of `rank` axes beside the batch."""
    return values.reshape(-1, *[1] * (rank - 1))


def convolve(x: Array, weights: Array, window: Window, groups: int, dtype: type[np.floating]) -> Array:
    """Exact sums of integers: x [batch, C, H, W] with weights [N, C/groups, kh, kw] → `dtype` [batch, N, H', W']; zeros outside.

    One product of matrices per tap and group, or where each output channel reads one input channel, one product per element.
    """
    count, per_group = weights.shape[0] // groups, weights.shape[1]
    out_height, out_width = window.output(*x.shape[2:])
    sums = np.zeros((len(x), weights.shape[0], out_height * out_width), dtype)
    for a, b, seen in window.views(x, 0):
        flat = np.ascontiguousarray(seen, dtype=dtype).reshape(len(x), x.shape[1], -1)
        taps = weights[:, :, a, b].astype(dtype)
        if per_group == 1:
            sums += np.repeat(flat, count, axis=1) * taps
            continue
        for g in range(groups):
            rows = slice(g * count, (g + 1) * count)
            sums[:, rows] += taps[rows] @ flat[:, g * per_group : (g + 1) * per_group]
    return sums.reshape(len(x), -1, out_height, out_width)
