"""Every bad file gets one clear line - the place, the fact, the remedy -, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zoo
from onnx import TensorProto, helper, numpy_helper

from labc import cli, driver
from labc.errors import LabcError

F = TensorProto.FLOAT


def made() -> list[zoo.Layer]:
    return zoo.random_layers(np.random.default_rng(5), [6, 5, 3])


def tensor(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def own(edit: Callable[[onnx.ModelProto], Any], **options: Any) -> onnx.ModelProto:
    """A good file with one thing made wrong."""
    model = zoo.own(made(), **options)
    edit(model)
    return model


def other(edit: Callable[[onnx.ModelProto], Any], **options: Any) -> onnx.ModelProto:
    model = zoo.spelled(made(), **options)
    edit(model)
    return model


def with_value(model: onnx.ModelProto, name: str, index: int, value: float) -> None:
    held = tensor(model, name)
    array = numpy_helper.to_array(held).copy()
    array.flat[index] = value
    held.CopyFrom(numpy_helper.from_array(array, name))


def with_array(model: onnx.ModelProto, name: str, array: Any) -> None:
    tensor(model, name).CopyFrom(numpy_helper.from_array(np.asarray(array), name))


def with_attribute(model: onnx.ModelProto, name: str, **attributes: Any) -> None:
    held = node(model, name)
    kept = [a for a in held.attribute if a.name not in attributes]
    del held.attribute[:]
    held.attribute.extend([*kept, *(helper.make_attribute(key, value) for key, value in attributes.items())])


def dims(model: onnx.ModelProto, *extents: int | str) -> None:
    model.graph.input[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.UINT8, extents))


def chain(*steps: tuple[Any, ...], k: int | list[int] = 6, n: int | None = 3, element: int = TensorProto.UINT8) -> onnx.ModelProto:
    """Nodes one behind the other: (operator, constants beside the value, attributes); (…, True) puts the value last."""
    w = zoo.Writer()
    x = "input"
    for i, (kind, constants, attributes, *swapped) in enumerate(steps, 1):
        names = [w.const(f"c{i}.{j}", c) for j, c in enumerate(constants)]
        x = w.op(kind, [*names, x] if swapped else [x, *names], f"{kind.lower()}{i}", **attributes)
    return w.model(k, n, element=element)


CAST = ("Cast", [], {"to": F})
MATMUL = ("MatMul", [np.ones((6, 3), np.float32)], {})


def cut(model: onnx.ModelProto, last: str) -> None:
    """The file ends at node `last`, 5 wide."""
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(node(model, last).output[0], F, ["batch", 5]))


def end_in(model: onnx.ModelProto, kind: str, **attributes: Any) -> None:
    model.graph.node.append(helper.make_node(kind, ["scores"], ["end"], name="end", **attributes))
    model.graph.output[0].name = "end"


def lie(*nodes: tuple[str, list[str], str, dict[str, Any]]) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        body = [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in nodes]
        opsets = [helper.make_opsetid("", 21)]
        model.functions[0].CopyFrom(helper.make_function(zoo.QONNX, "BipolarQuant", ["x", "scale"], ["y"], body, opsets))

    return edit


def function(domain: str, name: str) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        body = [helper.make_node("Relu", ["x"], ["y"])]
        model.functions.append(helper.make_function(domain, name, ["x"], ["y"], body, [helper.make_opsetid("", 21)]))
        if domain not in {opset.domain for opset in model.opset_import}:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return edit


ZERO = ("Constant", [], "zero", {"value_float": 0.0})
UP = ("GreaterOrEqual", ["x", "zero"], "up", {})
MINUS = ("Neg", ["scale"], "minus", {})
PICK = ("Where", ["up", "scale", "minus"], "y", {})


def without(model: onnx.ModelProto, name: str) -> None:
    model.graph.initializer.remove(tensor(model, name))


def bypass(model: onnx.ModelProto) -> None:
    """A residual connection: the sums of the last layer plus themselves."""
    model.graph.node.insert(len(model.graph.node) - 2, helper.make_node("Add", ["fc2", "fc2"], ["sum"], name="join"))
    node(model, "fc2.scale").input[0] = "sum"


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.UINT8, ["batch", 6]))


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("sign1", F, ["batch", 5]))


def dangling_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["one"], ["constant"], name="constant"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("constant", F, []))


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = F


def huge(model: onnx.ModelProto) -> None:
    """A tensor that says it is 2⁶⁰ numbers and holds none."""
    held = tensor(model, "fc1.weight")
    held.dims[:] = [1 << 30, 1 << 30]
    held.raw_data = b""


def cycle(model: onnx.ModelProto) -> None:
    node(model, "fc1.scale").input[0] = "scores"


def twice(model: onnx.ModelProto) -> None:
    node(model, "fc1.shift").output[0] = "fc1.scale"


def opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return edit


def blank_input(element: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = element

    return edit


def norm(epsilon: float = 1e-3, **parts: Any) -> onnx.ModelProto:
    full = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "var": 1.0} | parts
    arrays = [np.broadcast_to(np.asarray(full[key], np.float32), 3).copy() for key in ("gamma", "beta", "mean", "var")]
    return chain(CAST, MATMUL, ("BatchNormalization", arrays, {"epsilon": epsilon}))


def early(model: onnx.ModelProto) -> onnx.ModelProto:
    """In opset 9 a batch norm with five outputs trains."""
    opset(9)(model)
    node(model, "batchnormalization3").output.extend(["m1", "v1", "m2", "v2"])
    return model


NAN, INF, ONE = float("nan"), float("inf"), np.float32(1)
# id → (how to make it, what the error must say: the place, the fact, the remedy)
FILES: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[str, ...]]] = {
    # the file as a whole
    "empty network": (lambda: own(lambda m: m.graph.ClearField("node")), ("empty", "at least one layer")),
    "no graph": (lambda: own(lambda m: m.ClearField("graph")), ("not a valid ONNX model", "export it again")),
    "old opset": (lambda: own(opset(6), argmax=True), ("opset 6", "opset_version=20")),
    "opset of the future": (lambda: own(opset(999)), ("opset 999", "opset_version=20")),
    "two inputs": (lambda: own(second_input), ("2 inputs", "input, mask", "with one")),
    "no input": (lambda: own(lambda m: m.graph.ClearField("input")), ("not a valid ONNX model", "export it again")),
    "two outputs": (lambda: own(second_output), ("2 outputs", "only the scores")),
    "no output": (lambda: own(lambda m: m.graph.ClearField("output")), ("0 outputs", "only the scores")),
    "constant output": (lambda: own(dangling_output), ("constant", "does not depend on the input", "scores")),
    "cycle": (lambda: own(cycle), ("not a valid ONNX model", "export it again")),
    "name defined twice": (lambda: own(twice), ("not a valid ONNX model", "SSA")),
    "same initializer twice": (lambda: own(lambda m: m.graph.initializer.append(tensor(m, "fc1.s"))), ("not a valid ONNX model", "fc1.s")),
    "initializer named as a value": (lambda: own(lambda m: setattr(tensor(m, "fc1.s"), "name", "fc1")), ("not a valid ONNX model",)),
    "missing initializer": (lambda: own(lambda m: without(m, "fc1.s")), ("not a valid ONNX model", "fc1.s")),
    # the input
    "float32 input": (
        lambda: chain(("MatMul", [np.ones((6, 3), np.float32)], {}), element=F),
        ("input", "float32", "Cast from uint8"),
    ),
    "int64 input": (lambda: own(blank_input(TensorProto.INT64)), ("input", "INT64", "Cast from uint8")),
    "input of unknown type": (lambda: own(blank_input(4711)), ("input", "no tensor", "UINT8")),
    "dynamic width": (lambda: own(lambda m: dims(m, "batch", "width")), ("input", "axis 1", "width", "only the batch", "fixed shapes")),
    "width 0": (lambda: own(lambda m: dims(m, "batch", 0)), ("input", "axis 1", "fixed shapes")),
    "negative width": (lambda: own(lambda m: dims(m, "batch", -6)), ("input", "axis 1", "fixed shapes")),
    "no shape": (
        lambda: own(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")),
        ("not a valid ONNX model", "shape", "export it again"),
    ),
    "only a batch": (lambda: own(lambda m: dims(m, "batch")), ("input", "shape []", "1 to 2^24")),
    "input too large": (lambda: own(lambda m: dims(m, 1, 1 << 20, 1 << 20, 1 << 40)), ("input", "1 to 2^24")),
    # operators
    "unknown operator": (
        lambda: own(lambda m: end_in(m, "Softmax")),
        ("end (Softmax)", "is not read", "BatchNormalization", "remove the node"),
    ),
    "operator that does not exist": (lambda: own(lambda m: end_in(m, "Sotfmax")), ("not a valid ONNX model", "Sotfmax")),
    "unknown domain": (lambda: own(lambda m: (function("my.ops", "Relu")(m), end_in(m, "Relu", domain="my.ops"))), ("my.ops", "inline")),
    "unknown domain without a function": (
        lambda: own(lambda m: (m.opset_import.append(helper.make_opsetid("my.ops", 1)), end_in(m, "Mish", domain="my.ops"))),
        ("end (Mish)", "domain my.ops", "rewrite or remove"),
    ),
    "QONNX's other quantizer": (
        lambda: chain(CAST, ("Quant", [ONE, ONE, ONE], {"domain": zoo.QONNX}), MATMUL),
        ("quant2 (Quant)", "is not read", "remove the node"),
    ),
    "node without output": (
        lambda: own(lambda m: node(m, "sign1").output.__setitem__(slice(None), ["", "sign1"]) or node(m, "sign1").ClearField("name")),
        ("BipolarQuant", "no output", "export"),
    ),
    "attribute that does not exist": (lambda: own(lambda m: with_attribute(m, "fc1", mode=1)), ("not a valid ONNX model", "mode")),
    "BipolarQuant with attributes": (
        lambda: chain(
            CAST, MATMUL, ("BipolarQuant", [ONE], {"domain": zoo.QONNX, "bits": 2}), ("MatMul", [np.ones((3, 3), np.float32)], {})
        ),
        ("bipolarquant3 (BipolarQuant)", "attributes", "re-export"),
    ),
    "residual": (lambda: own(bypass), ("join", "add of float32 values", "re-export")),
    "product of two values": (
        lambda: other(lambda m: node(m, "fc2").input.__setitem__(1, "bytes")),
        ("fc2 (MatMul)", "input 1 is not a constant", "initializers"),
    ),
    "constant arithmetic": (
        lambda: other(lambda m: node(m, "fc2.scaled").input.__setitem__(0, "fc2.s")),
        ("fc2.scaled (Mul)", "fold constants"),
    ),
    "arithmetic in bytes": (
        lambda: chain(("Add", [np.full(6, 200, np.uint8)], {}), CAST, MATMUL),
        ("add1 (Add)", "computes in integers", "Cast it to float"),
    ),
    "arithmetic in int8 activations": (
        lambda: chain(
            CAST,
            MATMUL,
            ("GreaterOrEqual", [np.float32(0)], {}),
            ("Where", [np.int8(1), np.int8(-1)], {}),
            ("Mul", [np.int8(100)], {}),
            CAST,
        ),
        ("mul5 (Mul)", "computes in integers", "Cast it to float"),
    ),
    "product of bytes": (lambda: chain(("MatMul", [np.ones((6, 3), np.uint8)], {})), ("matmul1 (MatMul)", "computes in integers", "Cast")),
    "product in float64": (
        lambda: chain(("Cast", [], {"to": TensorProto.DOUBLE}), ("MatMul", [np.ones((6, 3))], {})),
        ("matmul2 (MatMul)", "float64", "Cast to float32"),
    ),
    "mixed types": (lambda: chain(CAST, ("MatMul", [np.ones((6, 3))], {})), ("types or shapes do not fit", "matmul2", "export it again")),
    "float16": (lambda: chain(("Cast", [], {"to": TensorProto.FLOAT16})), ("cast1 (Cast)", "FLOAT16", "Clip(0, 255)")),
    "cast to bytes without a clip": (
        lambda: chain(CAST, MATMUL, ("Cast", [], {"to": TensorProto.UINT8})),
        ("cast3 (Cast)", "i32 to UINT8", "Floor and Clip"),
    ),
    "sign of the wrong side": (
        lambda: chain(CAST, MATMUL, ("GreaterOrEqual", [np.float32(0)], {}, True)),
        ("greaterorequal3", "input 1 is not a constant"),
    ),
    "comparison as activation": (
        lambda: chain(CAST, MATMUL, ("GreaterOrEqual", [np.float32(0)], {}), ("Cast", [], {"to": TensorProto.INT64})),
        ("cast4 (Cast)", "not a value of the network", "rewrite"),
    ),
    "Where on bytes": (
        lambda: chain(CAST, MATMUL, ("Where", [np.float32(1), np.float32(-1)], {})),
        ("where3 (Where)", "GreaterOrEqual"),
    ),
    "random Dropout": (
        lambda: chain(CAST, ("Dropout", [np.float32(0.5), np.bool_(True)], {}), MATMUL),
        ("dropout2 (Dropout)", "at random", "evaluation mode"),
    ),
    "Gemm on the transposed batch": (
        lambda: chain(CAST, ("Gemm", [np.ones((6, 3), np.float32)], {"transA": 1})),
        ("gemm2 (Gemm)", "transA", "transA = 0"),
    ),
    "division of a constant": (lambda: chain(CAST, MATMUL, ("Div", [np.ones(3, np.float32)], {}, True)), ("div3 (Div)", "rewrite")),
    "division by zero": (lambda: chain(CAST, MATMUL, ("Div", [np.float32(0)], {})), ("div3 (Div)", "by zero", "rewrite")),
    "Floor in float32": (lambda: chain(CAST, MATMUL, ("Floor", [], {})), ("floor3 (Floor)", "float32", "re-export")),
    "Clip as activation": (
        lambda: chain(CAST, MATMUL, ("Clip", [np.float32(-1), np.float32(1)], {})),
        ("clip3", "clip of float32 values", "re-export"),
    ),
    "Clip with open ends": (lambda: chain(CAST, MATMUL, ("Clip", [], {})), ("clip3", "clip of float32 values", "re-export")),
    "requantization that is no fraction": (
        lambda: chain(
            CAST,
            MATMUL,
            ("Cast", [], {"to": TensorProto.DOUBLE}),
            ("Mul", [np.float64(1 / 3)], {}),
            ("Add", [np.float64(0.5)], {}),
            ("Floor", [], {}),
            ("Clip", [np.float64(0), np.float64(255)], {}),
        ),
        ("clip7 (Clip)", "2^-50", "re-export"),
    ),
    "requantization out of range": (
        lambda: chain(
            CAST,
            MATMUL,
            ("Cast", [], {"to": TensorProto.DOUBLE}),
            ("Mul", [np.float64(2.0**40)], {}),
            ("Floor", [], {}),
            ("Clip", [np.float64(0), np.float64(255)], {}),
        ),
        ("clip6 (Clip)", "31 and 52 bits", "re-export"),
    ),
    # shapes
    "shape mismatch": (
        lambda: own(lambda m: with_array(m, "fc2.weight", np.ones((4, 3), np.int8))),
        ("fc2", "5 inputs", "weights expect 4", "re-export"),
    ),
    "shape mismatch behind a scale": (
        lambda: chain(
            CAST,
            ("Mul", [np.float32(0.5)], {}),
            ("Add", [np.arange(6, dtype=np.float32)], {}),
            ("MatMul", [np.ones((7, 3), np.float32)], {}),
        ),
        ("matmul4", "6 inputs", "weights expect 7", "re-export"),
    ),
    "image without Flatten": (
        lambda: chain(CAST, ("MatMul", [np.ones((3, 2), np.float32)], {}), k=[2, 3]),
        ("matmul2", "u8[2, 3]", "put a Flatten before it"),
    ),
    "wrong number of shifts": (
        lambda: own(lambda m: with_array(m, "fc1.t", np.zeros(4, np.float32))),
        ("fc1.shift (Add)", "[4]", "[5]", "one value per channel"),
    ),
    "shift with an axis too many": (
        lambda: own(lambda m: with_array(m, "fc1.t", np.zeros((1, 1, 5), np.float32))),
        ("fc1.shift (Add)", "[1, 1, 5]", "scalar or one value per channel"),
    ),
    "scale with an axis too many": (
        lambda: own(lambda m: with_array(m, "fc1.s", np.ones((1, 1, 1), np.float32)), argmax=True),
        ("fc1.scale (Mul)", "[1, 1, 1]", "scalar or one value per channel"),
    ),
    "scale per row of an image": (
        lambda: chain(CAST, ("Mul", [np.ones(3, np.float32)], {}), ("Flatten", [], {}), MATMUL, k=[2, 3]),
        ("mul2 (Mul)", "[3] on values of shape [2, 3]", "one value per channel"),
    ),
    "batch norm of another width": (
        lambda: chain(CAST, MATMUL, ("BatchNormalization", [np.ones(1, np.float32)] * 4, {})),
        ("batchnormalization3 (BatchNormalization)", "shape [1] for 3 channels", "export the model again"),
    ),
    "bias of the batch": (
        lambda: chain(CAST, ("Gemm", [np.ones((6, 3), np.float32), np.ones((3, 1), np.float32)], {})),
        ("gemm2 (Gemm)", "[3, 1]", "one value per channel"),
    ),
    "weights without channels": (
        lambda: chain(CAST, ("MatMul", [np.ones((6, 0), np.float32)], {})),
        ("matmul2", "[0, 6]", "matrix of weights"),
    ),
    "weights of one axis": (
        lambda: chain(CAST, ("MatMul", [np.ones(6, np.float32)], {})),
        ("matmul2 (MatMul)", "[6]", "matrix of weights"),
    ),
    "Reshape to something else": (
        lambda: chain(CAST, ("Reshape", [np.array([-1, 2, 3])], {}), MATMUL),
        ("reshape2 (Reshape)", "all but the batch", "Flatten"),
    ),
    "Reshape of the batch": (
        lambda: chain(CAST, ("Reshape", [np.array([-1, 3])], {}), ("MatMul", [np.ones((3, 3), np.float32)], {})),
        ("reshape2 (Reshape)", "all but the batch", "Flatten"),
    ),
    "Flatten of the batch": (
        lambda: chain(CAST, ("Flatten", [], {"axis": 0}), MATMUL),
        ("flatten2 (Flatten)", "all but the batch", "axis 1"),
    ),
    "Transpose of values": (lambda: chain(CAST, ("Transpose", [], {}), MATMUL), ("transpose2 (Transpose)", "not a constant")),
    "ArgMax over the batch": (
        lambda: own(lambda m: with_attribute(m, "class", axis=0), argmax=True),
        ("class (ArgMax)", "not over the classes", "axis = 1"),
    ),
    "ArgMax of the last": (
        lambda: own(lambda m: with_attribute(m, "class", select_last_index=1), argmax=True),
        ("class (ArgMax)", "last of equals", "select_last_index = 0"),
    ),
    "blocked DequantizeLinear": (
        lambda: other(
            lambda m: (
                with_attribute(m, "fc1.signs", block_size=3),
                with_array(m, "fc1.scale", np.ones((2, 5), np.float32)),
                with_array(m, "fc1.zero", np.zeros((2, 5), np.int8)),
            ),
            weights="dequantize",
        ),
        ("fc1.signs (DequantizeLinear)", "blocks", "per channel"),
    ),
    # values
    "float weights": (
        lambda: own(lambda m: with_array(m, "fc2.weight", np.where(np.arange(15) == 7, 0.25, 1).reshape(5, 3).astype(np.float32))),
        ("fc2", "not two values", "channel 1 holds 2 values", "from 0.25 to 1", "labc.train"),
    ),
    "ternary weights": (
        lambda: own(lambda m: with_value(m, "fc1.weight", 3, 0)),
        ("fc1", "channel 3", "from 0 to 1", "labc.train"),
    ),
    "NaN weight": (lambda: other(lambda m: with_value(m, "fc2.weight", 4, NAN), weights="float"), ("fc2.weight", "NaN", "train again")),
    "infinite weights": (
        lambda: other(lambda m: with_value(m, "fc2.weight", 4, INF), weights="float"),
        ("fc2.weight", "infinity", "train again"),
    ),
    "NaN scale": (lambda: own(lambda m: with_value(m, "fc1.s", 2, NAN)), ("fc1.s", "NaN", "train again")),
    "NaN mean": (
        lambda: other(lambda m: with_value(m, "fc1.mean", 1, NAN), affine="batchnorm"),
        ("fc1.mean", "NaN", "train again"),
    ),
    "infinite variance": (lambda: norm(var=[1, INF, 1]), ("c3.3", "infinity", "train again")),
    "infinite bias": (
        lambda: other(lambda m: with_value(m, "fc2.bias", 0, -INF), affine="folded", product="gemm_bias", weights="float"),
        ("fc2.bias", "infinity", "train again"),
    ),
    "NaN in a Constant node": (
        lambda: own(
            lambda m: (without(m, "fc1.s"), m.graph.node.insert(0, helper.make_node("Constant", [], ["fc1.s"], name="k", value_float=NAN)))
        ),
        ("fc1.affine", "scale of channel 0", "not a finite float32"),
    ),
    "NaN alpha": (
        lambda: chain(CAST, ("Gemm", [np.ones((6, 3), np.float32)], {"alpha": NAN})),
        ("gemm2.affine", "not a finite float32", "rescale"),
    ),
    "negative variance": (lambda: norm(var=[1, 1, -1]), ("batchnormalization3", "channel 2", "-0.999", "train again")),
    "variance + epsilon of 0": (lambda: norm(epsilon=0.0, var=[0, 1, 1]), ("batchnormalization3", "channel 0", "train again")),
    "training batch norm": (
        lambda: other(
            lambda m: with_attribute(m, "fc1.norm", training_mode=1) or node(m, "fc1.norm").output.extend(["m1", "v1"]), affine="batchnorm"
        ),
        ("fc1.norm (BatchNormalization)", "training mode", "evaluation mode"),
    ),
    "batch norm trained before opset 14": (lambda: early(norm()), ("batchnormalization3", "training mode", "evaluation mode")),
    "Reshape that merges the batch": (
        lambda: chain(CAST, ("Reshape", [np.array([1, -1])], {}), MATMUL),
        ("reshape2 (Reshape)", "all but the batch", "Flatten"),
    ),
    "Reshape to nothing": (
        lambda: chain(CAST, ("Reshape", [np.array([0, 6])], {"allowzero": 1}), MATMUL),
        ("reshape2 (Reshape)", "all but the batch", "Flatten"),
    ),
    "folded scale past float32": (
        lambda: chain(CAST, ("MatMul", [np.full((6, 3), 1e30, np.float32)], {}), ("Mul", [np.float32(1e30)], {})),
        ("matmul2.affine", "scale of channel 0", "not a finite float32", "rescale"),
    ),
    "overflowing affine": (
        lambda: own(lambda m: with_value(m, "fc1.s", 2, 3e38)),
        ("fc1.affine", "overflows float32", "channel 2", "retrain or rescale"),
    ),
    "overflowing scores": (
        lambda: own(lambda m: (with_value(m, "fc2.s", 1, 3e38), with_value(m, "fc2.t", 1, 3e38))),
        ("fc2.affine", "overflows float32", "channel 1", "retrain or rescale"),
    ),
    "sums past 2^24": (
        lambda: chain(CAST, ("MatMul", [np.ones((65794, 2), np.float32)], {}), k=65794, n=2),
        ("matmul2", "16777470", "16777216", "split"),
    ),
    "weights past float32": (
        lambda: chain(CAST, ("MatMul", [np.array([[1.0, 2.0, 3.0]] * 5 + [[1e300, 1.0, 2.0]])], {})),
        ("matmul2 (MatMul)", "leave float32", "rescale"),
    ),
    "constant cast that wraps": (
        lambda: own(
            lambda m: (with_array(m, "fc1.weight", np.full((6, 5), 255, np.int32)), with_attribute(m, "fc1.signs", to=TensorProto.INT8))
        ),
        ("fc1.signs (Cast)", "does not fit int8", "store it as FLOAT"),
    ),
    "weights in bfloat16": (
        lambda: own(lambda m: tensor(m, "fc1.weight").CopyFrom(helper.make_tensor("fc1.weight", TensorProto.BFLOAT16, [6, 5], [1.0] * 30))),
        ("fc1.weight", "BFLOAT16", "convert it to FLOAT"),
    ),
    "weights of text": (
        lambda: own(lambda m: tensor(m, "fc1.s").CopyFrom(helper.make_tensor("fc1.s", TensorProto.STRING, [5], ["1"] * 5))),
        ("fc1.s", "STRING", "convert it to FLOAT"),
    ),
    "dimensions without data": (lambda: own(huge), ("fc1.weight",)),
    "too little data": (lambda: own(lambda m: setattr(tensor(m, "fc1.s"), "raw_data", b"\0" * 8)), ("fc1.s", "export")),
    # what a network ends in
    "ends in a sign": (lambda: own(lambda m: cut(m, "sign1")), ("sign1", "is the last layer", "without Sign or ReLU")),
    "ends in a ReLU": (lambda: own(lambda m: end_in(m, "Relu")), ("end", "ReLU in float32", "calibrates 8-bit")),
    "ends in a requantization": (
        lambda: chain(
            CAST,
            MATMUL,
            ("Cast", [], {"to": TensorProto.DOUBLE}),
            ("Mul", [np.float64(0.125)], {}),
            ("Add", [np.float64(0.5)], {}),
            ("Floor", [], {}),
            ("Clip", [np.float64(0), np.float64(255)], {}),
            CAST,
        ),
        ("clip7", "is the last layer", "without Sign or ReLU"),
    ),
    "ends in a Floor": (
        lambda: chain(CAST, MATMUL, ("Cast", [], {"to": TensorProto.DOUBLE}), ("Floor", [], {})),
        ("floor4", "ends in a Floor", "scores"),
    ),
    "no layer at all": (lambda: chain(CAST, n=6), ("input", "is the last layer", "dense layer")),
    "ReLU between": (
        lambda: chain(CAST, MATMUL, ("Relu", [], {}), ("MatMul", [np.ones((3, 3), np.float32)], {})),
        ("relu3", "ReLU in float32", "calibrates 8-bit"),
    ),
    "two layers without a sign": (
        lambda: chain(CAST, MATMUL, ("MatMul", [np.ones((3, 3), np.float32)], {})),
        ("matmul3", "i32", "re-export"),
    ),
    "a scale per input": (
        lambda: chain(CAST, ("Mul", [np.arange(1, 7, dtype=np.float32)], {}), MATMUL),
        ("input.affine",),
    ),
    # functions that are not what they are called
    "body with another zero": (
        lambda: own(lie(ZERO, ("Less", ["zero", "x"], "up", {}), MINUS, PICK)),
        ("BipolarQuant (function", "is not scale*(x >= 0 ? 1 : -1)", "re-export"),
    ),
    "body with a threshold": (
        lambda: own(lie(("Constant", [], "zero", {"value_float": 7.0}), UP, MINUS, PICK)),
        ("BipolarQuant (function", "not a plain comparison", "re-export"),
    ),
    "body with a window": (
        lambda: own(
            lie(
                ZERO,
                ("Constant", [], "seven", {"value_float": 7.0}),
                UP,
                MINUS,
                ("Where", ["up", "scale", "minus"], "y0", {}),
                ("GreaterOrEqual", ["x", "seven"], "far", {}),
                ("Where", ["far", "minus", "y0"], "y", {}),
            )
        ),
        ("BipolarQuant (function", "not a plain comparison", "re-export"),
    ),
    "body that halves": (
        lambda: own(lie(ZERO, UP, MINUS, ("Mul", ["scale", "scale"], "square", {}), ("Where", ["up", "square", "minus"], "y", {}))),
        ("BipolarQuant (function", "is not scale*(x >= 0 ? 1 : -1)", "re-export"),
    ),
    "body that rounds": (
        lambda: own(
            lie(
                ZERO,
                ("Cast", ["x"], "whole", {"to": TensorProto.INT32}),
                ("CastLike", ["zero", "whole"], "nil", {}),
                ("GreaterOrEqual", ["whole", "nil"], "up", {}),
                MINUS,
                PICK,
            )
        ),
        ("BipolarQuant (function", "not a plain comparison", "re-export"),
    ),
    "body with a loop": (
        lambda: own(
            lie(("If", ["x"], "y", {"then_branch": helper.make_graph([], "g", [], []), "else_branch": helper.make_graph([], "g", [], [])}))
        ),
        ("BipolarQuant",),
    ),
    "body with a table": (
        lambda: own(lie(("Constant", [], "zero", {"value_floats": [0.0] * 1000}), UP, MINUS, PICK)),
        ("BipolarQuant (function", "large constant", "re-export"),
    ),
    "body that cannot run": (
        lambda: own(lie(ZERO, UP, MINUS, ("Where", ["zero", "scale", "minus"], "y", {}))),
        ("BipolarQuant (function", "re-export"),
    ),
    "function in place of a standard operator": (lambda: own(function("", "MatMul")), ("MatMul (function of domain ai.onnx)", "inline")),
    "second function": (lambda: own(function(zoo.QONNX, "Quant")), ("Quant (function of domain qonnx", "inline")),
}


def trace(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)


def refused(path: Path | str, phrases: tuple[str, ...], capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """`labc build` refuses `path` with one line that has all phrases and leaves nothing behind; the line."""
    before = trace(Path.cwd())
    assert cli.main(["build", str(path), "--json", "-o", "out", *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("labc: ")
    assert shown.err.count("\n") == 1, shown.err
    assert len(shown.err) < 1000
    for phrase in phrases:
        assert phrase in shown.err
    assert trace(Path.cwd()) == before
    return shown.err


@pytest.mark.parametrize("name", FILES)
def test_bad_network(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, phrases = FILES[name]
    path = zoo.save(make(), tmp_path / "net.onnx")
    line = refused(path, phrases, capsys)
    with pytest.raises(LabcError) as caught:
        driver.front(path)
    assert line == f"labc: {caught.value}\n"


@pytest.mark.parametrize(
    ("name", "content", "phrases"),
    [
        ("empty", b"", ("not a valid ONNX model", "export it again")),
        ("text", b"# a README, not a network\n" * 20, ("not an ONNX file, or truncated", "export it again")),
        ("random", np.random.default_rng(1).bytes(4096), ("not an ONNX file, or truncated", "export it again")),
        ("zip", b"PK\x03\x04" + bytes(100), ("not an ONNX file, or truncated", "export it again")),
    ],
)
def test_not_onnx(name: str, content: bytes, phrases: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    refused("net.onnx", ("net.onnx", *phrases), capsys)


@pytest.mark.parametrize("suffix", ["json", "textproto", "onnxtxt", "pb"])
def test_the_ending_does_not_choose_the_parser(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"net.{suffix}"
    path.write_text("{ir_version: 8")
    refused(path, ("not an ONNX file, or truncated",), capsys)
    zoo.save(zoo.own(made()), path)
    assert driver.front(path).name == "net"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = zoo.own(made()).SerializeToString()
    (tmp_path / "net.onnx").write_bytes(content[: int(len(content) * share)])
    refused("net.onnx", ("not", "ONNX", "export it again"), capsys)


def test_missing(capsys: pytest.CaptureFixture[str]) -> None:
    refused("nowhere.onnx", ("nowhere.onnx", "No such file", "check the path"), capsys)


def test_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").mkdir()
    refused("net.onnx", ("net.onnx", "not a file", "name an .onnx file"), capsys)


def test_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading one would wait for ever."""
    os.mkfifo(tmp_path / "net.onnx")
    refused("net.onnx", ("net.onnx", "not a file"), capsys)


