"""Binary layers: latent float weights in training, exact integer sums in evaluation.

A layer's weight is α·b: one scale α > 0 for the whole tensor and b = sign(w) of the latent weight w, with sign(0) = +1
(Hou, Yao, Kwok, "Loss-aware Binarization of Deep Networks", ICLR 2017, eq. 1 and 4). The optimizer `labc.train.LAB` sets α.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from labc.errors import LabcError


def signs(x: Tensor) -> Tensor:
    """+1 where x ≥ 0 (so sign(0) = +1), else −1; the same shape and dtype, no gradient."""
    return torch.where(x >= 0, torch.ones((), dtype=x.dtype, device=x.device), -torch.ones((), dtype=x.dtype, device=x.device))


class _Binarize(torch.autograd.Function):
    """α·sign(w); its gradient goes straight through to w, neither multiplied by α nor windowed (Algorithm 1, lines 15–17)."""

    @staticmethod
    def forward(weight: Tensor, alpha: Tensor) -> Tensor:
        return torch.where(weight >= 0, alpha, -alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Sign(torch.autograd.Function):
    """sign(x); the gradient passes where |x| ≤ 1 and is 0 elsewhere."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return signs(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0].abs() <= 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        window: Tensor = ctx.saved_tensors[0]
        return gradients[0] * window


