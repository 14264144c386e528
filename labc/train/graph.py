"""A model as the exporter sees it: named steps that read each other's outputs, found with torch.fx, so branches and sums are welcome."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from labc.errors import LabcError
from labc.train.functions import is_shape, module_of, operands
from labc.train.layers import BinaryLayer, Sign

# The largest sum that float32 counts to one by one.
EXACT = 2**24
INPUT = ""  # what a step calls the network's input

_CHUNK = 1024  # inputs that are evaluated at once, fewer where their images are large
_ELEMENTS = 2**23  # of the largest value among the steps, for one chunk


@dataclass(frozen=True)
class Step:
    """One layer: its name in the model ("net.fc1"), its module, in evaluation mode, and the steps whose outputs it reads."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]


class Graph(nn.Module):
    """The steps in an order in which they can be computed, for evaluation only; `names[i]` is the name of `layers[i]`.

    `lowered`: the steps are those of an exported file (`labc.train.integers`), no longer the model's layers.
    x: [batch, …] integers (or floats). A layer of plain torch gets its input as float32.
    """

    def __init__(self, steps: Iterable[Step], output: str, lowered: bool = False) -> None:
        super().__init__()
        found = tuple(steps)
        self.names = tuple(step.name for step in found)
        self.inputs = tuple(step.inputs for step in found)
        self.layers = nn.ModuleList(step.module for step in found)
        self.output, self.lowered = output, lowered
        self.eval()

    def train(self, mode: bool = True) -> Graph:
        """Stays in evaluation mode: the steps are frozen arithmetic."""
        super().train(False)
        return self

    def steps(self) -> tuple[Step, ...]:
        return tuple(Step(*row) for row in zip(self.names, self.layers, self.inputs, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, lambda name, value: None)

    def run(self, x: Tensor, visit: Callable[[str, Tensor], None]) -> Tensor:
        """As `forward`; visit(name, value) sees each step's output. Raises LabcError naming the step where shapes do not fit."""
        uses = Counter(source for inputs in self.inputs for source in inputs)
        uses[self.output] += 1
        values = {INPUT: x}
        for step in self.steps():
            value = values[step.name] = apply(step, [values[source] for source in step.inputs])
            visit(step.name, value)
            for source in step.inputs:
                uses[source] -= 1
                if not uses[source]:
                    del values[source]
        return values[self.output]

    @torch.no_grad()
    def evaluate(self, inputs: Tensor) -> Tensor:
        """The scores of any number of inputs, float32, some at a time."""
        return torch.cat([self(part).float() for part in torch.split(inputs, self.chunk(inputs))])

    @torch.no_grad()
    def chunk(self, inputs: Tensor, most: int = _CHUNK, elements: int = _ELEMENTS) -> int:
        """How many inputs to evaluate at once, so that no value has more elements than that (32 MiB as float32)."""
        largest = 1

        def visit(name: str, value: Tensor) -> None:
            nonlocal largest
            largest = max(largest, value.numel())

        self.run(inputs[:1], visit)
        return max(1, min(most, elements // largest))


def apply(step: Step, values: list[Tensor]) -> Tensor:
    """The step's output; a layer of plain torch gets float32. Raises LabcError naming the step where it fails."""
    plain = type(step.module).__module__.startswith("torch.nn") and not isinstance(step.module, nn.Flatten)
    try:
        result: Tensor = step.module(*[x.float() if plain and not x.is_floating_point() else x for x in values])
    except (RuntimeError, ValueError, IndexError, LabcError) as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in values)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LabcError(f"{step.name}: {type(step.module).__name__} cannot take {shapes} ({reason}); make their shapes fit") from error
    return result


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        container = isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        ours = isinstance(m, BinaryLayer | Sign)
        return ours or (type(m).__module__.startswith(("torch.nn", "labc.train.integers")) and not container)


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside torch.compile's, DistributedDataParallel's or DataParallel's wrapper."""
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, nn.parallel.DistributedDataParallel | nn.DataParallel):
        inner = inner.module
    if not isinstance(inner, nn.Module):
        raise LabcError(f"export: got {type(inner).__name__}; pass a torch.nn.Module")
    return inner


def trace(model: nn.Module) -> Graph:
    """The graph of an evaluation copy of the model, on the CPU; Identity and Dropout vanish. The model is left as it is.

    Raises LabcError for a forward that torch.fx cannot follow, or that does something no step stands for.
    """
    inner = unwrap(model)
    if isinstance(inner, Graph):
        return inner
    inner = copy.deepcopy(inner).cpu().eval()
    try:
        graph = _Tracer().trace(inner)
    except Exception as error:  # the user's own code runs here, on stand-ins for tensors: it can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LabcError(
            f"{type(inner).__name__}: torch.fx cannot follow its forward ({reason}); "
            "write it as layers and sums of their outputs, without branches on data"
        ) from error
    return _walk(graph, dict(inner.named_modules()))


def _place(node: fx.Node) -> str:
    """What the node's step is called: its module's name, or its own behind the name of the module whose forward it stands in."""
    if node.op == "call_module":
        return str(node.target)
    around = [str(entry[0]) for entry in node.meta.get("nn_module_stack", {}).values()]
    return ".".join([*(path for path in around[-1:] if path), str(node.name)])


def _walk(graph: fx.Graph, modules: dict[str, nn.Module]) -> Graph:
    names: dict[fx.Node, str] = {}  # what each node's value is called: the step that made it
    steps: dict[str, Step] = {}
    shapes: set[fx.Node] = set()  # sizes of a value, as in x.view(x.size(0), -1)
    output: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "placeholder":
            if names:
                raise LabcError(f"forward: a second input {node.target!r}; labc exports networks with one input")
            names[node] = INPUT
        elif is_shape(node, shapes):
            shapes.add(node)
        elif node.op == "output":
            output = node.args[0]
        else:
            sources, module = operands(node), module_of(node, modules, shapes)
            if not sources or any(source not in names for source in sources):
                raise LabcError(f"{node.name}: it reads something other than the network's input and its layers; use layers of labc.train")
            if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d):
                names[node] = names[sources[0]]
                continue
            name = _place(node)
            name = name if name not in steps else f"{name}_{len(steps)}"
            names[node], steps[name] = name, Step(name, module, tuple(names[source] for source in sources))
    if not isinstance(output, fx.Node) or output not in names:
        raise LabcError("forward: it must return one tensor, the last layer's output; tuples and dictionaries are not exported")
    wanted = {names[output]}
    for step in reversed(steps.values()):
        wanted.update(step.inputs if step.name in wanted else ())
    return Graph((step for step in steps.values() if step.name in wanted), names[output])


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
