"""Networks with binary weights and ReLU: calibrated 8-bit activations, so that evaluation is integers from input to last layer.

The rule is y = clamp((acc·M + B + 2^(s−1)) >> s, 0, 255) per output channel; ReLU is the lower clamp. Here, as in the exported file,
it is computed in float64, where every value is exact: |acc|·|M| + |B| + 2^(s−1) < 2⁵².
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from labc.errors import LabcError
from labc.train.graph import EXACT, Chain, Step, check_finite, check_input, trace
from labc.train.layers import BinaryLinear, Sign, affine, signs

TOP = 255  # the largest 8-bit activation
MAX_SHIFT = 50
_CALIBRATION_INPUTS = 2048  # more moves the chosen step by less than a candidate's distance
_SAMPLES = 2**18  # activations looked at per candidate step


class RequantizedLinear(nn.Module):
    """BinaryLinear and ReLU as integers: `weight` int8 ±1 [out, in], `multiplier` M and `offset` B int64 [out], `shift` s, `step` q.

    x: [batch, in] integers. Returns uint8 [batch, out]; the activation it stands for is step·y.
    """

    weight: Tensor
    multiplier: Tensor
    offset: Tensor

    def __init__(self, weight: Tensor, multiplier: Tensor, offset: Tensor, shift: int, step: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("multiplier", multiplier)
        self.register_buffer("offset", offset)
        self.shift, self.step = shift, step

    def constants(self) -> tuple[Tensor, Tensor]:
        """(M·2^−s, B·2^−s + ½), float64 [out]: exact, and what `export` writes."""
        unit = 2.0**-self.shift
        return self.multiplier.double() * unit, self.offset.double() * unit + 0.5

    def forward(self, x: Tensor) -> Tensor:
        acc = functional.linear(x.float(), self.weight.float()).double()
        multiplier, offset = self.constants()
        return torch.floor(acc * multiplier + offset).clamp(0, TOP).to(torch.uint8)


class ScaledLinear(nn.Module):
    """BinaryLinear behind 8-bit activations: `weight` int8 ±1 [out, in]; `scale`, `shift` float32 [out], with the input's step."""

    weight: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        return affine(functional.linear(x.float(), self.weight.float()), self.scale, self.shift)


def needs_quantizing(chain: Chain) -> bool:
    """Whether a ReLU follows a binary layer somewhere."""
    kinds = [type(step.module) for step in chain.steps()]
    return nn.ReLU in kinds and BinaryLinear in kinds


@torch.no_grad()
def quantize(model: nn.Module, inputs: Tensor) -> Chain:
    """A new, evaluation-only module with 8-bit activations in place of every ReLU behind a BinaryLinear (and its batch norm).

    inputs: uint8 or int8 [batch, …], real inputs; the first 2048 are used. For each ReLU the step q is searched between 0.3 and 1 times
    max/255, as the one with the least mean squared error; where the inputs leave all at 0, max is over the reachable sums;
    deterministic. The next layer's scale is multiplied by q before it is rounded.
    Raises LabcError, naming the layer, where a value is not finite, a sum could pass 2²⁴, a channel's scale fits no 32-bit multiplier,
    or a ReLU does not follow a BinaryLinear.
    """
    check_input(inputs, "quantize")
    steps = trace(model).steps()
    value = inputs[:_CALIBRATION_INPUTS].cpu()
    largest: int | None = 128 if inputs.dtype == torch.int8 else TOP  # of |value|; None: the value is float
    activation_step: float | None = None
    done: list[Step] = []
    position = 0
    while position < len(steps):
        step, module = steps[position], steps[position].module
        check_finite(step)
        position += 1
        if isinstance(module, BinaryLinear):
            bound = sum_bound(step, value, largest)
            weight = signs(module.weight).to(torch.int8)
            scale, shift = module.affine64()
            scale = scale * (1.0 if activation_step is None else activation_step)
            norms = _norms(steps, position)
            after = position + len(norms)
            if after < len(steps) and isinstance(steps[after].module, nn.ReLU):
                for norm in norms:
                    scale, shift = _fold(norm, scale, shift)
                new: nn.Module = _requantized(step.name, weight, scale, shift, value, bound)
                position, largest = after + 1, TOP
                activation_step = float(new.step) if isinstance(new, RequantizedLinear) else None
            else:
                new = module if activation_step is None else _scaled(step.name, weight, scale.float(), shift.float())
                largest = activation_step = None
        elif isinstance(module, nn.Flatten):
            new = module
        elif activation_step is not None:
            raise LabcError(
                f"{step.name}: {type(module).__name__} behind 8-bit activations; after a BinaryLinear and its ReLU use a BinaryLinear"
            )
        elif isinstance(module, nn.ReLU):
            raise LabcError(f"{step.name}: ReLU must follow a BinaryLinear (a batch norm may stand between); move it there")
        else:
            new, largest = module, None if not isinstance(module, Sign) else 1
        done.append(Step(step.name, new))
        value = Chain((done[-1],))(value)
    if activation_step is not None:
        raise LabcError(f"{done[-1].name}: the network ends in ReLU; let it end in the BinaryLinear that gives the scores")
    return Chain(tuple(done))


