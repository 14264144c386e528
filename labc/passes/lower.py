"""Layers become sums, and images lie pixel by pixel.

Before:  %fc1 = dense(%input, weights=sign[N, K])  ...  %scores = affine(%fc3, …)  %class = arg_max(%scores)
After:   %fc1 = mat_vec(%input, …)                 ...  %scores = scores(%fc3, …)            (every library has `predict`)

A flatten of an image becomes a view of what lies in memory, so what follows it - a dense layer's columns, constants per element - is put
into that order here; signs whose channels do not fill whole words have no such view, and the dense layer becomes a convolution as large as
the image. Groups become slices, convolutions and joins; an average of signs or bytes is a depthwise convolution with +1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from labc.ir import layers, machine, pointwise
from labc.ir.core import Array, Const, Graph, Node, Type
from labc.ir.windows import Window, image
from labc.passes.ranges import bounds, fresh, needed, require_finite

_ONE_BIT = "train it with a binary layer of labc.train and re-export; `labc inspect` shows every layer"
_EIGHT_BIT = "re-export with labc.train.export, which calibrates 8-bit and 16-bit activations"
MOST_GROUPS = 256
_FAULT = "this is a fault in labc; please report it"


def lower(graph: Graph) -> Graph:
    """Dense → MatVec, Conv → Conv or Depthwise, the last Affine → Scores; Flatten and a final ArgMax vanish.

    Raises LabcError naming the first layer that is not exact integers, with the reason and the remedy.
    """
    work = _Lowering(_without_argmax(graph))
    for node in work.before.nodes:
        work.add(node)
    # After the loop: a layer that cannot be lowered is the better thing to name.
    lowered = needed(Graph(tuple(work.nodes), work.alias[work.before.output]))
    last = lowered.by_name[lowered.output]
    if not isinstance(last, machine.Scores):
        raise last.fail("is the last layer, but a network ends in scores", "end it with a dense layer without Sign or ReLU")
    for node in lowered.nodes:
        _check_range(lowered, node)
    return lowered


def _without_argmax(graph: Graph) -> Graph:
    """Without a final ArgMax, and without a Flatten that only takes axes of extent 1 off the scores."""
    output = graph.output
    while True:
        last = graph.by_name[output]
        scalar = isinstance(last, layers.Flatten) and graph.types[last.inputs[0]].shape[:1] == graph.types[output].shape
        if not isinstance(last, layers.ArgMax) and not scalar:
            return graph if output == graph.output else needed(Graph(graph.nodes, output))
        (output,) = last.inputs


class _Lowering:
    """Collects machine nodes. `alias`: where a layer's value is found; `order`: the layer's element at each place of a flattened value."""

    def __init__(self, graph: Graph) -> None:
        self.before = graph
        self.nodes: list[Node] = []
        self.types: dict[str, Type] = {}
        self.alias: dict[str, str] = {}
        self.order: dict[str, Array] = {}
        self.flat: set[str] = set()  # flattened images of signs that have no view
        self.wide: dict[str, str] = {}  # a value → the same as i32
        self.taken = set(graph.by_name)
        self.signed = _end_in_signs(graph)

    def put(self, node: Node) -> str:
        """Append a machine node."""
        self.nodes.append(node)
        self.types[node.name] = node.infer(*(self.types[name] for name in node.inputs))
        return node.name

    def add(self, node: Node) -> None:
        """Append what a layer becomes."""
        at = replace(node, inputs=tuple(self.alias.get(name, name) for name in node.inputs))
        if not isinstance(node, layers.Dense) and (order := self._order(node)) is not None:
            at = _in_order(at, order)
            self.order[node.name] = order
        if self.flat.intersection(node.inputs) and not isinstance(node, layers.Dense):
            raise node.fail("follows flattened signs that do not fill whole words", "put a dense layer directly behind the Flatten")
        self.alias[node.name] = self._lower(at, node)

    def _order(self, node: Node) -> Array | None:
        """In which order the elements of a value lie that is made of flattened images; None: in the layer's own."""
        if not any(name in self.order for name in node.inputs):
            return None
        orders = [self.order.get(name, np.arange(self.before.types[name].size)) for name in node.inputs]
        if isinstance(node, layers.Concat):
            starts = np.cumsum([0, *(len(order) for order in orders)])
            return np.concatenate([order + start for order, start in zip(orders, starts[:-1], strict=True)])
        if any(not np.array_equal(order, orders[0]) for order in orders):
            raise node.fail(
                "joins a flattened image and values that lie in another order", "join them before the Flatten, or behind a dense layer each"
            )
        return orders[0]

    def _lower(self, at: Node, node: Node) -> str:
        seen = self.types[at.inputs[0]] if at.inputs else Type("i32", ())
        match at:
            case layers.Input():
                return self._input(at)
            case layers.Flatten():
                return self._flatten(at, node, seen)
            case layers.Dense() | layers.Conv():
                if why := layers.why_not_binary(at.weights):
                    raise at.fail(why, _ONE_BIT)
                if seen.element not in layers.INTEGERS:
                    kind = "float32" if seen.element == "f32" else f"{seen.element} values"
                    raise at.fail(f"its input {node.inputs[0]} is {kind}", self._remedy(node.inputs[0]))
                return self._dense(at, node, seen) if isinstance(at, layers.Dense) else self._conv(at, seen)
            case layers.MaxPool():
                return self.put(pointwise.MaxPool(at.name, at.inputs, at.window, no_flips(seen.shape[0])))
            case layers.SumPool() if seen.element in layers.INTEGERS:
                ones = Const("sign", np.ones((seen.shape[0], 1, *at.window.kernel), np.int8))
                return self.put(machine.Depthwise(at.name, at.inputs, ones, at.window, seen.shape[0]))
            case layers.SumPool() if seen.element != "f32":
                return self.put(pointwise.AddPool(at.name, at.inputs, at.window))
            case layers.Add() if seen.element == "i16":
                return self.put(pointwise.Add(at.name, at.inputs))
            case layers.Concat():
                return self._join(at.name, at.inputs)
            case layers.Pad():
                return self.put(pointwise.Pad(at.name, at.inputs, at.pads, at.value))
            case layers.PRelu() if seen.element == "i16":
                return self.put(pointwise.PRelu(at.name, at.inputs, at.slopes))
            case layers.Clip() if seen.element == "i16":
                return self.put(pointwise.Clip(at.name, at.inputs, at.low, at.high))
            case layers.Requantize():
                return self.put(replace(at, inputs=(self._wide(at, at.inputs[0]),)))
            case layers.Affine() if node.name == self.before.output:
                if at.name in self.order or image(seen.shape)[1:] != (1, 1):
                    raise at.fail("gives an image as scores", "end the network with a dense layer, or pool to one pixel")
                return self.put(machine.Scores(at.name, (self._wide(at, at.inputs[0]),), at.s, at.t))
            case layers.Affine() | layers.Sign():
                return self.put(replace(at, inputs=(self._wide(at, at.inputs[0]),)))
            case layers.PRelu() | layers.Clip() | layers.Relu() if node.name in self.signed:
                return self.put(at)
            case layers.Relu():
                raise at.fail("a ReLU in float32", _EIGHT_BIT)
            case layers.PRelu() | layers.Clip() | layers.SumPool() | layers.Add():
                raise at.fail(f"a {at.kind()} of float32 values", _EIGHT_BIT)
            case layers.ArgMax():
                raise at.fail("an ArgMax that is not the end of the network", "make it the output")
        raise at.fail(f"a {at.kind()} has no place here", _FAULT)

    def _remedy(self, name: str) -> str:
        """What to do about an input that is not integers."""
        source = self.before.by_name[name]
        while isinstance(source, layers.Flatten | layers.Affine) and self.before.types[source.name].element == "f32":
            source = self.before.by_name[source.inputs[0]]
        if isinstance(source, layers.SumPool):
            return f"it is the average {source.name}; put a Sign behind it, or {_EIGHT_BIT}"
        if self.before.types[source.name].element in layers.INTEGERS:
            return (
                "one scale for all inputs is absorbed, and a shift where no zeros are added at the border; feed raw integers, "
                "and leave the mean to the first batch norm"
            )
        return _EIGHT_BIT

    def _wide(self, at: Node, name: str) -> str:
        """A value as i32 or f32, or 16 bits in front of a sign: what affines and requantization take."""
        element = self.types[name].element
        if element in ("i32", "f32") or (element == "i16" and not isinstance(at, layers.Requantize | machine.Scores)):
            return name
        if name not in self.wide:
            self.wide[name] = self.put(pointwise.Widen(fresh(f"{name}.wide", self.taken), (name,)))
        return self.wide[name]

    def _input(self, at: layers.Input) -> str:
        if at.element == "f32":
            raise at.fail("the network's input is float32", "re-export with a uint8 example input, or begin the file with Cast from uint8")
        if all(isinstance(user, layers.Flatten | layers.Dense) for user in self.before.users[at.name]):
            return self.put(replace(at, shape=(self.before.types[at.name].size,)))
        if len(at.shape) > 3:
            raise at.fail(f"an input of shape {list(at.shape)}", "labc reads [C], [C, L] and [C, H, W]; flatten others first")
        count, height, width = image(at.shape)
        entry = self.put(at)
        return (
            entry if count == 1 or height * width == 1 else self.put(pointwise.Interleave(fresh(f"{at.name}.pixels", self.taken), (entry,)))
        )

    def _flatten(self, at: Node, node: Node, seen: Type) -> str:
        count, height, width = image(seen.shape)
        if len(seen.shape) == 1:
            return at.inputs[0]
        if seen.element == "sign" and count % 32 and height * width > 1:
            self.flat.add(node.name)
            return at.inputs[0]
        if count > 1 and height * width > 1:
            self.order[node.name] = np.arange(count * height * width).reshape(count, height, width).transpose(1, 2, 0).reshape(-1)
        return self.put(pointwise.View(at.name, at.inputs))

    def _dense(self, at: layers.Dense, node: Node, seen: Type) -> str:
        (source,) = node.inputs
        if source in self.flat:
            count, height, width = image(seen.shape)
            weights = Const("sign", at.weights.array.reshape(-1, count, height, width))
            made = self.put(machine.Conv(fresh(f"{at.name}.conv", self.taken), at.inputs, weights, Window((height, width))))
            return self.put(pointwise.View(at.name, (made,)))
        weights = Const("sign", at.weights.array[:, self.order[source]]) if source in self.order else at.weights
        return self.put(machine.MatVec(at.name, at.inputs, weights))

    def _conv(self, at: layers.Conv, seen: Type) -> str:
        weights = at.weights.array.reshape(*at.weights.type.shape[:2], *at.window.kernel)
        if at.groups == 1:
            return self.put(machine.Conv(at.name, at.inputs, Const("sign", weights), at.window))
        if weights.shape[1] == 1:
            return self.put(machine.Depthwise(at.name, at.inputs, Const("sign", weights), at.window, at.groups))
        if at.groups > MOST_GROUPS:
            raise at.fail(
                f"{at.groups} groups of {weights.shape[1]} channels; each group is a convolution of its own, at most {MOST_GROUPS}",
                "use fewer groups, or depthwise ones of 1 channel",
            )
        made = []
        for g, part in enumerate(np.split(weights, at.groups)):
            count = weights.shape[1]
            source = self.put(pointwise.Slice(fresh(f"{at.name}.slice{g}", self.taken), at.inputs, g * count, count))
            made.append(self.put(machine.Conv(fresh(f"{at.name}.group{g}", self.taken), (source,), Const("sign", part), at.window)))
        return self._join(at.name, made)

    def _join(self, name: str, parts: Iterable[str]) -> str:
        """Two by two, like a tree: no part is copied more often than the logarithm of their number."""
        level = list(parts)
        depth = 0
        while len(level) > 1:
            pairs = [tuple(level[i : i + 2]) for i in range(0, len(level), 2)]
            last = len(pairs) == 1
            level = [
                self.put(pointwise.Join(name if last else fresh(f"{name}.join{depth}.{i}", self.taken), pair))
                if len(pair) == 2
                else pair[0]
                for i, pair in enumerate(pairs)
            ]
            depth += 1
        return level[0]


