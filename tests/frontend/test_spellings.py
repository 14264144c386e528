"""One network in every spelling that is read: the same layers IR where the arithmetic is the same, else equal within a derived bound."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from labc import passes, reference
from labc.frontend.onnx import Model, read
from labc.ir import layers
from labc.ir.text import digest, text

ort = pytest.importorskip("onnxruntime")

WIDTHS = [13, 11, 9, 6]
HALF_ULP = 2.0**-24  # of float32, relative


def run(path: Path, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def scores(model: Model, x: np.ndarray) -> np.ndarray:
    """The network's scores in labc's reference, which both levels of IR agree on."""
    machine = passes.run(model.graph)
    got = reference.run(machine, x.reshape(len(x), -1))[machine.output]
    last = model.graph.by_name[model.graph.output]
    assert np.array_equal(reference.run(model.graph, x)[last.inputs[0] if isinstance(last, layers.ArgMax) else last.name], got)
    return got


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32).view(np.int32)


def pixels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random images after all black and all white."""
    x = rng.integers(0, 256, (60, *shape), dtype=np.uint8)
    x[0], x[1] = 0, 255
    return x


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.sampled_from(["lab2", "lab"]),
    st.booleans(),
    st.sampled_from([TensorProto.UINT8, TensorProto.INT8]),
    st.integers(0, 2**32 - 1),
)
def test_own_spelling_is_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, widths: list[int], method: str, wild: bool, element: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    made = zoo.random_layers(rng, widths, method=method, wild=wild)
    path = zoo.save(zoo.own(made, element=element), tmp_path_factory.mktemp("own") / "net.onnx")
    model = read(path)
    assert model.notes == ()
    dense = [node for node in model.graph.nodes if isinstance(node, layers.Dense)]
    assert all(np.array_equal(node.weights.array, layer.weights) for node, layer in zip(dense, made, strict=True))
    x = pixels(rng, widths[0])
    x = x if element == TensorProto.UINT8 else x.view(np.int8)
    want = run(path, x)
    assert np.array_equal(bits(scores(model, x)), bits(want))
    np.testing.assert_array_equal(reference.run(model.graph, x)[model.graph.output], want)


# Every one of these differs from labc's own file in syntax only: powers of two scale without rounding.
SAME: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"weights": "dequantize"}, True),
    ({"weights": "dequantize", "product": "gemm_t", "scale": 0.25}, True),
    ({"weights": "dequantize_uint8", "scale": 2.0}, True),
    ({"weights": "float"}, False),
    ({"weights": "float", "scale": 0.125}, True),
    ({"weights": "bipolar"}, False),
    ({"weights": "bipolar", "product": "gemm_t", "scale": 0.5}, True),
    ({"product": "gemm"}, False),
    ({"product": "gemm_t"}, False),
    ({"product": "gemm_bias"}, True),  # alpha = 0.5
    ({"affine": "swapped"}, False),
    ({"sign": "bare"}, False),
    ({"sign": "bare", "domain": "onnx.brevitas"}, False),
    ({"sign": "bare", "domain": "finn.custom_op.general"}, False),
    ({"sign": "where"}, False),
    ({"sign": "half"}, True),
    ({"idle": True}, False),
    ({"idle": True, "sign": "where", "product": "gemm_t", "weights": "float", "scale": 4.0}, True),
]


def label(options: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in options.items()) or "plain"


