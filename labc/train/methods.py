"""How a network is binarized, by name: what its layers are and what optimizes them. A new method is a new row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from labc.errors import LabcError
from labc.train.convolution import BinaryConv1d, BinaryConv2d
from labc.train.layers import BinaryLinear, Sign

_BINARY_CONV = {1: BinaryConv1d, 2: BinaryConv2d}
_MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


def _lab(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    from labc.train.lab import LAB

    return LAB(model, lr=lr)


def _adam(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


def _binary(number: int, fan_in: int, fan_out: int) -> dict[str, nn.Module]:
    # Batch norm brings its own shift: a bias would be cancelled by it.
    return {f"fc{number}": BinaryLinear(fan_in, fan_out, bias=False, batch_norm=True)}


def _float(number: int, fan_in: int, fan_out: int) -> dict[str, nn.Module]:
    return {f"fc{number}": nn.Linear(fan_in, fan_out, bias=False), f"norm{number}": nn.BatchNorm1d(fan_out, eps=1e-4)}


def _binary_conv(number: int, axes: int, channels_in: int, channels_out: int, kernel: int, pool: int) -> dict[str, nn.Module]:
    pooling = _MAX_POOL[axes](pool) if pool > 1 else None
    make = _BINARY_CONV[axes]
    return {f"conv{number}": make(channels_in, channels_out, kernel, padding=kernel // 2, bias=False, batch_norm=True, pool=pooling)}


def _sign(number: int) -> dict[str, nn.Module]:
    return {f"sign{number}": Sign()}


def _relu(number: int) -> dict[str, nn.Module]:
    return {f"relu{number}": nn.ReLU()}


@dataclass(frozen=True)
class Method:
    """`layer(number, in, out)`, `conv(number, axes, in, out, kernel, pool)` and `activation(number)` give named modules;
    `optimizer(model, lr)` what trains them. A convolution keeps its input's extents; max pooling stands between it and its batch norm.
    conv is None where the method has none that could be exported.
    """

    layer: Callable[[int, int, int], dict[str, nn.Module]]
    conv: Callable[[int, int, int, int, int, int], dict[str, nn.Module]] | None
    activation: Callable[[int], dict[str, nn.Module]]
    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer]


METHODS: dict[str, Method] = {
    # loss-aware binarization, binary weights and activations
    "lab2": Method(_binary, _binary_conv, _sign, _lab),
    # loss-aware binarization, binary weights; 8-bit activations after training
    "lab": Method(_binary, _binary_conv, _relu, _lab),
    # full precision: float weights, ReLU, Adam; the baseline, not for the compiler
    "fp": Method(_float, None, _relu, _adam),
}


def method(name: str) -> Method:
    """The row of that name; LabcError if there is none."""
    if name not in METHODS:
        raise LabcError(f"--method {name}: no such method; choose one of {', '.join(METHODS)}")
    return METHODS[name]


def with_convolutions() -> list[str]:
    """The methods that `convnet` takes."""
    return [name for name, row in METHODS.items() if row.conv is not None]


def mlp(name: str, widths: Sequence[int]) -> nn.Sequential:
    """A multilayer perceptron of that method: widths[0] inputs, widths[-1] scores; batch norm after every linear layer, the last too.

    Layers are named fc1, sign1 (or relu1), fc2, …; weights are drawn from torch's generator. Raises LabcError for an unknown
    method, fewer than two widths, or a width below 1.
    """
    row = method(name)
    if len(widths) < 2 or min(widths) < 1:
        raise LabcError(f"widths {list(widths)}: at least an input and an output width, each at least 1")
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), 1):
        modules.update(row.layer(number, fan_in, fan_out))
        if number < len(widths) - 1:
            modules.update(row.activation(number))
    return nn.Sequential(modules)


def convnet(name: str, widths: Sequence[int], extents: Sequence[int], pools: Sequence[int], kernel: int = 3) -> nn.Sequential:
    """A convolutional network of that method, for inputs [batch, widths[0], *extents] with one or two extents; widths[-1] scores.

    `pools` has one number for each convolution (1: no pooling; n: max pooling over n, or n×n), whose outputs have the widths that follow
    the first; then the values are flattened, and linear layers lead to the widths that are left. Convolutions are kernel (×kernel),
    an odd number, with zeros around the image; the order is convolution, pooling, batch norm, activation (the paper's).
    Layers are named conv1, sign1 (or relu1), conv2, …, flatten, fc5, …; weights are drawn from torch's generator. Raises LabcError for an
    unknown method or one without convolutions, an even kernel, too few widths, a width below 1, and an image that the pools leave nothing
    of.
    """
    row = method(name)
    if row.conv is None:
        raise LabcError(f"--method {name}: has no convolutions that can be exported; choose one of {', '.join(with_convolutions())}")
    axes, convolutions = len(extents), len(pools)
    if axes not in (1, 2) or kernel < 1 or kernel % 2 == 0:
        raise LabcError(f"extents {list(extents)}, kernel {kernel}: one or two extents, and an odd kernel")
    if len(widths) < convolutions + 2 or min(widths) < 1:
        raise LabcError(f"widths {list(widths)}: an input, {convolutions} convolutions and an output at least, each at least 1")
    flat = widths[convolutions]
    for extent in extents:
        for pool in pools:
            extent //= pool
        flat *= extent
    if flat < 1:
        raise LabcError(f"pools {list(pools)}: nothing is left of {list(extents)}; pool less, or use larger inputs")
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), 1):
        if number <= convolutions:
            modules.update(row.conv(number, axes, fan_in, fan_out, kernel, pools[number - 1]))
        elif number == convolutions + 1:
            modules["flatten"] = nn.Flatten()
            modules.update(row.layer(number, flat, fan_out))
        else:
            modules.update(row.layer(number, fan_in, fan_out))
        if number < len(widths) - 1:
            modules.update(row.activation(number))
    return nn.Sequential(modules)