def _end_in_signs(graph: Graph) -> set[str]:
    """The values of which all that is made, elements at a time, ends in a Sign; backwards, as networks may be deeper than a stack."""
    between = layers.Affine | layers.PRelu | layers.Clip | layers.Relu | layers.MaxPool
    found: set[str] = set()
    for node in reversed(graph.nodes):
        users = graph.users[node.name]
        if users and all(isinstance(user, layers.Sign) or (isinstance(user, between) and user.name in found) for user in users):
            found.add(node.name)
    return found


def no_flips(count: int) -> Const:
    """Flips of `count` channels, none of which is flipped."""
    return Const("sign", np.full(count, -1, np.int8))


def _in_order(node: Node, order: Array) -> Node:
    """A node on a flattened image, its constants per element in the order of memory."""
    changed: dict[str, Any] = {
        key: Const(value.type.element, value.array[order])
        for key, value in node.attributes()
        if isinstance(value, Const) and value.type.shape == order.shape
    }
    return replace(node, **changed)


def _check_range(graph: Graph, node: Node) -> None:
    if isinstance(node, machine.Sums):
        bounds(graph, node.name)
    if isinstance(node, machine.Scores | layers.Requantize):
        low, high = bounds(graph, node.inputs[0])
        if isinstance(node, machine.Scores):
            require_finite((node,), low, high)
            return
        # Python integers: the very overflow looked for must not happen here.
        reach = np.maximum(-low, high)
        for channel, (m, b) in enumerate(zip(node.m.array.tolist(), node.b.array.tolist(), strict=True)):
            if abs(m) >= 1 << 31 or int(reach[channel]) * abs(m) + abs(b) + (1 << (node.shift - 1)) >= 1 << 52:
                raise node.fail(f"channel {channel} leaves 52 bits", "re-export: the scale of this layer is too large")
