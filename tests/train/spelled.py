"""One model in four evaluations: torch, the lowered steps, onnx's reference evaluator, onnxruntime at every level; the bits must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from here import not_run_here
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from labc.train.export import ExportReport, export
from labc.train.layers import ChannelLayer
from labc.train.quantize import quantize

LEVELS = (0, 1, 2, 99)  # onnxruntime: no optimization, basic, extended, all


def images(count: int, shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.uint8) -> Tensor:
    low, high = (0, 256) if dtype == torch.uint8 else (-128, 128)
    return torch.randint(low, high, (count, *shape), dtype=dtype, generator=torch.Generator().manual_seed(seed))


def settle(model: nn.Module, shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.uint8) -> nn.Module:
    """The model with random gammas of both signs, then statistics of some batches; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        gamma, beta = (module.gamma, module.beta) if isinstance(module, ChannelLayer) else (None, None)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            gamma, beta = module.weight, module.bias
        for vector in (gamma, beta):
            if vector is not None:
                vector.data.copy_(torch.randn(vector.shape, generator=generator))
        if isinstance(module, ChannelLayer) and module.bias is not None:
            module.bias.data.copy_(torch.randn(module.bias.shape, generator=generator))
    model.train()
    for number in range(25):
        model(images(8, shape, 1000 * seed + number, dtype).float())
    return model.eval()


def runtime(path: Path, inputs: Tensor, level: int) -> np.ndarray:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel(level)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]


def agree(path: Path, model: nn.Module, shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.uint8) -> ExportReport:
    """Export the model, settled, and compare all evaluations on other images than it was exported with."""
    model = settle(model, shape, seed, dtype)
    calibration, others = images(10, shape, seed + 1, dtype), images(10, shape, seed + 2, dtype)
    report = export(model, calibration, path)
    with torch.no_grad():
        expected = quantize(model, calibration)(others).numpy()
        plain = model(others.float()).numpy()
    if report.exact and not report.quantized:
        assert np.array_equal(bits(plain), bits(expected))
    written = ReferenceEvaluator(onnx.load(path)).run(None, {"input": others.numpy()})[0]
    assert np.array_equal(bits(written), bits(expected))
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        not_run_here("exported files in onnxruntime", str(error))
        return report
    for level in LEVELS:
        assert np.array_equal(bits(runtime(path, others, level)), bits(expected)), f"level {level}"
    return report


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.int32)


def operators(path: Path) -> list[str]:
    """The file's operators in order, casts left out."""
    return [node.op_type for node in onnx.load(path).graph.node if node.op_type != "Cast"]
