"""labc's own ONNX spelling: each step of a lowered graph as a few nodes, such that every runtime gives the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train.functions import Concat
from labc.train.graph import INPUT, Graph, Step
from labc.train.integers import HIGH16, LOW16, SLOPE_BITS, Add16, Affine, Clip16, ConvSums, Pad, PRelu16, Requantize, SumPool, Sums
from labc.train.layers import Sign

OPSET = 20
IR_VERSION = 10  # onnxruntime ≥ 1.18 reads it
DOMAIN = "qonnx.custom_op.general"  # QONNX and FINN know BipolarQuant under this name
OUTPUT = "scores"
_ONE: NDArray[np.float32] = np.array(1, np.float32)


def spell(graph: Graph, example: Tensor, input_name: str) -> onnx.ModelProto:
    """The lowered graph as a model; example: one input [1, …] as integers. Raises LabcError unless it ends in float scores [batch, n]."""
    shapes: dict[str, tuple[int, ...]] = {INPUT: tuple(example.shape)}
    graph.run(example, lambda name, value: shapes.update({name: tuple(value.shape)}))
    return _Writer(shapes, example.dtype, input_name).write(graph)


class _Writer:
    """Collects nodes and constants while it follows the steps; one function per kind of step."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype, input_name: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}  # under the names they were asked for; their own may differ
        self.names = {input_name, OUTPUT}
        self.shapes, self.dtype, self.input_name = shapes, dtype, input_name
        self.values = {INPUT: input_name}  # what holds each step's output
        self.bytes = {INPUT}  # the steps whose values are 8-bit integers, not floats yet

    def write(self, graph: Graph) -> onnx.ModelProto:
        for step in graph.steps():
            self.values[step.name] = _STEPS[type(step.module)](self, step)
        shape, source = self.shapes[graph.output], self.values[graph.output]
        if len(shape) != 2 or graph.output in self.bytes:
            raise LabcError(f"{graph.output}: the network's output has shape {shape}; it must end in float scores [batch, n]")
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = OUTPUT if name == source else name
        element = TensorProto.INT8 if self.dtype == torch.int8 else TensorProto.UINT8
        inputs = [helper.make_tensor_value_info(self.input_name, element, ["batch", *self.shapes[INPUT][1:]])]
        outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", shape[1]])]
        made = helper.make_graph(self.nodes, "labc", inputs, outputs, list(self.constants.values()))
        opsets, functions = [helper.make_opsetid("", OPSET)], []
        if any(node.domain == DOMAIN for node in self.nodes):
            opsets.append(helper.make_opsetid(DOMAIN, 1))
            functions.append(_bipolar_quant())
        return helper.make_model(
            made, opset_imports=opsets, functions=functions, ir_version=IR_VERSION, producer_name="labc", producer_version=""
        )

    def node(self, op: str, name: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append a node; returns its output, which has its name."""
        output = self.fresh(name)
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), self.fresh(name))
        return self.constants[name].name

    def fresh(self, name: str) -> str:
        """The name, or where a layer of the model has it already, the name with underscores."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def scalar(self, value: float, dtype: type[np.floating]) -> str:
        """A constant that steps share: "low.float32.-32768"."""
        return self.constant(f"{dtype.__name__}.{value:g}", np.array(value, dtype))

    def floats(self, step: Step, position: int = 0) -> str:
        """The step's input as float32: integers are cast once."""
        source = step.inputs[position]
        if source in self.bytes:
            self.values[source] = self.node("Cast", f"{step.name}.cast", self.values[source], to=TensorProto.FLOAT)
            self.bytes.remove(source)
        return self.values[source]

    def vector(self, name: str, values: Tensor, step: Step) -> str:
        """A constant per channel, shaped to meet the step's output."""
        return self.constant(name, values.numpy().reshape(-1, *[1] * (len(self.shapes[step.name]) - 2)))

    def signs(self, name: str, weight: Tensor) -> str:
        """±1 weights as int8 behind a Cast.

        Not behind a DequantizeLinear of scale 1: onnxruntime 1.32 fuses that with a MatMul into MatMulNBits and rounds the activations
        to 8 bits (measured: 30 of 30 scores of a 64-1 network differ); a Cast of a constant it can only fold.
        """
        return self.node("Cast", f"{name}.signs", self.constant(f"{name}.weight", weight.to(torch.int8).numpy()), to=TensorProto.FLOAT)


def _write_sums(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    source = writer.floats(step)
    return writer.node("MatMul", step.name, source, writer.signs(step.name, module.weight.T))


def _write_conv(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    return _conv(writer, step, module.weight, module.stride, module.padding, module.dilation, module.groups)


def _conv(
    writer: _Writer, step: Step, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> str:
    source = writer.floats(step)
    signed = writer.signs(step.name, weight)
    attributes: dict[str, Any] = {"strides": list(stride), "pads": [*padding, *padding], "dilations": list(dilation), "group": groups}
    return writer.node("Conv", step.name, source, signed, kernel_shape=list(weight.shape[2:]), **attributes)


def _write_affine(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    name, source = step.name.removesuffix(".affine"), writer.floats(step)
    scale, shift = writer.vector(f"{name}.s", module.scale, step), writer.vector(f"{name}.t", module.shift, step)
    # The constant first behind a Conv: onnxruntime multiplies a constant second operand into the convolution's weights, which rounds
    # otherwise (ConvMulFusion of 1.32, measured: 5401 of 7680 values of a 3x3 layer differ; with the constant first none does).
    operands = (source, scale) if len(writer.shapes[step.name]) == 2 else (scale, source)
    return writer.node("Add", f"{name}.shift", writer.node("Mul", f"{name}.scale", *operands), shift)


def _write_requantize(writer: _Writer, step: Step) -> str:
    module, name = step.module, step.name
    assert isinstance(module, Requantize)
    multiplier, offset = module.constants()
    value = writer.node("Cast", f"{name}.double", writer.floats(step), to=TensorProto.DOUBLE)
    value = writer.node("Mul", f"{name}.scale", value, writer.vector(f"{name}.multiplier", multiplier, step))
    value = writer.node("Add", f"{name}.shift", value, writer.vector(f"{name}.offset", offset, step))
    value = writer.node("Floor", f"{name}.floor", value)
    low, high = (writer.scalar(end, np.float64) for end in module.range())
    value = writer.node("Clip", f"{name}.clip", value, low, high)
    if module.element == "i16":
        return writer.node("Cast", f"{name}.float", value, to=TensorProto.FLOAT)
    writer.bytes.add(name)
    return writer.node("Cast", f"{name}.uint8", value, to=TensorProto.UINT8)


def _write_sign(writer: _Writer, step: Step) -> str:
    return writer.node("BipolarQuant", step.name, writer.floats(step), writer.constant("one", _ONE), domain=DOMAIN)


def _write_flatten(writer: _Writer, step: Step) -> str:
    source = step.inputs[0]
    if source in writer.bytes:
        writer.bytes.add(step.name)
    return writer.node("Flatten", step.name, writer.values[source], axis=1)


def _write_max_pool(writer: _Writer, step: Step) -> str:
    pool: Any = step.module
    axes = len(writer.shapes[step.name]) - 2
    kernel, stride, padding, dilation = (
        [entry] * axes if isinstance(entry, int) else list(entry) for entry in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "pads": [*padding, *padding], "dilations": dilation}
    return writer.node("MaxPool", step.name, writer.floats(step), ceil_mode=0, **attributes)


def _write_sum_pool(writer: _Writer, step: Step) -> str:
    pool: Any = step.module
    shape = writer.shapes[step.inputs[0]]
    if pool.kernel is None:
        axes = writer.constant(f"{step.name}.axes", np.arange(2, len(shape), dtype=np.int64))
        return writer.node("ReduceSum", step.name, writer.floats(step), axes, keepdims=1)
    ones = torch.ones(shape[1], 1, *pool.kernel)
    return _conv(writer, step, ones, pool.stride, pool.padding, [1] * len(pool.kernel), shape[1])


def _write_add(writer: _Writer, step: Step) -> str:
    total = writer.node("Add", step.name, writer.floats(step, 0), writer.floats(step, 1))
    return _clip16(writer, f"{step.name}.clip", total, LOW16, HIGH16)


def _write_prelu16(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    slopes = writer.vector(f"{step.name}.slope", module.slopes.float() / (1 << SLOPE_BITS), step)
    value = writer.node("PRelu", step.name, writer.floats(step), slopes)
    value = writer.node("Add", f"{step.name}.half", value, writer.scalar(0.5, np.float32))
    return _clip16(writer, f"{step.name}.clip", writer.node("Floor", f"{step.name}.floor", value), LOW16, HIGH16)


def _write_clip16(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    return _clip16(writer, step.name, writer.floats(step), module.low, module.high)


def _clip16(writer: _Writer, name: str, value: str, low: float, high: float) -> str:
    return writer.node("Clip", name, value, writer.scalar(low, np.float32), writer.scalar(high, np.float32))


def _write_concat(writer: _Writer, step: Step) -> str:
    return writer.node("Concat", step.name, *[writer.floats(step, i) for i in range(len(step.inputs))], axis=1)


def _write_pad(writer: _Writer, step: Step) -> str:
    pad: Any = step.module
    axes = len(pad.pads) // 2
    before, after = ([0, 0, *(pad.pads[2 * (axes - 1 - i) + end] for i in range(axes))] for end in (0, 1))
    pads = writer.constant(f"{step.name}.pads", np.array([*before, *after], np.int64))
    return writer.node("Pad", step.name, writer.floats(step), pads, writer.scalar(pad.value, np.float32), mode="constant")


def _write_linear(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    value = writer.node(
        "MatMul", step.name, writer.floats(step), writer.constant(f"{step.name}.weight", module.weight.float().detach().numpy().T)
    )
    if module.bias is None:
        return value
    return writer.node("Add", f"{step.name}.shift", value, writer.constant(f"{step.name}.bias", module.bias.float().detach().numpy()))


def _write_plain_conv(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    weight = writer.constant(f"{step.name}.weight", module.weight.float().detach().numpy())
    bias = [] if module.bias is None else [writer.constant(f"{step.name}.bias", module.bias.float().detach().numpy())]
    attributes: dict[str, Any] = {"strides": list(module.stride), "pads": [*module.padding] * 2, "dilations": list(module.dilation)}
    return writer.node("Conv", step.name, writer.floats(step), weight, *bias, group=module.groups, **attributes)


def _write_relu(writer: _Writer, step: Step) -> str:
    return writer.node("Relu", step.name, writer.floats(step))


def _write_prelu(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    slopes = module.weight.detach().float().expand(writer.shapes[step.name][1])
    return writer.node("PRelu", step.name, writer.floats(step), writer.vector(f"{step.name}.slope", slopes, step))


def _write_hardtanh(writer: _Writer, step: Step) -> str:
    module: Any = step.module
    return _clip16(writer, step.name, writer.floats(step), float(module.min_val), float(module.max_val))


_STEPS: dict[type[nn.Module], Callable[[_Writer, Step], str]] = {
    Sums: _write_sums,
    ConvSums: _write_conv,
    Affine: _write_affine,
    Requantize: _write_requantize,
    Sign: _write_sign,
    nn.Flatten: _write_flatten,
    nn.MaxPool1d: _write_max_pool,
    nn.MaxPool2d: _write_max_pool,
    SumPool: _write_sum_pool,
    Add16: _write_add,
    PRelu16: _write_prelu16,
    Clip16: _write_clip16,
    Concat: _write_concat,
    Pad: _write_pad,
    nn.Linear: _write_linear,
    nn.Conv1d: _write_plain_conv,
    nn.Conv2d: _write_plain_conv,
    nn.ReLU: _write_relu,
    nn.PReLU: _write_prelu,
    nn.Hardtanh: _write_hardtanh,
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