def test_past_two_gigabytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(1 << 31)
    refused("net.onnx", ("net.onnx", "2 GiB", "smaller"), capsys)


def external(model: onnx.ModelProto, name: str, location: str, **more: str) -> None:
    held = tensor(model, name)
    held.ClearField("raw_data")
    held.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location} | more).items():
        held.external_data.add(key=key, value=value)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin", "nowhere.bin", ""])
def test_external_data_stays_beside_the_file(location: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\1" * 30)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = zoo.own(made())
    external(model, "fc1.weight", location, length="30")
    refused(zoo.save(model, folder / "net.onnx"), ("ONNX", "export it again"), capsys)


@pytest.mark.parametrize(("key", "value"), [("length", "9"), ("offset", "4000"), ("offset", "-1"), ("length", "x")])
def test_external_data_that_does_not_fit(key: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\1" * 30)
    model = zoo.own(made())
    external(model, "fc1.weight", "weights.bin", **{key: value})
    refused(zoo.save(model, tmp_path / "net.onnx"), ("export",), capsys)


def test_external_data_is_read(tmp_path: Path) -> None:
    model = zoo.own(made())
    want = driver.front(zoo.save(model, tmp_path / "whole.onnx")).digest
    (tmp_path / "weights.bin").write_bytes(b"....." + tensor(model, "fc1.weight").raw_data)
    external(model, "fc1.weight", "weights.bin", offset="5", length="30")
    assert driver.front(zoo.save(model, tmp_path / "split.onnx")).digest == want


@pytest.mark.parametrize(
    "name", ["3d", "a-b", "", "int", "Switch", "labc_net", "größe", "x" * 41, "a b", "net\n", "labc", "Kernels", "scalar", "stdint", "time"]
)
def test_name_that_is_no_c_identifier(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(zoo.own(made()), tmp_path / "net.onnx")
    refused("net.onnx", (repr(name), "--name"), capsys, "--name", name)


@pytest.mark.parametrize("stem", ["3d", "while", "-"])
def test_file_name_that_gives_no_c_identifier(stem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(zoo.save(zoo.own(made()), tmp_path / f"{stem}.onnx"), ("--name",), capsys)


@pytest.mark.parametrize("what", ["file", "folder", "another tool's manifest"])
def test_output_that_is_not_labcs(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(zoo.own(made()), tmp_path / "net.onnx")
    kept = tmp_path / "out"
    if what != "file":
        kept.mkdir()
        kept = kept / ("notes.txt" if what == "folder" else "manifest.json")
    kept.write_text(json.dumps({"made_by": "hand"}))
    refused("net.onnx", ("out", "was not made by labc", "-o"), capsys)
    assert kept.read_text() == '{"made_by": "hand"}'


def test_output_below_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(zoo.own(made()), tmp_path / "net.onnx")
    refused("net.onnx", ("cannot be written", "-o"), capsys, "-o", "net.onnx/out")


@pytest.mark.skipif(os.geteuid() == 0, reason="not run here: root may write everywhere (needs no tool)")
def test_output_in_a_locked_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(zoo.own(made()), tmp_path / "net.onnx")
    (tmp_path / "locked").mkdir(mode=0o500)
    refused("net.onnx", ("cannot be written", "Permission denied", "-o"), capsys, "-o", "locked/out")


def test_keep_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(zoo.own(made()), tmp_path / "net.onnx")
    refused("net.onnx", ("cannot be written", "--keep"), capsys, "--keep", "net.onnx/stages")


@pytest.mark.parametrize("command", ["build", "check", "inspect"])
def test_without_json_the_error_is_the_last_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_text("no network")
    assert cli.main([command, "net.onnx"]) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1].startswith("labc: net.onnx: not an ONNX file")
    assert "Traceback" not in shown.err
    assert trace(tmp_path) == {"net.onnx", "tmp"}


def test_inspect_speaks_of_what_build_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that can be read but not built is a result of inspect, not an error."""
    zoo.save(FILES["float weights"][0](), tmp_path / "net.onnx")
    assert cli.main(["inspect", "net.onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["can_be_built"] is False
    assert "channel 1 holds 2 values" in told["why_not"]
