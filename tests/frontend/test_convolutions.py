"""Convolutional and residual files: what is read computes what ONNX means, in labc's own spelling bit for bit; bad ones are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zoo
import zoo_images
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from labc import reference
from labc.errors import LabcError
from labc.frontend.onnx import Model, read
from labc.ir import layers

ort = pytest.importorskip("onnxruntime")

F = TensorProto.FLOAT
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL")
CAST = ("Cast", [], {"to": F})
SIGN = ("BipolarQuant", [np.float32(1)], {"domain": zoo.QONNX})
FLAT = ("Flatten", [], {"axis": 1})


def run(model: onnx.ModelProto, x: np.ndarray, level: str = "ORT_ENABLE_ALL") -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def chain(
    *steps: tuple[Any, ...], shape: tuple[int, ...] = (2, 5, 6), rank: int = 4, element: int = TensorProto.UINT8, opset: int = 21
) -> onnx.ModelProto:
    """Nodes one behind the other: (operator, constants beside the value, attributes[, "first"]); "first" puts the value last."""
    w = zoo.Writer()
    w.body = True
    x = "input"
    for i, (kind, constants, attributes, *swapped) in enumerate(steps, 1):
        names = ["" if c is None else w.const(f"c{i}.{j}", c) for j, c in enumerate(constants)]
        x = w.op(kind, [*names, x] if swapped else [x, *names], f"{kind.lower()}{i}", **attributes)
    model = w.model(list(shape), None, element=element, output=x)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(x, F, ["batch", *[None] * (rank - 1)]))
    model.opset_import[0].version = opset
    for function in model.functions:
        function.opset_import[0].version = opset
    if opset < 12:  # no GreaterOrEqual yet
        del model.functions[:]
    return model


def load(model: onnx.ModelProto, folder: Path) -> Model:
    return read(zoo.save(model, folder / "net.onnx"))


def pixels(rng: np.random.Generator, model: Model, batch: int = 5) -> np.ndarray:
    entry = model.graph.input()
    assert isinstance(entry, layers.Input)
    x = rng.integers(0, 256, (batch, *entry.shape)).astype(np.uint8)
    x[0], x[1] = 0, 255
    return x.view(np.int8) if entry.element == "i8" else x


def kinds(model: Model) -> list[str]:
    return [node.kind() for node in model.graph.nodes]


def only(model: Model, kind: type[Any]) -> Any:
    (found,) = (node for node in model.graph.nodes if isinstance(node, kind))
    return found


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.float32), shape)


def conv(rng: np.random.Generator, n: int, c: int, *kernel: int, a: float = 1.0, bias: bool = False, **attributes: Any) -> tuple[Any, ...]:
    more = [rng.normal(0, 3, n).astype(np.float32)] if bias else []
    return ("Conv", [(signs(rng, n, c, *kernel) * np.float32(a)).astype(np.float32), *more], attributes)


# The networks of zoo_images, whole.


@settings(max_examples=80)
@given(st.sampled_from(zoo_images.KINDS), st.sampled_from(LEVELS), st.integers(0, 2**32 - 1))
def test_own_spelling_is_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, kind: str, level: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    file = zoo_images.random_network(rng, kind=kind)
    onnx.checker.check_model(file, full_check=True)
    model = load(file, tmp_path_factory.mktemp("own"))
    assert model.notes == ()
    x = pixels(rng, model)
    got = reference.run(model.graph, x)[model.graph.output]
    assert got.dtype == np.float32
    assert np.array_equal(got, run(file, x, level))
    if not any(node.op_type == "MaxPool" for node in file.graph.node):  # onnx 1.23's own fails on windows that end in the padding
        assert np.array_equal(got, ReferenceEvaluator(file).run(None, {"input": x})[0])


def test_the_zoo_covers_what_is_read() -> None:
    """Every layer and every kind of activation, within a few dozen networks."""
    seen: set[str] = set()
    windows: set[str] = set()
    for seed in range(60):
        file = zoo_images.random_network(np.random.default_rng(seed))
        seen |= {node.op_type for node in file.graph.node}
        for node in file.graph.node:
            for a in node.attribute:
                value = helper.get_attribute_value(a)
                windows |= {a.name} if node.op_type == "Conv" and np.any(np.asarray(value) != (0 if a.name == "pads" else 1)) else set()
    assert seen >= {
        "Conv",
        "MaxPool",
        "ReduceSum",
        "Add",
        "Concat",
        "Pad",
        "PRelu",
        "Clip",
        "Relu",
        "Floor",
        "Flatten",
        "MatMul",
        "BipolarQuant",
    }
    assert windows >= {"kernel_shape", "strides", "pads", "dilations", "group"}


@pytest.mark.parametrize("kind", zoo_images.KINDS)
def test_what_the_own_spelling_reads_as(kind: str, tmp_path: Path) -> None:
    """Requantized values have the element their Clip says, and no layer but the last is float."""
    for seed in range(10):
        model = load(zoo_images.random_network(np.random.default_rng(seed), kind=kind), tmp_path)
        types = model.graph.types
        assert types[model.graph.output].element == "f32"
        for node in model.graph.nodes:
            if isinstance(node, layers.Conv | layers.Dense):
                assert types[node.name].element == "i32"
                assert node.weights.type.element == "sign"
            if isinstance(node, layers.Add):
                assert types[node.name].element == "i16"
            if isinstance(node, layers.SumPool):
                assert types[node.name].element == "i32"


# One operator at a time.

Case = Callable[[np.random.Generator], onnx.ModelProto]
HALF, TWO = np.float32(0.5), np.float32(2)


def wide(m: Any, b: Any, low: int, high: int) -> list[tuple[Any, ...]]:
    """A requantization in float64."""
    return [
        ("Cast", [], {"to": TensorProto.DOUBLE}),
        ("Mul", [np.asarray(m, np.float64)], {}, "first"),
        ("Add", [np.asarray(b, np.float64) + 0.5], {}),
        ("Floor", [], {}),
        ("Clip", [np.float64(low), np.float64(high)], {}),
        CAST,
    ]


def sixteen(rng: np.random.Generator, c: int = 3) -> list[tuple[Any, ...]]:
    """Values of 16 bits, [c, 5, 6], many of them saturated."""
    m = rng.integers(-800, 800, (c, 1, 1)) / 8
    return [CAST, conv(rng, c, 2, 3, 3, pads=[1, 1, 1, 1]), *wide(m, m * 3, -32768, 32767)]


CLIP16 = ("Clip", [np.float32(-32768), np.float32(32767)], {})
# name → file, and the nodes behind the input that it reads as. Every number in these is dyadic: no order of operations rounds.
EXACT: dict[str, tuple[Case, str]] = {
    "conv": (lambda r: chain(CAST, conv(r, 4, 2, 3, 3)), "conv affine"),
    "conv with padding, stride, dilation": (
        lambda r: chain(CAST, conv(r, 4, 2, 2, 3, pads=[2, 1, 0, 3], strides=[2, 1], dilations=[1, 2])),
        "conv affine",
    ),
    "conv of a row": (
        lambda r: chain(CAST, conv(r, 4, 2, 3, pads=[2, 0], strides=[2], dilations=[2]), shape=(2, 9), rank=3),
        "conv affine",
    ),
    "conv in groups": (lambda r: chain(CAST, conv(r, 6, 2, 3, 3, group=2), shape=(4, 5, 6)), "conv affine"),
    "depthwise conv": (lambda r: chain(CAST, conv(r, 8, 1, 3, 3, group=4), shape=(4, 5, 6)), "conv affine"),
    "conv larger than the image": (lambda r: chain(CAST, conv(r, 3, 1, 7, 7, pads=[3, 3, 3, 3]), shape=(1, 2, 1)), "conv affine"),
    "conv with a = 0.25": (lambda r: chain(CAST, conv(r, 4, 2, 3, 3, a=0.25)), "conv affine"),
    "SAME_UPPER": (lambda r: chain(CAST, conv(r, 4, 2, 2, 4, auto_pad="SAME_UPPER", strides=[2, 3])), "conv affine"),
    "SAME_LOWER": (lambda r: chain(CAST, conv(r, 4, 2, 2, 4, auto_pad="SAME_LOWER", strides=[1, 1])), "conv affine"),
    "VALID": (lambda r: chain(CAST, conv(r, 4, 2, 2, 3, auto_pad="VALID", strides=[2, 1])), "conv affine"),
    "one scale and shift through a conv": (
        lambda r: chain(CAST, ("Mul", [HALF], {}), ("Sub", [np.array([3, 5], np.float32).reshape(2, 1, 1)], {}), conv(r, 3, 2, 2, 2)),
        "conv affine",
    ),
    "shifts through a conv in groups": (
        lambda r: chain(
            CAST, ("Add", [np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)], {}), conv(r, 6, 2, 2, 2, group=2), shape=(4, 3, 3)
        ),
        "conv affine",
    ),
    "a scale through a padded conv": (lambda r: chain(CAST, ("Mul", [HALF], {}), conv(r, 3, 2, 3, 3, pads=[1, 1, 1, 1])), "conv affine"),
    "a shift in front of a padded conv stays": (
        lambda r: chain(CAST, ("Add", [TWO], {}), conv(r, 3, 2, 3, 3, pads=[1, 1, 1, 1])),
        "affine conv",
    ),
    "activations 0 and 1 in a padded conv": (
        lambda r: chain(
            CAST,
            conv(r, 3, 2, 3, 3),
            ("GreaterOrEqual", [np.float32(0)], {}),
            ("Where", [np.float32(1), np.float32(0)], {}),
            conv(r, 4, 3, 3, 3, pads=[1, 2, 0, 1]),
        ),
        "conv sign pad conv affine",
    ),
    "zeros padded in front of a conv": (
        lambda r: chain(CAST, ("Pad", [np.array([0, 0, 1, 2, 0, 0, 3, 0]), np.float32(0)], {}), conv(r, 3, 2, 3, 3, pads=[1, 0, 0, 1])),
        "conv affine",
    ),
    "zeros padded twice, by axes": (
        lambda r: chain(
            CAST,
            ("Pad", [np.array([1, 2]), None, np.array([-1])], {}),
            ("Pad", [np.array([1, 0]), np.float32(0), np.array([2])], {}),
            conv(r, 3, 2, 3, 3),
        ),
        "conv affine",
    ),
    "signs padded with +1": (
        lambda r: chain(
            CAST,
            conv(r, 3, 2, 3, 3),
            SIGN,
            ("Pad", [np.array([0, 0, 1, 0, 0, 0, 2, 1]), np.float32(1)], {}),
            conv(r, 4, 3, 3, 3),
        ),
        "conv sign pad conv affine",
    ),
    "signs padded with -1": (
        lambda r: chain(
            CAST,
            conv(r, 3, 2, 3, 3),
            ("Relu", [], {}),
            ("Sub", [TWO], {}),
            SIGN,
            ("Pad", [np.array([1, 0]), np.float32(-1), np.array([-1])], {}),
            conv(r, 4, 3, 3, 3),
        ),
        "conv relu affine sign pad conv affine",
    ),
    "zeros padded before opset 11": (
        lambda r: chain(CAST, ("Pad", [], {"pads": [0, 0, 1, 0, 0, 0, 2, 1]}), conv(r, 4, 2, 3, 3), opset=10),
        "conv affine",
    ),
    "padding of nothing": (lambda r: chain(CAST, ("Pad", [np.zeros(8, int)], {}), conv(r, 3, 2, 3, 3)), "conv affine"),
    "a row padded": (
        lambda r: chain(CAST, ("Pad", [np.array([0, 0, 1, 0, 0, 2])], {}), conv(r, 3, 2, 3), shape=(2, 6), rank=3),
        "conv affine",
    ),
    "max pool of bytes": (
        lambda r: chain(("MaxPool", [], {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 1, 1]}), CAST, conv(r, 3, 2, 2, 2)),
        "max_pool conv affine",
    ),
    "max pool of scaled signs": (
        lambda r: chain(
            CAST,
            conv(r, 3, 2, 3, 3),
            ("BipolarQuant", [HALF], {"domain": zoo.QONNX}),
            ("MaxPool", [], {"kernel_shape": [2, 2]}),
            conv(r, 3, 3, 2, 2),
        ),
        "conv sign max_pool conv affine",
    ),
    "max pool behind a falling affine": (
        lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("Mul", [-HALF], {}, "first"), ("MaxPool", [], {"kernel_shape": [2, 2]})),
        "conv affine max_pool",
    ),
    "max pool with ceil_mode that changes nothing": (
        lambda r: chain(CAST, conv(r, 3, 2, 2, 3), ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1})),
        "conv max_pool affine",
    ),
    "max pool of a row": (
        lambda r: chain(CAST, conv(r, 3, 2, 3), ("MaxPool", [], {"kernel_shape": [3], "strides": [2]}), shape=(2, 9), rank=3),
        "conv max_pool affine",
    ),
    "global max pool": (lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("GlobalMaxPool", [], {})), "conv max_pool affine"),
    "average pool of 4": (
        lambda r: chain(CAST, ("AveragePool", [], {"kernel_shape": [2, 2]}), conv(r, 3, 2, 2, 2)),
        "sum_pool affine conv",
    ),
    "average pool with padding": (
        lambda r: chain(
            CAST, conv(r, 3, 2, 3, 3), SIGN, ("AveragePool", [], {"kernel_shape": [2, 2], "pads": [1, 1, 0, 1], "count_include_pad": 1})
        ),
        "conv sign sum_pool affine",
    ),
    "average pool of what is shifted per channel": (
        lambda r: chain(
            CAST,
            conv(r, 3, 2, 3, 3),
            ("Mul", [np.array([1, -2, 0.5], np.float32).reshape(3, 1, 1)], {}, "first"),
            ("Add", [np.arange(3, dtype=np.float32).reshape(3, 1, 1)], {}),
            ("AveragePool", [], {"kernel_shape": [1, 2]}),
        ),
        "conv sum_pool affine",
    ),
    "average of what is shifted, with padding": (
        lambda r: chain(
            CAST, ("Add", [TWO], {}), ("AveragePool", [], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1})
        ),
        "affine sum_pool affine",
    ),
    "zeros padded in front of an average": (
        lambda r: chain(CAST, ("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {}), ("AveragePool", [], {"kernel_shape": [2, 2]})),
        "sum_pool affine",
    ),
    "depthwise conv of 2 is a sum": (
        lambda r: chain(CAST, ("Conv", [np.full((2, 1, 2, 3), 2, np.float32)], {"group": 2, "pads": [1, 0, 1, 0]})),
        "sum_pool affine",
    ),
    "global average pool": (lambda r: chain(CAST, ("GlobalAveragePool", [], {}), FLAT, shape=(3, 4, 2), rank=2), "sum_pool flatten affine"),
    "sum over height and width": (lambda r: chain(CAST, ("ReduceSum", [np.array([-1, 2])], {"keepdims": 1})), "sum_pool affine"),
    "sum that drops the axes": (
        lambda r: chain(CAST, ("ReduceSum", [np.array([2, 3])], {"keepdims": 0}), rank=2),
        "sum_pool flatten affine",
    ),
    "sum over a row, by attribute": (
        lambda r: chain(CAST, ("ReduceSum", [], {"axes": [2], "keepdims": 0}), shape=(3, 7), rank=2, opset=12),
        "sum_pool flatten affine",
    ),
    "mean over height and width": (
        lambda r: chain(CAST, ("ReduceMean", [], {"axes": [2, 3]}), ("Squeeze", [np.array([2, 3])], {}), shape=(3, 4, 2), rank=2, opset=17),
        "sum_pool flatten affine",
    ),
    "batch norm of channels": (
        lambda r: chain(
            CAST,
            conv(r, 3, 2, 3, 3),
            (
                "BatchNormalization",
                [np.array(v, np.float32) for v in ([1, -2, 0.5], [3, 0, 1], [7, -1, 0], [4, 1, 0.25])],
                {"epsilon": 0.0},
            ),
        ),
        "conv affine",
    ),
    "constants of every shape": (
        lambda r: chain(
            CAST,
            conv(r, 3, 2, 3, 3),
            ("Mul", [np.array([1, 2, -4], np.float32).reshape(3, 1, 1)], {}),
            ("Add", [np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1)], {}, "first"),
            ("Mul", [np.float32(0.5).reshape(1, 1, 1, 1)], {}, "first"),
            ("Sub", [np.float32(7).reshape(1)], {}, "first"),
        ),
        "conv affine",
    ),
    "scores scaled before Flatten": (
        lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("Mul", [np.array([1, 2, -4], np.float32).reshape(3, 1, 1)], {}, "first"), FLAT, rank=2),
        "conv flatten affine",
    ),
    "Reshape to a vector": (
        lambda r: chain(CAST, conv(r, 3, 2, 5, 6), ("Reshape", [np.array([-1, 3])], {}), rank=2),
        "conv flatten affine",
    ),
    "Reshape that changes nothing": (
        lambda r: chain(CAST, ("Reshape", [np.array([-1, 2, 5, 6])], {}), ("Reshape", [np.array([0, 0, -1, 6])], {}), conv(r, 3, 2, 5, 6)),
        "conv affine",
    ),
    "Squeeze of a row": (
        lambda r: chain(CAST, conv(r, 3, 2, 7), ("Squeeze", [np.array([-1])], {}), shape=(2, 7), rank=2),
        "conv flatten affine",
    ),
    "Clip as hard tanh": (lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("Clip", [np.float32(-9), TWO], {})), "conv clip"),
    "Clip with open ends": (lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("Clip", [None, TWO], {}), ("Clip", [-TWO], {})), "conv clip clip"),
    "Clip before opset 11": (
        lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("Clip", [], {"min": -3.0}), ("Clip", [], {"max": 2.5}), opset=10),
        "conv clip clip",
    ),
    "ReLU": (lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("Add", [TWO], {}), ("Relu", [], {})), "conv affine relu"),
    "PRelu": (
        lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("PRelu", [np.array([0.5, -1, 2], np.float32).reshape(3, 1, 1)], {})),
        "conv p_relu",
    ),
    "PRelu with one slope": (lambda r: chain(CAST, conv(r, 3, 2, 3, 3), ("PRelu", [np.float32([0.25])], {})), "conv p_relu"),
    "8-bit activations": (
        lambda r: chain(CAST, conv(r, 3, 2, 3, 3), *wide(np.array([1, -2, 3]).reshape(3, 1, 1) / 16, 5, 0, 255), conv(r, 2, 3, 2, 2)),
        "conv requantize conv affine",
    ),
    "16-bit activations": (lambda r: chain(*sixteen(r), ("Mul", [HALF], {}, "first")), "conv requantize affine"),
    "16-bit activations in int16": (
        lambda r: chain(*sixteen(r)[:-1], ("Cast", [], {"to": TensorProto.INT16}), CAST),
        "conv requantize",
    ),
    "sign of an affine of 16 bits": (
        lambda r: chain(*sixteen(r), ("Mul", [HALF], {}, "first"), ("Add", [np.float32(7)], {}), SIGN, conv(r, 2, 3, 2, 2)),
        "conv requantize affine sign conv affine",
    ),
    "16-bit PRelu": (
        lambda r: chain(
            *sixteen(r),
            ("PRelu", [np.array([256, -256, 77], np.float32).reshape(3, 1, 1) / 256], {}),
            ("Add", [HALF], {}, "first"),
            ("Floor", [], {}),
            CLIP16,
        ),
        "conv requantize p_relu",
    ),
    "16-bit PRelu behind a tighter Clip": (
        lambda r: chain(
            *sixteen(r),
            ("PRelu", [np.float32([0.5])], {}),
            ("Add", [HALF], {}),
            ("Floor", [], {}),
            ("Clip", [np.float32(-100), np.float32(2000)], {}),
        ),
        "conv requantize p_relu clip",
    ),
    "float PRelu of 16 bits": (
        lambda r: chain(*sixteen(r), ("PRelu", [np.float32([0.5])], {}), ("Mul", [HALF], {}), SIGN, conv(r, 2, 3, 2, 2)),
        "conv requantize affine p_relu affine sign conv affine",
    ),
    "ReLU of 16 bits": (lambda r: chain(*sixteen(r), ("Relu", [], {})), "conv requantize clip"),
    "Clip of 16 bits": (lambda r: chain(*sixteen(r), ("Clip", [np.float32(-1e9), np.float32(500)], {})), "conv requantize clip"),
    "max pool of 16 bits": (
        lambda r: chain(*sixteen(r), ("MaxPool", [], {"kernel_shape": [2, 2], "pads": [0, 1, 0, 1]})),
        "conv requantize max_pool",
    ),
    "sum pool of 16 bits": (
        lambda r: chain(*sixteen(r), ("Conv", [np.ones((3, 1, 2, 2), np.float32)], {"group": 3}), *wide(0.25, 0, -32768, 32767)),
        "conv requantize sum_pool requantize",
    ),
}


def after(expected: str, got: list[str]) -> bool:
    """Whether `got` is input and then `expected`, but for an affine that the output may need."""
    return got[0] == "input" and got[1:] in (expected.split(), [*expected.split(), "affine"], expected.removesuffix(" affine").split())


@pytest.mark.parametrize("name", EXACT)
def test_operator(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    make, expected = EXACT[name]
    file = make(rng)
    onnx.checker.check_model(file)
    model = load(file, tmp_path)
    assert after(expected, kinds(model)), kinds(model)
    x = pixels(rng, model, 9)
    got = reference.run(model.graph, x)[model.graph.output]
    want = run(file, x)
    assert got.shape == want.shape
    assert np.array_equal(got, want)
    assert len(np.unique(got)) > 1
    if not any(node.op_type in ("MaxPool", "PRelu") or any(a.s.startswith(b"SAME") for a in node.attribute) for node in file.graph.node):
        assert np.array_equal(got, ReferenceEvaluator(file).run(None, {"input": x})[0])


def joined(
    rng: np.random.Generator, kind: str, *, left: list[Any], right: list[Any], behind: list[Any], **attributes: Any
) -> onnx.ModelProto:
    """The input through two chains, joined, and one behind."""
    w = zoo.Writer()
    w.body = True
    ends = []

    def walk(x: str, steps: list[Any], label: str) -> str:
        for i, (op, constants, more, *swapped) in enumerate(steps, 1):
            names = [w.const(f"{label}{i}.{j}", c) for j, c in enumerate(constants)]
            x = w.op(op, [*names, x] if swapped else [x, *names], f"{label}{i}", **more)
        return x

    x = walk("input", [CAST], "cast")
    ends = [walk(x, left, "a"), walk(x, right, "b")]
    x = walk(w.op(kind, ends, "join", **attributes), behind, "c")
    model = w.model([2, 5, 6], None, output=x)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(x, F, ["batch", None, None, None]))
    return model


def scaled(rng: np.random.Generator, s: float) -> list[Any]:
    return [conv(rng, 3, 2, 3, 3), ("Mul", [np.float32(s)], {}, "first"), ("Add", [np.float32([[[1]], [[-2]], [[0]]])], {})]


JOINS: dict[str, tuple[Case, str]] = {
    "saturating sum": (
        lambda r: joined(r, "Add", left=sixteen(r)[1:], right=sixteen(r)[1:], behind=[CLIP16]),
        "conv requantize conv requantize add affine",
    ),
    "saturating sum with a ReLU": (
        lambda r: joined(r, "Add", left=sixteen(r)[1:], right=sixteen(r)[1:], behind=[("Clip", [np.float32(0), np.float32(32767)], {})]),
        "conv requantize conv requantize add clip affine",
    ),
    "sum of floats": (
        lambda r: joined(r, "Add", left=scaled(r, 0.5), right=scaled(r, -2), behind=[SIGN, conv(r, 2, 3, 2, 2)]),
        "conv conv affine affine add sign conv affine",
    ),
    "sum of plain sums": (
        lambda r: joined(r, "Add", left=[conv(r, 3, 2, 3, 3)], right=[conv(r, 3, 2, 3, 3)], behind=[]),
        "conv conv affine affine add",
    ),
    "signs side by side": (
        lambda r: joined(r, "Concat", axis=1, left=[*scaled(r, 0.5), SIGN], right=[*scaled(r, -2), SIGN], behind=[conv(r, 2, 6, 2, 2)]),
        "conv affine sign conv affine sign concat conv affine",
    ),
    "scaled signs side by side": (
        lambda r: joined(
            r,
            "Concat",
            axis=-3,
            left=[*scaled(r, 0.5), SIGN, ("Mul", [HALF], {})],
            right=[*scaled(r, -2), SIGN, ("Mul", [np.float32([[[1]], [[4]], [[2]]])], {})],
            behind=[],
        ),
        "conv affine sign conv affine sign concat affine",
    ),
    "sums side by side": (
        lambda r: joined(r, "Concat", axis=1, left=[conv(r, 3, 2, 3, 3)], right=[conv(r, 1, 2, 3, 3)], behind=[]),
        "conv conv concat affine",
    ),
    "batch norms side by side": (
        lambda r: joined(r, "Concat", axis=1, left=scaled(r, 0.5), right=scaled(r, 2), behind=[SIGN, conv(r, 2, 6, 2, 2)]),
        "conv conv affine affine concat sign conv affine",
    ),
    "bytes side by side": (
        lambda r: joined(
            r,
            "Concat",
            axis=1,
            left=[],
            right=[conv(r, 3, 2, 3, 3, pads=[1, 1, 1, 1]), *wide(0.125, 3, 0, 255)],
            behind=[conv(r, 2, 5, 2, 2)],
        ),
        "conv requantize concat conv affine",
    ),
}


@pytest.mark.parametrize("name", JOINS)
def test_join(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    make, expected = JOINS[name]
    file = make(rng)
    model = load(file, tmp_path)
    assert after(expected, kinds(model)), kinds(model)
    x = pixels(rng, model, 9)
    got = reference.run(model.graph, x)[model.graph.output]
    assert np.array_equal(got, run(file, x))
    assert np.array_equal(got, ReferenceEvaluator(file).run(None, {"input": x})[0])


def test_sixteen_bits_saturate(tmp_path: Path, rng: np.random.Generator) -> None:
    """The drawn networks above reach both ends, so their agreement says something about them."""
    model = load(JOINS["saturating sum"][0](rng), tmp_path)
    found = reference.run(model.graph, pixels(rng, model, 50))[only(model, layers.Add).name]
    assert found.min() == -32768
    assert found.max() == 32767


# Spellings of other tools, to float rounding.


def torch_like(rng: np.random.Generator, **options: Any) -> onnx.ModelProto:
    """x/255, conv ±a with a bias, batch norm, max pool, sign by comparison, padded conv, average, Gemm: as torch's exporter writes it."""
    scale = rng.uniform(0.1, 0.5, (6, 1, 1, 1)).astype(np.float32)
    norm = [rng.uniform(0.5, 2, 6), rng.normal(0, 1, 6), rng.normal(0, 1, 6), rng.uniform(0.5, 2, 6)]
    return chain(
        CAST,
        ("Div", [np.float32(255)], {}),
        ("Conv", [signs(rng, 6, 3, 3, 3) * scale, rng.normal(0, 1, 6).astype(np.float32)], {"pads": [1, 1, 1, 1], **options}),
        ("BatchNormalization", [v.astype(np.float32) for v in norm], {}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("GreaterOrEqual", [np.float32(0)], {}),
        ("Where", [np.float32(1), np.float32(-1)], {}),
        conv(rng, 8, 6, 3, 3, a=0.3, bias=True, auto_pad="SAME_UPPER"),
        ("GlobalAveragePool", [], {}),
        FLAT,
        ("Mul", [rng.normal(0, 1, 8).astype(np.float32)], {}),
        shape=(3, 8, 9),
        rank=2,
    )


def test_torch_like_network(tmp_path: Path, rng: np.random.Generator) -> None:
    file = torch_like(rng)
    model = load(file, tmp_path)
    assert kinds(model) == ["input", "conv", "affine", "max_pool", "sign", "conv", "sum_pool", "flatten", "affine"]
    for phrase in ("output channel was taken out", "batch norm became", "an average became", "Conv: bias"):
        assert any(phrase in note for note in model.notes), model.notes
    assert all(node.weights.type.element == "sign" for node in model.graph.nodes if isinstance(node, layers.Conv))
    x = pixels(rng, model, 40)
    got, want = reference.run(model.graph, x)[model.graph.output], run(file, x)
    # A sign may flip where rounding moves a sum over 0, which one in a million does: none in this draw.
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_scale_of_each_channel_passes_a_batch_norm_and_flatten(tmp_path: Path, rng: np.random.Generator) -> None:
    """Per-channel numbers are repeated for every pixel, in C·H·W order, on their way into a dense layer."""
    file = chain(
        CAST,
        ("Sub", [rng.uniform(0, 255, (3, 1, 1)).astype(np.float32)], {}),
        ("Div", [np.float32(60)], {}),
        FLAT,
        ("Gemm", [signs(rng, 24, 4) * np.float32(0.2), rng.normal(0, 1, 4).astype(np.float32)], {}),
        shape=(3, 4, 2),
        rank=2,
    )
    model = load(file, tmp_path)
    assert kinds(model) == ["input", "flatten", "dense", "affine"]
    x = pixels(rng, model)
    np.testing.assert_allclose(reference.run(model.graph, x)[model.graph.output], run(file, x), rtol=1e-5, atol=1e-4)


def torch_network(torch: Any) -> Any:
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
            self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding="same", groups=2, bias=False), nn.BatchNorm2d(6)
            self.pool, self.fc = nn.AvgPool2d(2, padding=1), nn.Linear(6, 4)
            for layer in (self.conv1, self.conv2, self.fc):
                layer.weight.data = torch.where(layer.weight >= 0, 0.2, -0.2)

        def forward(self, x: Any) -> Any:
            x = self.norm1(self.conv1(x.float()))
            x = torch.where(nn.functional.max_pool2d(x, 2) >= 0, 1.0, -1.0)
            x = nn.functional.hardtanh(self.norm2(self.conv2(x)))
            x = torch.where(x >= 0, 1.0, -1.0)
            return self.fc(self.pool(x).mean((2, 3)))

    torch.manual_seed(3)
    net = Net()
    for _ in range(10):
        net(torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8))
    return net.eval()


