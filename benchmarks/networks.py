"""Random networks for timing, as ONNX in labc's own spelling (docs/arithmetic.md). They have learned nothing, but nothing in them is dead.

Weights are random signs. Each layer's batch norm is set as training would set it: the sums of a batch of random inputs come out with mean
near 0 and deviation near 1, so that LAB2's thresholds lie amid the sums and LAB's 8-bit activations use their whole range.

    python benchmarks/networks.py mlp.onnx 784 2048 2048 2048 10                 # lab2
    python benchmarks/networks.py mlp8.onnx 784 2048 2048 2048 10 --method lab
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
METHODS = ("lab2", "lab")
BATCH = 64  # inputs from which batch norm takes its statistics
STEPS = 60  # 8-bit activation steps in one deviation of a sum


def mac_count(widths: Sequence[int]) -> int:
    """Multiply-accumulates of one inference."""
    return sum(k * n for k, n in pairwise(widths))


def weight_bytes(widths: Sequence[int]) -> int:
    """Bytes of the weights at one bit each."""
    return mac_count(widths) // 8


def save(path: Path, widths: Sequence[int], method: str, seed: int = 0) -> Path:
    """Write the network to `path` and hand the path back. `method` is lab2 (sign activations) or lab (8-bit activations)."""
    rng = np.random.default_rng(seed)
    net = _Network()
    value = net.node("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    batch = rng.integers(0, 256, (BATCH, widths[0])).astype(np.float32)
    for number, (k, n) in enumerate(pairwise(widths), 1):
        weights = rng.integers(0, 2, (k, n), np.int8) * np.int8(2) - np.int8(1)
        sums = (batch @ weights.astype(np.float32)).astype(np.float64)
        scale = rng.uniform(0.5, 1.5, n) * rng.choice([-1.0, 1.0], n) / (sums.std(axis=0) + 1e-3)
        shift = rng.normal(0, 0.3, n) - scale * sums.mean(axis=0)
        value = net.dense(f"fc{number}", value, weights)
        if number == len(widths) - 1:
            net.affine(f"fc{number}", value, scale, shift, "scores")
        elif method == "lab2":
            value = net.sign(f"sign{number}", net.affine(f"fc{number}", value, scale, shift, f"fc{number}.shift"))
            batch = np.where(sums * scale + shift >= 0, np.float32(1), np.float32(-1))
        else:
            scale, shift = _on_grid(STEPS * scale, STEPS * shift, 255.0 * k)
            value = net.requantize(f"relu{number}", value, scale, shift)
            batch = np.clip(np.floor(sums * scale + (shift + 0.5)), 0, 255).astype(np.float32)
    path.write_bytes(net.model(widths[0], widths[-1]).SerializeToString())
    return path


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

    def dense(self, name: str, value: str, weights: Any) -> str:
        signs = self.node("Cast", [self.constant(f"{name}.weight", weights)], f"{name}.signs", to=TensorProto.FLOAT)
        return self.node("MatMul", [value, signs], name)

    def affine(self, name: str, value: str, scale: Any, shift: Any, output: str) -> str:
        scaled = self.node("Mul", [value, self.constant(f"{name}.s", scale.astype(np.float32))], f"{name}.scale")
        return self.node("Add", [scaled, self.constant(f"{name}.t", shift.astype(np.float32))], output)

    def sign(self, name: str, value: str) -> str:
        return self.node("BipolarQuant", [value, self.constant(f"{name}.one", np.float32(1))], name, domain=QONNX)

    def requantize(self, name: str, value: str, scale: Any, shift: Any) -> str:
        value = self.node("Cast", [value], f"{name}.wide", to=TensorProto.DOUBLE)
        value = self.node("Mul", [value, self.constant(f"{name}.m", scale)], f"{name}.mul")
        value = self.node("Add", [value, self.constant(f"{name}.b", shift + 0.5)], f"{name}.add")
        value = self.node("Floor", [value], f"{name}.floor")
        limits = [self.constant(f"{name}.{limit}", np.float64(limit)) for limit in (0, 255)]
        value = self.node("Clip", [value, *limits], f"{name}.clip")
        value = self.node("Cast", [value], f"{name}.u8", to=TensorProto.UINT8)
        return self.node("Cast", [value], f"{name}.bytes", to=TensorProto.FLOAT)

    def model(self, inputs: int, outputs: int) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("input", TensorProto.UINT8, ["batch", inputs])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", outputs])],
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
    parser.add_argument("widths", type=int, nargs="+", metavar="WIDTH", help="inputs, hidden layers, outputs")
    parser.add_argument("--method", choices=METHODS, default="lab2", help="sign (lab2, the default) or 8-bit activations (lab)")
    arguments = parser.parse_args()
    if len(arguments.widths) < 2 or min(arguments.widths) < 1:
        parser.error("name at least inputs and outputs, each at least 1")
    print(save(arguments.file, arguments.widths, arguments.method))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
