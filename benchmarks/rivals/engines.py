"""The rivals' networks, and each engine behind its least costly call: one thread, one input, buffers set beforehand."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from architecture import KERNEL, Architecture
from onnx import TensorProto, helper, numpy_helper

CALIBRATION = 64  # random inputs for the static quantization
INT8 = {"U8S8": "QUInt8", "S8S8": "QInt8"}  # activations and weights; the activations' name in onnxruntime


@dataclass(frozen=True)
class Engine:
    """`call` computes `scores` (kept by the engine) once; `rival` is the row, `variant` one way of running it, `note` what is known."""

    rival: str
    variant: str
    call: Callable[[], object]
    scores: Callable[[], Any]
    note: str


def float_model(path: Path, network: Architecture, seed: int = 0) -> Path:
    """Write a network of Conv or Gemm, MaxPool and Relu with random float32 weights, for inputs in 0 to 1, and return the path."""
    rng = np.random.default_rng(seed)
    nodes, constants, value, flat = [], [], "input", len(network.shape) == 1
    for layer in network.layers:
        name, k, n = layer.name, layer.inputs, layer.outputs
        if not layer.convolves and not flat:
            nodes.append(helper.make_node("Flatten", [value], [f"{name}.flat"], name=f"{name}.flat"))
            value, flat = f"{name}.flat", True
        weights, bias = rng.normal(0, np.sqrt(2 / k), (n, k)), rng.normal(0, 0.1, n)
        if layer.convolves:
            weights = weights.reshape(n, layer.shape[0], KERNEL, KERNEL)
        constants += [numpy_helper.from_array(a.astype(np.float32), f"{kind}.{name}") for kind, a in (("w", weights), ("b", bias))]
        inputs = [value, f"w.{name}", f"b.{name}"]
        value = "scores" if layer is network.layers[-1] else name
        if layer.convolves:
            nodes.append(helper.make_node("Conv", inputs, [value], name=name, kernel_shape=[KERNEL, KERNEL], pads=[1, 1, 1, 1]))
        else:
            nodes.append(helper.make_node("Gemm", inputs, [value], name=name, transB=1))
        if layer.pool:
            nodes.append(helper.make_node("MaxPool", [value], [f"{name}.pool"], name=f"{name}.pool", kernel_shape=[2, 2], strides=[2, 2]))
            value = f"{name}.pool"
        if layer is not network.layers[-1]:
            nodes.append(helper.make_node("Relu", [value], [f"{name}.relu"], name=f"{name}.relu"))
            value = f"{name}.relu"
    shapes = (("input", network.shape), ("scores", (network.layers[-1].outputs,)))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape]) for name, shape in shapes]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def int8_model(path: Path, source: Path, variant: str) -> Path:
    """Quantize `source` to `path` with onnxruntime: static, QDQ, a scale per channel, the full range of weights."""
    from onnxruntime import quantization

    rng = np.random.default_rng(1)
    shape = [dim.dim_value for dim in onnx.load(source).graph.input[0].type.tensor_type.shape.dim]

    class Inputs(quantization.CalibrationDataReader):
        left = CALIBRATION

        def get_next(self) -> dict[str, Any] | None:
            self.left -= 1
            return {"input": rng.random(shape, np.float32)} if self.left >= 0 else None

    logging.disable(logging.WARNING)  # it advises to infer shapes beforehand; they all stand in the file
    quantization.quantize_static(
        source,
        path,
        Inputs(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=False,
        activation_type=getattr(quantization.QuantType, INT8[variant]),
        weight_type=quantization.QuantType.QInt8,
    )
    logging.disable(logging.NOTSET)
    return path


def with_onnxruntime(rival: str, variant: str, path: Path, x: Any) -> Engine:
    """onnxruntime on `path`, through IOBinding."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = ort.InferenceSession(path, options, providers=providers)
    scores = ort.OrtValue.ortvalue_from_numpy(np.zeros(session.get_outputs()[0].shape, np.float32))
    binding = session.io_binding()
    binding.bind_cpu_input("input", x)
    binding.bind_ortvalue_output("scores", scores)
    with tempfile.TemporaryDirectory() as place:  # what it runs is told only by the graph it writes
        options.optimized_model_filepath = str(Path(place, "optimized.onnx"))
        ort.InferenceSession(path, options, providers=providers)
        kinds = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath, load_external_data=False).graph.node)
    note = "runs " + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return Engine(rival, variant, lambda: session.run_with_iobinding(binding), scores.numpy, note)


def with_openvino(rival: str, variant: str, path: Path, x: Any) -> Engine:
    """OpenVINO on `path`, with its tensors set beforehand."""
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    model = ov.Core().compile_model(path, "CPU", settings)
    request = model.create_infer_request()
    tensors = ov.Tensor(x), ov.Tensor(np.zeros(tuple(model.output(0).shape), np.float32))
    request.set_input_tensor(tensors[0])
    request.set_output_tensor(tensors[1])
    layers = Counter()
    for node in model.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) in ("FullyConnected", "MatMul", "Gemm", "Convolution"):
            layers[f"{facts['primitiveType'].astype(str)} ({facts['runtimePrecision'].astype(str)})"] += 1
    note = "runs " + ", ".join(f"{n} {kind}" for kind, n in sorted(layers.items()))
    return Engine(rival, variant, request.infer, lambda: tensors[1].data, note)


def with_torch(rival: str, variant: str, path: Path, x: Any) -> Engine:
    """torch with the weights of `path`: eager, or traced, frozen and optimized for inference (variant "jit")."""
    import torch

    torch.set_num_threads(1)
    graph = onnx.load(path).graph
    held = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    modules = [_torch_module(node, held) for node in graph.node]
    model: Any = torch.nn.Sequential(*modules).eval()
    image = torch.from_numpy(x)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit calls itself deprecated; it may still be the fastest
        if variant == "jit":
            model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, image)))

    def call() -> Any:
        with torch.inference_mode():
            return model(image)

    return Engine(rival, variant, call, lambda: call().numpy(), f"kernels for {torch.backends.cpu.get_cpu_capability()}")


def _torch_module(node: onnx.NodeProto, held: dict[str, Any]) -> Any:
    """The module that does what a node of `float_model` does."""
    import torch

    match node.op_type:
        case "Relu":
            return torch.nn.ReLU()
        case "MaxPool":
            return torch.nn.MaxPool2d(2)
        case "Flatten":
            return torch.nn.Flatten()
    weight, bias = held[node.input[1]], held[node.input[2]]
    n, k = weight.shape[:2]
    layer = torch.nn.Conv2d(k, n, KERNEL, padding=1) if node.op_type == "Conv" else torch.nn.Linear(k, n)
    layer.weight, layer.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
    return layer
