"""Networks for tests, made without torch: random parameters, written as ONNX in labc's own spelling and in those of other tools."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"


@dataclass(frozen=True)
class Layer:
    """Signs [N, K], the affine behind them [N], and how the layer ends: sign, requantize (with shift) or scores."""

    weights: np.ndarray[Any, Any]
    s: np.ndarray[Any, Any]
    t: np.ndarray[Any, Any]
    end: str
    shift: int = 0


def random_layers(
    rng: np.random.Generator, widths: list[int], *, method: str = "lab2", wild: bool = False, bytes_in: bool = True
) -> list[Layer]:
    """A network of the given widths; `wild` draws negative, zero, tiny and huge affine parameters."""
    made = []
    magnitude = 255 if bytes_in else 1
    for k, n in pairwise(widths):
        end = "scores" if len(made) == len(widths) - 2 else "sign" if method == "lab2" else "requantize"
        spread = max(1.0, np.sqrt(k) * magnitude * 0.5)
        s = rng.uniform(0.2, 2.0, n) * rng.choice([-1, 1], n) / spread
        t = rng.normal(0, 1, n)
        if wild:
            kind = rng.integers(0, 6, n)
            s = np.where(kind == 0, 0.0, np.where(kind == 1, s * 1e-30, np.where(kind == 2, s * 1e25, s)))
            t = np.where(kind == 3, 0.0, np.where(kind == 2, t * 1e27, t))
            t = np.where(rng.integers(0, 8, n) == 0, -s * np.rint(rng.uniform(-k, k, n)), t)  # exactly on a reachable sum
        shift = 0
        if end == "requantize":
            s, t = np.abs(s) * 60 * rng.choice([1, 1, 1, -1], n), t * 40
            if wild:
                s, t = np.clip(s, -200, 200), np.clip(t, -3e4, 3e4)
            reach = 255.0 * k
            shift = 1
            while (
                shift < 50
                and max(np.abs(s).max() * 2.0 ** (shift + 1), 0) < 2**31 - 1
                and (np.abs(s).max() * reach + np.abs(t).max() + 2) * 2.0 ** (shift + 1) < 2**52
            ):
                shift += 1
            s, t = np.rint(s * 2.0**shift) / 2.0**shift, np.rint(t * 2.0**shift) / 2.0**shift
        else:
            s, t = s.astype(np.float32), t.astype(np.float32)
        made.append(Layer(rng.choice(np.array([-1, 1], np.int8), (n, k)), s, t, end, shift))
        magnitude = 255 if end == "requantize" else 1
    return made


def bipolar_body() -> onnx.FunctionProto:
    """scale·(x ≥ 0 ? 1 : −1) in standard operators."""
    nodes = [
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("GreaterOrEqual", ["x", "zero"], ["up"]),
        helper.make_node("Neg", ["scale"], ["minus"]),
        helper.make_node("Where", ["up", "scale", "minus"], ["y"]),
    ]
    return helper.make_function(QONNX, "BipolarQuant", ["x", "scale"], ["y"], nodes, [helper.make_opsetid("", 21)])


class Writer:
    """Collects nodes and initializers; `save` writes the file."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.body = False

    def const(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        domain = attributes.pop("domain", "")
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def model(
        self,
        k: int | list[int],
        n: int | None,
        *,
        element: int = TensorProto.UINT8,
        out: int = TensorProto.FLOAT,
        output: str | None = None,
    ) -> onnx.ModelProto:
        shape = ["batch", *(k if isinstance(k, list) else [k])]
        outputs = [helper.make_tensor_value_info(output or self.nodes[-1].output[0], out, ["batch"] if n is None else ["batch", n])]
        graph = helper.make_graph(self.nodes, "net", [helper.make_tensor_value_info("input", element, shape)], outputs, self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(QONNX, 2)]
        functions = [bipolar_body()] if self.body else []
        return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def own(made: list[Layer], *, element: int = TensorProto.UINT8, image: list[int] | None = None, argmax: bool = False) -> onnx.ModelProto:
    """labc's own spelling (docs/arithmetic.md)."""
    w = Writer()
    w.body = True
    one = w.const("one", np.float32(1))
    x = w.op("Flatten", ["input"], "flatten", axis=1) if image else "input"
    x = w.op("Cast", [x], "bytes", to=TensorProto.FLOAT)
    for i, layer in enumerate(made, 1):
        weights = w.op("Cast", [w.const(f"fc{i}.weight", layer.weights.T.copy())], f"fc{i}.signs", to=TensorProto.FLOAT)
        x = w.op("MatMul", [x, weights], f"fc{i}")
        if layer.end == "requantize":
            x = w.op("Cast", [x], f"relu{i}.wide", to=TensorProto.DOUBLE)
            x = w.op("Mul", [x, w.const(f"relu{i}.m", layer.s)], f"relu{i}.mul")
            x = w.op("Add", [x, w.const(f"relu{i}.b", layer.t + 0.5)], f"relu{i}.add")
            x = w.op("Floor", [x], f"relu{i}.floor")
            x = w.op("Clip", [x, w.const(f"relu{i}.0", np.float64(0)), w.const(f"relu{i}.255", np.float64(255))], f"relu{i}.clip")
            x = w.op("Cast", [x], f"relu{i}.u8", to=TensorProto.UINT8)
            x = w.op("Cast", [x], f"relu{i}.bytes", to=TensorProto.FLOAT)
            continue
        x = w.op("Mul", [x, w.const(f"fc{i}.s", layer.s)], f"fc{i}.scale")
        x = w.op("Add", [x, w.const(f"fc{i}.t", layer.t)], "scores" if layer.end == "scores" else f"fc{i}.shift")
        if layer.end == "sign":
            x = w.op("BipolarQuant", [x, one], f"sign{i}", domain=QONNX)
    if argmax:
        w.op("ArgMax", [x], "class", axis=1, keepdims=0)
        return w.model(image or made[0].weights.shape[1], None, element=element, out=TensorProto.INT64)
    return w.model(image or made[0].weights.shape[1], made[-1].weights.shape[0], element=element)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write `model` and hand back the path."""
    path.write_bytes(model.SerializeToString())
    return path