@pytest.mark.parametrize(("options", "noted"), SAME, ids=[label(options) for options, _ in SAME])
def test_same_arithmetic_is_the_same_graph(options: dict[str, Any], noted: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    made = zoo.calm_layers(rng, WIDTHS)
    own = read(zoo.save(zoo.own(made), tmp_path / "own.onnx"))
    path = zoo.save(zoo.spelled(made, **options), tmp_path / "other.onnx")
    other = read(path)
    assert text(other.graph) == text(own.graph)
    assert digest(other.graph) == digest(own.graph)
    assert bool(other.notes) == noted
    if options.get("sign") != "bare":  # no runtime runs QONNX's operators without a body
        x = pixels(rng, WIDTHS[0])
        assert np.array_equal(bits(run(path, x)), bits(scores(own, x)))


ROUNDED: list[dict[str, Any]] = [
    {"weights": "float", "scale": 0.3},
    {"weights": "dequantize", "scale": 0.3},
    {"product": "gemm_t", "weights": "float", "scale": -0.7},
    {"affine": "batchnorm"},
    {"affine": "batchnorm", "sign": "where", "weights": "float", "scale": 0.01, "product": "gemm_t"},
    {"affine": "folded", "weights": "float"},
    {"affine": "folded", "weights": "float", "product": "gemm_bias"},
    {"affine": "folded", "weights": "float", "product": "gemm_t"},
    {"affine": "folded", "weights": "bipolar", "product": "gemm_beta"},
    {"affine": "div_sub"},
    {"inputs": 1 / 255},
    {"inputs": 1 / 255, "affine": "batchnorm", "idle": True},
    {"sign": "zero_one"},
    {"sign": "cast"},
    {"sign": "zero_one", "affine": "batchnorm", "inputs": 1 / 255, "argmax": True},
]


def bound(made: list[zoo.Layer]) -> tuple[np.ndarray, np.ndarray]:
    """How far the first layer's and the scores' affine can be off, per channel, in any spelling of zoo.spelled.

    A chain of r roundings of terms of magnitude m is off by at most 1.01·r·2⁻²⁴·m. The spelling rounds each of K products, K
    sums and, in scale, shift and batch norm, at most 16 numbers; labc's normal form at most 4. No term exceeds 255K·|s| + |t| +
    4·(|s| + |t|) (the zoo's means are at most 2; activations 0 and 1 at most double s and add K·|s| to t).
    """

    def of(layer: zoo.Layer, greatest: int) -> np.ndarray:
        k = layer.weights.shape[1]
        magnitude = 3 * greatest * k * np.abs(layer.s) + 5 * np.abs(layer.t) + 4 * np.abs(layer.s)
        return 1.01 * (2 * k + 20) * HALF_ULP * magnitude

    return of(made[0], 255), of(made[-1], 1)


@pytest.mark.parametrize("options", ROUNDED, ids=label)
def test_other_arithmetic_agrees_within_the_bound(options: dict[str, Any], tmp_path: Path, rng: np.random.Generator) -> None:
    made = zoo.calm_layers(rng, WIDTHS)
    path = zoo.save(zoo.spelled(made, **options), tmp_path / "other.onnx")
    other = read(path)
    assert other.notes, "a file that is not exact as it stands must say so"
    x = pixels(rng, WIDTHS[0])
    own = scores(read(zoo.save(zoo.own(made), tmp_path / "own.onnx")), x)
    hidden, slack = bound(made)
    assert np.all(hidden < np.abs(made[0].s) / 2), "a sign could flip by rounding: the test would prove nothing"
    got, want = scores(other, x), run(path, x)
    top = np.sort(own, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * slack.max()
    assert clear.sum() > len(x) / 2
    assert np.abs(got.astype(np.float64) - own).max(axis=0) == pytest.approx(0, abs=float(slack.max()))
    if options.get("argmax"):
        assert np.array_equal(want[clear], np.argmax(got, axis=1)[clear])
        return
    assert np.all(np.abs(got.astype(np.float64) - want) <= 2 * slack)
    assert np.array_equal(np.argmax(want, axis=1)[clear], np.argmax(got, axis=1)[clear])


def test_scales_differ_per_channel(tmp_path: Path, rng: np.random.Generator) -> None:
    """±a with another a in each output channel, one of them 0: a dead channel."""
    (layer,) = zoo.random_layers(rng, [8, 5])
    a = np.array([0.3, 1e-20, 7.0, 0.0, 3e10], np.float32)
    w = zoo.Writer()
    w.op("Gemm", [w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT), w.const("w", layer.weights * a[:, None])], "fc", transB=1)
    model = read(zoo.save(w.model(8, 5), tmp_path / "net.onnx"))
    fc, affine = model.graph.nodes[1:]
    assert isinstance(fc, layers.Dense)
    assert isinstance(affine, layers.Affine)
    assert np.array_equal(affine.s.array, a)
    assert np.array_equal(fc.weights.array[a != 0], layer.weights[a != 0])
    x = pixels(rng, 8)
    assert np.all(scores(model, x)[:, 3] == 0)


@pytest.mark.parametrize("argmax", [False, True])
@pytest.mark.parametrize("method", ["lab2", "lab"])
def test_images_and_argmax(method: str, argmax: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    made = zoo.random_layers(rng, [24, 10, 5], method=method)
    path = zoo.save(zoo.own(made, image=[2, 3, 4], argmax=argmax), tmp_path / "net.onnx")
    model = read(path)
    assert model.notes == ()
    x = pixels(rng, 2, 3, 4)
    got = scores(model, x)
    want = run(path, x)
    assert np.array_equal(want, np.argmax(got, axis=1)) if argmax else np.array_equal(bits(want), bits(got))


def test_pixel_scale_goes_through_flatten(tmp_path: Path, rng: np.random.Generator) -> None:
    """x / 255 − mean on an image, as a data loader writes it, in front of Flatten and the first layer."""
    (layer,) = zoo.random_layers(rng, [6, 3])
    w = zoo.Writer()
    x = w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    x = w.op("Div", [x, w.const("255", np.float32(255))], "unit")
    x = w.op("Sub", [x, w.const("mean", rng.random((1, 2, 3), np.float32))], "centred")
    x = w.op("Flatten", [x], "flat", axis=1)
    w.op("MatMul", [x, w.const("w", layer.weights.T.astype(np.float32))], "fc")
    path = zoo.save(w.model([2, 3], 3), tmp_path / "net.onnx")
    model = read(path)
    x = pixels(rng, 2, 3)
    np.testing.assert_allclose(scores(model, x), run(path, x), atol=40 * HALF_ULP * 6)
    assert model.notes


def test_requantization_is_read_as_it_was_meant(tmp_path: Path, rng: np.random.Generator) -> None:
    made = zoo.random_layers(rng, [9, 8, 7], method="lab")
    model = read(zoo.save(zoo.own(made), tmp_path / "net.onnx"))
    (node,) = (node for node in model.graph.nodes if isinstance(node, layers.Requantize))
    assert np.array_equal(node.m.array / 2.0**node.shift, made[0].s)
    assert np.array_equal(node.b.array / 2.0**node.shift, made[0].t)


def test_initializers_may_be_declared_as_inputs(tmp_path: Path, rng: np.random.Generator) -> None:
    """Files of IR version 3 list every initializer among the inputs."""
    made = zoo.random_layers(rng, [5, 4, 3])
    model = zoo.own(made)
    want = digest(read(zoo.save(model, tmp_path / "own.onnx")).graph)
    for tensor in model.graph.initializer:
        model.graph.input.insert(0, helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert digest(read(zoo.save(model, tmp_path / "old.onnx")).graph) == want


def test_what_the_output_does_not_need_is_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    made = zoo.random_layers(rng, [5, 4, 3])
    model = zoo.own(made)
    want = digest(read(zoo.save(model, tmp_path / "own.onnx")).graph)
    model.graph.node.append(helper.make_node("Relu", ["scores"], ["unused"], name="unused"))
    model.graph.node.append(helper.make_node("MatMul", ["bytes", "fc1.signs"], ["twin"], name="twin"))
    assert digest(read(zoo.save(model, tmp_path / "extra.onnx")).graph) == want


def test_dead_batch_norm_is_exact(tmp_path: Path, rng: np.random.Generator) -> None:
    """gamma = 0, variance = 0, and a threshold beyond all sums: channels whose sign no input changes."""
    made = zoo.calm_layers(rng, [7, 6, 4])
    w = zoo.Writer()
    x = w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    x = w.op("MatMul", [x, w.const("w1", made[0].weights.T.astype(np.float32))], "fc1")
    parts = {"gamma": [0, 0, 1, -1, 1, 1], "beta": [0, -1, 1e6, 1e6, -1e6, 0], "mean": [3, 3, 0, 0, 0, 0], "var": [1, 1, 1, 1, 1, 0]}
    x = w.op("BatchNormalization", [x, *(w.const(key, np.array(value, np.float32)) for key, value in parts.items())], "bn")
    x = w.op(
        "Where",
        [w.op("GreaterOrEqual", [x, w.const("0", np.float32(0))], "up"), w.const("+", np.float32(1)), w.const("-", np.float32(-1))],
        "s",
    )
    w.op("MatMul", [x, w.const("w2", made[1].weights.T.astype(np.float32))], "fc2")
    path = zoo.save(w.model(7, 4), tmp_path / "net.onnx")
    model = read(path)
    x = pixels(rng, 7)
    signs = next(v for k, v in reference.run(model.graph, x).items() if isinstance(model.graph.by_name[k], layers.Sign))
    assert np.all(signs[:, :5] == [1, -1, 1, 1, -1])
    assert np.array_equal(scores(model, x), run(path, x))
    from labc.passes.threshold import dead_channels

    assert dead_channels(passes.run(model.graph)) == 5


def test_sign_of_zero_and_of_minus_zero_is_plus(tmp_path: Path) -> None:
    """A sum of 0 times a negative scale is −0; plus −0 it stays −0."""
    w = zoo.Writer()
    x = w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    x = w.op("MatMul", [x, w.const("w1", np.array([[1.0], [-1.0]], np.float32))], "fc1")
    x = w.op("Mul", [x, w.const("s", np.float32(-1))], "mul")
    x = w.op("Add", [x, w.const("t", np.float32(-0.0))], "add")
    x = w.op("BipolarQuant", [x, w.const("one", np.float32(1))], "sign", domain=zoo.QONNX)
    w.op("MatMul", [x, w.const("w2", np.array([[1.0]], np.float32))], "fc2")
    model = read(zoo.save(w.model(2, 1), tmp_path / "net.onnx"))
    assert scores(model, np.array([[7, 7], [7, 8], [8, 7]], np.uint8)).tolist() == [[1], [1], [-1]]


def test_minus_zero_scores_are_kept(tmp_path: Path) -> None:
    """A network without a shift: x·s with x = 0 and s < 0 is −0, in the file and here."""
    w = zoo.Writer()
    x = w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
    x = w.op("MatMul", [x, w.const("w", np.array([[1.0, 1.0], [-1.0, 1.0]], np.float32))], "fc")
    w.op("Mul", [x, w.const("s", np.array([-2, -1], np.float32))], "scores")
    path = zoo.save(w.model(2, 2), tmp_path / "net.onnx")
    model = read(path)
    x = np.array([[5, 5], [0, 0], [1, 2]], np.uint8)
    assert model.notes == ()
    assert np.array_equal(bits(scores(model, x)), bits(run(path, x)))


def torch_network(torch: Any) -> Any:
    """Plain torch: a data loader's scale, ±a weights, batch norm, a sign by comparison."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.norm, self.fc2 = nn.Linear(12, 10, bias=False), nn.BatchNorm1d(10), nn.Linear(10, 4)
            for fc, a in ((self.fc1, 0.11), (self.fc2, 0.3)):
                fc.weight.data = torch.where(fc.weight >= 0, a, -a)

        def forward(self, x: Any) -> Any:
            x = self.norm(self.fc1(torch.flatten(x.float() / 255, 1)))
            return self.fc2(torch.where(x >= 0, 1.0, -1.0))

    torch.manual_seed(3)
    net = Net()
    for _ in range(10):
        net(torch.randint(0, 256, (50, 3, 4), dtype=torch.uint8))
    return net.eval()


@pytest.mark.parametrize("dynamo", [False, True])
def test_plain_torch_export(dynamo: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("not run here: onnxscript is not installed; pip install onnxscript")
    path = tmp_path / "torch.onnx"
    net = torch_network(torch)
    example = torch.zeros(1, 3, 4, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates itself
        torch.onnx.export(
            net,
            (example,),
            str(path),
            dynamo=dynamo,
            opset_version=18,
            input_names=["x"],
            **({} if dynamo else {"dynamic_axes": {"x": {0: "n"}}}),
        )
    model = read(path)
    x = rng.integers(0, 256, (200, 3, 4), dtype=np.uint8)
    got = scores(model, x)
    with torch.no_grad():
        want = net(torch.from_numpy(x)).numpy()
    assert model.notes
    # Hidden signs may differ where torch's float sum of 12 products rounds to the other side; there are none near 0 in this draw.
    np.testing.assert_allclose(got, want, atol=10 * 0.3 * 40 * HALF_ULP)
    assert np.array_equal(np.argmax(got, axis=1), np.argmax(want, axis=1))


def test_notes_name_what_was_normalised(tmp_path: Path, rng: np.random.Generator) -> None:
    made = zoo.calm_layers(rng, WIDTHS)
    notes = read(zoo.save(zoo.spelled(made, weights="float", scale=0.3, affine="batchnorm", inputs=1 / 255), tmp_path / "n.onnx")).notes
    for phrase in ("output channel was taken out", "batch norm became one affine", "scale and shift before a layer"):
        assert any(re.search(phrase, note) for note in notes), (phrase, notes)


def test_full_checker_accepts_what_the_zoo_writes(rng: np.random.Generator) -> None:
    """The spellings under test are ONNX, not something only labc reads."""
    made = zoo.calm_layers(rng, WIDTHS)
    for options in [options for options, _ in SAME] + ROUNDED:
        onnx.checker.check_model(zoo.spelled(made, **options), full_check=True)
