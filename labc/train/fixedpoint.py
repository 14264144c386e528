"""The numbers of a requantization: integers M and B and a shift per layer, and the step that an activation counts in.

The rule is y = clamp((acc·M + B + 2^(s−1)) >> s, low, high) per channel. In torch, as in the exported file, it is computed in float64,
where every value is exact: |acc|·|M| + |B| + 2^(s−1) < 2⁵².
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from labc.errors import LabcError
from labc.train.integers import TOP

MAX_SHIFT = 50
_SAMPLES = 2**18  # activations looked at per candidate step
_STREAM = 2**14  # the largest 16-bit value in calibration: half the range is headroom


def fixed_point(name: str, scale: Tensor, shift: Tensor, bound: int, low: int = 0, high: int = TOP) -> tuple[Tensor, Tensor, int]:
    """(M, B, s): integers with M/2^s ≈ scale, B/2^s ≈ shift, and the largest s in 1…50 that keeps every sum below 2⁵² and |M| below 2³¹.

    scale, shift: float64 [out], in units of the activation's step; bound: the largest |acc|. A channel that is low, or high, for every
    reachable sum gets M = 0, so it costs the others no bits. Raises LabcError naming the layer and channel if no s fits.
    """
    reach = scale.abs() * bound
    off, full = shift + reach < low + 0.5, shift - reach >= high - 0.5
    scale = torch.where(off | full, 0.0, scale)
    shift = torch.where(off, float(low), torch.where(full, float(high), shift))
    for bits in range(MAX_SHIFT, 0, -1):
        multiplier, offset = torch.round(scale * 2.0**bits), torch.round(shift * 2.0**bits)
        largest = multiplier.abs() * bound + offset.abs() + 2.0 ** (bits - 1)
        if bool((multiplier.abs() < 2**31).all()) and bool((largest < 2**52).all()):
            return multiplier.long(), offset.long(), bits
    channel = int((scale.abs() + shift.abs() / bound).argmax())
    raise LabcError(
        f"{name}: channel {channel} multiplies its sum by {float(scale[channel]):.3g} activation steps "
        f"(offset {float(shift[channel]):.3g}), too large for {8 if high == TOP else 16}-bit activations; "
        "look for a batch norm with a tiny variance or a huge gamma, or calibrate on inputs that use it"
    )


def check_affine(name: str, scale: Tensor, shift: Tensor) -> None:
    """Raises LabcError naming the layer and channel where a scale or shift is not finite."""
    for what, vector in (("scale", scale), ("offset", shift)):
        if not bool(torch.isfinite(vector).all()):
            channel = int((~torch.isfinite(vector)).flatten().nonzero()[0, 0])
            raise LabcError(f"{name}: the {what} of channel {channel} is not finite; check alpha, bias and the batch norm")


def best_step(activations: Tensor) -> float:
    """The 8-bit step of least mean squared error for activations ≥ 0, searched between 0.3 and 1 times max/255; 1 where all are 0."""
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


def stream_step(peak: float) -> float:
    """The finest power of two that counts values up to `peak` in at most 2¹⁴ steps; 2⁻¹⁴ where peak is 0."""
    if peak == 0:
        return 1.0 / _STREAM
    exponent = math.ceil(math.log2(peak / _STREAM))
    return 2.0**exponent if 2.0**exponent * _STREAM >= peak else 2.0 ** (exponent + 1)
