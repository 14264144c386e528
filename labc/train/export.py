"""Write a trained network as plain ONNX, and count on the way that the file computes what torch computes, bit for bit."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train.files import replace
from labc.train.graph import Chain, Step, check_finite, check_input, trace, unwrap
from labc.train.layers import BinaryLinear, Sign, signs
from labc.train.quantize import TOP, RequantizedLinear, ScaledLinear, check_width, needs_quantizing, quantize, sum_bound

OPSET = 20
IR_VERSION = 10  # onnxruntime ≥ 1.18 reads it
DOMAIN = "qonnx.custom_op.general"  # QONNX and FINN know BipolarQuant under this name
OUTPUT = "scores"
_CHUNK = 1024
_ONE: NDArray[np.float32] = np.array(1, np.float32)
_FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ExportReport:
    """What was written and compared; `str()` is the text for the user.

    `inputs`: example inputs compared. `scores`: scores compared, of which `differing` have other bits in torch's evaluation than in the
    file run by onnx's reference evaluator. `exact`: only labc's own layers, so `differing` is 0. With 8-bit activations
    (`quantized`): the largest and the mean absolute difference of the scores from those with float activations, and how many
    predictions changed.
    """

    path: str
    inputs: int
    scores: int
    differing: int
    exact: bool
    quantized: bool
    largest_difference: float = 0.0
    mean_difference: float = 0.0
    changed_predictions: int = 0

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.inputs} inputs, {self.scores} scores, {self.differing} differ between torch and the file"]
        if not self.exact:
            lines.append("plain torch layers round in an order of their own: differences in the last bits are expected")
        if self.quantized:
            lines.append(
                f"8-bit activations against float ones: scores differ by at most {self.largest_difference:.4g} "
                f"(mean {self.mean_difference:.4g}); {self.changed_predictions} of {self.inputs} predictions changed"
            )
        return "\n".join(lines)


@torch.no_grad()
def export(model: nn.Module, example_input: Tensor, path: str | os.PathLike[str], *, input_name: str = "input") -> ExportReport:
    """Write the model to `path` as ONNX (opset 20, batch dimension "batch", output "scores") and compare it with torch.

    model: a straight line of labc and plain torch layers; it is not changed, and may be in training mode, compiled or on a GPU (the
    export works on an evaluation copy on the CPU). example_input: uint8 or int8 [batch, …], real inputs: they are compared, and
    they calibrate the 8-bit activations of a network with ReLU behind binary layers (`quantize` runs by itself).
    A file at `path` is replaced at once or not at all; equal models give equal bytes.
    Raises LabcError naming the layer for anything the file could not hold exactly: unknown modules, values that are not finite,
    shapes that do not fit, sums past 2²⁴, scores past float32, and an unwritable path.
    """
    check_input(example_input)
    if input_name == OUTPUT or not input_name:
        raise LabcError(f"input_name: {input_name!r} is taken by the output or empty; choose another")
    inputs = example_input.cpu()
    plain = trace(model)
    quantized = needs_quantizing(plain)
    chain = quantize(plain, inputs) if quantized else plain
    proto = _Writer(inputs, input_name).write(chain)
    _check_chain(model, plain, inputs[:_CHUNK])
    onnx.checker.check_model(proto, full_check=True)
    scores, written = _evaluate(chain, inputs), _reference(proto, inputs.numpy(), input_name)
    differing = int((scores.numpy().view(np.int32) != written.view(np.int32)).sum())
    exact = all(isinstance(module, BinaryLinear | Sign | RequantizedLinear | ScaledLinear | nn.Flatten) for module in chain.layers)
    if exact and differing:
        raise LabcError(
            f"{path}: {differing} scores differ between torch and the file, nothing was written; this is a bug in labc, please report"
        )
    replace(Path(path), proto.SerializeToString(deterministic=True))
    report = ExportReport(str(path), len(inputs), scores.numel(), differing, exact, quantized)
    if not quantized:
        return report
    floats = _evaluate(plain, inputs)
    distance = (scores.double() - floats.double()).abs()
    changed = int((scores.argmax(1) != floats.argmax(1)).sum())
    return ExportReport(
        str(path), len(inputs), scores.numel(), differing, exact, True, float(distance.max()), float(distance.mean()), changed
    )


def _check_chain(model: nn.Module, plain: Chain, inputs: Tensor) -> None:
    """Raises LabcError unless the chain computes what the model computes: a subclass or a forward hook may do something of its own."""
    original = unwrap(model)
    if isinstance(original, Chain):
        return
    got, expected = plain(inputs).float(), copy.deepcopy(original).cpu().eval()(inputs.float())
    if not torch.equal(got.nan_to_num(), expected.float().nan_to_num()):
        raise LabcError(
            f"{type(original).__name__}: its evaluation is not that of its layers one after the other (a hook, a subclass or something "
            "random in forward?); use plain layers of labc.train and torch.nn"
        )


def _evaluate(chain: Chain, inputs: Tensor) -> Tensor:
    return torch.cat([chain(part).float() for part in torch.split(inputs, _CHUNK)])


def _reference(proto: onnx.ModelProto, inputs: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(proto)
    parts = []
    with np.errstate(all="ignore"):
        for start in range(0, len(inputs), _CHUNK):
            outputs = session.run(None, {name: inputs[start : start + _CHUNK]})
            parts.append(np.asarray(next(iter(outputs)), np.float32))
    return np.concatenate(parts)


class _Writer:
    """Collects nodes and constants while it follows the chain; one method per kind of step."""

    def __init__(self, inputs: Tensor, input_name: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.names = {input_name, OUTPUT}
        self.value = self.input_name = input_name
        self.sample = inputs[:1]  # runs along, so every step sees the shape it gets
        self.largest: int | None = 128 if inputs.dtype == torch.int8 else TOP  # of |value|; None: the value is float
        self.is_float = False

    def write(self, chain: Chain) -> onnx.ModelProto:
        shape, dtype = self.sample.shape[1:], self.sample.dtype
        if not any(isinstance(module, BinaryLinear | RequantizedLinear | ScaledLinear | nn.Linear) for module in chain.layers):
            raise LabcError("export: the network has no linear layer; give it at least one BinaryLinear")
        for step in chain.steps():
            write = _STEPS.get(type(step.module))
            if write is None:
                raise LabcError(
                    f"{step.name}: {type(step.module).__module__}.{type(step.module).__name__} cannot be exported; use BinaryLinear, Sign, "
                    "nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Flatten, nn.Identity or nn.Dropout in its place"
                )
            check_finite(step)
            write(self, step)
            self.sample = Chain((step,))(self.sample)
        if self.sample.dim() != 2 or not self.is_float:
            raise LabcError(
                f"{chain.names[-1]}: the network's output has shape {tuple(self.sample.shape)}; it must end in float scores [batch, n]"
            )
        self.nodes[-1].output[0] = OUTPUT
        element = TensorProto.INT8 if dtype == torch.int8 else TensorProto.UINT8
        source = helper.make_tensor_value_info(self.input_name, element, ["batch", *shape])
        target = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", self.sample.shape[1]])
        graph = helper.make_graph(self.nodes, "labc", [source], [target], list(self.constants.values()))
        opsets, functions = [helper.make_opsetid("", OPSET)], []
        if any(node.domain == DOMAIN for node in self.nodes):
            opsets.append(helper.make_opsetid(DOMAIN, 1))
            functions.append(_bipolar_quant())
        return helper.make_model(
            graph, opset_imports=opsets, functions=functions, ir_version=IR_VERSION, producer_name="labc", producer_version=""
        )

    def node(self, op: str, name: str, *constants: str, domain: str = "", **attributes: Any) -> None:
        """Append `op` on the current value; its output becomes the current value."""
        output = name
        while output in self.names:
            output += "_"
        self.names.add(output)
        self.nodes.append(helper.make_node(op, [self.value, *constants], [output], name=name, domain=domain, **attributes))
        self.value = output

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
            self.names.add(name)
        return name

    def cast(self, name: str) -> None:
        """Integers become float32, once."""
        if not self.is_float:
            self.node("Cast", f"{name}.cast", to=TensorProto.FLOAT)
            self.is_float = True

    def sums(self, step: Step, weight: Tensor) -> None:
        """acc = x·b on integers: the ±1 weights as int8 [in, out] behind a Cast.

        Not behind a DequantizeLinear of scale 1: onnxruntime 1.32 fuses that with a MatMul into MatMulNBits and rounds the activations
        to 8 bits (measured: 30 of 30 scores of a 64-1 network differ); a Cast of a constant it can only fold.
        """
        name = step.name
        self.cast(name)
        stored = self.constant(f"{name}.weight", weight.to(torch.int8).numpy().T)
        signed = f"{name}.signs"
        self.names.add(signed)
        self.nodes.append(helper.make_node("Cast", [stored], [signed], name=signed, to=TensorProto.FLOAT))
        self.node("MatMul", name, signed)

    def affine(self, name: str, scale: Tensor, shift: Tensor, bound: int) -> None:
        reach = scale.double().abs() * bound + shift.double().abs()
        bad = ~(reach < _FLOAT_MAX)  # also true for NaN
        if bool(bad.any()):
            channel = int(bad.nonzero()[0, 0])
            raise LabcError(
                f"{name}: channel {channel} leaves float32 (scale {float(scale[channel]):.3g}, shift {float(shift[channel]):.3g}, "
                f"sums up to {bound}); look for a batch norm with a tiny variance or a huge gamma"
            )
        self.node("Mul", f"{name}.scale", self.constant(f"{name}.s", scale.numpy()))
        self.node("Add", f"{name}.shift", self.constant(f"{name}.t", shift.numpy()))


def _write_binary(writer: _Writer, step: Step) -> None:
    module = step.module
    assert isinstance(module, BinaryLinear)
    bound = sum_bound(step, writer.sample, writer.largest)
    writer.sums(step, signs(module.weight))
    writer.affine(step.name, *module.affine(), bound)
    writer.largest = None


def _write_scaled(writer: _Writer, step: Step) -> None:
    module = step.module
    assert isinstance(module, ScaledLinear)
    writer.sums(step, module.weight)
    writer.affine(step.name, module.scale, module.shift, TOP * module.weight.shape[1])
    writer.largest = None


def _write_requantized(writer: _Writer, step: Step) -> None:
    module, name = step.module, f"{step.name}.requantize"
    assert isinstance(module, RequantizedLinear)
    multiplier, offset = module.constants()
    writer.sums(step, module.weight)
    writer.node("Cast", f"{name}.double", to=TensorProto.DOUBLE)
    writer.node("Mul", f"{name}.scale", writer.constant(f"{name}.multiplier", multiplier.numpy()))
    writer.node("Add", f"{name}.shift", writer.constant(f"{name}.offset", offset.numpy()))
    writer.node("Floor", f"{name}.floor")
    low, high = (writer.constant(f"requantize.{key}", np.array(value, np.float64)) for key, value in (("low", 0), ("high", TOP)))
    writer.node("Clip", f"{name}.clip", low, high)
    writer.node("Cast", f"{name}.uint8", to=TensorProto.UINT8)
    writer.is_float, writer.largest = False, TOP


def _write_sign(writer: _Writer, step: Step) -> None:
    writer.cast(step.name)
    writer.node("BipolarQuant", step.name, writer.constant("one", _ONE), domain=DOMAIN)
    writer.largest = 1


def _write_flatten(writer: _Writer, step: Step) -> None:
    module = step.module
    assert isinstance(module, nn.Flatten)
    if module.start_dim != 1 or module.end_dim not in (-1, writer.sample.dim() - 1):
        raise LabcError(f"{step.name}: Flatten from {module.start_dim} to {module.end_dim}; flatten everything but the batch: nn.Flatten()")
    writer.node("Flatten", step.name, axis=1)


def _write_linear(writer: _Writer, step: Step) -> None:
    module = step.module
    assert isinstance(module, nn.Linear)
    check_width(step, module.in_features, writer.sample)
    writer.cast(step.name)
    writer.node("MatMul", step.name, writer.constant(f"{step.name}.weight", module.weight.float().numpy().T))
    if module.bias is not None:
        writer.node("Add", f"{step.name}.shift", writer.constant(f"{step.name}.bias", module.bias.float().numpy()))
    writer.largest = None


def _write_norm(writer: _Writer, step: Step) -> None:
    module = step.module
    assert isinstance(module, nn.BatchNorm1d)
    check_width(step, module.num_features, writer.sample)
    if module.running_mean is None or module.running_var is None:
        raise LabcError(f"{step.name}: a batch norm without running statistics; use track_running_stats=True")
    writer.cast(step.name)
    ones = torch.ones(module.num_features)
    values = {
        "gamma": module.weight if module.affine else ones,
        "beta": module.bias if module.affine else 0 * ones,
        "mean": module.running_mean,
        "var": module.running_var,
    }
    constants = [writer.constant(f"{step.name}.{key}", value.float().numpy()) for key, value in values.items()]
    writer.node("BatchNormalization", step.name, *constants, epsilon=module.eps)
    writer.largest = None


def _write_relu(writer: _Writer, step: Step) -> None:
    writer.cast(step.name)
    writer.node("Relu", step.name)
    writer.largest = None


_STEPS: dict[type[nn.Module], Callable[[_Writer, Step], None]] = {
    BinaryLinear: _write_binary,
    ScaledLinear: _write_scaled,
    RequantizedLinear: _write_requantized,
    Sign: _write_sign,
    nn.Flatten: _write_flatten,
    nn.Linear: _write_linear,
    nn.BatchNorm1d: _write_norm,
    nn.ReLU: _write_relu,
}


def _bipolar_quant() -> onnx.FunctionProto:
    """QONNX's BipolarQuant(x, scale) = ±scale with sign(0) = +1, in standard operators, so that any runtime runs it."""
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    nodes = [
        helper.make_node("Constant", [], ["zero"], value=zero),
        helper.make_node("GreaterOrEqual", ["x", "zero"], ["positive"]),
        helper.make_node("Neg", ["scale"], ["minus"]),
        helper.make_node("Where", ["positive", "scale", "minus"], ["y"]),
    ]
    return helper.make_function(DOMAIN, "BipolarQuant", ["x", "scale"], ["y"], nodes, [helper.make_opsetid("", OPSET)])
