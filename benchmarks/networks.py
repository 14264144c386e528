"""Random networks for timing, as ONNX in labc's own spelling (docs/arithmetic.md). They have learned nothing, but nothing in them is dead.

Weights are random signs. Each layer's batch norm is set as training would set it: the sums of a batch of random inputs come out with mean
near 0 and deviation near 1, so that LAB2's thresholds lie amid the sums and LAB's 8-bit activations use their whole range.

    python benchmarks/networks.py mlp.onnx 784 2048 2048 2048 10                 # lab2
    python benchmarks/networks.py mlp8.onnx 784 2048 2048 2048 10 --method lab
    python benchmarks/networks.py vgg.onnx vgg                                   # the paper's network for CIFAR-10
    python benchmarks/networks.py one.onnx 3x16x16 c64 c64p 10                   # see benchmarks/architecture.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from architecture import KERNEL, Architecture, Layer, parse
from onnx import TensorProto, helper, numpy_helper

from labc.ir.windows import Window, convolve

QONNX = "qonnx.custom_op.general"
METHODS = ("lab2", "lab")
BATCH = 64  # inputs from which batch norm takes its statistics
STEPS = 60  # 8-bit activation steps in one deviation of a sum


def save(path: Path, words: Sequence[str], method: str, seed: int = 0) -> Path:
    """Write the network to `path` and hand the path back. `method` is lab2 (sign activations) or lab (8-bit activations)."""
    rng = np.random.default_rng(seed)
    net, made = _Network(), parse(words)
    value = net.node("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    # An image has many pixels to take statistics from.
    batch = rng.integers(0, 256, (BATCH if len(made.shape) == 1 else 2, *made.shape)).astype(np.float32)
    for layer in made.layers:
        name, k, n = layer.name, layer.inputs, layer.outputs
        if batch.ndim == 4 and not layer.convolves:
            value, batch = net.node("Flatten", [value], f"{name}.flat", axis=1), batch.reshape(len(batch), -1)
        weights = rng.integers(0, 2, (n, k), np.int8) * np.int8(2) - np.int8(1)
        value, sums = net.sums(layer, value, weights), _sums(layer, batch, weights)
        over = tuple(axis for axis in range(sums.ndim) if axis != 1)
        scale = rng.uniform(0.5, 1.5, n) * rng.choice([-1.0, 1.0], n) / (sums.std(axis=over) + 1e-3)
        shift = rng.normal(0, 0.3, n) - scale * sums.mean(axis=over)
        if layer is made.layers[-1]:
            net.affine(layer, value, scale, shift, "scores")
        elif method == "lab2":
            value = net.sign(f"{name}.sign", net.affine(layer, value, scale, shift, f"{name}.shift"))
            batch = np.where(sums * _along(scale, layer) + _along(shift, layer) >= 0, np.float32(1), np.float32(-1))
        else:
            scale, shift = _on_grid(STEPS * scale, STEPS * shift, 255.0 * k)
            value = net.requantize(layer, value, scale, shift)
            batch = np.clip(np.floor(sums * _along(scale, layer) + (_along(shift, layer) + 0.5)), 0, 255).astype(np.float32)
    path.write_bytes(net.model(made).SerializeToString())
    return path


def _along(constant: Any, layer: Layer) -> Any:
    """A constant per channel, shaped to meet the layer's values."""
    return constant[:, None, None] if layer.convolves else constant


