"""A model as the exporter sees it: a chain of named steps, found with torch.fx, so any straight-line forward will do."""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from labc.errors import LabcError
from labc.train.layers import BinaryLayer, Sign

# The largest sum that float32 counts to one by one.
EXACT = 2**24

_SHAPE_METHODS = ("size", "dim")
_CASTS = ("float", "contiguous")
_FLATTEN_METHODS = ("view", "reshape")


@dataclass(frozen=True)
class Step:
    """One layer: its name in the model ("net.fc1") and its module, in evaluation mode."""

    name: str
    module: nn.Module


class Chain(nn.Module):
    """The steps, one after the other, for evaluation only; `names[i]` is the name of `layers[i]`.

    x: [batch, …] integers (or floats). A layer of plain torch gets its input as float32.
    """

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self.names = tuple(step.name for step in steps)
        self.layers = nn.ModuleList(step.module for step in steps)
        self.eval()

    def train(self, mode: bool = True) -> Chain:
        """Stays in evaluation mode: the steps are frozen arithmetic."""
        super().train(False)
        return self

    def steps(self) -> tuple[Step, ...]:
        return tuple(Step(name, module) for name, module in zip(self.names, self.layers, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        for module in self.layers:
            if type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Flatten) and not x.is_floating_point():
                x = x.float()
            x = module(x)
        return x


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        container = isinstance(m, nn.Sequential | nn.ModuleList)
        ours = isinstance(m, BinaryLayer | Sign)
        return ours or (type(m).__module__.startswith(("torch.nn", "labc.train.quantize")) and not container)


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside torch.compile's, DistributedDataParallel's or DataParallel's wrapper."""
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, nn.parallel.DistributedDataParallel | nn.DataParallel):
        inner = inner.module
    if not isinstance(inner, nn.Module):
        raise LabcError(f"export: got {type(inner).__name__}; pass a torch.nn.Module")
    return inner


def trace(model: nn.Module) -> Chain:
    """The chain of an evaluation copy of the model, on the CPU; Identity and Dropout vanish. The model is left as it is.

    Raises LabcError for a forward that torch.fx cannot follow, that branches, or that does something no step stands for.
    """
    inner = unwrap(model)
    if isinstance(inner, Chain):
        return inner
    inner = copy.deepcopy(inner).cpu().eval()
    try:
        graph = _Tracer().trace(inner)
    except Exception as error:  # the user's own code runs here, on stand-ins for tensors: it can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LabcError(
            f"{type(inner).__name__}: torch.fx cannot follow its forward ({reason}); "
            "write it as a straight line of layers, without branches on data"
        ) from error
    return Chain(tuple(_walk(graph, dict(inner.named_modules()))))


def _walk(graph: fx.Graph, modules: dict[str, nn.Module]) -> list[Step]:
    steps: list[Step] = []
    current: fx.Node | None = None
    shapes: set[fx.Node] = set()  # sizes of the value, as in x.view(x.size(0), -1)
    for node in graph.nodes:
        if node.op == "placeholder":
            if current is not None:
                raise LabcError(f"forward: a second input {node.target!r}; labc exports networks with one input")
            current = node
            continue
        if _is_shape(node, shapes):
            shapes.add(node)
            continue
        source = node.args[0] if node.args else None
        if node.op == "output":
            if source is not current:
                raise LabcError("forward: it must return one tensor, the last layer's output; tuples and dictionaries are not exported")
            continue
        name = str(node.target) if node.op == "call_module" else str(node.name)
        if source is not current:
            raise LabcError(
                f"{name}: its input is not the output of the layer before; labc exports plain chains, without skips or branches"
            )
        module = _module(node, modules, shapes)
        current = node
        if isinstance(module, nn.Identity | nn.Dropout):
            continue
        taken = {step.name for step in steps}
        steps.append(Step(name if name not in taken else f"{name}_{len(steps)}", module))
    return steps


def _is_shape(node: fx.Node, shapes: set[fx.Node]) -> bool:
    if node.op == "call_method" and node.target in _SHAPE_METHODS:
        return True
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] == "shape"
    return node.target is operator.getitem and node.args[0] in shapes


def _module(node: fx.Node, modules: dict[str, nn.Module], shapes: set[fx.Node]) -> nn.Module:
    """The module that does what the node does."""
    if node.op == "call_module":
        return modules[str(node.target)]
    target = node.target if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    if target in ("relu", "relu_") and len(node.args) == 1:
        return nn.ReLU()
    if target in _CASTS or (target == "to" and node.args[1:] == (torch.float32,)):
        return nn.Identity()
    if target == "dropout" and (node.kwargs.get("training") is False or node.args[2:3] == (False,)):
        return nn.Identity()
    if target == "flatten":
        start, end = [*node.args[1:], *(node.kwargs.get(key) for key in ("start_dim", "end_dim") if key in node.kwargs), None, None][:2]
        if start == 1 and end in (None, -1):
            return nn.Flatten()
    if target in _FLATTEN_METHODS and _flattens(node.args[1:], shapes):
        return nn.Flatten()
    raise LabcError(
        f"{node.name}: {node.op.removeprefix('call_')} {target}{node.args[1:]} has no place in an exported network; use layers of "
        "labc.train, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Flatten, and feed raw integers (no scaling or normalising in forward)"
    )


def _flattens(arguments: tuple[Any, ...], shapes: set[fx.Node]) -> bool:
    sizes = tuple(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], tuple | list) else arguments
    if len(sizes) != 2:
        return False
    batch, rest = sizes
    if batch in shapes:
        return rest == -1 or (isinstance(rest, int) and rest > 0)
    return bool(batch == -1) and isinstance(rest, int) and rest > 0


def check_finite(step: Step) -> None:
    """Raises LabcError naming the layer and the parameter or statistic that holds NaN or infinity, or has less than float32."""
    for name, value in [*step.module.named_parameters(), *step.module.named_buffers()]:
        if value.dtype in (torch.float16, torch.bfloat16):
            kind = str(value.dtype).removeprefix("torch.")
            raise LabcError(f"{step.name}.{name}: {kind}, to which torch rounds every score; call model.float() first, and evaluate that")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise LabcError(
                f"{step.name}.{name}: {count} of {value.numel()} values are NaN or infinite; training diverged, "
                "go back to an earlier checkpoint or lower the learning rate"
            )


def check_input(x: Tensor, what: str = "example_input") -> None:
    """Raises LabcError unless x is a non-empty uint8 or int8 batch [batch, …]."""
    if x.dtype not in (torch.uint8, torch.int8):
        raise LabcError(
            f"{what}: {str(x.dtype).removeprefix('torch.')} values; an exported network takes uint8 or int8, so pass the raw integers "
            "(for images the pixels 0…255, not divided by 255) and train on the same"
        )
    if x.dim() < 2 or x.numel() == 0:
        raise LabcError(f"{what}: shape {tuple(x.shape)}; pass a batch with at least one input, [batch, features…]")
