"""Broken and odd files: reader and passes succeed or raise LabcError, nothing else; and what is read means what ONNX means."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zoo
import zoo_images
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from labc import passes, reference
from labc.errors import LabcError
from labc.frontend.onnx import Model, read
from labc.frontend.operators import OPERATORS as READ
from labc.ir import layers, spec

ort = pytest.importorskip("onnxruntime")

LONGEST = 20.0  # seconds for one tiny file; a hundred times what it takes on a busy machine


def valid() -> list[onnx.ModelProto]:
    rng = np.random.default_rng(11)
    made = zoo.calm_layers(rng, [5, 4, 3])
    return [
        zoo.own(made),
        zoo.own(zoo.random_layers(rng, [5, 4, 3], method="lab"), argmax=True),
        zoo.own(zoo.random_layers(rng, [6, 3]), image=[2, 3], element=TensorProto.INT8),
        zoo.spelled(made, weights="float", scale=0.3, product="gemm_bias", affine="folded", sign="where"),
        zoo.spelled(made, weights="dequantize_uint8", product="gemm_t", affine="batchnorm", idle=True),
        zoo.spelled(made, weights="bipolar", affine="div_sub", sign="half", inputs=1 / 255, argmax=True),
    ]


def images() -> list[onnx.ModelProto]:
    return [zoo_images.random_network(np.random.default_rng(seed), channels=(1, 2, 3), largest=4, blocks=2) for seed in range(12)]


VALID = valid()
IMAGES = images()


def run(path: Path, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def drawn(model: Model, rng: np.random.Generator, batch: int = 3) -> np.ndarray:
    entry = model.graph.input()
    assert isinstance(entry, layers.Input)
    if entry.element == "f32":
        return rng.normal(0, 1, (batch, *entry.shape)).astype(np.float32)
    return rng.integers(0, 256, (batch, *entry.shape)).astype(np.uint8).view(np.int8 if entry.element == "i8" else np.uint8)


def survive(path: Path) -> Model | None:
    """Read and lower the file; None if labc refuses. Whatever it accepts must run, to the same scores on both levels."""
    begun = time.monotonic()
    try:
        model = read(path)
        spec.verify(model.graph, spec.LAYERS, "reading")
        machine = passes.run(model.graph)
    except LabcError:
        return None
    finally:
        assert time.monotonic() - begun < LONGEST
    if sum(type_.size for type_ in model.graph.types.values()) > 1 << 20:
        return None  # a mutated shape; nothing to learn from multiplying it out
    x = drawn(model, np.random.default_rng(0))
    entry = machine.input()
    scores = reference.run(machine, x.reshape(len(x), *machine.types[entry.name].shape))[machine.output]
    assert np.isfinite(scores).all()
    result = reference.run(model.graph, x)[model.graph.output]
    assert np.array_equal(result, np.argmax(scores, axis=1) if result.ndim == 1 else scores.reshape(result.shape))
    return model


def disturbed(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with a few bytes changed, removed, repeated or moved."""
    held = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(held)))
        length = int(rng.integers(1, 12))
        match int(rng.integers(0, 5)):
            case 0:
                held[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                held[at : at + length] = rng.bytes(length)
            case 2:
                del held[at : at + length]
            case 3:
                held[at:at] = held[at : at + length]
            case _:
                held[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return bytes(held)


def test_disturbed_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    contents = [model.SerializeToString() for model in (*VALID, *IMAGES[:6])]
    path = tmp_path / "net.onnx"
    accepted = 0
    for case in range(600):
        path.write_bytes(disturbed(contents[case % len(contents)], rng))
        accepted += survive(path) is not None
    assert 5 < accepted < 500, f"{accepted} of 600 accepted: the disturbance does nothing, or leaves nothing to read"


# Values that break assumptions: types, sizes, positions.
INTEGERS = st.sampled_from([-(1 << 63), -(1 << 31), -7, -2, -1, 0, 1, 2, 3, 4, 5, 7, 10, 11, 16, 255, 1 << 24, 1 << 31, (1 << 63) - 1])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 3e38, -3e38, float("inf"), float("-inf"), float("nan")])
IMAGE_ATTRIBUTES = (
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "group",
    "auto_pad",
    "ceil_mode",
    "count_include_pad",
    "axes",
    "mode",
    "min",
    "max",
)
OPERATORS = sorted({kind for _, kind in READ} | {"If", "Loop", "Sign"})
DTYPES = [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int32, np.int64, np.bool_]


