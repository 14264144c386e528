"""What a forward may do besides calling modules: each function or method of torch as the module that does the same."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from labc.errors import LabcError

_SHAPE_METHODS = ("size", "dim")
_CASTS = ("float", "contiguous")
_FLATTEN_METHODS = ("view", "reshape")
_ADDS = ("add", "iadd", "add_")
_CONCATS = ("cat", "concat", "concatenate")


class Add(nn.Module):
    """a + b, of one shape."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if a.shape != b.shape:
            raise LabcError(f"adds {tuple(a.shape)} and {tuple(b.shape)}")
        return a + b


class Concat(nn.Module):
    """Channels one after the other: torch.cat(…, dim=1)."""

    def forward(self, *values: Tensor) -> Tensor:
        return torch.cat(values, 1)


class Mean(nn.Module):
    """The mean over all axes behind the channels, which stay as axes of 1 or vanish."""

    def __init__(self, dims: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self.dims, self.keepdim = dims, keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=self.keepdim)


def is_shape(node: fx.Node, shapes: set[fx.Node]) -> bool:
    """Whether the node is the shape of a value, or a number out of one."""
    if node.op == "call_method" and node.target in _SHAPE_METHODS:
        return True
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] == "shape"
    return node.target is operator.getitem and node.args[0] in shapes


def operands(node: fx.Node) -> list[fx.Node]:
    """The values that the node computes with: its first argument, both of a sum, all of a concatenation."""
    first = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("tensors"))
    if isinstance(first, tuple | list):
        return [value for value in first if isinstance(value, fx.Node)]
    found = [first] if isinstance(first, fx.Node) else []
    if _called(node) in _ADDS:
        other = node.args[1] if len(node.args) > 1 else node.kwargs.get("other")
        found += [other] if isinstance(other, fx.Node) else []
    return found


def module_of(node: fx.Node, modules: dict[str, nn.Module], shapes: set[fx.Node]) -> nn.Module:
    """The module that does what the node does; LabcError if there is none."""
    if node.op == "call_module":
        return modules[str(node.target)]
    target = _called(node)
    made: nn.Module | None = None
    if target in ("relu", "relu_") and len(node.args) == 1:
        made = nn.ReLU()
    elif target in _CASTS or (target == "to" and node.args[1:] == (torch.float32,)) or _is_idle_dropout(node):
        made = nn.Identity()
    elif target in _FLATTEN_METHODS:
        made = nn.Flatten() if _flattens(node.args[1:], shapes) else None
    elif target in _ADDS:
        made = Add() if len(operands(node)) == 2 and node.kwargs.get("alpha", 1) == 1 else None
    elif target in _FUNCTIONS:
        names, make = _FUNCTIONS[target]
        arguments = dict(zip(names, node.args[1:], strict=False)) | {k: v for k, v in node.kwargs.items() if k not in ("input", "tensors")}
        if len(node.args) <= 1 + len(names) and set(arguments) <= set(names) and not _nodes(arguments):
            made = make(arguments)
    if made is None:
        raise LabcError(
            f"{node.name}: {node.op.removeprefix('call_')} {target}{node.args[1:]} has no place in an exported network; use layers of "
            "labc.train, nn.Linear, batch norm, pools, nn.ReLU, nn.PReLU, nn.Hardtanh, nn.Flatten, sums of two layers, and feed raw "
            "integers (no scaling or normalising in forward)"
        )
    return made


def _called(node: fx.Node) -> str:
    return str(node.target) if node.op != "call_function" else str(getattr(node.target, "__name__", node.target))


def _is_idle_dropout(node: fx.Node) -> bool:
    return _called(node) == "dropout" and (node.kwargs.get("training") is False or node.args[2:3] == (False,))


def _nodes(arguments: dict[str, Any]) -> bool:
    return any(isinstance(value, fx.Node) for value in arguments.values())


def _flattens(arguments: tuple[Any, ...], shapes: set[fx.Node]) -> bool:
    sizes = tuple(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], tuple | list) else arguments
    if len(sizes) != 2:
        return False
    batch, rest = sizes
    if batch in shapes:
        return rest == -1 or (isinstance(rest, int) and rest > 0)
    return bool(batch == -1) and isinstance(rest, int) and rest > 0


def _flatten(arguments: dict[str, Any]) -> nn.Module | None:
    return nn.Flatten() if arguments.get("start_dim", 0) == 1 and arguments.get("end_dim", -1) == -1 else None


def _hardtanh(arguments: dict[str, Any]) -> nn.Module | None:
    low, high = arguments.get("min_val", -1.0), arguments.get("max_val", 1.0)
    return nn.Hardtanh(low, high) if isinstance(low, int | float) and isinstance(high, int | float) and low < high else None


def _clamp(arguments: dict[str, Any]) -> nn.Module | None:
    low, high = arguments.get("min"), arguments.get("max")
    return None if low is None or high is None else _hardtanh({"min_val": low, "max_val": high})


def _concat(arguments: dict[str, Any]) -> nn.Module | None:
    return Concat() if arguments.get("dim", arguments.get("axis", 0)) == 1 else None


def _mean(arguments: dict[str, Any]) -> nn.Module | None:
    dims = arguments.get("dim", ())
    dims = tuple(sorted(dims)) if isinstance(dims, tuple | list) else (dims,)
    known = dims in ((2,), (-1,), (2, 3), (-2, -1))
    return Mean(dims, bool(arguments.get("keepdim", False))) if known else None


def _pad(arguments: dict[str, Any]) -> nn.Module | None:
    pads, value = tuple(arguments.get("pad", ())), arguments.get("value") or 0.0
    if arguments.get("mode", "constant") != "constant" or len(pads) not in (2, 4):
        return None
    return nn.ConstantPad1d(pads, value) if len(pads) == 2 else nn.ConstantPad2d(pads, value)


def _pool(make: Callable[..., nn.Module]) -> Callable[[dict[str, Any]], nn.Module]:
    return lambda arguments: make(**arguments)


_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

# torch's name → the arguments behind the value, and the module they make (None where it has no place).
_FUNCTIONS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], nn.Module | None]]] = {
    "flatten": (("start_dim", "end_dim"), _flatten),
    "hardtanh": (("min_val", "max_val", "inplace"), _hardtanh),
    "relu6": (("inplace",), lambda arguments: nn.Hardtanh(0.0, 6.0)),
    "clamp": (("min", "max"), _clamp),
    "clip": (("min", "max"), _clamp),
    "max_pool1d": (_MAX, _pool(nn.MaxPool1d)),
    "max_pool2d": (_MAX, _pool(nn.MaxPool2d)),
    "avg_pool1d": (_AVERAGE[:-1], _pool(nn.AvgPool1d)),
    "avg_pool2d": (_AVERAGE, _pool(nn.AvgPool2d)),
    "adaptive_avg_pool1d": (("output_size",), _pool(nn.AdaptiveAvgPool1d)),
    "adaptive_avg_pool2d": (("output_size",), _pool(nn.AdaptiveAvgPool2d)),
    "mean": (("dim", "keepdim"), _mean),
    "pad": (("pad", "mode", "value"), _pad),
} | dict.fromkeys(_CONCATS, (("dim", "axis"), _concat))