def _sums(layer: Layer, batch: Any, weights: Any) -> Any:
    """What the layer sums for a batch, pooled where it pools, float64."""
    if not layer.convolves:
        return (batch @ weights.T.astype(np.float32)).astype(np.float64)
    kernel = weights.reshape(layer.outputs, layer.shape[0], KERNEL, KERNEL)
    sums = convolve(batch, kernel, Window((KERNEL, KERNEL), pads=(1, 1, 1, 1)), 1, np.float32).astype(np.float64)
    if layer.pool:
        sums = sums[:, :, : sums.shape[2] // 2 * 2, : sums.shape[3] // 2 * 2]
        sums = np.maximum.reduce([sums[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    return sums


def _on_grid(scale: Any, shift: Any, reach: float) -> tuple[Any, Any]:
    """Scale and shift as multiples of 2^-s with the largest s for which no sum up to `reach` overflows (docs/arithmetic.md)."""
    multiplier = np.abs(scale).max()
    total = multiplier * reach + np.abs(shift).max() + 2  # 1 for the rounding half, 1 for what rounding to the grid adds
    s = 50
    while s > 1 and (multiplier * 2.0**s >= 2.0**31 - 1 or total * 2.0**s >= 2.0**52):
        s -= 1
    return np.rint(scale * 2.0**s) / 2.0**s, np.rint(shift * 2.0**s) / 2.0**s


class _Network:
    """Nodes and constants on their way into a file; every method hands back the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def sums(self, layer: Layer, value: str, weights: Any) -> str:
        name = layer.name
        if not layer.convolves:
            signs = self.node("Cast", [self.constant(f"{name}.weight", weights.T)], f"{name}.signs", to=TensorProto.FLOAT)
            return self.node("MatMul", [value, signs], name)
        kernel = weights.reshape(layer.outputs, layer.shape[0], KERNEL, KERNEL)
        signs = self.node("Cast", [self.constant(f"{name}.weight", kernel)], f"{name}.signs", to=TensorProto.FLOAT)
        value = self.node("Conv", [value, signs], name, kernel_shape=[KERNEL, KERNEL], pads=[1, 1, 1, 1])
        return self.node("MaxPool", [value], f"{name}.pool", kernel_shape=[2, 2], strides=[2, 2]) if layer.pool else value

    def affine(self, layer: Layer, value: str, scale: Any, shift: Any, output: str) -> str:
        factor = self.constant(f"{layer.name}.s", _along(scale, layer).astype(np.float32))
        # The constant comes first behind a convolution: onnxruntime would fold a second operand into the weights, which rounds.
        scaled = self.node("Mul", [factor, value] if layer.convolves else [value, factor], f"{layer.name}.scale")
        return self.node("Add", [scaled, self.constant(f"{layer.name}.t", _along(shift, layer).astype(np.float32))], output)

    def sign(self, name: str, value: str) -> str:
        return self.node("BipolarQuant", [value, self.constant(f"{name}.one", np.float32(1))], name, domain=QONNX)

    def requantize(self, layer: Layer, value: str, scale: Any, shift: Any) -> str:
        name, scale, shift = f"{layer.name}.relu", _along(scale, layer), _along(shift, layer)
        value = self.node("Cast", [value], f"{name}.wide", to=TensorProto.DOUBLE)
        value = self.node("Mul", [value, self.constant(f"{name}.m", scale)], f"{name}.mul")
        value = self.node("Add", [value, self.constant(f"{name}.b", shift + 0.5)], f"{name}.add")
        value = self.node("Floor", [value], f"{name}.floor")
        limits = [self.constant(f"{name}.{limit}", np.float64(limit)) for limit in (0, 255)]
        value = self.node("Clip", [value, *limits], f"{name}.clip")
        value = self.node("Cast", [value], f"{name}.u8", to=TensorProto.UINT8)
        return self.node("Cast", [value], f"{name}.bytes", to=TensorProto.FLOAT)

    def model(self, made: Architecture) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("input", TensorProto.UINT8, ["batch", *made.shape])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", made.layers[-1].outputs])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(QONNX, 2)]
        functions = [_sign_body()] if any(node.domain == QONNX for node in self.nodes) else []
        return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def _sign_body() -> onnx.FunctionProto:
    """BipolarQuant(x, scale) = scale where x ≥ 0, else −scale, in standard operators."""
    nodes = [
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("GreaterOrEqual", ["x", "zero"], ["positive"]),
        helper.make_node("Neg", ["scale"], ["negated"]),
        helper.make_node("Where", ["positive", "scale", "negated"], ["y"]),
    ]
    return helper.make_function(QONNX, "BipolarQuant", ["x", "scale"], ["y"], nodes, [helper.make_opsetid("", 21)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.onnx")
    parser.add_argument("words", nargs="+", metavar="WORD", help="the network, as benchmarks/architecture.py says")
    parser.add_argument("--method", choices=METHODS, default="lab2", help="sign (lab2, the default) or 8-bit activations (lab)")
    arguments = parser.parse_args()
    try:
        print(save(arguments.file, arguments.words, arguments.method))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