def sum_bound(step: Step, value: Tensor, largest: int | None) -> int:
    """The largest |sum| that the binary layer can reach; raises LabcError where its input is not integers, too wide, or misshapen."""
    module = step.module
    assert isinstance(module, BinaryLinear)
    check_width(step, module.in_features, value)
    if largest is None:
        raise LabcError(f"{step.name}: its input is float; put a Sign or, after a BinaryLinear, a ReLU before it")
    bound = module.in_features * largest
    if bound > EXACT:
        raise LabcError(
            f"{step.name}: sums up to {bound}, float32 counts exactly to {EXACT}; use at most {EXACT // largest} input features here"
        )
    return bound


def check_width(step: Step, width: int, value: Tensor) -> None:
    """Raises LabcError unless value is [batch, width]."""
    if value.dim() != 2:
        raise LabcError(f"{step.name}: its input has shape {tuple(value.shape)}; put an nn.Flatten() before it")
    if value.shape[1] != width:
        raise LabcError(f"{step.name}: the input has {value.shape[1]} features, the layer expects {width}; pass inputs of that width")


def fixed_point(name: str, scale: Tensor, shift: Tensor, bound: int) -> tuple[Tensor, Tensor, int]:
    """(M, B, s): integers with M/2^s ≈ scale, B/2^s ≈ shift, and the largest s in 1…50 that keeps every sum below 2⁵² and |M| below 2³¹.

    scale, shift: float64 [out], in units of the activation's step; bound: the largest |acc|. A channel that is 0, or 255, for every
    reachable sum gets M = 0, so it costs the others no bits. Raises LabcError naming the layer and channel if no s fits.
    """
    reach = scale.abs() * bound
    off, full = shift + reach < 0.5, shift - reach >= TOP - 0.5
    scale = torch.where(off | full, 0.0, scale)
    shift = torch.where(off, 0.0, torch.where(full, float(TOP), shift))
    for bits in range(MAX_SHIFT, 0, -1):
        multiplier, offset = torch.round(scale * 2.0**bits), torch.round(shift * 2.0**bits)
        largest = multiplier.abs() * bound + offset.abs() + 2.0 ** (bits - 1)
        if bool((multiplier.abs() < 2**31).all()) and bool((largest < 2**52).all()):
            return multiplier.long(), offset.long(), bits
    channel = int((scale.abs() + shift.abs() / bound).argmax())
    raise LabcError(
        f"{name}: channel {channel} multiplies its sum by {float(scale[channel]):.3g} activation steps "
        f"(offset {float(shift[channel]):.3g}), too large for 8-bit activations; "
        "look for a batch norm with a tiny variance or a huge gamma, or calibrate on inputs that use it"
    )


def _check_affine(name: str, scale: Tensor, shift: Tensor) -> None:
    for what, vector in (("scale", scale), ("offset", shift)):
        if not bool(torch.isfinite(vector).all()):
            channel = int((~torch.isfinite(vector)).nonzero()[0, 0])
            raise LabcError(f"{name}: the {what} of channel {channel} is not finite; check alpha, bias and the batch norm")


def _scaled(name: str, weight: Tensor, scale: Tensor, shift: Tensor) -> ScaledLinear:
    _check_affine(name, scale, shift)
    return ScaledLinear(weight, scale, shift)


def _requantized(name: str, weight: Tensor, scale: Tensor, shift: Tensor, value: Tensor, bound: int) -> RequantizedLinear:
    _check_affine(name, scale, shift)
    acc = functional.linear(value.float(), weight.float()).double()
    activations = (acc * scale + shift).clamp(min=0)
    if not bool(activations.any()):  # the inputs never wake this layer: span what others could
        activations = (scale.abs() * bound + shift).clamp(min=0)
    step = _choose_step(activations)
    multiplier, offset, bits = fixed_point(name, scale / step, shift / step, bound)
    return RequantizedLinear(weight, multiplier, offset, bits, step)


def _choose_step(activations: Tensor) -> float:
    """The step of least mean squared error for activations ≥ 0; 1 where all are 0."""
    peak = float(activations.max())
    if peak == 0:
        return 1.0
    flat = activations.flatten()
    sample = flat[:: max(1, -(-flat.numel() // _SAMPLES))]
    best, best_error = peak / TOP, float("inf")
    for twentieth in range(40, 11, -1):  # 1, 0.975, …, 0.3 of the largest activation
        step = peak / TOP * twentieth / 40
        error = float((torch.round(sample / step).clamp(max=TOP) * step - sample).square().mean())
        if error < best_error:
            best, best_error = step, error
    return best


def _norms(steps: tuple[Step, ...], start: int) -> list[Step]:
    """The batch norms that stand at `start`, one after the other."""
    found: list[Step] = []
    while start + len(found) < len(steps) and isinstance(steps[start + len(found)].module, nn.BatchNorm1d):
        found.append(steps[start + len(found)])
    return found


def _fold(step: Step, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """(s, t) with the batch norm applied after acc·s + t, float64."""
    check_finite(step)
    norm = step.module
    assert isinstance(norm, nn.BatchNorm1d)
    if norm.running_mean is None or norm.running_var is None:
        raise LabcError(f"{step.name}: a batch norm without running statistics; use track_running_stats=True")
    gain = 1 / torch.sqrt(norm.running_var.double() + norm.eps)
    if norm.affine:
        gain = gain * norm.weight.double()
    beta = norm.bias.double() if norm.affine else torch.zeros_like(gain)
    return scale * gain, (shift - norm.running_mean.double()) * gain + beta
