"""Convolutional and residual networks for tests, made without torch: random parameters in labc's own ONNX spelling.

`Images` writes one layer per call and can be used by hand; `random_network` composes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper
from zoo import QONNX, Writer

CHANNELS = (1, 2, 3, 8, 16, 31, 33, 65)
KINDS = ("signs", "bytes", "residual")


@dataclass(frozen=True)
class Signal:
    """A value: its ONNX name, extents beside the batch, what it holds (u8, i8, sign, i16, sums, float), and the largest magnitude.

    middle (a number, or one per channel) and spread guess mean and deviation, so that signs and clips fall on both sides.
    """

    name: str
    shape: tuple[int, ...]
    element: str
    reach: int
    middle: Any = 0.0
    spread: float = 1.0

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def pixels(self) -> int:
        return int(np.prod(self.shape[1:]))


@dataclass(frozen=True)
class Slide:
    """A window as ONNX writes it: one number per axis, pads before all axes, then behind them."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    dilation: tuple[int, ...]

    def output(self, extents: Sequence[int]) -> tuple[int, ...]:
        rank = len(extents)
        return tuple(
            (extents[a] + self.pads[a] + self.pads[rank + a] - (self.kernel[a] - 1) * self.dilation[a] - 1) // self.stride[a] + 1
            for a in range(rank)
        )

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.stride),
            "pads": list(self.pads),
            "dilations": list(self.dilation),
        }