# Opaque to torch.compile on purpose: inductor would contract the product and the sum into one fused multiply-add, which rounds
# once where the definition (and every engine behind the exported file) rounds twice.
@torch.library.custom_op("labc::affine", mutates_args=())
def _affine(acc: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.mul(acc, scale).add_(shift)


@_affine.register_fake
def _(acc: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.empty_like(acc)


def _affine_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _affine_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return gradient * ctx.saved_tensors[0], None, None


_affine.register_autograd(_affine_backward, setup_context=_affine_context)


def affine(acc: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """acc·scale + shift: one float32 multiply, then one float32 add, never fused, also under torch.compile.

    acc: float32 [..., n]; scale, shift: float32 [n] (or any shapes that broadcast to acc's). A gradient reaches acc only.
    """
    result: Tensor = _affine(acc, scale, shift)
    return result


class BinaryLayer(nn.Module):
    """What the optimizer looks for: a latent `weight`, and its scale `alpha` (0-dimensional, no gradient, at first mean |w|)."""

    weight: nn.Parameter
    alpha: nn.Parameter


class ChannelLayer(BinaryLayer):
    """A binary layer whose sums get a bias and, if wished, a batch norm per output channel: what linear and convolution share.

    `weight` is [out, …]; `fans` are the inputs of an output and the outputs of an input, which set the latent weights' first range.
    """

    bias: nn.Parameter | None
    gamma: nn.Parameter | None
    beta: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        shape: tuple[int, ...],
        fans: tuple[int, int],
        bias: bool,
        batch_norm: bool,
        eps: float,
        momentum: float,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        if not eps > 0:
            raise LabcError(f"{type(self).__name__}: eps is {eps}; it keeps the square root away from 0, use a positive value such as 1e-4")
        self.fans, self.batch_norm, self.eps, self.momentum = fans, batch_norm, eps, momentum
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.alpha = nn.Parameter(torch.empty((), device=device, dtype=dtype), requires_grad=False)
        per_output = dict.fromkeys(("bias",) if bias else ()) | dict.fromkeys(("gamma", "beta") if batch_norm else ())
        for name in ("bias", "gamma", "beta"):
            value = nn.Parameter(torch.empty(shape[0], device=device, dtype=dtype)) if name in per_output else None
            self.register_parameter(name, value)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.empty(shape[0], device=device, dtype=dtype) if batch_norm else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new latent weights from torch's generator; α = mean |w|, bias = beta = 0, gamma = 1, no statistics."""
        bound = math.sqrt(1.5 / sum(self.fans))
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            self.alpha.copy_(self.weight.abs().mean())
            for zero in (self.bias, self.beta, self.running_mean):
                if zero is not None:
                    zero.zero_()
            for one in (self.gamma, self.running_var):
                if one is not None:
                    one.fill_(1)

    @torch.no_grad()
    def affine64(self) -> tuple[Tensor, Tensor]:
        """(s, t), float64 [out]: evaluation is acc·s + t, with α, bias and batch norm folded in and nothing rounded to float32."""
        scale = self.alpha.double().expand(self.weight.shape[0])
        shift = torch.zeros_like(scale) if self.bias is None else self.bias.double()
        if self.gamma is None or self.beta is None or self.running_mean is None or self.running_var is None:
            return scale.clone(), shift.clone()
        gain = self.gamma.double() / torch.sqrt(self.running_var.double() + self.eps)
        return scale * gain, (shift - self.running_mean.double()) * gain + self.beta.double()

    @torch.no_grad()
    def affine(self) -> tuple[Tensor, Tensor]:
        """(s, t), float32 [out]: `affine64`, rounded once. These are the numbers that `export` writes."""
        scale, shift = self.affine64()
        return scale.float(), shift.float()

    def binarized(self) -> Tensor:
        """α·sign(w), with the straight-through gradient to w."""
        # The function is Any to mypy: torch leaves `apply` untyped.
        weight: Tensor = _Binarize.apply(self.weight, self.alpha)  # type: ignore[no-untyped-call]
        return weight

    def normalized(self, z: Tensor) -> Tensor:
        """The layer's own batch norm in training, over the batch's statistics; z: [rows, out] or [batch, out, …]."""
        if not self.batch_norm:
            return z
        return functional.batch_norm(z, self.running_mean, self.running_var, self.gamma, self.beta, True, self.momentum, self.eps)


class BinaryLinear(ChannelLayer):
    """A linear layer with weights ±α, and, if wished, its own batch norm.

    Training: z = x·(α sign(w))ᵀ + bias, then (batch_norm) y = (z − μ)/√(σ² + eps)·gamma + beta over the batch, as in
    `torch.nn.BatchNorm1d`. Evaluation computes what `labc.train.export` writes: acc = x·sign(w)ᵀ, integer sums that float32 holds
    exactly while in_features·max|x| ≤ 2²⁴, then `affine(acc, *self.affine())`. In evaluation a gradient reaches the input only.

    x: [..., in_features], any float type, uint8 or int8 (integers are cast). Returns [..., out_features].
    Latent weights start uniform in ±√(1.5/(in + out)), the paper's code.
    Raises LabcError for sizes below 1, eps ≤ 0, and an input of another width.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        batch_norm: bool = False,
        eps: float = 1e-4,
        momentum: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if in_features < 1 or out_features < 1:
            raise LabcError(f"BinaryLinear: {in_features} to {out_features} features; both must be at least 1")
        shape = (out_features, in_features)
        super().__init__(shape, (in_features, out_features), bias, batch_norm, eps, momentum, device, dtype)
        self.in_features, self.out_features = in_features, out_features

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.in_features:
            raise LabcError(
                f"BinaryLinear({self.in_features}, {self.out_features}): the input has {x.shape[-1]} features; "
                "flatten it or make the layer as wide as its input"
            )
        if not self.training:
            return self._evaluate(x)
        if not x.is_floating_point():
            x = x.to(self.weight.dtype)
        z = functional.linear(x, self.binarized(), self.bias)
        return self.normalized(z.reshape(-1, self.out_features)).reshape(z.shape) if self.batch_norm else z

    def _evaluate(self, x: Tensor) -> Tensor:
        # Autocast would run the sums in bfloat16, which holds integers only up to 256.
        with torch.autocast(x.device.type, enabled=False):
            acc = functional.linear(x.float(), signs(self.weight.detach()).float())
            return affine(acc, *self.affine()).to(self.weight.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, batch_norm={self.batch_norm}"


class Sign(nn.Module):
    """sign(x) in {−1, +1} with sign(0) = +1, any shape; straight-through gradient: 1 where |x| ≤ 1, else 0 (the paper's code)."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            x = x.float()
        result: Tensor = _Sign.apply(x)  # type: ignore[no-untyped-call]
        return result
