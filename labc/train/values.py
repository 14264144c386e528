"""What a layer's output is while a model is lowered: integers that carry a scale and a shift until someone asks for the number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train.convolution import per_channel
from labc.train.fixedpoint import best_step, check_affine, fixed_point
from labc.train.graph import INPUT, Step, apply
from labc.train.integers import HIGH16, LOW16, TOP, Affine, ConvSums, Requantize, Sums
from labc.train.modes import Modes

_FLOAT_MAX = float(torch.finfo(torch.float32).max)
_ONE, _ZERO = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)


@dataclass(eq=False)
class Value:
    """What a layer's output is: scale·y + shift per channel, where y is what the step `node` gives.

    y: `element` (sign, u8, i8, i16, i32, or f32), between `low` and `high` (0 for f32); `sample` is y for some inputs. scale, shift:
    float64 [C], or 0-dimensional where all channels share them. `base` names what an affine of it is called after. `made` keeps what
    was already computed of the value.
    """

    node: str
    sample: Tensor
    element: str
    low: int = 0
    high: int = 0
    scale: Tensor = _ONE
    shift: Tensor = _ZERO
    base: str = ""
    made: dict[object, Value] = field(default_factory=dict)

    @property
    def bound(self) -> int:
        return max(-self.low, self.high)

    @property
    def uniform(self) -> bool:
        """Whether all channels share one scale, above 0, and nothing is added."""
        return self.scale.dim() == self.shift.dim() == 0 and float(self.scale) > 0 and float(self.shift) == 0

    @property
    def plain(self) -> bool:
        return self.uniform and float(self.scale) == 1

    def vectors(self) -> tuple[Tensor, Tensor]:
        """scale and shift, [C] each."""
        count = self.sample.shape[1]
        return self.scale.expand(count), self.shift.expand(count)

    def with_affine(self, scale: Tensor, shift: Tensor, base: str) -> Value:
        return replace(self, scale=scale, shift=shift, base=self.base or base, made={})


class Lowering:
    """The steps so far, and the values that later layers read; `uses` counts by how many."""

    def __init__(self, inputs: Tensor, modes: Modes, stream_steps: dict[str, float], uses: Counter[str]) -> None:
        signed = inputs.dtype == torch.int8
        source = Value(INPUT, inputs, "i8" if signed else "u8", -128 if signed else 0, 127 if signed else TOP)
        self.values = {INPUT: source}
        self.steps: list[Step] = []
        self.names: set[str] = set()
        self.modes, self.stream_steps, self.uses = modes, stream_steps, uses

    def emit(self, name: str, module: nn.Module, *sources: Value) -> tuple[str, Tensor]:
        """Append a step; returns its name and what it gives for the sample."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        step = Step(name, module.eval().requires_grad_(False), tuple(source.node for source in sources))
        self.steps.append(step)
        return name, apply(step, [source.sample for source in sources])

    def rising(self, value: Value, name: str) -> Value | None:
        """The value `name` with no scale below 0: rows of weights change their sign with it. None where others read the sums too."""
        if bool((value.scale >= 0).all()):
            return value
        module = next((step.module for step in self.steps if step.name == value.node), None)
        shared = self.uses[name] > 1 or any(value.node in step.inputs for step in self.steps)
        shared = shared or any(other.node == value.node for key, other in self.values.items() if key != name)
        if shared or not isinstance(module, Sums | ConvSums):
            return None
        turn = torch.where(value.scale < 0, -1, 1)
        module.weight *= turn.to(torch.int8).reshape(-1, *[1] * (module.weight.dim() - 1))
        return replace(value, sample=value.sample * per_channel(turn, value.sample.dim()), scale=value.scale.abs(), made={})

    def number(self, value: Value, name: str) -> Value:
        """The value itself, as float32: one multiply and one add, unless y is the value already."""
        if value.plain:
            return value
        if "f32" not in value.made:
            scale, shift = (vector.float() for vector in value.vectors())
            reach = scale.double().abs() * (value.bound if value.element != "f32" else 1) + shift.double().abs()
            bad = ~(reach < _FLOAT_MAX)  # also true for NaN
            base = value.base or name
            if bool(bad.any()):
                channel = int(bad.nonzero()[0, 0])
                raise LabcError(
                    f"{base}: channel {channel} leaves float32 (scale {float(scale[channel]):.3g}, shift {float(shift[channel]):.3g}, "
                    f"sums up to {value.bound}); look for a batch norm with a tiny variance or a huge gamma"
                )
            value.made["f32"] = Value(*self.emit(f"{base}.affine", Affine(scale, shift), value), "f32")
        return value.made["f32"]

    def eight_bits(self, value: Value, name: str) -> Value:
        """max(value, 0) as uint8 of a step that its sample chooses."""
        if "u8" not in value.made:
            scale, shift = value.vectors()
            check_affine(name, scale, shift)
            shaped = [per_channel(vector, value.sample.dim()) for vector in (scale, shift)]
            activations = (value.sample.double() * shaped[0] + shaped[1]).clamp(min=0)
            if not bool(activations.any()):  # the inputs never wake this layer: span what others could
                activations = (scale.abs() * value.bound + shift).clamp(min=0)
            step = best_step(activations)
            made = Requantize(*fixed_point(name, scale / step, shift / step, value.bound), step)
            known = torch.tensor(step, dtype=torch.float64)
            value.made["u8"] = Value(*self.emit(f"{name}.requantize", made, value), "u8", 0, TOP, known)
        return value.made["u8"]

    def sixteen_bits(self, value: Value, name: str, stream: str) -> Value:
        """The value as 16-bit steps of the stream `stream`; LabcError where it is float already."""
        step = self.stream_steps[stream]
        if value.element == "i16" and value.uniform and float(value.scale) == step:
            return value
        if value.element == "f32":
            raise LabcError(f"{name}: it adds or bends float values; put a binary layer (and its batch norm) before it")
        if stream not in value.made:
            base = value.base or name
            scale, shift = value.vectors()
            check_affine(base, scale, shift)
            made = Requantize(*fixed_point(base, scale / step, shift / step, value.bound, LOW16, HIGH16), step, "i16")
            value.made[stream] = self.wide(stream, *self.emit(f"{base}.requantize", made, value))
        return value.made[stream]

    def wide(self, stream: str, node: str, sample: Tensor, low: int = LOW16, high: int = HIGH16) -> Value:
        return Value(node, sample, "i16", low, high, torch.tensor(self.stream_steps[stream], dtype=torch.float64))
