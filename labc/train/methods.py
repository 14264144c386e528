"""How a network is binarized, by name: what its layers are and what optimizes them. A new method is a new row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from labc.errors import LabcError
from labc.train.layers import BinaryLinear, Sign


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


def _sign(number: int) -> dict[str, nn.Module]:
    return {f"sign{number}": Sign()}


def _relu(number: int) -> dict[str, nn.Module]:
    return {f"relu{number}": nn.ReLU()}


@dataclass(frozen=True)
class Method:
    """`layer(number, in, out)` and `activation(number)` give named modules; `optimizer(model, lr)` what trains them."""

    layer: Callable[[int, int, int], dict[str, nn.Module]]
    activation: Callable[[int], dict[str, nn.Module]]
    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer]


METHODS: dict[str, Method] = {
    # loss-aware binarization, binary weights and activations
    "lab2": Method(_binary, _sign, _lab),
    # loss-aware binarization, binary weights; 8-bit activations after training
    "lab": Method(_binary, _relu, _lab),
    # full precision: float weights, ReLU, Adam; the baseline, not for the compiler
    "fp": Method(_float, _relu, _adam),
}


def method(name: str) -> Method:
    """The row of that name; LabcError if there is none."""
    if name not in METHODS:
        raise LabcError(f"--method {name}: no such method; choose one of {', '.join(METHODS)}")
    return METHODS[name]


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
