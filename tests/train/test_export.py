"""The exported file: plain ONNX, the same scores bit for bit in torch, onnx's reference evaluator and onnxruntime; every refusal."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from labc.errors import LabcError
from labc.train.export import export
from labc.train.layers import BinaryLinear, Sign
from labc.train.methods import mlp
from labc.train.quantize import quantize

ort = pytest.importorskip("onnxruntime")


def scores(path: Path, images: Tensor, level: int = 99) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel(level)
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]


def bits(array: np.ndarray) -> np.ndarray:
    return array.view(np.int32)


def pixels(n: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def network(method: str, widths: list[int], gammas: list[float], seed: int = 0) -> nn.Sequential:
    """A network of that method after some training-mode passes; gammas are dealt to its channels in turn."""
    torch.manual_seed(seed)
    model = mlp(method, widths)
    for _ in range(20):
        model(pixels(30, widths[0], seed).float())
    for layer in model:
        if isinstance(layer, BinaryLinear):
            count = layer.out_features
            layer.gamma.data = torch.tensor([gammas[(seed + channel) % len(gammas)] for channel in range(count)])
            layer.beta.data.normal_()
    return model


@settings(max_examples=40)
@given(
    st.sampled_from(["lab2", "lab"]),
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.lists(st.sampled_from([1.0, -1.0, 0.0, -0.0, 0.01, 50.0, -1e4, 1e-8]), min_size=1, max_size=5),
    st.integers(0, 1000),
)
def test_random_networks_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, method: str, widths: list[int], gammas: list[float], seed: int
) -> None:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    model, images = network(method, widths, gammas, seed), pixels(40, widths[0], seed + 1)
    try:
        report = export(model, images, path)
    except LabcError as error:
        if "too large for 8-bit activations" not in str(error):
            raise
        reject()  # one in 200: a channel that calibration never wakes, 10¹⁰ times as steep as the others
    assert report.exact
    assert report.differing == 0
    assert report.scores == 40 * widths[-1]
    evaluated = quantize(model, images) if report.quantized else model.eval()
    others = pixels(100, widths[0], seed + 2)
    with torch.no_grad():
        expected = evaluated(others).numpy()
    for level in (0, 99):
        assert np.array_equal(bits(scores(path, others, level)), bits(expected))


class Forward(nn.Module):
    """Not a Sequential: functions, attributes and a view in forward."""

    def __init__(self, activation: nn.Module, by: str) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"first": BinaryLinear(16, 9, batch_norm=True), "second": BinaryLinear(9, 4)})
        self.activation, self.by, self.drop = activation, by, nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.by == "view":
            x = x.view(x.size(0), -1)
        elif self.by == "reshape":
            x = x.reshape(x.shape[0], 16)
        elif self.by == "flatten":
            x = torch.flatten(x, 1)
        else:
            x = x.flatten(start_dim=1)
        x = self.activation(self.body["first"](x)) if self.activation is not None else functional.relu(self.body["first"](x))
        return self.body["second"](self.drop(x))


@pytest.mark.parametrize("by", ["view", "reshape", "flatten", "method"])
@pytest.mark.parametrize("sign", [True, False])
def test_any_straight_forward(tmp_path: Path, by: str, sign: bool) -> None:
    model = Forward(Sign() if sign else None, by)
    images = pixels(8, 16).view(8, 4, 4)
    assert export(model, images, tmp_path / "m.onnx").differing == 0
    assert model.training
    graph = onnx.load(tmp_path / "m.onnx").graph
    names = [node.name for node in graph.node]
    assert names[0].startswith("flatten") or by in ("view", "reshape")
    assert "body.first" in names
    assert "body.second.shift" in names
    dims = graph.input[0].type.tensor_type.shape.dim
    assert [dims[0].dim_param, dims[1].dim_value, dims[2].dim_value] == ["batch", 4, 4]


def test_the_file(tmp_path: Path) -> None:
    model = network("lab2", [20, 12, 5], [1.0, -1.0])
    export(model, pixels(10, 20), tmp_path / "a.onnx")
    export(model.eval(), pixels(10, 20, 9), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    (tmp_path / "c.onnx").touch()
    assert (tmp_path / "a.onnx").stat().st_mode == (tmp_path / "c.onnx").stat().st_mode
    proto = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 10
    assert {(o.domain, o.version) for o in proto.opset_import} == {("", 20), ("qonnx.custom_op.general", 1)}
    assert [(node.op_type, node.name) for node in proto.graph.node] == [
        ("Cast", "fc1.cast"),
        ("Cast", "fc1.signs"),
        ("MatMul", "fc1"),
        ("Mul", "fc1.scale"),
        ("Add", "fc1.shift"),
        ("BipolarQuant", "sign1"),
        ("Cast", "fc2.signs"),
        ("MatMul", "fc2"),
        ("Mul", "fc2.scale"),
        ("Add", "fc2.shift"),
    ]
    assert proto.graph.output[0].name == "scores"
    weight = {tensor.name: tensor for tensor in proto.graph.initializer}["fc1.weight"]
    assert weight.data_type == onnx.TensorProto.INT8
    assert list(weight.dims) == [20, 12]


def test_requantize_spelling_and_report(tmp_path: Path) -> None:
    report = export(network("lab", [20, 12, 5], [1.0]), pixels(50, 20), tmp_path / "m.onnx", input_name="image")
    operators = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert operators[3:9] == ["Cast", "Mul", "Add", "Floor", "Clip", "Cast"]
    assert report.quantized
    assert 0 < report.mean_difference <= report.largest_difference < 0.5
    assert "8-bit activations" in str(report)
    assert "0 differ" in str(report)


def test_the_report_s_loss_is_the_file_s(tmp_path: Path) -> None:
    model, images = network("lab", [20, 12, 5], [1.0]), pixels(500, 20)
    report = export(model, images, tmp_path / "m.onnx")
    with torch.no_grad():
        floats = model.eval()(images).numpy().astype(np.float64)
    written = scores(tmp_path / "m.onnx", images).astype(np.float64)
    assert report.largest_difference == np.abs(written - floats).max()
    assert report.mean_difference == pytest.approx(np.abs(written - floats).mean())
    assert report.changed_predictions == (written.argmax(1) != floats.argmax(1)).sum() > 0


def test_layers_named_as_labc_s_own_constants(tmp_path: Path) -> None:
    model = nn.Sequential()
    for name, layer in {
        "one": BinaryLinear(6, 4),
        "a": Sign(),
        "scores": BinaryLinear(4, 4),
        "b": Sign(),
        "input": BinaryLinear(4, 3),
    }.items():
        model.add_module(name, layer)
    model.eval()
    export(model, pixels(5, 6), tmp_path / "m.onnx")
    with torch.no_grad():
        assert np.array_equal(bits(scores(tmp_path / "m.onnx", pixels(9, 6))), bits(model(pixels(9, 6)).numpy()))


def test_int8_input(tmp_path: Path) -> None:
    model = network("lab2", [10, 6, 3], [1.0])
    images = torch.randint(-128, 128, (20, 10), dtype=torch.int8)
    export(model, images, tmp_path / "m.onnx")
    with torch.no_grad():
        assert np.array_equal(bits(scores(tmp_path / "m.onnx", images)), bits(model.eval()(images).numpy()))


def test_plain_torch_layers_are_counted(tmp_path: Path) -> None:
    model = network("fp", [30, 20, 4], [1.0])
    report = export(model, pixels(60, 30), tmp_path / "m.onnx")
    assert not report.exact
    assert not report.quantized
    assert "last bits" in str(report)
    with torch.no_grad():
        np.testing.assert_allclose(scores(tmp_path / "m.onnx", pixels(60, 30)), model.eval()(pixels(60, 30).float()), rtol=1e-4, atol=1e-4)


def test_plain_batch_norm_behind_a_binary_layer(tmp_path: Path) -> None:
    model = nn.Sequential(BinaryLinear(16, 8, bias=False), nn.BatchNorm1d(8), Sign(), BinaryLinear(8, 3))
    model(pixels(30, 16))
    report = export(model, pixels(30, 16), tmp_path / "m.onnx")
    assert not report.exact
    assert report.differing == 0


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning:torch")  # inductor's own import
def test_compiled_and_parallel_wrappers_are_opened(tmp_path: Path) -> None:
    model = network("lab2", [10, 6, 3], [1.0])
    export(torch.compile(model), pixels(5, 10), tmp_path / "a.onnx")
    export(nn.DataParallel(model), pixels(5, 10), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = BinaryLinear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * x


class Branch(Gated):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if x.sum() > 0 else x


class Scaled(Gated):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x / 255)


class Twice(Gated):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.fc(x)
        return x, x


class Odd(BinaryLinear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Dropped(Gated):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.dropout(x.float()))


class Merged(Gated):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(x.float()))


def hooked() -> nn.Module:
    model = nn.Sequential(BinaryLinear(4, 4))
    model.register_forward_hook(lambda module, inputs, output: output + 1)
    return model


def broken(parameter: str, value: float, batch_norm: bool = True) -> nn.Module:
    layer = BinaryLinear(4, 4, batch_norm=batch_norm)
    getattr(layer, parameter).data.fill_(value)
    return nn.Sequential(layer)


@pytest.mark.parametrize(
    ("model", "example", "text"),
    [
        (nn.Sequential(BinaryLinear(4, 2)), torch.rand(3, 4), "float32 values; an exported network takes uint8 or int8"),
        (nn.Sequential(BinaryLinear(4, 2)), pixels(0, 4), "at least one input"),
        (nn.Sequential(BinaryLinear(5, 2)), pixels(3, 4), "0: the input has 4 features, the layer expects 5"),
        (nn.Sequential(nn.Linear(5, 2)), pixels(3, 4), "0: the input has 4 features, the layer expects 5"),
        (nn.Sequential(BinaryLinear(4, 2)), pixels(3, 4).view(3, 2, 2), "put an nn.Flatten"),
        (nn.Sequential(nn.Flatten(2), BinaryLinear(4, 2)), pixels(3, 8).view(3, 2, 4), "flatten everything but the batch"),
        (nn.Sequential(nn.Flatten()), pixels(3, 4), "no linear layer"),
        (nn.Sequential(BinaryLinear(4, 4), nn.Tanh(), BinaryLinear(4, 2)), pixels(3, 4), "1: torch.nn.*Tanh cannot be exported"),
        (nn.Sequential(BinaryLinear(4, 4), BinaryLinear(4, 2)), pixels(3, 4), "1: its input is float"),
        (nn.Sequential(BinaryLinear(4, 4), nn.ReLU()), pixels(3, 4), "ends in ReLU"),
        (nn.Sequential(BinaryLinear(4, 4), nn.ReLU(), nn.Linear(4, 2)), pixels(3, 4), "2: Linear behind 8-bit activations"),
        (nn.Sequential(nn.ReLU(), BinaryLinear(4, 4)), pixels(3, 4), "0: ReLU must follow a BinaryLinear"),
        (nn.Sequential(BinaryLinear(70000, 1)), pixels(2, 70000), "use at most 65793 input features"),
        (Gated(), pixels(3, 4), "mul.* has no place"),
        (Branch(), pixels(3, 4), "torch.fx cannot follow"),
        (Scaled(), pixels(3, 4), "truediv.*no scaling"),
        (Dropped(), pixels(3, 4), "dropout.* has no place"),
        (Merged(), pixels(3, 4), "flatten.* has no place"),
        (nn.Sequential(Odd(4, 2)), pixels(3, 4), "0: .*Odd cannot be exported"),
        (hooked(), pixels(3, 4), "evaluation is not that of its layers"),
        (Twice(), pixels(3, 4), "must return one tensor"),
        (broken("weight", float("nan")), pixels(3, 4), "0.weight: 16 of 16 values are NaN"),
        (broken("gamma", 1.0).half(), pixels(3, 4), "0.weight: float16, to which torch rounds every score; call model.float"),
        (broken("running_var", float("inf")), pixels(3, 4), "0.running_var: 4 of 4 values"),
        (broken("gamma", 3e38), pixels(3, 4), "0: channel 0 leaves float32"),
        (broken("running_var", -1.0), pixels(3, 4), "0: channel 0 leaves float32"),
        (broken("alpha", 3e38, batch_norm=False), pixels(3, 4), "0: channel 0 leaves float32"),
    ],
)
def test_errors_leave_nothing(tmp_path: Path, model: nn.Module, example: Tensor, text: str) -> None:
    with pytest.raises(LabcError, match=text):
        export(model, example, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("labc.train.export")
    reference = module._reference
    monkeypatch.setattr(module, "_reference", lambda *arguments: np.nextafter(reference(*arguments), np.float32(np.inf)))
    with pytest.raises(LabcError, match="6 scores differ between torch and the file, nothing was written"):
        export(nn.Sequential(BinaryLinear(4, 2)), pixels(3, 4), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_path_and_bad_name(tmp_path: Path) -> None:
    model = nn.Sequential(BinaryLinear(4, 2))
    with pytest.raises(LabcError, match="cannot be written"):
        export(model, pixels(3, 4), tmp_path / "no" / "m.onnx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LabcError, match="Is a directory"):
        export(model, pixels(3, 4), tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(LabcError, match="taken by the output"):
        export(model, pixels(3, 4), tmp_path / "m.onnx", input_name="scores")


def test_the_package_s_names_are_functions() -> None:
    import labc.train
    import labc.train.export
    import labc.train.quantize

    assert labc.train.export is export
    assert labc.train.quantize is quantize
    with pytest.raises(AttributeError, match="no attribute 'exports'"):
        labc.train.exports  # noqa: B018