def test_plain_torch_export(tmp_path: Path, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "torch.onnx"
    net = torch_network(torch)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates itself
        torch.onnx.export(net, (torch.zeros(1, 3, 8, 8, dtype=torch.uint8),), str(path), dynamo=False, opset_version=18, input_names=["x"])
    model = read(path)
    assert "pad" not in kinds(model)
    x = rng.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        want = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(reference.run(model.graph, x)[model.graph.output], want, rtol=1e-4, atol=1e-4)


# Files that are refused: what the error says is the place, the fact and the remedy.

R = np.random.default_rng(7)
CONV = conv(R, 3, 2, 3, 3)


def with_conv(**attributes: Any) -> onnx.ModelProto:
    return chain(CAST, ("Conv", [np.ones((3, 2, 3, 3), np.float32)], attributes))


def pooled(kind: str = "MaxPool", **attributes: Any) -> onnx.ModelProto:
    return chain(CAST, CONV, (kind, [], {"kernel_shape": [2, 2], **attributes}))


def padded(pads: Any, *more: Any, **attributes: Any) -> onnx.ModelProto:
    return chain(CAST, ("Pad", [np.array(pads), *more], attributes), CONV)


BAD: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[str, ...]]] = {
    "stride 0": (lambda: with_conv(strides=[1, 0]), ("conv2 (Conv)", "strides = [1, 0]", "from 1 to 65536")),
    "stride of 2^40": (lambda: with_conv(strides=[1 << 40, 1]), ("conv2 (Conv)", "strides", "from 1 to 65536")),
    "negative stride": (lambda: with_conv(strides=[-1, 1]), ("conv2 (Conv)", "strides", "from 1 to 65536")),
    "one stride for two axes": (lambda: with_conv(strides=[2]), ("conv2 (Conv)", "strides = [2]", "2 whole number(s)")),
    "dilation 0": (lambda: with_conv(dilations=[0, 1]), ("conv2 (Conv)", "dilations = [0, 1]", "from 1 to 65536")),
    "dilation of 2^62": (lambda: with_conv(dilations=[1 << 62, 1]), ("conv2 (Conv)", "dilations", "from 1 to 65536")),
    "dilation past the image": (lambda: with_conv(dilations=[60000, 1]), ("conv2", "does not fit the image of 5 x 6", "smaller kernel")),
    "negative pads": (lambda: with_conv(pads=[0, -1, 0, 0]), ("conv2 (Conv)", "pads = [0, -1, 0, 0]", "from 0 to 65536")),
    "pads of 2^62": (lambda: with_conv(pads=[1 << 62, 0, 0, 0]), ("conv2 (Conv)", "pads", "from 0 to 65536")),
    "two pads for four sides": (lambda: with_conv(pads=[1, 1]), ("conv2 (Conv)", "pads = [1, 1]", "4 whole number(s)")),
    "padded image of 2^32": (lambda: with_conv(pads=[60000] * 4), ("conv2 (Conv)", "make an image of", "less padding")),
    "kernel that does not fit": (
        lambda: chain(CAST, ("Conv", [np.ones((3, 2, 7, 3), np.float32)], {})),
        ("conv2", "7 x 3 does not fit the image of 5 x 6", "more padding"),
    ),
    "kernel_shape that is not the weights'": (
        lambda: with_conv(kernel_shape=[3, 2]),
        ("conv2 (Conv)", "kernel_shape = [3, 2], weights have [3, 3]", "export the model again"),
    ),
    "auto_pad that does not exist": (lambda: with_conv(auto_pad="SAME"), ("conv2 (Conv)", "auto_pad = SAME", "SAME_UPPER")),
    "auto_pad and pads": (
        lambda: with_conv(auto_pad="VALID", pads=[1, 1, 1, 1]),
        ("conv2 (Conv)", "auto_pad = VALID and pads", "only one"),
    ),
    "SAME with dilations": (
        lambda: with_conv(auto_pad="SAME_UPPER", dilations=[2, 2]),
        ("conv2 (Conv)", "auto_pad = SAME_UPPER with dilations", "explicit pads"),
    ),
    "group 0": (lambda: with_conv(group=0), ("conv2 (Conv)", "group = 0", "multiples of group")),
    "negative group": (lambda: with_conv(group=-2), ("conv2 (Conv)", "group = -2", "multiples of group")),
    "group of 2^40": (lambda: with_conv(group=1 << 40), ("conv2 (Conv)", "group = 1099511627776", "multiples of group")),
    "groups that do not divide": (
        lambda: chain(CAST, ("Conv", [np.ones((3, 1, 3, 3), np.float32)], {"group": 2})),
        ("conv2 (Conv)", "2 input and 3 output channels", "multiples of group"),
    ),
    "channels that do not fit": (
        lambda: chain(CAST, ("Conv", [np.ones((3, 4, 3, 3), np.float32)], {})),
        ("conv2 (Conv)", "2 input", "weights expect 4", "export the model again"),
    ),
    "weights of three axes on an image": (
        lambda: chain(CAST, ("Conv", [np.ones((3, 2, 3), np.float32)], {})),
        ("conv2 (Conv)", "[3, 2, 3] on values of shape [2, 5, 6]", "export the model again"),
    ),
    "weights without taps": (
        lambda: chain(CAST, ("Conv", [np.ones((3, 2, 0, 3), np.float32)], {})),
        ("conv2 (Conv)", "[3, 2, 0, 3]", "export the model again"),
    ),
    "convolution of volumes": (
        lambda: chain(CAST, ("Conv", [np.ones((3, 2, 1, 1, 1), np.float32)], {}), shape=(2, 3, 3, 3), rank=5),
        ("conv2 (Conv)", "[2, 3, 3, 3]", "rows [C, L] and images [C, H, W]"),
    ),
    "weights that depend on the input": (
        lambda: joined(R, "Conv", left=[], right=[], behind=[]),
        ("join (Conv)", "input 1 is not a constant", "initializers"),
    ),
    "bias of another width": (
        lambda: chain(CAST, ("Conv", [np.ones((3, 2, 3, 3), np.float32), np.ones(2, np.float32)], {})),
        ("conv2 (Conv)", "bias of shape [2] for 3 channels", "export"),
    ),
    "convolution of bytes": (
        lambda: chain(("Conv", [np.ones((3, 2, 3, 3), np.uint8)], {})),
        ("conv1 (Conv)", "computes in integers", "Cast it to float"),
    ),
    "convolution in float64": (
        lambda: chain(("Cast", [], {"to": TensorProto.DOUBLE}), ("Conv", [np.ones((3, 2, 3, 3))], {})),
        ("conv2 (Conv)", "float64", "Cast to float32"),
    ),
    "NaN among the weights": (
        lambda: chain(CAST, ("Conv", [np.full((3, 2, 3, 3), np.nan, np.float32)], {})),
        ("c2.0", "NaN", "train again"),
    ),
    "products past 2^32": (
        lambda: chain(CAST, ("Conv", [np.ones((64, 1, 255, 255), np.int8).astype(np.float32)], {"pads": [254] * 4}), shape=(1, 100, 100)),
        ("conv2 (Conv)", "products per input", "2^32"),
    ),
    "image past 2^24": (
        lambda: chain(CAST, ("Conv", [np.ones((1 << 12, 1, 1, 1), np.float32)], {}), shape=(1, 100, 100)),
        ("conv2", "2^24", "smaller image"),
    ),
    "pool without a kernel": (
        lambda: chain(CAST, CONV, ("MaxPool", [], {})),
        ("kernel_shape",),
    ),
    "pool with a kernel of one axis": (lambda: pooled(kernel_shape=[2]), ("maxpool3 (MaxPool)", "kernel_shape = [2]", "2 whole number(s)")),
    "pool of 2^32 taps": (
        lambda: pooled(kernel_shape=[65536, 65536], pads=[65535] * 4),
        ("maxpool3 (MaxPool)", "4294967296 taps", "kernels of up to 65536"),
    ),
    "pool with windows in the padding": (
        lambda: pooled(pads=[1, 0, 1, 0], dilations=[4, 1]),  # of 3 rows the taps see the one above and the one below
        ("maxpool3", "wholly in the padding", "less padding"),
    ),
    "pool with more padding than its kernel": (
        lambda: pooled(pads=[2, 0, 2, 0]),
        ("maxpool3 (MaxPool)", "pads = [2, 0, 2, 0] are not smaller than the kernel", "less padding"),
    ),
    "ceil_mode": (lambda: pooled(strides=[2, 2], ceil_mode=1), ("maxpool3 (MaxPool)", "ceil_mode = 1", "ceil_mode = 0")),
    "average without the padding": (
        lambda: pooled("AveragePool", pads=[1, 1, 1, 1]),
        ("averagepool3 (AveragePool)", "count_include_pad = 0", "count_include_pad = True"),
    ),
    "indices of a max pool": (
        lambda: with_indices(),
        ("output2 (Cast)", "reads where, which nothing defines"),
    ),
    "pool of a vector": (
        lambda: chain(CAST, FLAT, ("GlobalMaxPool", [], {}), rank=2),
        ("globalmaxpool3 (GlobalMaxPool)", "[60]", "images [C, H, W]"),
    ),
    "sum over channels": (
        lambda: chain(CAST, ("ReduceSum", [np.array([1])], {})),
        ("reducesum2 (ReduceSum)", "axes [1]", "axes [2, 3]"),
    ),
    "sum over everything": (lambda: chain(CAST, ("ReduceSum", [], {})), ("reducesum2 (ReduceSum)", "all axes", "axes [2, 3]")),
    "sum over one axis twice": (
        lambda: chain(CAST, ("ReduceSum", [np.array([2, 2, 3])], {})),
        ("reducesum2 (ReduceSum)", "axes [2, 2, 3]", "axes [2, 3]"),
    ),
    "sum in bytes": (
        lambda: chain(("ReduceSum", [np.array([2, 3])], {}), CAST),
        ("reducesum1 (ReduceSum)", "computes in integers", "Cast"),
    ),
    "reflecting Pad": (lambda: padded([0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"), ("pad2 (Pad)", "mode = reflect", "constant")),
    "Pad of the channels": (lambda: padded([0, 1, 0, 0, 0, 0, 0, 0]), ("pad2 (Pad)", "pads = [0, 1, 0", "height and width")),
    "negative Pad": (lambda: padded([0, 0, -1, 0, 0, 0, 0, 0]), ("pad2 (Pad)", "pads = [0, 0, -1", "from 0 to 65536")),
    "Pad of half a pixel": (lambda: padded([0, 0, 0.5, 0, 0, 0, 0, 0]), ("pad2",)),
    "Pad of the wrong length": (lambda: padded([0, 0, 1, 1]), ("pad2 (Pad)", "pads = [0, 0, 1, 1]", "8 whole number(s)")),
    "huge Pad": (lambda: padded([0, 0, 60000, 60000, 0, 0, 0, 0]), ("pad2 (Pad)", "2^24", "less padding")),
    "Pad of an axis that does not exist": (lambda: padded([1, 1], None, np.array([4])), ("pad2 (Pad)", "axes = [4]", "export")),
    "Pad with 7": (lambda: padded([0, 0, 1, 1, 0, 0, 1, 1], np.float32(7)), ("pad2 (Pad)", "u8 values with 7", "+1 or -1")),
    "Pad with two values": (lambda: padded([0, 0, 1, 1, 0, 0, 1, 1], np.float32([0, 0])), ("pad2 (Pad)", "2 values", "one number")),
    "zeros padded in front of a max pool": (
        lambda: chain(CAST, ("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {}), ("MaxPool", [], {"kernel_shape": [2, 2]})),
        ("pad2 (Pad)", "no Conv follows", "pad in the Conv"),
    ),
    "a network that ends in a Pad": (
        lambda: chain(CAST, ("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {})),
        ("pad2 (Pad)", "no Conv follows", "pad in the Conv"),
    ),
    "Concat of heights": (
        lambda: joined(R, "Concat", left=[CONV], right=[CONV], behind=[], axis=2),
        ("join (Concat)", "axis = 2", "axis 1"),
    ),
    "Concat of other heights": (
        lambda: joined(R, "Concat", left=[CONV], right=[conv(R, 3, 2, 2, 2)], behind=[], axis=1),
        ("join", "joins i32[3, 3, 4] and i32[3, 4, 5]", "one height and width"),
    ),
    "Add of other shapes": (
        lambda: joined(R, "Add", left=[CONV], right=[conv(R, 3, 2, 2, 2)], behind=[]),
        ("join", "f32[3, 3, 4] and f32[3, 4, 5]", "one shape"),
    ),
    "Sub of two values": (
        lambda: joined(R, "Sub", left=[CONV], right=[CONV], behind=[]),
        ("join (Sub)", "joins two values", "Add and Concat"),
    ),
    "product of two values": (
        lambda: joined(R, "Mul", left=[CONV], right=[CONV], behind=[]),
        ("join (Mul)", "joins two values", "Add and Concat"),
    ),
    "16-bit sum without Clip": (
        lambda: joined(R, "Add", left=sixteen(R)[1:], right=sixteen(R)[1:], behind=[SIGN]),
        ("join (Add)", "adds two 16-bit values", "no Clip(-32768, 32767) follows", "re-export with labc.train.export"),
    ),
    "16-bit sum at the end": (
        lambda: joined(R, "Add", left=sixteen(R)[1:], right=sixteen(R)[1:], behind=[]),
        ("join (Add)", "adds two 16-bit values", "re-export"),
    ),
    "16-bit sum with a wide Clip": (
        lambda: joined(R, "Add", left=sixteen(R)[1:], right=sixteen(R)[1:], behind=[("Relu", [], {})]),
        ("join (Add)", "no Clip(-32768, 32767) follows", "re-export"),
    ),
    "16-bit sum past 16 bits": (
        lambda: joined(R, "Add", left=sixteen(R)[1:], right=sixteen(R)[1:], behind=[("Clip", [np.float32(0), np.float32(40000)], {})]),
        ("c1 (Clip)", "0 .. 40000", "-32768 .. 32767"),
    ),
    "16-bit PRelu without Floor": (
        lambda: chain(*sixteen(R), ("PRelu", [np.float32([0.5])], {}), ("Add", [HALF], {}), SIGN, CONV),
        ("prelu", "rounds a 16-bit PRelu", "re-export"),
    ),
    "16-bit PRelu without Clip": (
        lambda: chain(*sixteen(R), ("PRelu", [np.float32([0.5])], {}), ("Add", [HALF], {}), ("Floor", [], {})),
        ("prelu", "rounds a 16-bit PRelu", "re-export"),
    ),
    "16-bit PRelu with a third": (
        lambda: chain(*sixteen(R), ("PRelu", [np.float32([1 / 3])], {}), ("Add", [HALF], {}), ("Floor", [], {}), CLIP16),
        ("prelu9 (PRelu)", "256ths", "re-export"),
    ),
    "16-bit PRelu with slope 2": (
        lambda: chain(*sixteen(R), ("PRelu", [np.float32([2])], {}), ("Add", [HALF], {}), ("Floor", [], {}), CLIP16),
        ("prelu9 (PRelu)", "256ths", "re-export"),
    ),
    "PRelu with a slope per pixel": (
        lambda: chain(CAST, CONV, ("PRelu", [np.arange(36, dtype=np.float32).reshape(3, 3, 4)], {})),
        ("per pixel", "one value per channel"),
    ),
    "PRelu with slopes of the wrong axis": (
        lambda: chain(CAST, CONV, ("PRelu", [np.ones(4, np.float32)], {})),
        ("prelu3 (PRelu)", "[4] on values of shape [3, 3, 4]", "one value per channel"),
    ),
    "Clip of 16 bits to a half": (
        lambda: chain(*sixteen(R), ("Clip", [np.float32(0), HALF], {})),
        ("clip9", "0.0 .. 0.5", "re-export"),
    ),
    "Clip upside down": (lambda: chain(CAST, CONV, ("Clip", [TWO, HALF], {})), ("clip3", "2.0 .. 0.5", "lower bound")),
    "Clip with a bound per channel": (
        lambda: chain(CAST, CONV, ("Clip", [np.zeros((3, 1, 1), np.float32)], {})),
        ("clip3 (Clip)", "3 bounds", "one number"),
    ),
    "requantization to 7 bits": (
        lambda: chain(CAST, CONV, *wide(0.5, 0, 0, 127)),
        ("clip7 (Clip)", "0 .. 127", "re-export"),
    ),
    "requantization per pixel": (
        lambda: chain(CAST, CONV, *wide(np.arange(36).reshape(3, 3, 4), 0, 0, 255)),
        ("per pixel", "one value per channel"),
    ),
    "batch norm of other channels": (
        lambda: chain(CAST, CONV, ("BatchNormalization", [np.ones(4, np.float32)] * 4, {})),
        ("batchnormalization3 (BatchNormalization)", "[4] for 3 channels", "export"),
    ),
    "scale per column": (
        lambda: chain(CAST, CONV, ("Mul", [np.arange(4, dtype=np.float32)], {})),
        ("mul3 (Mul)", "[4] on values of shape [3, 3, 4]", "one value per channel"),
    ),
    "scale per pixel": (
        lambda: chain(CAST, ("Mul", [np.arange(60, dtype=np.float32).reshape(2, 5, 6)], {}), CONV),
        ("input", "per pixel", "through Flatten"),
    ),
    "Reshape to another image": (
        lambda: chain(CAST, ("Reshape", [np.array([-1, 2, 6, 5])], {}), CONV),
        ("reshape2 (Reshape)", "more than", "Flatten"),
    ),
    "Squeeze of what is not 1": (
        lambda: chain(CAST, ("Squeeze", [np.array([2])], {}), CONV, rank=3),
        ("squeeze2 (Squeeze)", "more than", "Flatten"),
    ),
    "Unsqueeze of the batch": (
        lambda: chain(CAST, ("Unsqueeze", [np.array([0])], {}), CONV, rank=5),
        ("unsqueeze2 (Unsqueeze)", "more than", "Flatten"),
    ),
    "dense layer on an image": (
        lambda: chain(CAST, CONV, SIGN, ("MatMul", [np.ones((4, 3), np.float32)], {})),
        ("matmul4", "sign[3, 3, 4]", "Flatten"),
    ),
}


def with_indices() -> onnx.ModelProto:
    model = pooled()
    model.graph.node[-1].output.append("where")
    model.graph.node.append(helper.make_node("Cast", ["where"], ["output2"], name="output2", to=F))
    model.graph.output[0].name = "output2"
    return model


@pytest.mark.parametrize("name", BAD)
def test_bad_file(name: str, tmp_path: Path) -> None:
    make, phrases = BAD[name]
    path = zoo.save(make(), tmp_path / "net.onnx")
    begun = time.monotonic()
    with pytest.raises(LabcError) as caught:
        read(path)
    assert time.monotonic() - begun < 20
    for phrase in phrases:
        assert phrase in str(caught.value)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)
