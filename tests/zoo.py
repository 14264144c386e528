"""Networks for tests, made without torch: random parameters, written as ONNX in labc's own spelling and in those of other tools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
QONNX_DOMAINS = (QONNX, "onnx.brevitas", "finn.custom_op.general")


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
        opsets = [helper.make_opsetid("", 21), *(helper.make_opsetid(domain, 2) for domain in QONNX_DOMAINS)]
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


def calm_layers(rng: np.random.Generator, widths: list[int]) -> list[Layer]:
    """Like `random_layers`, but every hidden threshold lies half-way between two sums: no rounding of another spelling can flip a sign."""
    made = []
    for layer in random_layers(rng, widths):
        k, n = layer.weights.shape[1], len(layer.s)
        t = (-layer.s * (rng.integers(-k, k, n) + 0.5)).astype(np.float32) if layer.end == "sign" else layer.t
        made.append(replace(layer, t=t))
    return made


def spelled(
    made: list[Layer],
    *,
    weights: str = "cast",
    product: str = "matmul",
    affine: str = "mul_add",
    sign: str = "body",
    domain: str = QONNX,
    scale: float = 1.0,
    inputs: float = 1.0,
    idle: bool = False,
    argmax: bool = False,
) -> onnx.ModelProto:
    """The network of signs and scores `made`, as other tools spell it. Every spelling has the same real value.

    weights: cast, dequantize, dequantize_uint8, float, bipolar: signs, times `scale` (a number, taken out of the affine again).
    product: matmul, gemm (transB = 0), gemm_t (transB = 1), gemm_bias, gemm_beta (all with alpha), with the affine's scale behind.
    affine: mul_add, swapped, div_sub, batchnorm, folded (scale into the weights, shift into a bias).
    sign: body, bare (in `domain`), where, zero_one (activations 0 and 1), cast (the same by a Cast of the comparison), half (±0.5).
    inputs: the pixels' scale; `idle` puts Identity, Dropout and Reshape between the layers.
    """
    w = Writer()
    w.body = sign == "body"
    x = w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    gain, zero_one = 1.0, False  # what the activations are of what the layers think they are
    if inputs != 1:
        x, gain = w.op("Mul", [x, w.const("pixel", np.float32(inputs))], "pixels"), inputs
    for i, layer in enumerate(made, 1):
        signs, s, t = layer.weights.astype(np.float64), layer.s.astype(np.float64), layer.t.astype(np.float64)
        if zero_one:  # W(2a − 1) = 2Wa − W1
            t, s = t - s * signs.sum(axis=1), 2 * s
        s = s / gain
        held = np.full(len(s), scale)
        if affine == "folded":
            held, s = s, np.ones_like(s)
        s = s / (held if affine != "folded" else 1)
        name = f"fc{i}"
        matrix = _weights(w, name, layer.weights, held, weights, transposed=product != "gemm_t")
        bias = None
        if affine == "folded" and product.startswith("gemm"):
            bias, t = t, np.zeros_like(t)
        x = _product(w, name, x, matrix, product, bias)
        alpha = 0.5 if product in ("gemm_bias", "gemm_beta") and bias is None else 1.0
        if bias is None:
            x = _affine(w, name, x, s / alpha, t, affine)
        if idle:
            x = w.op("Identity", [x], f"same{i}")
            x = w.op("Dropout", [x, w.const(f"ratio{i}", np.float32(0.5)), w.const(f"train{i}", np.bool_(False))], f"drop{i}")
            x = w.op("Reshape", [x, w.const(f"to{i}", np.array([[-1, len(s)], [0, -1]][i % 2]))], f"reshape{i}")
        if layer.end == "sign":
            x = _sign(w, f"sign{i}", x, sign, domain)
            gain, zero_one = {"half": 0.5}.get(sign, 1.0), sign in ("zero_one", "cast")
    if argmax:
        w.op("ArgMax", [x], "class", axis=1, keepdims=0)
        return w.model(made[0].weights.shape[1], None, out=TensorProto.INT64)
    return w.model(made[0].weights.shape[1], len(made[-1].s))


def _weights(w: Writer, name: str, signs: Any, scales: Any, how: str, *, transposed: bool) -> str:
    def turn(array: Any) -> Any:
        return np.ascontiguousarray(array.T if transposed else array)

    if how == "cast":
        return w.op("Cast", [w.const(f"{name}.weight", turn(signs))], f"{name}.signs", to=TensorProto.FLOAT)
    if how in ("dequantize", "dequantize_uint8"):
        scale = w.const(f"{name}.scale", scales.astype(np.float32))
        zero = np.full(len(scales), 128, np.uint8) if how == "dequantize_uint8" else np.zeros(len(scales), np.int8)
        levels = turn(signs) if how == "dequantize" else (turn(signs).astype(int) + 128).astype(np.uint8)
        names = [w.const(f"{name}.weight", levels), scale, w.const(f"{name}.zero", zero)]
        return w.op("DequantizeLinear", names, f"{name}.signs", axis=1 if transposed else 0)
    if how == "bipolar":
        latent = np.linspace(0, 1, signs.size).reshape(signs.shape) * signs  # the first is ±0: sign(±0) = +1
        latent.flat[0] = 0 if signs.flat[0] > 0 else -1
        scale = w.const(f"{name}.scale", scales.astype(np.float32)[None, :] if transposed else scales.astype(np.float32)[:, None])
        return w.op("BipolarQuant", [w.const(f"{name}.latent", turn(latent).astype(np.float32)), scale], f"{name}.signs", domain=QONNX)
    return w.const(f"{name}.weight", turn(signs * scales[:, None]).astype(np.float32))


def _product(w: Writer, name: str, x: str, matrix: str, how: str, bias: Any) -> str:
    if how == "matmul":
        return w.op("MatMul", [x, matrix], name)
    names = [x, matrix]
    attributes: dict[str, Any] = {"transB": 1} if how == "gemm_t" else {}
    if bias is not None:
        beta = 4.0 if how == "gemm_beta" else 1.0
        names.append(w.const(f"{name}.bias", (bias / beta).astype(np.float32)))
        attributes["beta"] = beta
    elif how in ("gemm_bias", "gemm_beta"):
        attributes["alpha"] = 0.5
    return w.op("Gemm", names, name, **attributes)


def _affine(w: Writer, name: str, x: str, s: Any, t: Any, how: str) -> str:
    narrow = {"s": s.astype(np.float32), "t": t.astype(np.float32)}
    if how == "folded":
        return w.op("Add", [x, w.const(f"{name}.t", narrow["t"])], f"{name}.shift")
    if how == "batchnorm":
        # s = gamma/√(variance + epsilon), t = beta − mean·s, with every parameter at work.
        variance = np.linspace(0.5, 3, len(s))
        mean = np.linspace(-2, 2, len(s))
        gamma = s * np.sqrt(variance + 1e-3)
        parts = {"gamma": gamma, "beta": t + mean * s, "mean": mean, "var": variance}
        names = [w.const(f"{name}.{key}", value.astype(np.float32)) for key, value in parts.items()]
        return w.op("BatchNormalization", [x, *names], f"{name}.norm", epsilon=1e-3)
    if how == "div_sub":
        x = w.op("Div", [x, w.const(f"{name}.s", (1 / s).astype(np.float32))], f"{name}.scaled")
        return w.op("Sub", [x, w.const(f"{name}.t", -narrow["t"])], f"{name}.shift")
    if how == "swapped":
        x = w.op("Mul", [w.const(f"{name}.s", narrow["s"]), x], f"{name}.scaled")
        return w.op("Add", [w.const(f"{name}.t", narrow["t"][None]), x], f"{name}.shift")
    x = w.op("Mul", [x, w.const(f"{name}.s", narrow["s"])], f"{name}.scaled")
    return w.op("Add", [x, w.const(f"{name}.t", narrow["t"])], f"{name}.shift")


def _sign(w: Writer, name: str, x: str, how: str, domain: str) -> str:
    if how in ("body", "bare"):
        return w.op("BipolarQuant", [x, w.const(f"{name}.one", np.float32(1))], name, domain=domain)
    up = w.op("GreaterOrEqual", [x, w.const(f"{name}.zero", np.float32(0))], f"{name}.up")
    if how == "cast":
        return w.op("Cast", [up], name, to=TensorProto.FLOAT)
    plus, minus = {"where": (1, -1), "zero_one": (1, 0), "half": (0.5, -0.5)}[how]
    return w.op("Where", [up, w.const(f"{name}.plus", np.float32(plus)), w.const(f"{name}.minus", np.float32(minus))], name)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write `model` and hand back the path."""
    path.write_bytes(model.SerializeToString())
    return path