class Images:
    """Writes layers in labc's own spelling with parameters drawn from `rng`, and sizes that are left open from `choose`."""

    def __init__(self, rng: np.random.Generator, shape: Sequence[int], *, element: int = TensorProto.UINT8, choose: Any = None) -> None:
        self.rng, self.shape, self.entry = rng, tuple(shape), element
        self.choose = rng if choose is None else choose
        self.w = Writer()
        self.w.body = True
        self.count = 0
        self.one = self.w.const("one", np.float32(1))
        self.w.op("Cast", ["input"], "bytes", to=TensorProto.FLOAT)
        self.input = Signal(
            "bytes", self.shape, "u8" if element == TensorProto.UINT8 else "i8", 255 if element == TensorProto.UINT8 else 128
        )

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def _constant_first(self, kind: str, x: str, name: str, suffix: str, array: Any) -> str:
        return self.w.op(kind, [self.w.const(f"{name}.{suffix}", array), x], f"{name}.{kind.lower()}")

    def _along(self, x: Signal, values: Any, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
        return np.asarray(values, dtype).reshape(-1, *[1] * (len(x.shape) - 1))

    def slide(self, x: Signal, *, largest: int = 7, pool: bool = False, pads: bool = True, plain: bool = False) -> Slide:
        """A random window that fits; images smaller than the kernel get the padding they need. `plain`: stride 1, image size kept."""
        kernel, stride, before, behind, dilation = [], [], [], [], []
        for extent in x.shape[1:]:
            k = int(self.choose.integers(1, largest + 1))
            d = 1 if pool else int(self.choose.choice([1, 1, 1, 2]))
            s = int(self.choose.choice([1, 1, 2, 3]))
            a, b = (int(v) for v in self.choose.integers(0, k, 2)) if pads and self.choose.random() < 0.6 else (0, 0)
            reach = (k - 1) * d + 1
            if plain:
                s, a, b = 1, (reach - 1) // 2, reach - 1 - (reach - 1) // 2
            if not pads and extent < reach:
                k, reach = 1, 1
            if extent + a + b < reach:
                if pool:
                    k = extent
                    a = b = 0
                else:
                    a += (reach - extent - a - b + 1) // 2
                    b = max(b, reach - extent - a)
            for held, value in ((kernel, k), (stride, s), (before, a), (behind, b), (dilation, d)):
                held.append(value)
        return Slide(tuple(kernel), tuple(stride), (*before, *behind), tuple(dilation))

    def conv(self, x: Signal, channels: int, slide: Slide, *, groups: int = 1) -> Signal:
        """Exact sums with random signs; x holds signs or bytes."""
        name = self._name("conv")
        signs = self.rng.choice(np.array([-1, 1], np.int8), (channels, x.channels // groups, *slide.kernel))
        weights = self.w.op("Cast", [self.w.const(f"{name}.weight", signs)], f"{name}.signs", to=TensorProto.FLOAT)
        self.w.op("Conv", [x.name, weights], name, group=groups, **slide.attributes)
        middle = signs.reshape(channels, -1).sum(axis=1, dtype=int) * float(np.mean(x.middle))
        spread = x.spread * float(np.sqrt(signs[0].size))
        return Signal(name, (channels, *slide.output(x.shape[1:])), "sums", x.reach * signs[0].size, middle, spread)

    def affine(self, x: Signal) -> Signal:
        """Mul and Add with the constant first, per channel; a batch norm of sums or 16-bit values."""
        name = self._name("bn")
        s = self.rng.uniform(0.3, 2, x.channels) * self.rng.choice([-1, 1, 1], x.channels) / x.spread
        s = np.where(self.rng.random(x.channels) < 0.05, 0.0, s)
        t = self.rng.normal(0, 0.3, x.channels) - s * x.middle
        y = self._constant_first("Mul", x.name, name, "s", self._along(x, s))
        y = self.w.op("Add", [y, self.w.const(f"{name}.t", self._along(x, t))], name)
        return replace(x, name=y, element="float", middle=0.0, spread=1.0)

    def sign(self, x: Signal) -> Signal:
        y = self.w.op("BipolarQuant", [x.name, self.one], self._name("sign"), domain=QONNX)
        return replace(x, name=y, element="sign", reach=1, middle=0.0, spread=1.0)

    def bend(self, x: Signal, kind: str) -> Signal:
        """A float activation in front of a sign: relu, hardtanh, prelu."""
        name = self._name(kind)
        if kind == "relu":
            y = self.w.op("Relu", [x.name], name)
        elif kind == "hardtanh":
            y = self.w.op("Clip", [x.name, self.w.const(f"{name}.low", np.float32(-1)), self.w.const(f"{name}.high", np.float32(1))], name)
        else:
            y = self.w.op("PRelu", [x.name, self.w.const(f"{name}.slope", self._along(x, self.rng.uniform(0.05, 0.9, x.channels)))], name)
        return replace(x, name=y)

    def requantize(self, x: Signal, element: str = "u8") -> Signal:
        """8-bit activations with ReLU, or 16-bit ones, of sums."""
        name = self._name("quant")
        low, high = (0, 255) if element == "u8" else (-32768, 32767)
        s = self.rng.uniform(0.1, 0.6, x.channels) * self.rng.choice([-1, 1, 1, 1], x.channels) * high / x.spread
        t = self.rng.normal(high / 4 if element == "u8" else 0, high / 8, x.channels) - s * x.middle
        shift = int(self.choose.integers(4, 17))
        step = 2.0**-shift
        y = self.w.op("Cast", [x.name], f"{name}.wide", to=TensorProto.DOUBLE)
        y = self._constant_first("Mul", y, name, "m", self._along(x, np.rint(s / step) * step, np.float64))
        y = self.w.op("Add", [y, self.w.const(f"{name}.b", self._along(x, np.rint(t / step) * step + 0.5, np.float64))], f"{name}.add")
        y = self.w.op("Floor", [y], f"{name}.floor")
        ends = [self.w.const(f"{name}.{end}", np.float64(value)) for end, value in (("low", low), ("high", high))]
        y = self.w.op("Clip", [y, *ends], f"{name}.clip")
        if element == "u8":
            y = self.w.op("Cast", [y], f"{name}.u8", to=TensorProto.UINT8)
        y = self.w.op("Cast", [y], name, to=TensorProto.FLOAT)
        return replace(x, name=y, element=element, reach=max(high, -low), middle=high / 4 if element == "u8" else 0.0, spread=high / 3)

    def max_pool(self, x: Signal, slide: Slide) -> Signal:
        y = self.w.op("MaxPool", [x.name], self._name("maxpool"), **slide.attributes)
        rise = x.spread if x.element in ("sums", "float") else 0.0
        return replace(x, name=y, shape=(x.channels, *slide.output(x.shape[1:])), middle=x.middle + rise)

    def sum_pool(self, x: Signal, slide: Slide) -> Signal:
        """The sum of an average: a depthwise Conv of ones."""
        name = self._name("sumpool")
        ones = self.w.const(f"{name}.weight", np.ones((x.channels, 1, *slide.kernel), np.int8))
        weights = self.w.op("Cast", [ones], f"{name}.ones", to=TensorProto.FLOAT)
        self.w.op("Conv", [x.name, weights], name, group=x.channels, **slide.attributes)
        return self._summed(x, name, slide.output(x.shape[1:]), int(np.prod(slide.kernel)))

    def _summed(self, x: Signal, name: str, extents: tuple[int, ...], n: int) -> Signal:
        return Signal(name, (x.channels, *extents), "sums", x.reach * n, x.middle * n, x.spread * float(np.sqrt(n)))

    def global_sum(self, x: Signal) -> Signal:
        axes = self.w.const(f"axes{self.count}", np.arange(2, len(x.shape) + 1))
        y = self.w.op("ReduceSum", [x.name, axes], self._name("globalsum"), keepdims=1)
        return self._summed(x, y, (1,) * (len(x.shape) - 1), x.pixels)

    def pad(self, x: Signal, pads: tuple[int, ...], value: int) -> Signal:
        """Signs with a border of ±1; pads: before all axes, then behind them."""
        name, rank = self._name("pad"), len(x.shape) - 1
        full = np.array([0, 0, *pads[:rank], 0, 0, *pads[rank:]])
        y = self.w.op("Pad", [x.name, self.w.const(f"{name}.pads", full), self.w.const(f"{name}.value", np.float32(value))], name)
        return replace(x, name=y, shape=(x.channels, *(e + pads[a] + pads[rank + a] for a, e in enumerate(x.shape[1:]))))

    def _clip16(self, y: str, name: str, low: int = -32768, high: int = 32767) -> str:
        ends = [self.w.const(f"{name}.{end}", np.float32(value)) for end, value in (("low", low), ("high", high))]
        return self.w.op("Clip", [y, *ends], f"{name}.clip")

    def add(self, a: Signal, b: Signal) -> Signal:
        """The saturating sum of two 16-bit values."""
        name = self._name("add")
        return replace(a, name=self._clip16(self.w.op("Add", [a.name, b.name], name), name))

    def prelu16(self, x: Signal) -> Signal:
        name = self._name("prelu")
        slopes = self._along(x, self.rng.integers(-256, 257, x.channels) / 256)
        y = self.w.op("PRelu", [x.name, self.w.const(f"{name}.slope", slopes)], name)
        y = self.w.op("Add", [y, self.w.const(f"{name}.half", np.float32(0.5))], f"{name}.add")
        return replace(x, name=self._clip16(self.w.op("Floor", [y], f"{name}.floor"), name))

    def clip16(self, x: Signal, low: int, high: int) -> Signal:
        return replace(x, name=self._clip16(x.name, self._name("hardtanh"), low, high))

    def concat(self, *xs: Signal) -> Signal:
        y = self.w.op("Concat", [x.name for x in xs], self._name("concat"), axis=1)
        middle = float(np.mean([np.mean(x.middle) for x in xs]))
        return replace(xs[0], name=y, shape=(sum(x.channels for x in xs), *xs[0].shape[1:]), reach=max(x.reach for x in xs), middle=middle)

    def flatten(self, x: Signal) -> Signal:
        y = self.w.op("Flatten", [x.name], self._name("flatten"), axis=1)
        return replace(x, name=y, shape=(x.channels * x.pixels,), middle=float(np.mean(x.middle)))

    def dense(self, x: Signal, n: int) -> Signal:
        """Exact sums of a flat value."""
        name = self._name("fc")
        signs = self.rng.choice(np.array([-1, 1], np.int8), (x.channels, n))
        weights = self.w.op("Cast", [self.w.const(f"{name}.weight", signs)], f"{name}.signs", to=TensorProto.FLOAT)
        return Signal(self.w.op("MatMul", [x.name, weights], name), (n,), "sums", x.reach * x.channels)

    def scores(self, x: Signal) -> Signal:
        """The last affine: Mul(x, s), Add of sums [n], as a dense layer writes it."""
        y = self.w.op("Mul", [x.name, self.w.const("scores.s", self.rng.uniform(0.01, 0.2, x.channels).astype(np.float32))], "scores.mul")
        t = self.rng.normal(0, 1, x.channels).astype(np.float32)
        return replace(x, name=self.w.op("Add", [y, self.w.const("scores.t", t)], "scores"), element="float")

    def model(self, x: Signal) -> onnx.ModelProto:
        """The file whose output is x."""
        made = self.w.model(list(self.shape), None, element=self.entry, output=x.name)
        made.graph.output[0].CopyFrom(helper.make_tensor_value_info(x.name, TensorProto.FLOAT, ["batch", *x.shape]))
        return made


class Drawn:
    """What random_network asks of a NumPy generator, answered by Hypothesis.

    It shrinks to what is simple: the first choice, the least number, a fraction near 1 (where `random() < p`, something is added).
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def choice(self, options: Sequence[Any]) -> Any:
        return self._draw(st.sampled_from(options))

    def integers(self, low: int, high: int, size: int | None = None) -> Any:
        within = st.integers(low, high - 1)
        return self._draw(within) if size is None else [self._draw(within) for _ in range(size)]

    def random(self) -> float:
        return 1 - self._draw(st.integers(1, 100)) / 100


class Network:
    """An ONNX file."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __repr__(self) -> str:  # a failing test prints the text form instead
        return f"Network({len(self.content)} bytes)"


@st.composite
def networks(draw: st.DrawFn, **wanted: Any) -> Network:
    """Random networks: Hypothesis draws the layers, the parameters are a seed's. wanted: what random_network is told."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Network(random_network(rng, Drawn(draw), **wanted).SerializeToString())


def seeded(seed: int) -> Network:
    """A network all of whose parts are the seed's."""
    return Network(random_network(np.random.default_rng(seed)).SerializeToString())


def random_network(
    rng: np.random.Generator,
    choose: Any = None,
    *,
    kind: str | None = None,
    rank: int | None = None,
    blocks: int | None = None,
    channels: Sequence[int] = CHANNELS,
    largest: int = 9,
    element: int | None = None,
) -> onnx.ModelProto:
    """A network in labc's own spelling whose scores have shape [batch, n].

    kind: signs (binary activations), bytes (8-bit activations), residual (16-bit ones between binary convolutions). rank: 1 (rows) or 2
    (images) of at most `largest` pixels a side. channels: what widths are drawn from. What is not given is drawn too. choose: who decides
    on layers and sizes, `rng` if it is None; see `Drawn`.
    """
    choose = rng if choose is None else choose
    kind = kind or str(choose.choice(KINDS))
    rank = rank or int(choose.choice([1, 2, 2, 2]))
    element = element or int(choose.choice([TensorProto.UINT8, TensorProto.UINT8, TensorProto.INT8]))
    size = [int(v) for v in choose.integers(1, largest + 1, rank)]
    net = Images(rng, [int(choose.choice([1, 2, 3, 4])), *size], element=element, choose=choose)
    block = {"signs": _sign_block, "bytes": _byte_block, "residual": _residual_block}[kind]
    x = net.input
    if kind == "residual":
        x = net.requantize(_conv(net, x, channels), "i16")
    for _ in range(blocks or int(choose.integers(1, 4))):
        x = block(net, x, channels)
    return net.model(_end(net, x))


def _width(net: Images, channels: Sequence[int]) -> int:
    return int(net.choose.choice(channels))


def _conv(net: Images, x: Signal, channels: Sequence[int]) -> Signal:
    """A random convolution: one group, several, or depthwise."""
    width, groups = _width(net, channels), 1
    if net.choose.random() < 0.3:
        groups = int(net.choose.choice([g for g in range(1, x.channels + 1) if x.channels % g == 0]))
        width = groups * int(net.choose.integers(1, 3)) if groups == x.channels else groups * max(1, width // groups)
    if x.element == "sign" and net.choose.random() < 0.5:
        pads = tuple(int(v) for v in net.choose.integers(0, 3, 2 * (len(x.shape) - 1)))
        x = net.pad(x, pads, int(net.choose.choice([-1, 1])))
        return net.conv(x, width, net.slide(x, pads=False), groups=groups)
    return net.conv(x, width, net.slide(x), groups=groups)


def _sign_block(net: Images, x: Signal, channels: Sequence[int]) -> Signal:
    """conv, batch norm, pool, activation and sign in one of the orders that papers use."""
    if net.choose.random() < 0.2 and x.element == "sign":
        slide = net.slide(x, plain=True, largest=3)
        return net.concat(x, net.sign(net.affine(net.conv(x, _width(net, channels), slide))))
    y = _conv(net, x, channels)
    order = str(net.choose.choice(["plain", "pool bn", "bn pool", "average", "relu", "hardtanh", "prelu"]))
    if order == "pool bn":
        y = net.affine(net.max_pool(y, net.slide(y, largest=3, pool=True)))
    elif order == "bn pool":
        y = net.affine(y)
        y = net.max_pool(y, net.slide(y, largest=3, pool=True))
    elif order == "average":
        y = net.sign(net.affine(y))
        y = net.affine(net.sum_pool(y, net.slide(y, largest=3)))
    else:
        y = net.affine(y)
        y = y if order == "plain" else net.bend(y, order)
        y = net.affine(replace(y, middle=0.4)) if order == "relu" else y  # a ReLU's own sign is always +1
    y = net.sign(y)
    return net.max_pool(y, net.slide(y, largest=2, pool=True)) if net.choose.random() < 0.2 else y


def _byte_block(net: Images, x: Signal, channels: Sequence[int]) -> Signal:
    """conv and requantized ReLU, with pools before or behind."""
    y = _conv(net, x, channels)
    if net.choose.random() < 0.3:
        y = net.max_pool(y, net.slide(y, largest=3, pool=True))
    y = net.requantize(y)
    match str(net.choose.choice(["nothing", "max", "average", "join"])):
        case "max":
            return net.max_pool(y, net.slide(y, largest=3, pool=True))
        case "average":
            return net.requantize(net.sum_pool(y, net.slide(y, largest=3)))
        case "join":
            return net.concat(y, net.requantize(net.conv(y, _width(net, channels), net.slide(y, plain=True, largest=3))))
    return y


def _residual_block(net: Images, x: Signal, channels: Sequence[int]) -> Signal:
    """stream + requantize(conv(sign(batch norm(stream)))), the shortcut pooled and doubled in width where the branch is."""
    shortcut, slide = x, net.slide(x, plain=True, largest=3)
    width = x.channels
    if net.choose.random() < 0.4:
        pool = net.slide(x, largest=2, pads=False)
        shortcut = net.requantize(net.sum_pool(x, pool), "i16")
        slide = pool
        if net.choose.random() < 0.5 and width < 40:
            shortcut, width = net.concat(shortcut, shortcut), 2 * width
    branch = net.conv(net.sign(net.affine(x)), width, slide)
    branch = net.requantize(branch, "i16")
    if net.choose.random() < 0.4:
        branch = net.prelu16(branch)
    y = net.add(shortcut, branch)
    match str(net.choose.choice(["nothing", "prelu", "hardtanh", "relu", "max"])):
        case "prelu":
            return net.prelu16(y)
        case "hardtanh":
            return net.clip16(y, -int(net.choose.integers(1, 30000)), int(net.choose.integers(1, 30000)))
        case "relu":
            return net.clip16(y, 0, 32767)
        case "max":
            return net.max_pool(y, net.slide(y, largest=3, pool=True))
    return y


def _end(net: Images, x: Signal) -> Signal:
    """Pooled sums as scores, or a dense layer behind signs or bytes."""
    n = int(net.choose.integers(2, 11))
    if net.choose.random() < 0.3:
        return net.scores(net.flatten(net.global_sum(x)))
    if x.element == "i16":
        x = net.requantize(net.global_sum(x)) if net.choose.random() < 0.5 else net.sign(net.affine(x))
    return net.scores(net.dense(net.flatten(x), n))
