"""LAB, the optimizer: Adam on the latent weights, then the clip, then each binary layer's scale α in closed form.

Source: Hou, Yao, Kwok, "Loss-aware Binarization of Deep Networks", ICLR 2017: Proposition 3.1 and Algorithm 1. With the diagonal
curvature d that Adam keeps, the best binary weights α·b for the latent w are b = sign(w) and α = ‖d ⊙ w‖₁ / ‖d‖₁.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import Adam, adam

from labc.errors import LabcError
from labc.train.layers import BinaryLayer

# Elements of a piece, for each thread. Adam, the clip and the sums pass a dozen times over a piece, and with 2 threads its five arrays
# (weight, gradient, moments, scratch) take 5 MiB of the cache. Measured, 10 million weights, two threads of an AMD EPYC (1 MiB of L2
# per core, 32 MiB of L3), against Adam(foreach=True): 0.5 with 2¹⁷, 0.55 with 2¹⁶, 0.65 with 2¹⁵, where calls begin to cost more.
# A piece does not change Adam's bits: only its fused kernel treats what is left over after the last whole vector otherwise than the
# rest, and with a multiple of 64 bytes that is the tensor's own end (tests compare; pieces of 37 elements did differ).
_PIECE = 2**17

_OPTIONS = ("lr", "weight_decay", "eps", "amsgrad", "maximize", "foreach", "capturable", "fused", "decoupled_weight_decay")


def closed_form(weight: Tensor, second_moment: Tensor, offset: Tensor | float) -> Tensor:
    """α = ‖d ⊙ w‖₁ / ‖d‖₁ with d = √second_moment + offset, in float64: Proposition 3.1, equation 8.

    weight, second_moment: the same shape, at least one element, any float type; offset: a number or 0-dimensional. A common factor of
    d cancels; where d is 0 everywhere it counts as constant, so α = mean |w|. Returns a 0-dimensional float64 tensor on the weight's
    device, between min |w| and max |w|: finite where the weights are, also where second_moment is infinite.
    """
    largest = torch.finfo(torch.float64).max
    curvature = second_moment.double().sqrt().add_(offset).clamp_(max=largest)
    # In [0, 1] after the division, so that no sum overflows, and at least one is 1, so that the divisor is at least 1.
    peak = curvature.amax()
    curvature = torch.where(peak > 0, curvature / peak, 1.0)
    return (curvature * weight.abs()).sum() / curvature.sum()


def _is_plain(tensors: list[Tensor]) -> bool:
    """Whether the tensors can be cut in pieces side by side, and summed in their own type without losing much."""
    return all(t.device.type == "cpu" and t.is_contiguous() and t.dtype in (torch.float32, torch.float64) for t in tensors)


def _adam_piece(group: dict[str, Any], t: float, pieces: list[list[Tensor]], d: Tensor) -> None:
    """Adam's step t on a piece (parameter, gradient, m, v, largest v), in torch's own order of operations; d receives √v̂ + eps.

    torch's function for one tensor gives the same bits, but it has no place to leave √v̂ + eps, and it takes two more arrays of the
    piece's size through the cache. Measured as for `_PIECE`: 0.5 of Adam(foreach=True) against 0.65; with twice to three times as
    much to do as there are cores, 0.4 to 1.2 against 0.7 to 1.8.
    """
    (w,), (gradient,), (m,), (v,), largest = pieces
    beta1, beta2 = group["betas"]
    if group["maximize"]:
        gradient = -gradient
    if group["weight_decay"] != 0:
        if group.get("decoupled_weight_decay"):
            w.mul_(1 - group["lr"] * group["weight_decay"])
        else:
            gradient = gradient.add(w, alpha=group["weight_decay"])
    m.lerp_(gradient, 1 - beta1)
    v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    for peak in largest:  # none, unless amsgrad
        v = torch.maximum(peak, v, out=peak)
    torch.sqrt(v, out=d).div_((1 - beta2**t) ** 0.5).add_(group["eps"])
    w.addcdiv_(m, d, value=-group["lr"] / (1 - beta1**t))


class LAB(Adam):
    """`torch.optim.Adam` for networks with binary layers: the same step, the same state, and after it the binary layers' scales.

    A step is Adam's, to the bit; then every binarized latent weight is clipped to [−clip, clip] (other parameters never are); then
    for each of them α = ‖d ⊙ w‖₁ / ‖d‖₁ over the whole tensor, with the new w and the new d = (eps + √v̂)/lr, v̂ the bias-corrected
    second moment (Algorithm 1, lines 18–23, and lines 3–4 of the next iteration, which is the next to read α).

    params: a module, whose binary layers are found and whose parameters that require gradients are all optimized; or what Adam takes,
        as groups: `LAB([{"params": model.body, "lr": 1e-3}, {"params": [w, c], "pairs": [(w, alpha)]}])`. A group's "params" may be a
        module too; "pairs" names the binarized weights of a list of tensors, each with its α (a tensor of one element, without
        gradient, which should start at mean |w| as the layers' own does). The same holds for `add_param_group`.
    lr, betas, eps, weight_decay, amsgrad and options (foreach, fused, maximize, capturable, decoupled_weight_decay): as in Adam, where
        they mean what they mean there. weight_decay acts on the latent weights. With amsgrad, v̂ is the running maximum in α too: d is
        whatever Adam divides by. `fused=True` is the fastest on a CPU.
    clip: half-width of the latent weights' interval, above 0; math.inf turns the clip off.

    A weight whose gradient is None keeps its value, its state and its α; of a fresh layer that α is mean |w|, which is the closed form
    with constant d (Remark 3.1). α is always positive (at least the smallest normal number of its type, also where all weights are 0)
    and finite as long as the weights are. `state_dict` holds exactly what Adam's holds, and an Adam's loads: α belongs to the layers.

    Raises LabcError where no parameter is binarized, where a pair does not fit, for clip ≤ 0 and for differentiable=True; everything
    else (a negative lr, sparse gradients, …) is refused by Adam, with Adam's own errors.
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        clip: float = 1.0,
        **options: Any,
    ) -> None:
        if not clip > 0:
            raise LabcError(f"LAB: clip is {clip}; latent weights are kept in [−clip, clip], use a positive number such as 1")
        if options.get("differentiable"):
            raise LabcError("LAB: differentiable=True; the clip and α have no gradient, leave it off")
        self.clip = clip
        self._alphas: dict[Tensor, Tensor] = {}
        groups = [{"params": params}] if isinstance(params, nn.Module) else params
        super().__init__(groups, lr, betas, eps, weight_decay, amsgrad, **options)
        if not self._alphas:
            raise LabcError(
                "LAB: none of the parameters is a binary layer's weight; pass the module itself (not its parameters()), "
                'or groups with "pairs", or use torch.optim.Adam'
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as `torch.optim.Optimizer.add_param_group` does; its "params" may be a module, its "pairs" binarized weights.

        Raises LabcError where a pair does not fit, and leaves the optimizer as it was.
        """
        group = dict(param_group)
        pairs = list(group.pop("pairs", ()))
        module = group.get("params")
        if isinstance(module, nn.Module):
            group["params"] = [p for p in module.parameters() if p.requires_grad]
            layers = [m for m in module.modules() if isinstance(m, BinaryLayer) and m.weight.requires_grad]
            pairs += [(layer.weight, layer.alpha) for layer in layers]
        super().add_param_group(group)
        try:
            self._alphas.update(self._checked(pairs))
        except LabcError:
            self.param_groups.pop()
            raise

    def _checked(self, pairs: list[tuple[Tensor, Tensor]]) -> dict[Tensor, Tensor]:
        """The newest group's pairs as weight → α, or LabcError."""
        members = set(self.param_groups[-1]["params"])
        found: dict[Tensor, Tensor] = {}
        for weight, alpha in pairs:
            place = f"LAB: binarized weight {list(weight.shape)}"
            if weight not in members:
                raise LabcError(f'{place}: not among its group\'s parameters; list it under "params" too')
            if not weight.is_floating_point() or weight.numel() == 0:
                raise LabcError(f"{place}: {weight.numel()} elements of {weight.dtype}; a binarized weight is a real, non-empty tensor")
            if alpha.numel() != 1 or alpha.requires_grad or not alpha.is_floating_point():
                raise LabcError(f"{place}: its α is {alpha.dtype} {list(alpha.shape)}; α is one real number, with requires_grad=False")
            if found.setdefault(weight, alpha) is not alpha:
                raise LabcError(f"{place}: two layers share it with an α each; let them share α too")
        return found

    def __getstate__(self) -> dict[str, Any]:
        # torch keeps three attributes of an optimizer when it is copied or pickled; these two belong to it as well.
        state: dict[str, Any] = super().__getstate__()
        return {**state, "clip": self.clip, "_alphas": self._alphas}

    # Adam.step is not called: torch wraps the hooks of an optimizer around each class's step, and they would run twice. What Adam.step
    # does is done by the same two functions, `_init_group` and `adam`.
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every group; closure, if given, computes the loss and its gradients first. Returns closure's value, or None."""
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):  # its name now, and in older torch
            if hasattr(self, name):
                getattr(self, name)()
                break
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            columns: list[list[Tensor]] = [[], [], [], [], [], []]  # parameters, gradients, m, v, largest v (amsgrad only), steps
            has_complex = self._init_group(group, *columns)  # type: ignore[no-untyped-call]
            rows = range(len(columns[0]))
            pieced = [i for i in rows if columns[0][i] in self._alphas and _is_plain([column[i] for column in columns[:-1] if column])]
            whole = sorted(set(rows).difference(pieced))
            self._adam(group, [[column[i] for i in whole] if column else [] for column in columns], has_complex=has_complex)
            for i in whole:
                if columns[0][i] in self._alphas:
                    self._binarize(group, columns[0][i])
            for i in pieced:
                self._step_in_pieces(group, [column[i : i + 1] for column in columns])
        return loss

    def _adam(self, group: dict[str, Any], columns: list[list[Tensor]], **overrides: Any) -> None:
        """torch's own Adam on lists of tensors, with the group's options."""
        options = {name: group[name] for name in _OPTIONS if name in group}  # decoupled_weight_decay: since torch 2.7
        beta1, beta2 = group["betas"]
        scaling = {name: getattr(self, name, None) for name in ("grad_scale", "found_inf")}  # set by torch.amp.GradScaler
        params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps = columns
        adam(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, beta1=beta1, beta2=beta2, **{**options, **scaling, **overrides})

    def _offset(self, group: dict[str, Any], step: Tensor) -> Tensor:
        """o such that √v + o is the curvature d, up to a factor.

        d = (eps + √(v/c))/lr with c = 1 − beta2^t. α does not change with a factor of d, so lr cancels, and so does √c:
        d·lr·√c = √v + eps·√c. At t = 0 (torch.amp.GradScaler skipped the first step) both terms are 0, and no division by c = 0 is met.
        """
        offset: Tensor = group["eps"] * torch.sqrt(1 - group["betas"][1] ** step.double())
        return offset

    def _curvature(self, group: dict[str, Any], weight: Tensor) -> tuple[Tensor, Tensor]:
        """(second moment, offset), as `closed_form` takes them."""
        state = self.state[weight]
        return state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"], self._offset(group, state["step"])

    def _binarize(self, group: dict[str, Any], weight: Tensor) -> None:
        """The clip and α of one weight, on any device and for any layout in memory; nothing waits for the device."""
        weight.clamp_(-self.clip, self.clip)
        self._set_alpha(weight, closed_form(weight, *self._curvature(group, weight)))

    def _set_alpha(self, weight: Tensor, value: Tensor) -> None:
        alpha = self._alphas[weight]
        alpha.copy_(value.clamp(min=torch.finfo(alpha.dtype).tiny).reshape(alpha.shape))

    def _step_in_pieces(self, group: dict[str, Any], columns: list[list[Tensor]]) -> None:
        """Adam, clip and α of one weight on the CPU, piece by piece while a piece is in the cache; columns as in `step`, one row each."""
        (weight,), (step,) = columns[0], columns[-1]
        size = min(_PIECE * torch.get_num_threads(), weight.numel())
        flat = [[torch.split(tensor.view(-1), size) for tensor in column] for column in columns[:-1]]
        scratch = torch.empty(size, dtype=weight.dtype)
        before, total, weighted = step.clone(), 0.0, 0.0  # Σ d and Σ d|w|: a piece's sum in the weight's type, their sum in float64
        for i in range(len(flat[0][0])):
            pieces = [[views[i] for views in column] for column in flat]
            w, v = pieces[0][0], (pieces[4] or pieces[3])[0]
            d = scratch[: w.numel()]
            # Every piece takes the step from t − 1 to t (torch.amp.GradScaler has the fused kernel leave it where it found an overflow).
            step.copy_(before)
            if group["fused"]:
                self._adam(group, [*pieces, [step]])
                torch.sqrt(v, out=d).add_(self._offset(group, step))
            else:
                _adam_piece(group, step.add_(1).item(), pieces, d)
            w.clamp_(-self.clip, self.clip)
            total += d.sum().item()
            weighted += d.mul_(w).abs_().sum().item()
        # A product that underflows is wrong by less than `tiny`; above this limit all together stay under the sum's last bit.
        limits = torch.finfo(weight.dtype)
        least = weight.numel() * limits.tiny / limits.eps
        if least <= min(total, weighted) and max(total, weighted) < math.inf:
            self._set_alpha(weight, torch.tensor(weighted / total, dtype=torch.float64))
        else:
            self._set_alpha(weight, closed_form(weight, *self._curvature(group, weight)))
