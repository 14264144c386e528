"""Operators whose windows slide over images, but for Conv: pools, sums over height and width, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from labc.frontend.reader import MOST_ELEMENTS, REEXPORT, Attributes, Known, Padded, Reader, Value
from labc.ir import layers
from labc.ir.windows import Window, image

MOST_STEPS = 1 << 16  # a kernel's extents and taps, a stride, a dilation, a pad
MOST_PRODUCTS = 1 << 32  # of one layer, for one input; the largest layer of VGG-16 takes 1.8 · 2^30
Pads = tuple[int, int, int, int]
ACTIVATIONS = ("sign", "u8", "i8", "i16")  # what a layer hands on, as against sums


def numbers(
    reader: Reader, node: NodeProto, attributes: Attributes, key: str, count: int, default: int, *, least: int = 1
) -> tuple[int, ...]:
    """Attribute `key` as `count` integers from `least` to 2^16. Raises LabcError naming it for anything else."""
    found = attributes.get(key, [default] * count)
    if not isinstance(found, Sequence) or len(found) != count or not all(isinstance(v, int) and least <= v <= MOST_STEPS for v in found):
        shown = str(found)[:80]
        raise reader.error(
            node, f"{key} = {shown}", f"labc reads {count} whole number(s) from {least} to {MOST_STEPS}; export the model again"
        )
    return tuple(found)


def window(
    reader: Reader, node: NodeProto, value: Value, attributes: Attributes, kernel: Sequence[int], *, around: Pads = (0, 0, 0, 0)
) -> Window:
    """The window of a Conv or pool over `value`, its padding made explicit; `around` is what a Pad in front adds.

    Raises LabcError naming the attribute: wrong lengths, values outside 1..2^16, more taps or a larger padded image than is read.
    """
    channels, *extents = reader.shape(value)
    rank = len(extents)
    if rank not in (1, 2):
        raise reader.error(node, f"slides over values of shape {[channels, *extents]}", "labc reads rows [C, L] and images [C, H, W]")
    kernel = numbers(reader, node, {"kernel_shape": list(kernel)}, "kernel_shape", rank, 1)
    stride = numbers(reader, node, attributes, "strides", rank, 1)
    dilation = numbers(reader, node, attributes, "dilations", rank, 1)
    pads = numbers(reader, node, attributes, "pads", 2 * rank, 0, least=0)
    held = [extent + sum(around[axis + 2 - rank :: 2]) for axis, extent in enumerate(extents)]
    pads = _resolved(reader, node, attributes, held, kernel, stride, dilation, pads)
    one: tuple[int, ...] = () if rank == 2 else (1,)
    zero = () if rank == 2 else (0,)
    own = (*zero, *pads[:rank], *zero, *pads[rank:])
    top, left, bottom, right = (a + b for a, b in zip(own, around, strict=True))
    made = Window(_pair((*one, *kernel)), _pair((*one, *stride)), (top, left, bottom, right), _pair((*one, *dilation)))
    _, height, width = image(reader.shape(value))
    if made.taps > MOST_STEPS:
        raise reader.error(node, f"kernel_shape = {list(kernel)} has {made.taps} taps", f"labc reads kernels of up to {MOST_STEPS}")
    padded = channels * (height + top + bottom) * (width + left + right)
    if padded > MOST_ELEMENTS:
        raise reader.error(node, f"pads = {list(pads)} make an image of {padded} elements", "labc reads up to 2^24; use less padding")
    return made


def _pair(both: tuple[int, ...]) -> tuple[int, int]:
    first, second = both
    return first, second


def _resolved(
    reader: Reader,
    node: NodeProto,
    attributes: Attributes,
    extents: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: tuple[int, ...],
) -> tuple[int, ...]:
    """Explicit pads: all that stand before the axes, then all behind them, as ONNX orders them."""
    how = attributes.get("auto_pad", b"NOTSET")
    if how == b"NOTSET":
        return pads
    if any(pads):
        raise reader.error(node, f"has auto_pad = {_shown(how)} and pads", "write only one of them")
    if how == b"VALID":
        return pads
    if how not in (b"SAME_UPPER", b"SAME_LOWER"):
        raise reader.error(node, f"auto_pad = {_shown(how)}", "labc reads NOTSET, VALID, SAME_UPPER and SAME_LOWER")
    if any(d > 1 for d in dilation):  # onnxruntime refuses it, and others count the kernel without its gaps
        raise reader.error(node, f"auto_pad = {_shown(how)} with dilations", "export with explicit pads")
    total = [max((-(-e // s) - 1) * s + k - e, 0) for e, k, s in zip(extents, kernel, stride, strict=True)]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return tuple([*less, *more] if how == b"SAME_UPPER" else [*more, *less])


def _shown(attribute: Any) -> str:
    return attribute.decode("utf-8", "replace")[:40] if isinstance(attribute, bytes) else str(attribute)[:40]


def weigh(reader: Reader, node: NodeProto, name: str, products: int) -> None:
    """Raise LabcError if the layer made last takes more products than labc reads: `products` for each of its outputs."""
    if reader.types[name].size * products > MOST_PRODUCTS:
        raise reader.error(node, f"takes {reader.types[name].size * products} products per input", "labc reads layers of up to 2^32")


def _pool(reader: Reader, node: NodeProto, value: Value, attributes: Attributes, *, around: Pads = (0, 0, 0, 0)) -> Window:
    if "kernel_shape" not in attributes:
        raise reader.error(node, "has no kernel_shape", "export the model again")
    made = window(reader, node, value, attributes, attributes["kernel_shape"], around=around)
    if any(p - a >= k for p, a, k in zip(made.pads, around, made.kernel * 2, strict=True)):
        raise reader.error(node, f"pads = {list(attributes.get('pads', []))} are not smaller than the kernel", "use less padding")
    if attributes.get("ceil_mode", 0):
        _, height, width = image(reader.shape(value))
        extents = (height + made.pads[0] + made.pads[2], width + made.pads[1] + made.pads[3])
        if any((e - r) % s for e, r, s in zip(extents, made.reach(), made.stride, strict=True)):
            raise reader.error(
                node, "ceil_mode = 1 adds windows that reach past the padding", "export with ceil_mode = 0, or pad the image"
            )
    return made


def max_pool(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.value(node, inputs)
    return _maximum(reader, node, value, _pool(reader, node, value, attributes))


def global_max(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.value(node, inputs)
    return _maximum(reader, node, value, _whole(reader, node, value))


def _maximum(reader: Reader, node: NodeProto, value: Value, over: Window) -> Value:
    # x·s + t with s > 0 rises, rounding included: the largest of the scaled is the scaled largest. Sums stay behind their affine.
    carried = reader.element(value) in ACTIVATIONS and bool(np.all(value.scale > 0)) and by_channel(reader, value)
    source = value.node if carried else reader.flush(value, "the layer before the pool")
    made = reader.add(layers.MaxPool(reader.name(node.name or "max_pool"), (source,), over))
    weigh(reader, node, made.node, over.taps)
    return replace(value, node=made.node) if carried else replace(made, number=value.number)


def by_channel(reader: Reader, value: Value) -> bool:
    """Whether scale and shift are numbers per channel, not per pixel."""
    pixels = (1,) * (len(reader.shape(value)) - 1)
    return all(array.ndim == 0 or array.shape[1:] == pixels for array in (value.scale, value.shift))


def _whole(reader: Reader, node: NodeProto, value: Value) -> Window:
    """The window that covers height and width."""
    shape = reader.shape(value)
    if len(shape) not in (2, 3):
        raise reader.error(node, f"pools values of shape {list(shape)}", "labc reads rows [C, L] and images [C, H, W]")
    return Window(image(shape)[1:])


def average_pool(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value, around = unpadded(reader, node, inputs)
    over = _pool(reader, node, value, attributes, around=around)
    if over.pads != around and not attributes.get("count_include_pad", 0):
        raise reader.error(node, "count_include_pad = 0 divides by another number at the border", "export with count_include_pad = True")
    return _mean(reader, sum_of(reader, node, value, over), over.taps)


def global_average(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    value = reader.value(node, inputs)
    over = _whole(reader, node, value)
    return _mean(reader, sum_of(reader, node, value, over), over.taps)


def _mean(reader: Reader, value: Value, count: int) -> Value:
    reader.note("an average became a sum and a scale, which is rounded once with the scales around it")
    return value.times(np.array(1 / count))


def sum_of(reader: Reader, node: NodeProto, value: Value, over: Window) -> Value:
    """Σ over windows. Over n taps s·x + t sums to s·Σx + n·t, unless a window reaches into the padding and t is not 0."""
    carried = by_channel(reader, value) and not (any(over.pads) and np.any(value.shift))
    source = value.node if carried else reader.flush(value, "the layer before the pool")
    made = reader.add(layers.SumPool(reader.name(node.name or "sum_pool"), (source,), over))
    weigh(reader, node, made.node, over.taps)
    if not carried:
        return replace(made, number=value.number)
    if not value.plain:
        reader.note("a scale and shift before a sum over windows was carried through it")
    shift = value.shift * over.taps if np.any(value.shift) else made.shift
    return replace(value, node=made.node, shift=shift)


def reduce(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    """ReduceSum, ReduceMean over height and width."""
    value = reader.computed(node, inputs)
    rank = len(reader.shape(value)) + 1
    axes = attributes.get("axes")
    if len(inputs) > 1 and inputs[1] is not None:
        axes = reader.constant(node, inputs, 1).reshape(-1)[:8].tolist()
    if axes is None or sorted(a + rank if a < 0 else a for a in axes) != list(range(2, rank)) or rank == 2:
        shown = "all axes" if axes is None else f"axes {axes}"
        raise reader.error(
            node, f"sums over {shown} of values with {rank} axes", "labc reads sums over height and width, axes [2, 3] or [2]"
        )
    over = _whole(reader, node, value)
    made = sum_of(reader, node, value, over)
    if node.op_type == "ReduceMean":
        made = _mean(reader, made, over.taps)
    return made if attributes.get("keepdims", 1) else flattened(reader, node, made)


def flattened(reader: Reader, node: NodeProto, value: Value) -> Value:
    """All axes but the batch become one; numbers per channel are repeated for its pixels."""
    shape = reader.shape(value)
    if len(shape) == 1:
        return value
    flat = reader.add(
        layers.Flatten(reader.name(f"{node.name or 'value'}.flat" if node.op_type != "Flatten" else node.name or "flatten"), (value.node,))
    )
    scale, shift = (a if a.ndim == 0 else np.broadcast_to(a, shape).reshape(-1) for a in (value.scale, value.shift))
    return replace(value, node=flat.node, scale=scale, shift=shift)


def unpadded(reader: Reader, node: NodeProto, inputs: Sequence[Any]) -> tuple[Value, Pads]:
    """Input 0, and the zeros that a Pad in front puts around it."""
    if inputs and isinstance(inputs[0], Padded):
        return inputs[0].value, inputs[0].pads
    return reader.value(node, inputs), (0, 0, 0, 0)


def pad(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes) -> Known:
    """Constant padding: ±1 around signs is a node, 0 becomes the padding of the Conv behind."""
    value, around = unpadded(reader, node, inputs)
    shape = reader.shape(value)
    mode = attributes.get("mode", b"constant")
    if mode != b"constant":
        raise reader.error(node, f"mode = {_shown(mode)}", "labc pads with a constant")
    top, left, bottom, right = pads = _pads(reader, node, inputs, attributes, len(shape))
    if not any(pads):
        return Padded(value, around, node) if any(around) else value
    held = reader.constant(node, inputs, 2) if len(inputs) > 2 and inputs[2] is not None else np.array(attributes.get("value", 0.0))
    if held.size != 1:
        raise reader.error(node, f"pads with {held.size} values", "pad with one number")
    number = float(held.reshape(()))
    _, height, width = image(shape)
    if shape[0] * (height + top + bottom + sum(around[::2])) * (width + left + right + sum(around[1::2])) > MOST_ELEMENTS:
        raise reader.error(node, f"pads = {list(pads)} make a value of more than 2^24 elements", "use less padding")
    if not any(around) and (border := border_sign(reader, value, number)):
        made = reader.add(layers.Pad(reader.name(node.name or "pad"), (value.node,), pads, border))
        return replace(value, node=made.node)
    if number != 0:
        raise reader.error(
            node,
            f"pads {reader.element(value)} values with {number:g}",
            f"labc pads signs with +1 or -1, and zeros in front of a Conv; {REEXPORT}",
        )
    return Padded(value, (top + around[0], left + around[1], bottom + around[2], right + around[3]), node)


def border_sign(reader: Reader, value: Value, number: float) -> int:
    """+1 or −1 if that sign is what `number` stands for in a value made of signs, like 0 among activations 0 and 1; else 0."""
    if reader.element(value) != "sign" or not by_channel(reader, value):
        return 0
    for sign in (1, -1):
        if np.all(value.scale * sign + value.shift == number):
            return sign
    return 0


def _pads(reader: Reader, node: NodeProto, inputs: Sequence[Any], attributes: Attributes, rank: int) -> Pads:
    found = attributes.get("pads")
    if len(inputs) > 1 and inputs[1] is not None:
        array = reader.constant(node, inputs, 1)
        found = array.reshape(-1)[: 2 * rank + 3].tolist()
    axes = list(range(rank + 1))
    if len(inputs) > 3 and inputs[3] is not None:
        named = reader.constant(node, inputs, 3).reshape(-1)[: rank + 2].tolist()
        axes = [a + rank + 1 if a < 0 else a for a in named]
        if len(set(axes)) != len(axes) or not set(axes) <= set(range(rank + 1)):
            raise reader.error(node, f"axes = {named}", f"its input has {rank + 1} axes; export the model again")
    full = numbers(reader, node, {"pads": found}, "pads", 2 * len(axes), 0, least=0)
    before, behind = dict(zip(axes, full, strict=False)), dict(zip(axes, full[len(axes) :], strict=True))
    if rank not in (2, 3) or any(before.get(a, 0) or behind.get(a, 0) for a in (0, 1)):
        raise reader.error(
            node, f"pads = {list(full)} on values with {rank + 1} axes", "labc pads height and width of images [batch, C, H, W]"
        )
    top, bottom = (side.get(2, 0) if rank == 3 else 0 for side in (before, behind))
    return top, before.get(rank, 0), bottom, behind.get(rank, 0)
