"""Write a trained network as plain ONNX, and count on the way that the file computes what torch computes, bit for bit."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train.files import replace
from labc.train.graph import Graph, check_input, trace, unwrap
from labc.train.integers import ConvSums, Requantize, Sums
from labc.train.layers import ChannelLayer
from labc.train.modes import AVERAGES
from labc.train.quantize import is_quantized, quantize
from labc.train.spelling import OUTPUT, spell

_WORK = 2**33  # products of convolutions that onnx's reference evaluator is given: some seconds, with the pools that belong to them
_PART = 2**21  # elements of the largest value for it: it holds all values, and 9 copies of a 3x3 convolution's input
_LEAST = 16  # inputs compared, whatever they cost
# Layers that torch computes in an order of its own; in the file they are part of a multiply and an add.
_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d)
_ROUNDED = (*_PLAIN, nn.BatchNorm1d, nn.BatchNorm2d, *AVERAGES)


@dataclass(frozen=True)
class ExportReport:
    """What was written and compared; `str()` is the text for the user.

    `inputs`: example inputs compared (of large convolutional networks not all that were given). `scores`: scores compared, of which
    `differing` have other bits in torch's evaluation than in the file run by onnx's reference evaluator. `exact`: only layers of which
    torch and the file compute the same bits, so `differing` is 0. With activations of `bits` 8 or 16 (`quantized`) torch's evaluation is
    that of `quantize`; then, for all `evaluated` example inputs, the largest and the mean absolute difference of the scores from those
    with float activations, and how many predictions changed.
    """

    path: str
    inputs: int
    scores: int
    differing: int
    exact: bool
    quantized: bool
    bits: int = 0
    evaluated: int = 0
    largest_difference: float = 0.0
    mean_difference: float = 0.0
    changed_predictions: int = 0

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.inputs} inputs, {self.scores} scores, {self.differing} differ between torch and the file"]
        if not self.exact:
            lines.append("plain torch layers round in an order of their own: differences in the last bits are expected")
        if self.quantized:
            lines.append(
                f"{self.bits}-bit activations against float ones: scores differ by at most {self.largest_difference:.4g} "
                f"(mean {self.mean_difference:.4g}); {self.changed_predictions} of {self.evaluated} predictions changed"
            )
        return "\n".join(lines)


@torch.no_grad()
def export(model: nn.Module, example_input: Tensor, path: str | os.PathLike[str], *, input_name: str = "input") -> ExportReport:
    """Write the model to `path` as ONNX (opset 20, batch dimension "batch", output "scores") and compare it with torch.

    model: labc and plain torch layers, in a line or with branches, sums and concatenations; it is not changed, and may be in training
    mode, compiled or on a GPU (the export works on an evaluation copy on the CPU). example_input: uint8 or int8 [batch, …] (images
    [batch, C, H, W] or [batch, C, L]), real inputs: they are compared, and they calibrate 8- and 16-bit activations (`quantize` runs by
    itself). A file at `path` is replaced at once or not at all; equal models give equal bytes.
    Raises LabcError naming the layer for anything the file could not hold exactly: unknown modules, values that are not finite,
    shapes that do not fit, sums past 2²⁴, scores past float32, and an unwritable path.
    """
    check_input(example_input)
    if input_name == OUTPUT or not input_name:
        raise LabcError(f"input_name: {input_name!r} is taken by the output or empty; choose another")
    inputs = example_input.cpu()
    plain = trace(model)
    if not _has(plain, (ChannelLayer, Sums, ConvSums, *_PLAIN)):
        raise LabcError("export: the network has no linear layer; give it at least one BinaryLinear or BinaryConv")
    lowered = quantize(plain, inputs)
    proto = spell(lowered, inputs[:1], input_name)
    _check_graph(model, plain, inputs[: plain.chunk(inputs)])
    onnx.checker.check_model(proto, full_check=True)
    quantized = is_quantized(lowered)
    compared = inputs[: _compared(lowered, inputs)]
    evaluated = inputs if quantized else compared
    all_floats, all_scores = plain.evaluate(evaluated), lowered.evaluate(evaluated)
    floats, scores = all_floats[: len(compared)], all_scores[: len(compared)]
    written = _reference(proto, compared, input_name, lowered.chunk(inputs, elements=_PART))
    differing = _differing(scores if quantized else floats, written)
    exact = not _has(plain, _PLAIN if quantized else _ROUNDED)
    # The steps and the file compute the same bits, unless torch sums floats.
    wrong = max(differing if exact else 0, 0 if _has(plain, _PLAIN) else _differing(scores, written))
    if wrong:
        raise LabcError(
            f"{path}: {wrong} scores differ between torch and the file, nothing was written; this is a bug in labc, please report"
        )
    replace(Path(path), proto.SerializeToString(deterministic=True))
    report = (str(path), len(compared), scores.numel(), differing, exact, quantized)
    if not quantized:
        return ExportReport(*report)
    bits = max(8 if module.element == "u8" else 16 for module in lowered.layers if isinstance(module, Requantize))
    distance = (all_scores.double() - all_floats.double()).abs()
    changed = int((all_scores.argmax(1) != all_floats.argmax(1)).sum())
    return ExportReport(*report, bits, len(inputs), float(distance.max()), float(distance.mean()), changed)


def _has(graph: Graph, kinds: tuple[type[nn.Module], ...]) -> bool:
    return any(isinstance(module, kinds) for module in graph.layers)


def _differing(scores: Tensor, written: NDArray[np.float32]) -> int:
    return int((scores.numpy().view(np.int32) != written.view(np.int32)).sum())


def _compared(graph: Graph, inputs: Tensor) -> int:
    """How many inputs the reference evaluator can run in reasonable time."""
    weights = {name: module.weight for name, module in zip(graph.names, graph.layers, strict=True) if isinstance(module, ConvSums)}
    work = 1

    def visit(name: str, value: Tensor) -> None:
        nonlocal work
        if name in weights:
            work += value[0, 0].numel() * weights[name].numel()

    graph.run(inputs[:1], visit)
    return max(_LEAST, min(len(inputs), _WORK // work))


def _check_graph(model: nn.Module, plain: Graph, inputs: Tensor) -> None:
    """Raises LabcError unless the steps compute what the model computes: a subclass or a forward hook may do something of its own."""
    original = unwrap(model)
    if isinstance(original, Graph):
        return
    got, expected = plain(inputs).float(), copy.deepcopy(original).cpu().eval()(inputs.float())
    if not torch.equal(got.nan_to_num(), expected.float().nan_to_num()):
        raise LabcError(
            f"{type(original).__name__}: its evaluation is not that of its layers one after the other (a hook, a subclass or something "
            "random in forward?); use plain layers of labc.train and torch.nn"
        )


def _reference(proto: onnx.ModelProto, inputs: Tensor, name: str, chunk: int) -> NDArray[np.float32]:
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(proto)
    parts = []
    with np.errstate(all="ignore"):
        for part in torch.split(inputs, chunk):
            outputs = session.run(None, {name: part.numpy()})
            parts.append(np.asarray(next(iter(outputs)), np.float32))
    return np.concatenate(parts)
