"""Random graphs of image operators, shapes and attributes, many of them odd: labc's layers against onnxruntime, number for number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zoo
from onnx import TensorProto, helper

from labc import reference
from labc.errors import LabcError
from labc.frontend.onnx import read
from labc.ir import layers

ort = pytest.importorskip("onnxruntime")

# Numbers that multiply and add without rounding while sums stay small, so that ONNX's result is one number in any order.
SCALES = np.array([1, -1, 2, 0.5, -0.5, 1], np.float32)
SHIFTS = np.array([0, 1, -1, 0.5, 3, -2], np.float32)


@dataclass(frozen=True)
class End:
    """A value of the graph: its name and the extents it is believed to have, batch aside."""

    name: str
    shape: tuple[int, ...]


class ImageChain:
    """A random graph whose constants and attributes often, not always, fit."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.w = zoo.Writer()
        self.w.body = True
        self.count = 0
        extents = self.any([4, 4], [5, 6], [2, 3], [1, 4], [7], [4], [1, 1])
        self.entry = (int(rng.integers(1, 4)), *extents)

    def any(self, *options: Any) -> Any:
        return options[self.rng.integers(0, len(options))]

    def op(self, x: End, kind: str, *constants: Any, shape: tuple[int, ...] | None = None, first: bool = False, **attributes: Any) -> End:
        self.count += 1
        names = ["" if c is None else self.w.const(f"c{self.count}.{i}", c) for i, c in enumerate(constants)]
        name = self.w.op(kind, [*names, x.name] if first else [x.name, *names], f"{kind.lower()}{self.count}", **attributes)
        return End(name, x.shape if shape is None else shape)

    def constant(self, x: End, pool: np.ndarray) -> np.ndarray:
        c, pixels = x.shape[0], [1] * (len(x.shape) - 1)
        each = [c, *pixels]
        odd = [[c], [1, *x.shape], list(x.shape), [1] * (len(x.shape) + 2)]
        shape = self.any([], [1], each, each, [1, *each], self.any(*odd) if self.rng.random() < 0.3 else each)
        return self.rng.choice(pool, shape)

    def window(self, x: End, *, kernel: list[int] | None = None, pool: bool = False) -> tuple[dict[str, Any], list[int], tuple[int, ...]]:
        """Attributes, some of them left out, the kernel, and the extents of the result."""
        extents = x.shape[1:]
        rank = len(extents)
        k = kernel or [int(self.rng.integers(1, min(e, 3) + 1)) for e in extents]
        stride = [int(self.any(1, 1, 2, 3)) for _ in k]
        dilation = [1] * rank if pool else [int(self.any(1, 1, 1, 2)) for _ in k]
        pads = [int(self.rng.integers(0, 3)) if self.rng.random() < 0.4 else 0 for _ in range(2 * rank)]
        attributes: dict[str, Any] = {}
        how = self.any("", "", "", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
        if stride != [1] * rank or self.rng.random() < 0.5:
            attributes["strides"] = stride
        if dilation != [1] * rank:
            attributes["dilations"] = dilation
        if how:
            attributes["auto_pad"] = how
        if how in ("", "NOTSET") and (any(pads) or self.rng.random() < 0.3):
            attributes["pads"] = pads
        else:
            pads = [0] * (2 * rank)
        reach = [(a - 1) * d + 1 for a, d in zip(k, dilation, strict=True)]
        if how.startswith("SAME"):
            return attributes, k, tuple(-(-e // s) for e, s in zip(extents, stride, strict=True))
        sizes = [e + pads[i] + pads[rank + i] - reach[i] for i, e in enumerate(extents)]
        if pool and self.rng.random() < 0.2:
            attributes["ceil_mode"] = 1
        return attributes, k, tuple(size // s + 1 for size, s in zip(sizes, stride, strict=True))

    def conv(self, x: End) -> End:
        attributes, kernel, out = self.window(x)
        if len(x.shape) == 1 or min(out) < 1:
            return x
        c, groups = x.shape[0], 1
        if self.rng.random() < 0.4:
            groups = int(self.rng.choice([g for g in range(1, c + 1) if c % g == 0]))
        n = groups * int(self.rng.integers(1, 3))
        pool = self.any(np.array([-1, 1]), np.array([-1, 1]), np.array([-1, 1]), np.array([1]), np.array([-1, 0, 1]))
        weights = self.rng.choice(pool, (n, c // groups, *kernel)) * self.any(1, 1, 0.5, self.rng.choice(SCALES, (n, *[1] * len(x.shape))))
        extra = [self.rng.choice(SHIFTS, n).astype(np.float32)] if self.rng.random() < 0.3 else []
        if groups > 1 or self.rng.random() < 0.3:
            attributes["group"] = groups
        return self.op(x, "Conv", weights.astype(np.float32), *extra, shape=(n, *out), **attributes)

    def pool(self, x: End) -> End:
        kind = self.any("MaxPool", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceSum", "ReduceMean")
        if len(x.shape) == 1:
            return x
        ones = (x.shape[0], *[1] * (len(x.shape) - 1))
        if kind.startswith("Global"):
            return self.op(x, kind, shape=ones)
        if kind.startswith("Reduce"):
            axes = self.any(list(range(2, len(x.shape) + 1)), list(range(2, len(x.shape) + 1)), [-1], [1], [2])
            keep = int(self.any(0, 1))
            return self.op(x, kind, np.array(axes), keepdims=keep, shape=ones if keep else x.shape[:1])
        attributes, kernel, out = self.window(x, kernel=[int(self.any(1, 2, 2, 4)) for _ in x.shape[1:]], pool=True)
        if min(out) < 1:
            return x
        if kind == "AveragePool":
            attributes["count_include_pad"] = int(self.any(0, 1, 1))
        return self.op(x, kind, shape=(x.shape[0], *out), kernel_shape=kernel, **attributes)

    def affine(self, x: End) -> End:
        if self.rng.random() < 0.25:
            width = self.any(x.shape[0], x.shape[0], x.shape[-1])
            parts = [self.rng.choice(pool, width).astype(np.float32) for pool in (SCALES, SHIFTS, SHIFTS, np.array([1.0, 4.0, 0.25]))]
            return self.op(x, "BatchNormalization", *parts, epsilon=0.0)
        kind = self.any("Mul", "Add", "Sub", "Div")
        pool = SCALES if kind in ("Mul", "Div") else SHIFTS
        return self.op(x, kind, self.constant(x, pool), first=bool(self.rng.random() < 0.3))

    def bend(self, x: End) -> End:
        kind = self.any("Relu", "Clip", "PRelu")
        if kind == "Relu":
            return self.op(x, kind)
        if kind == "PRelu":
            return self.op(x, kind, self.constant(x, np.array([0.5, -0.5, 1, 2, 0.25], np.float32)))
        return self.op(x, kind, self.any(None, np.float32(-2)), self.any(np.float32(3), np.float32(0.5)))

    def sign(self, x: End) -> End:
        if self.rng.random() < 0.5:
            return self.op(x, "BipolarQuant", np.abs(self.constant(x, SCALES)), domain=zoo.QONNX)
        x = self.op(x, "GreaterOrEqual", np.float32(0))
        return self.op(
            x, "Where", *self.any((np.float32(1), np.float32(-1)), (np.float32(1), np.float32(0)), (np.float32(-2), np.float32(2)))
        )

    def whole(self, x: End, element: str | None = None) -> End:
        """A requantization."""
        low, high = {"u8": (0, 255), "i16": (-32768, 32767)}[element or self.any("u8", "i16")]
        x = self.op(x, "Cast", to=TensorProto.DOUBLE)
        x = self.op(x, "Mul", self.constant(x, SCALES).astype(np.float64), first=True)
        x = self.op(x, "Add", self.constant(x, SHIFTS + np.float32(0.5)).astype(np.float64))
        x = self.op(self.op(x, "Floor"), "Clip", np.float64(low), np.float64(high))
        return self.op(x, "Cast", to=TensorProto.FLOAT)

    def half(self, x: End) -> End:
        """A PRelu of 16 bits, or what is left of one."""
        x = self.op(self.whole(x, "i16"), "PRelu", self.constant(x, np.array([0.5, -0.5, 1, -1, 0.25], np.float32)))
        if self.rng.random() < 0.9:
            x = self.op(x, "Add", np.float32(self.any(0.5, 0.5, 0.5, 1)), first=bool(self.rng.random() < 0.3))
        if self.rng.random() < 0.9:
            x = self.op(x, "Floor")
        return self.op(x, "Clip", np.float32(-32768), np.float32(self.any(32767, 32767, 100)))

    def pad(self, x: End) -> End:
        rank = len(x.shape)
        pads = [int(v) if self.rng.random() < 0.5 else 0 for v in self.rng.integers(0, 3, 2 * rank + 2)]
        if self.rng.random() < 0.95:
            for axis in (0, 1, rank + 1, rank + 2):
                pads[axis] = 0
        shape = tuple(e + pads[i + 1] + pads[rank + 2 + i] for i, e in enumerate(x.shape))
        constants = [np.array(pads), self.any(None, np.float32(0), np.float32(1), np.float32(-1))]
        return self.conv(self.op(x, "Pad", *constants, shape=shape))

    def reshape(self, x: End) -> End:
        size = int(np.prod(x.shape))
        match self.any("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout"):
            case "Flatten":
                return self.op(x, "Flatten", axis=int(self.any(1, 1, 1 - len(x.shape) - 1 + 1, 2)), shape=(size,))
            case "Reshape":
                to = self.any([-1, size], [0, -1], [0, 0, *x.shape[1:]], [-1, *x.shape], [-1, x.shape[0], size // x.shape[0]])
                shape = (size,) if len(to) == 2 else x.shape if len(to) == len(x.shape) + 1 else (x.shape[0], size // x.shape[0])
                return self.op(x, "Reshape", np.array(to), shape=shape)
            case "Squeeze":
                axes = [i + 1 for i, e in enumerate(x.shape) if e == 1 and i] or [len(x.shape)]
                return self.op(x, "Squeeze", np.array(axes), shape=tuple(e for i, e in enumerate(x.shape) if e != 1 or not i))
            case "Unsqueeze":
                return self.op(
                    self.op(x, "Unsqueeze", np.array([2]), shape=(x.shape[0], 1, *x.shape[1:])), "Squeeze", np.array([2]), shape=x.shape
                )
            case kind:
                return self.op(x, kind)

    def join(self, x: End) -> End:
        a, b = (self.any(self.affine, self.sign, self.whole, lambda x: x)(x) for _ in range(2))
        self.count += 1
        if self.rng.random() < 0.5:
            a, b = (self.whole(x, "i16"), self.whole(x, "i16")) if self.rng.random() < 0.5 else (a, b)
            x = End(self.w.op("Add", [a.name, b.name], f"add{self.count}"), x.shape)
            return self.op(x, "Clip", np.float32(-32768), np.float32(self.any(32767, 32767, 100, 40000)))
        name = self.w.op("Concat", [a.name, b.name], f"concat{self.count}", axis=int(self.any(1, 1, 1, -len(x.shape), 0)))
        return End(name, (2 * x.shape[0], *x.shape[1:]))

    def build(self) -> onnx.ModelProto:
        x = self.op(End("input", self.entry), "Cast", to=TensorProto.FLOAT)
        steps = [
            self.conv,
            self.conv,
            self.pool,
            self.affine,
            self.bend,
            self.sign,
            self.whole,
            self.half,
            self.pad,
            self.reshape,
            self.join,
        ]
        for _ in range(int(self.rng.integers(1, 7))):
            x = self.any(*steps)(x)
            if int(np.prod(x.shape)) > 3000:
                break
        model = self.w.model(list(self.entry), None, element=self.any(TensorProto.UINT8, TensorProto.INT8), output=x.name)
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(x.name, TensorProto.FLOAT, ["batch", *[None] * len(x.shape)]))
        return model


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


@pytest.mark.parametrize("block", range(4))
def test_what_is_read_is_what_onnx_means(block: int, tmp_path: Path) -> None:
    understood, layers_seen = 0, 0
    for case in range(150):
        rng = np.random.default_rng((block, case))
        model = ImageChain(rng).build()
        try:
            made = read(zoo.save(model, tmp_path / "net.onnx"))
        except LabcError:
            continue
        understood += 1
        layers_seen += len(made.graph.nodes)
        entry = made.graph.input()
        assert isinstance(entry, layers.Input)
        low = -4 if entry.element == "i8" else 0
        x = rng.integers(low, 8, (3, *entry.shape)).astype(np.int8).view(np.int8 if entry.element == "i8" else np.uint8)
        got = reference.run(made.graph, x)[made.graph.output]
        told = f"block {block}, case {case}:\n{onnx.printer.to_text(model.graph)}"
        try:
            want = run(model, x)
        except Exception as error:
            if "padding values must be non-negative" in str(error):  # onnxruntime's pools with auto_pad and a stride past their kernel
                continue
            pytest.fail(f"onnxruntime does not run what labc reads, {error}: {told}")
        assert got.shape == want.shape, told
        assert np.allclose(got, want, rtol=1e-6, atol=0), f"{told}\n{np.argwhere(got != want)[:5]}"
    assert 30 < understood < 130, f"{understood} of 150 read: the test proves little"
    assert layers_seen > 4 * understood