@st.composite
def mutations(draw: st.DrawFn, files: list[onnx.ModelProto]) -> onnx.ModelProto:
    """One of `files` with one to three fields of its structure changed."""
    model = onnx.ModelProto()
    model.CopyFrom(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from(MUTATIONS))(draw, model.graph, model)
    return model


def _node(draw: st.DrawFn, graph: onnx.GraphProto) -> onnx.NodeProto:
    return draw(st.sampled_from(list(graph.node))) if graph.node else graph.node.add()


def _tensor(draw: st.DrawFn, graph: onnx.GraphProto) -> TensorProto:
    return draw(st.sampled_from(list(graph.initializer))) if graph.initializer else graph.initializer.add()


def _names(graph: onnx.GraphProto) -> list[str]:
    return sorted({"", "nobody", *(t.name for t in graph.initializer), *(name for n in graph.node for name in (*n.input, *n.output))})


def drop_node(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    if graph.node:
        del graph.node[draw(st.integers(0, len(graph.node) - 1))]


def skip_node(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    """Its readers read its first input instead."""
    gone = _node(draw, graph)
    if gone.input and gone.output:
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == gone.output[0]:
                    node.input[i] = gone.input[0]


def repeat_node(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    graph.node.append(_node(draw, graph))


def rename_value(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    node = _node(draw, graph)
    where = node.input if draw(st.booleans()) else node.output
    if where:
        where[draw(st.integers(0, len(where) - 1))] = draw(st.sampled_from(_names(graph)))


def swap_inputs(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    node = _node(draw, graph)
    node.input[:] = draw(st.permutations(list(node.input)))


def change_arity(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    node = _node(draw, graph)
    if draw(st.booleans()):
        node.input.append(draw(st.sampled_from(_names(graph))))
    elif node.input:
        node.input.pop()


def rename_node(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    _node(draw, graph).name = draw(st.sampled_from(["", "fc1", "input", "../../x", "a" * 500, "größe", "%s{}", "\n", "0"]))


def change_operator(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    node = _node(draw, graph)
    node.op_type = draw(st.sampled_from(OPERATORS))
    node.domain = draw(st.sampled_from(["", zoo.QONNX, "ai.onnx", "nobody.knows"]))


def change_attribute(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    node = _node(draw, graph)
    known = [
        "axis",
        "to",
        "transA",
        "transB",
        "alpha",
        "beta",
        "epsilon",
        "perm",
        "keepdims",
        "allowzero",
        "block_size",
        "value",
        "training_mode",
        *IMAGE_ATTRIBUTES,
    ]
    if draw(st.booleans()):  # one that the node has
        known = [a.name for a in node.attribute] or known
    name = draw(st.sampled_from(known))
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    lists = st.lists(st.one_of(st.integers(-2, 3), INTEGERS), min_size=1, max_size=4)
    value = draw(st.one_of(INTEGERS, FLOATS, lists, st.sampled_from(["text", "SAME_UPPER", "SAME_LOWER", "VALID", "reflect"])))
    node.attribute.append(helper.make_attribute(name, value))


def swap_tensors(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    one, two = _tensor(draw, graph), _tensor(draw, graph)
    one.name, two.name = two.name, one.name


def change_dims(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    """Of the header alone, or of the data with it."""
    held = _tensor(draw, graph)
    if draw(st.booleans()):
        held.dims[:] = draw(st.lists(INTEGERS, max_size=3))
        return
    size = max(1, int(np.prod(held.dims)))
    shape = draw(st.sampled_from([[size], [1, size], [size, 1], [1, 1, size], [], [0]]))
    array = np.resize(_array(held), shape)
    held.CopyFrom(numpy_helper.from_array(array, held.name))


def _array(held: TensorProto) -> np.ndarray:
    if held.data_location == TensorProto.EXTERNAL:
        return np.zeros(1, np.float32)
    try:
        return numpy_helper.to_array(held)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError):
        return np.zeros(1, np.float32)


def change_value(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    held = _tensor(draw, graph)
    array = _array(held).copy()
    if array.size and array.dtype.kind == "f":
        array.flat[draw(st.integers(0, array.size - 1))] = draw(FLOATS)
    elif array.size and array.dtype.kind in "iu":
        array.flat[draw(st.integers(0, array.size - 1))] = draw(st.integers(np.iinfo(array.dtype).min, np.iinfo(array.dtype).max))
    held.CopyFrom(numpy_helper.from_array(array, held.name))


def change_type(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    """Of the header alone, or of the data with it."""
    held = _tensor(draw, graph)
    if draw(st.booleans()):
        held.data_type = draw(st.integers(0, 30))
        return
    with np.errstate(all="ignore"):
        array = _array(held).astype(draw(st.sampled_from(DTYPES)))
    held.CopyFrom(numpy_helper.from_array(array, held.name))


def change_input(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    tensor = graph.input[0].type.tensor_type
    if draw(st.booleans()):
        tensor.elem_type = draw(st.sampled_from([0, 1, 2, 3, 7, 11, 16, 99]))
    elif tensor.shape.dim:
        dim = draw(st.sampled_from(list(tensor.shape.dim)))
        dim.dim_value = draw(INTEGERS)


def change_output(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    graph.output[0].name = draw(st.sampled_from(_names(graph)))
    if draw(st.booleans()):
        graph.output[0].ClearField("type")


def change_opset(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    model.opset_import[0].version = draw(st.sampled_from([-1, 0, 1, 6, 7, 9, 11, 13, 18, 20, 22, 1 << 40]))


def drop_functions(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    del model.functions[:]


def change_function(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    for function in model.functions:
        node = draw(st.sampled_from(list(function.node)))
        node.op_type = draw(st.sampled_from(OPERATORS))


def cut_data(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    held = _tensor(draw, graph)
    held.raw_data = held.raw_data[: draw(st.integers(0, len(held.raw_data)))]


def send_outside(draw: st.DrawFn, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    held = _tensor(draw, graph)
    held.data_location = TensorProto.EXTERNAL
    if draw(st.booleans()):
        held.external_data.add(key="location", value=draw(st.sampled_from(["net.onnx", ".", "/dev/zero", "../x", "\0"])))


Mutation = Callable[[st.DrawFn, onnx.GraphProto, onnx.ModelProto], None]
MUTATIONS: list[Mutation] = [
    drop_node,
    skip_node,
    repeat_node,
    rename_value,
    swap_inputs,
    change_arity,
    rename_node,
    change_operator,
    change_attribute,
    swap_tensors,
    change_dims,
    change_value,
    change_type,
    change_input,
    change_output,
    change_opset,
    drop_functions,
    change_function,
    cut_data,
    send_outside,
]


@settings(max_examples=800, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.one_of(mutations(VALID), mutations(IMAGES)))
def test_mutated_structure(tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto) -> None:
    path = zoo.save(model, tmp_path_factory.mktemp("mutated") / "net.onnx")
    made = survive(path)
    if made is not None:
        compare(path, model, made)


def compare(path: Path, model: onnx.ModelProto, made: Model) -> None:
    """Where the reader noted nothing the file is exact as it stands, however odd it has become."""
    if made.notes or not all(node.domain == "" or model.functions for node in model.graph.node):
        return
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 2
    if not 1 <= batch <= 16:
        return
    x = drawn(made, np.random.default_rng(1), batch)
    try:
        want = run(path, x)
    except Exception:  # onnxruntime asks for more than ONNX does: unique node names, an opset it knows
        return
    assert np.array_equal(want.reshape(-1), reference.run(made.graph, x)[made.graph.output].reshape(-1))


# Numbers that multiply and add without rounding, so that ONNX's result is one number in any order of operations.
DYADIC = np.array([1, -1, 2, 0.5, -0.5, 4], np.float32)
STEPS = np.array([0, 1, -1, 0.5, 3, -2], np.float32)


class Chain:
    """A random chain of operators whose constants often, not always, fit."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.w = zoo.Writer()
        self.w.body = True
        self.k: list[int] = [[6], [2, 3], [1, 6], [6, 1], [1], [3, 3]][rng.integers(0, 6)]
        self.shape = list(self.k)
        self.x = "input"
        self.count = 0
        self.flat_class = False

    def any(self, *options: Any) -> Any:
        return options[self.rng.integers(0, len(options))]

    def op(self, kind: str, *constants: Any, first: bool = False, **attributes: Any) -> None:
        self.count += 1
        names = [self.w.const(f"c{self.count}.{i}", c) for i, c in enumerate(constants)]
        self.x = self.w.op(kind, [*names, self.x] if first else [self.x, *names], f"{kind.lower()}{self.count}", **attributes)

    def constant(self, pool: np.ndarray) -> np.ndarray:
        """Values from `pool`, mostly of a shape that broadcasts, sometimes to something else than was meant."""
        last = self.shape[-1]
        full = self.shape
        shapes: list[list[int]] = [
            [],
            [1],
            full,
            full,
            [1, *full],
            [1, *full],
            [last],
            [1, 1, last],
            [1] * (len(full) + 2),
            [2, *full],
            [full[0], *[1] * (len(full) - 1)],
        ]
        shape = shapes[self.rng.integers(0, len(shapes))]
        dtype = np.float32 if self.rng.random() < 0.9 else self.any(np.float64, np.int8, np.uint8, np.int32)
        return self.rng.choice(pool, shape).astype(dtype)

    def affine(self) -> None:
        kind = self.any("Mul", "Add", "Sub", "Div")
        self.op(kind, self.constant(DYADIC if kind in ("Mul", "Div") else STEPS), first=self.rng.random() < 0.25)

    def idle(self) -> None:
        kind = self.any("Identity", "Dropout", "Cast", "Reshape", "Flatten")
        size = int(np.prod(self.shape))
        if kind == "Cast":
            return self.op("Cast", to=int(self.any(1, 1, 1, 2, 3, 6, 11)))
        if kind == "Reshape":
            target = self.any([-1, size], [0, -1], [0, size], [-1, *self.shape], [1, -1], [-1, 0], [0, 0], [size, -1], [-1, 1], [-1])
            self.op("Reshape", np.array(target), allowzero=int(self.any(0, 0, 0, 1)))
            self.shape = [size]
            return None
        if kind == "Flatten":
            self.op("Flatten", axis=int(self.any(1, 1, 1, 0, 2, -1)))
            self.shape = [size]
            return None
        return self.op(kind)

    def dense(self) -> None:
        k, n = int(np.prod(self.shape)), int(self.rng.integers(1, 5))
        signs = self.rng.choice(np.array([-1, 1], np.float32), (k, n)) * self.rng.choice(DYADIC[:4], self.any((), n))
        self.shape = [n]
        if self.rng.random() < 0.4:
            return self.op("MatMul", signs.astype(np.float32))
        turned = bool(self.rng.random() < 0.5)
        held = signs.T.copy() if turned != (self.rng.random() < 0.1) else signs
        extra = [self.constant(STEPS)] if self.rng.random() < 0.6 else []
        attributes: dict[str, Any] = {"transB": int(turned)}
        if self.rng.random() < 0.5:
            attributes |= {"alpha": float(self.any(1.0, 0.5, -2.0)), "beta": float(self.any(1.0, 0.5, -2.0, 0.0))}
        return self.op("Gemm", held.astype(np.float32), *extra, **attributes)

    def norm(self) -> None:
        width = self.any(self.shape[0], self.shape[-1], 1)
        parts = [self.rng.choice(pool, width).astype(np.float32) for pool in (DYADIC, STEPS, STEPS, np.array([1.0, 4.0, 0.25]))]
        self.op("BatchNormalization", *parts, epsilon=0.0)

    def sign(self) -> None:
        if self.rng.random() < 0.4:
            scale = self.constant(np.abs(DYADIC))
            return self.op("BipolarQuant", scale, domain=zoo.QONNX)
        self.op("GreaterOrEqual", self.constant(np.zeros(1)) if self.rng.random() < 0.6 else self.constant(STEPS))
        dtype = self.any(np.float32, np.float32, np.float32, np.int8)
        return self.op("Where", self.constant(STEPS).astype(dtype), self.constant(STEPS).astype(dtype))

    def build(self) -> onnx.ModelProto:
        if self.rng.random() < 0.95:
            self.op("Cast", to=TensorProto.FLOAT)
        for _ in range(int(self.rng.integers(0, 3))):
            self.any(self.affine, self.idle, self.norm)()
        if len(self.shape) > 1 and self.rng.random() < 0.9:
            self.op("Flatten", axis=1)
            self.shape = [int(np.prod(self.shape))]
        for hidden in range(int(self.rng.integers(1, 3))):
            if hidden:
                self.sign()
                if self.rng.random() < 0.3:
                    self.any(self.affine, self.idle)()
            self.dense()
            for _ in range(int(self.rng.integers(0, 3))):
                self.any(self.affine, self.affine, self.idle, self.norm)()
        if self.rng.random() < 0.2:
            self.flat_class = bool(self.any(False, True))
            self.op("ArgMax", axis=int(self.any(1, 1, -1, 0)), keepdims=int(not self.flat_class))
        model = self.w.model(self.k, None, element=self.any(TensorProto.UINT8, TensorProto.INT8))
        if self.rng.random() < 0.2:
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = int(self.any(1, 2))
        classes, rank = "argmax" in self.x, 1 if self.flat_class else 2
        entry = helper.make_tensor_value_info(self.x, TensorProto.INT64 if classes else TensorProto.FLOAT, [None] * rank)
        model.graph.output[0].CopyFrom(entry)
        return model


@pytest.mark.parametrize("block", range(4))
def test_what_is_read_is_what_onnx_means(block: int, tmp_path: Path) -> None:
    """Random chains of operators, axes, shapes and element types: labc's layers against onnxruntime, number for number."""
    understood = 0
    for case in range(250):
        rng = np.random.default_rng((block, case))
        model = Chain(rng).build()
        path = zoo.save(model, tmp_path / f"{case}.onnx")
        try:
            made = read(path)
        except LabcError:
            continue
        understood += 1
        x = drawn(made, rng, model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 3)
        got = reference.run(made.graph, x)[made.graph.output]
        told = f"block {block}, case {case}:\n{onnx.printer.to_text(model.graph)}"
        try:
            want = run(path, x)
        except Exception as error:
            if "NOT_IMPLEMENTED" in str(error) or "NotImplemented" in type(error).__name__:
                continue
            pytest.fail(f"onnxruntime does not run what labc reads, {error}: {told}")
        assert np.array_equal(got.reshape(-1), want.reshape(-1)), told
    assert 20 < understood < 220, f"{understood} of 250 read: the test proves little"


@pytest.mark.parametrize(
    ("kind", "constants", "attributes"),
    [
        ("GreaterOrEqual", [np.float32(0)], {}),
        ("BipolarQuant", [np.ones((1, 1 << 17), np.float32)], {"domain": zoo.QONNX}),
        ("DequantizeLinear", [np.ones(1 << 17, np.float32)], {"axis": 1}),
        ("Where", [np.ones((1, 1 << 17), np.float32), np.float32(1)], {}),
    ],
)
def test_small_files_do_not_become_large_tensors(kind: str, constants: list[Any], attributes: dict[str, Any], tmp_path: Path) -> None:
    """Two constants of 128 Ki numbers that broadcast to 16 Gi."""
    w = zoo.Writer()
    column = np.ones((1 << 17, 1), {"DequantizeLinear": np.int8, "Where": np.bool_}.get(kind, np.float32))
    other = np.ones((1, 1 << 17), np.float32) if kind == "GreaterOrEqual" else constants[0]
    weights = w.op(
        kind,
        [w.const("column", column), w.const("row", other), *(w.const(f"c{i}", c) for i, c in enumerate(constants[1:]))],
        "w",
        **attributes,
    )
    w.op("MatMul", [w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT), weights], "fc")
    path = zoo.save(w.model(5, 3), tmp_path / "net.onnx")
    tracemalloc.start()
    try:
        with pytest.raises(LabcError, match=rf"w \({kind}\)"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("names", ["same", "none"])
def test_many_nodes_do_not_hang(names: str, tmp_path: Path) -> None:
    w = zoo.Writer()
    x = w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    one = w.const("w", np.ones((1, 1), np.float32))
    zero, plus, minus = (w.const(str(c), np.float32(c)) for c in (0, 1, -1))
    for i in range(1500):
        x = w.op("MatMul", [x, one], f"fc{i}")
        x = w.op("Where", [w.op("GreaterOrEqual", [x, zero], f"up{i}"), plus, minus], f"sign{i}")
    w.op("MatMul", [x, one], "scores")
    for node in w.nodes:
        node.name = "same" if names == "same" else ""
    assert survive(zoo.save(w.model(1, 1), tmp_path / "net.onnx")) is not None
