"""A trained network as the steps that its exported file holds: integers from input to last layer wherever the model allows it.

Networks with binary weights and ReLU get calibrated 8-bit activations; residual networks 16-bit ones around their sums.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train.fixedpoint import stream_step
from labc.train.graph import Graph, check_finite, check_input, trace
from labc.train.integers import Requantize
from labc.train.lowering import lower
from labc.train.modes import Modes

_CALIBRATION_INPUTS = 2048  # more moves the chosen step by less than a candidate's distance
_CALIBRATION_ELEMENTS = 2**24  # of the largest value: some 64 MiB, of which a few are held at a time


def needs_quantizing(graph: Graph) -> bool:
    """Whether an activation that is neither a sign nor float in front of one stands in the network: after training it loses bits."""
    return is_quantized(graph) or Modes(graph).quantizes


def is_quantized(graph: Graph) -> bool:
    """Whether the steps are those of a network with 8- or 16-bit activations."""
    return any(isinstance(module, Requantize) for module in graph.layers)


@torch.no_grad()
def quantize(model: nn.Module, inputs: Tensor) -> Graph:
    """A new, evaluation-only module: exactly what `export` writes, step by step.

    A ReLU behind a binary layer (batch norm, pools may stand between) becomes 8-bit activations, one step per ReLU; values that
    residual sums tie together become 16-bit activations of one power-of-two step, and so do PReLU and Hardtanh, unless only their
    sign is taken. Batch norm and averages go into the next multiply, rounded once.

    inputs: uint8 or int8 [batch, …], real inputs; the first 2048 are used (fewer of large images). For each ReLU the step q is searched
    between 0.3 and 1 times max/255, as the one with the least mean squared error; where the inputs leave all at 0, max is over the
    reachable sums. A 16-bit step is the finest with which the largest value is at most 2¹⁴. Deterministic.
    Raises LabcError, naming the layer, where a value is not finite, a sum could pass 2²⁴, a channel's scale fits no 32-bit multiplier,
    shapes do not fit, or a layer cannot be had exactly.
    """
    check_input(inputs, "quantize")
    graph = trace(model)
    if graph.lowered:
        return graph
    for step in graph.steps():
        check_finite(step)
    inputs = inputs.cpu()
    modes = Modes(graph)
    sample = inputs[: graph.chunk(inputs, _CALIBRATION_INPUTS, _CALIBRATION_ELEMENTS)] if modes.quantizes else inputs[:1]
    return lower(graph, sample, modes, _stream_steps(graph, sample, modes))


def _stream_steps(graph: Graph, inputs: Tensor, modes: Modes) -> dict[str, float]:
    """The step of each 16-bit stream, from what the float network's values reach."""
    peaks = dict.fromkeys(modes.stream.values(), 0.0)
    if not peaks:
        return {}

    def visit(name: str, value: Tensor) -> None:
        if name in modes.stream:
            stream = modes.stream[name]
            peaks[stream] = max(peaks[stream], float(value.abs().max()))
            if not bool(torch.isfinite(value).all()):
                raise LabcError(f"{name}: values that are added leave float32; look for a batch norm with a tiny variance or a huge gamma")

    graph.run(inputs, visit)
    return {stream: stream_step(peak) for stream, peak in peaks.items()}
