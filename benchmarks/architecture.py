"""Networks for timing, as words: `784 2048 2048 2048 10`, or `3x32x32 c128 c128p c256 c256p c512 c512p 1024 1024 10`.

The first word is the input: features, or channels x height x width. Then a number is a dense layer of so many outputs, cN a convolution
of 3x3 with N outputs and a border of one zero, cNp the same with a 2x2 max pool directly behind it (before batch norm, as in the paper).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MLP = ("784", "2048", "2048", "2048", "10")
VGG = ("3x32x32", "c128", "c128p", "c256", "c256p", "c512", "c512p", "1024", "1024", "10")  # the paper's network for CIFAR-10
NAMED = {"mlp": MLP, "vgg": VGG}
KERNEL = 3


@dataclass(frozen=True)
class Layer:
    """`shape` of what it reads: (features,) of a dense layer, (channels, height, width) of a convolution."""

    name: str
    shape: tuple[int, ...]
    outputs: int
    pool: bool = False

    @property
    def convolves(self) -> bool:
        return len(self.shape) == 3

    @property
    def inputs(self) -> int:
        """Weights per output."""
        return self.shape[0] * KERNEL * KERNEL if self.convolves else self.shape[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with the border's zeros too."""
        return self.inputs * self.outputs * (self.shape[1] * self.shape[2] if self.convolves else 1)


@dataclass(frozen=True)
class Architecture:
    """The input's shape, and the layers in order; the last is dense."""

    shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights at one bit each."""
        return sum(layer.inputs * layer.outputs for layer in self.layers) // 8


def parse(words: Sequence[str]) -> Architecture:
    """What the words say. Raises ValueError naming the first that does not fit."""
    words = NAMED.get(words[0], words) if len(words) == 1 else words
    if len(words) < 2 or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*x[1-9]\d*)?", words[0]):
        raise ValueError(f"{' '.join(words)!r}: begin with the input, 784 or 3x32x32, and end with the outputs; or name mlp or vgg")
    shape = entry = tuple(int(extent) for extent in words[0].split("x"))
    layers: list[Layer] = []
    for number, word in enumerate(words[1:], 1):
        found = re.fullmatch(r"(c?)([1-9]\d*)(p?)", word)
        if found is None or (found[3] and not found[1]) or (found[1] and len(shape) != 3):
            raise ValueError(f"{word!r}: neither a dense layer (10) nor, on an image, a convolution (c128, c128p)")
        if found[1]:
            layers.append(Layer(f"conv{number}", shape, int(found[2]), bool(found[3])))
            halved = 2 if found[3] else 1
            shape = (int(found[2]), shape[1] // halved, shape[2] // halved)
            if min(shape) < 1:
                raise ValueError(f"{word!r}: nothing is left of the image")
        else:
            features = shape[0] if len(shape) == 1 else shape[0] * shape[1] * shape[2]
            layers.append(Layer(f"fc{number}", (features,), int(found[2])))
            shape = (int(found[2]),)
    if len(shape) != 1:
        raise ValueError(f"{words[-1]!r}: the last layer is dense")
    return Architecture(entry, tuple(layers))
