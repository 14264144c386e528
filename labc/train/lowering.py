"""From a model's layers to the steps of the exported file: one function per kind of layer, from what it reads to what it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train.convolution import BinaryConv1d, BinaryConv2d
from labc.train.functions import Add, Concat, Mean
from labc.train.graph import EXACT, INPUT, Graph, Step
from labc.train.integers import HIGH16, LOW16, SLOPE_BITS, Add16, Clip16, ConvSums, Pad, PRelu16, SumPool, Sums
from labc.train.layers import BinaryLinear, ChannelLayer, Sign, signs
from labc.train.modes import ACTIVATIONS, AVERAGES, Modes
from labc.train.values import Lowering, Value


def lower(graph: Graph, inputs: Tensor, modes: Modes, stream_steps: dict[str, float]) -> Graph:
    """The steps of `labc.train.integers` (and float ones where the model has them) that compute what the graph computes.

    inputs: uint8 or int8, they calibrate the 8-bit activations; stream_steps: the step of each 16-bit stream.
    """
    uses = Counter(source for step in graph.steps() for source in step.inputs)
    lowering = Lowering(inputs, modes, stream_steps, uses)
    for step in graph.steps():
        write = _LAYERS.get(type(step.module))
        if write is None:
            raise LabcError(
                f"{step.name}: {type(step.module).__module__}.{type(step.module).__name__} cannot be exported; use BinaryLinear, "
                "BinaryConv1d, BinaryConv2d, Sign, nn.Linear, batch norm, max and average pools, nn.ReLU, nn.PReLU, nn.Hardtanh, "
                "nn.Flatten, nn.Identity or nn.Dropout in its place"
            )
        seen = [lowering.values[source] for source in step.inputs]
        lowering.values[step.name] = write(lowering, step, *seen)
        for source in step.inputs:
            uses[source] -= 1
            if not uses[source] and source != graph.output:
                del lowering.values[source]
    last = lowering.values[graph.output]
    if last.element == "u8" and last.node != INPUT:
        raise LabcError(f"{graph.output}: the network ends in ReLU; let it end in the BinaryLinear that gives the scores")
    return Graph(lowering.steps, lowering.number(last, graph.output).node, lowered=True)


def _integers(lowering: Lowering, step: Step, value: Value) -> Value:
    """What a binary layer can sum exactly: signs, bytes, or 8 bits of a value that is never negative."""
    if value.element in ("sign", "u8", "i8") and value.uniform:
        return value
    scale, shift = value.vectors()
    least = torch.minimum(scale * value.low, scale * value.high) + shift
    if value.element == "f32" or not bool((least >= 0).all()):
        raise LabcError(f"{step.name}: its input is float; put a Sign or, after a BinaryLinear, a ReLU before it")
    return lowering.eight_bits(value, f"{step.name}.input")


def _bound(step: Step, layer: ChannelLayer, value: Value) -> int:
    """The largest |sum| that the binary layer can reach."""
    taps = layer.weight[0].numel()
    bound = taps * value.bound
    if bound > EXACT:
        what = "input features" if isinstance(layer, BinaryLinear) else "taps times input channels per group"
        raise LabcError(
            f"{step.name}: sums up to {bound}, float32 counts exactly to {EXACT}; use at most {EXACT // value.bound} {what} here"
        )
    return bound


def check_width(step: Step, width: int, value: Tensor) -> None:
    """Raises LabcError unless value is [batch, width]."""
    if value.dim() != 2:
        raise LabcError(f"{step.name}: its input has shape {tuple(value.shape)}; put an nn.Flatten() before it")
    if value.shape[1] != width:
        raise LabcError(f"{step.name}: the input has {value.shape[1]} features, the layer expects {width}; pass inputs of that width")


def _linear(lowering: Lowering, step: Step, value: Value) -> Value:
    layer: Any = step.module
    check_width(step, layer.in_features, value.sample)
    return _summed(lowering, step, value, Sums)


def _conv(lowering: Lowering, step: Step, value: Value) -> Value:
    layer: Any = step.module
    if value.sample.dim() != 2 + layer.axes or value.sample.shape[1] != layer.in_channels:
        raise LabcError(
            f"{step.name}: its input has shape {tuple(value.sample.shape)}, the layer expects {layer.in_channels} channels of "
            f"{'height x width' if layer.axes == 2 else 'a length'}; pass images of that shape, or change in_channels"
        )
    return _summed(
        lowering, step, value, lambda weight: ConvSums(weight, layer.stride, layer.padding, layer.dilation, layer.groups), layer.pool
    )


def _summed(lowering: Lowering, step: Step, value: Value, sums: Callable[[Tensor], nn.Module], pool: nn.Module | None = None) -> Value:
    layer: Any = step.module
    value = _integers(lowering, step, value)
    bound = _bound(step, layer, value)
    made = lowering.emit(step.name, sums(signs(layer.weight).to(torch.int8)), value)
    scale, shift = layer.affine64()
    result = Value(*made, "i32", -bound, bound, scale * value.scale, shift, step.name)
    if pool is None:
        return result
    node, sample = lowering.emit(f"{step.name}.pool", _checked_pool(step, pool), result)
    return replace(result, node=node, sample=sample)


def _batch_norm(lowering: Lowering, step: Step, value: Value) -> Value:
    norm: Any = step.module
    if value.sample.shape[1] != norm.num_features:
        raise LabcError(f"{step.name}: the input has {value.sample.shape[1]} channels, the layer expects {norm.num_features}")
    if norm.running_mean is None or norm.running_var is None:
        raise LabcError(f"{step.name}: a batch norm without running statistics; use track_running_stats=True")
    gain = 1 / torch.sqrt(norm.running_var.double() + norm.eps)
    gain = gain * norm.weight.double() if norm.affine else gain
    beta = norm.bias.double() if norm.affine else torch.zeros_like(gain)
    return value.with_affine(value.scale * gain, (value.shift - norm.running_mean.double()) * gain + beta, step.name)


def _checked_pool(step: Step, pool: Any) -> nn.Module:
    if pool.ceil_mode or pool.return_indices:
        what = "ceil_mode" if pool.ceil_mode else "return_indices"
        raise LabcError(f"{step.name}: max pooling with {what}=True; leave it off, and pad where the last pixels matter")
    module: nn.Module = pool
    return module


def _max_pool(lowering: Lowering, step: Step, value: Value) -> Value:
    pool = _checked_pool(step, step.module)
    # A falling affine would turn the largest into the smallest.
    value = lowering.rising(value, step.inputs[0]) or lowering.number(value, step.name)
    node, sample = lowering.emit(step.name, pool, value)
    return replace(value, node=node, sample=sample, made={})


def _average(lowering: Lowering, step: Step, value: Value) -> Value:
    pool: Any = step.module
    if value.element == "f32":
        raise LabcError(f"{step.name}: it averages float values; put it behind a binary layer, a Sign or a ReLU")
    axes = value.sample.dim() - 2
    if axes < 1:
        raise LabcError(f"{step.name}: its input has shape {tuple(value.sample.shape)}; average before flattening")
    if isinstance(pool, nn.AvgPool1d | nn.AvgPool2d):
        made, count = _window(step, pool, axes, value)
    else:
        if not isinstance(pool, Mean) and {pool.output_size} - {1, (1,), (1, 1)}:
            raise LabcError(f"{step.name}: adaptive pooling to {pool.output_size}; only to 1 is exported; use a fixed kernel_size")
        if isinstance(pool, Mean) and len(pool.dims) != axes:
            raise LabcError(
                f"{step.name}: the mean over {pool.dims} of {tuple(value.sample.shape)}; average over all axes but batch and channels"
            )
        made, count = SumPool(None), value.sample[0, 0].numel()
    if count * value.bound > EXACT:
        raise LabcError(
            f"{step.name}: sums up to {count * value.bound}, float32 counts exactly to {EXACT}; average fewer pixels, or pool in two stages"
        )
    node, sample = lowering.emit(step.name, made, value)
    result = Value(node, sample, "i32", count * value.low, count * value.high, value.scale / count, value.shift, value.base or step.name)
    return _flat(lowering, f"{step.name}.flatten", result) if isinstance(pool, Mean) and not pool.keepdim else result


def _window(step: Step, pool: Any, axes: int, value: Value) -> tuple[SumPool, int]:
    kernel, stride, padding = (
        (entry,) * axes if isinstance(entry, int) else tuple(entry) for entry in (pool.kernel_size, pool.stride, pool.padding)
    )
    if pool.ceil_mode:
        raise LabcError(f"{step.name}: average pooling with ceil_mode=True; leave it off, and pad where the last pixels matter")
    if getattr(pool, "divisor_override", None) is not None:
        raise LabcError(f"{step.name}: average pooling with divisor_override; leave it off, a batch norm behind it takes any scale")
    if any(padding) and not pool.count_include_pad:
        raise LabcError(f"{step.name}: average pooling with padding and count_include_pad=False; use count_include_pad=True or no padding")
    if any(padding) and bool((value.shift != 0).any()):
        raise LabcError(f"{step.name}: padded average pooling behind a shift (bias or batch norm); use padding=0, or shift behind the pool")
    count = 1
    for extent in kernel:
        count *= extent
    return SumPool(kernel, stride, padding), count


def _sign(lowering: Lowering, step: Step, value: Value) -> Value:
    value = value if value.uniform else lowering.number(value, step.name)
    return Value(*lowering.emit(step.name, step.module, value), "sign", -1, 1)


def _flatten(lowering: Lowering, step: Step, value: Value) -> Value:
    flatten: Any = step.module
    if flatten.start_dim != 1 or flatten.end_dim not in (-1, value.sample.dim() - 1):
        ends = f"{flatten.start_dim} to {flatten.end_dim}"
        raise LabcError(f"{step.name}: Flatten from {ends}; flatten everything but the batch: nn.Flatten()")
    return _flat(lowering, step.name, value)


def _flat(lowering: Lowering, name: str, value: Value) -> Value:
    pixels = value.sample[0, 0].numel()
    scale, shift = (vector if vector.dim() == 0 else vector.repeat_interleave(pixels) for vector in (value.scale, value.shift))
    node, sample = lowering.emit(name, nn.Flatten(), value)
    return replace(value, node=node, sample=sample, scale=scale, shift=shift, made={})


def _activation(lowering: Lowering, step: Step, value: Value) -> Value:
    module, mode = step.module, lowering.modes.of[step.name]
    if mode == "u8":
        if value.element in ("sign", "u8", "i8", "f32"):
            raise LabcError(f"{step.name}: ReLU must follow a BinaryLinear (a batch norm may stand between); move it there")
        return lowering.eight_bits(value, value.base or step.name)
    if mode == "float":
        if isinstance(module, nn.PReLU) and value.element != "f32" and bool((module.weight < 0).any()):
            raise LabcError(
                f"{step.name}: a slope of {float(module.weight.detach().min()):.3g} in front of a sign, which then falls and rises; "
                "clamp slopes to at least 0 in training"
            )
        number = lowering.number(value, step.name)
        return Value(*lowering.emit(step.name, _float_activation(step), number), "f32")
    stream = lowering.modes.stream[step.name]
    value = lowering.sixteen_bits(value, step.name, stream)
    unit = lowering.stream_steps[stream]
    if isinstance(module, nn.PReLU):
        slopes = module.weight.detach().double()
        if bool((slopes.abs() > 1).any()):
            raise LabcError(
                f"{step.name}: a slope of {float(slopes[slopes.abs().argmax()]):.3g}; 16-bit activations take slopes from -1 to 1, "
                "clamp them in training"
            )
        whole = torch.round(slopes * (1 << SLOPE_BITS)).to(torch.int16).expand(value.sample.shape[1]).clone()
        return lowering.wide(stream, *lowering.emit(step.name, PRelu16(whole), value), value.low if bool((slopes >= 0).all()) else LOW16)
    low, high = (0.0, float("inf")) if isinstance(module, nn.ReLU) else (float(module.min_val), float(module.max_val))  # type: ignore[arg-type]
    ends = [int(min(max(round(end / unit), LOW16), HIGH16)) if abs(end) < float("inf") else HIGH16 for end in (low, high)]
    node, sample = lowering.emit(step.name, Clip16(*ends), value)
    return lowering.wide(stream, node, sample, *ends)


def _float_activation(step: Step) -> nn.Module:
    return nn.Hardtanh(0.0, 6.0) if isinstance(step.module, nn.ReLU6) else step.module


def _add(lowering: Lowering, step: Step, a: Value, b: Value) -> Value:
    stream = lowering.modes.stream[step.name]
    if a.sample.shape != b.sample.shape:
        raise LabcError(f"{step.name}: adds {tuple(a.sample.shape)} and {tuple(b.sample.shape)}; make their shapes equal")
    left, right = (lowering.sixteen_bits(value, name, stream) for value, name in zip((a, b), _names(step), strict=True))
    low, high = max(left.low + right.low, LOW16), min(left.high + right.high, HIGH16)
    return lowering.wide(stream, *lowering.emit(step.name, Add16(), left, right), low, high)


def _names(step: Step) -> list[str]:
    return [source or f"{step.name}.input" for source in step.inputs]


def _concat(lowering: Lowering, step: Step, *values: Value) -> Value:
    extents = {tuple(value.sample.shape[2:]) for value in values}
    if len(extents) > 1:
        raise LabcError(f"{step.name}: joins {' and '.join(str(tuple(v.sample.shape)) for v in values)}; make height and width equal")
    if any(value.element == "f32" for value in values) and step.name not in lowering.modes.stream:
        values = tuple(lowering.number(value, name) for value, name in zip(values, _names(step), strict=True))
    if len({value.element for value in values}) > 1:
        if step.name not in lowering.modes.stream:
            kinds = ", ".join(value.element for value in values)
            raise LabcError(f"{step.name}: joins values of different kinds ({kinds}); put a Sign behind each of them, or a ReLU")
        stream = lowering.modes.stream[step.name]
        values = tuple(lowering.sixteen_bits(value, name, stream) for value, name in zip(values, _names(step), strict=True))
    first = values[0]
    node, sample = lowering.emit(step.name, Concat(), *values)
    low, high = min(value.low for value in values), max(value.high for value in values)
    if all(value.uniform and value.scale == first.scale for value in values):
        return Value(node, sample, first.element, low, high, first.scale)
    scale, shift = (torch.cat(parts) for parts in zip(*[value.vectors() for value in values], strict=True))
    return Value(node, sample, first.element, low, high, scale, shift, step.name)


def _pad(lowering: Lowering, step: Step, value: Value) -> Value:
    pad: Any = step.module
    if value.element != "sign" or pad.value not in (-1, 1) or min(pad.padding) < 0:
        raise LabcError(
            f"{step.name}: pads {value.element} values with {pad.value}; pad signs with +1 or -1, for zeros use the convolution's padding"
        )
    return Value(*lowering.emit(step.name, Pad(pad.padding, int(pad.value)), value), "sign", -1, 1)


def _plain_linear(lowering: Lowering, step: Step, value: Value) -> Value:
    layer: Any = step.module
    check_width(step, layer.in_features, value.sample)
    if value.element == "u8" and value.node != INPUT:
        raise LabcError(f"{step.name}: Linear behind 8-bit activations; after a BinaryLinear and its ReLU use a BinaryLinear")
    return Value(*lowering.emit(step.name, layer, lowering.number(value, step.name)), "f32")


def _plain_conv(lowering: Lowering, step: Step, value: Value) -> Value:
    layer: Any = step.module
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise LabcError(f"{step.name}: padding {layer.padding!r} of {layer.padding_mode}; use a number of zeros")
    if value.element == "u8" and value.node != INPUT:
        raise LabcError(f"{step.name}: {type(layer).__name__} behind 8-bit activations; use a BinaryConv")
    return Value(*lowering.emit(step.name, layer, lowering.number(value, step.name)), "f32")


_LAYERS: dict[type[nn.Module], Callable[..., Value]] = {
    BinaryLinear: _linear,
    BinaryConv1d: _conv,
    BinaryConv2d: _conv,
    Sign: _sign,
    nn.Flatten: _flatten,
    nn.Linear: _plain_linear,
    nn.Conv1d: _plain_conv,
    nn.Conv2d: _plain_conv,
    Add: _add,
    Concat: _concat,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool1d: _max_pool,
    nn.MaxPool2d: _max_pool,
    **dict.fromkeys(AVERAGES, _average),
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys((nn.ConstantPad1d, nn.ConstantPad2d, nn.ZeroPad1d, nn.ZeroPad2d), _pad),
}
