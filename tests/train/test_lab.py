"""The optimizer: Algorithm 1 written out, Adam's bits, and α at the edges of the number range."""

from __future__ import annotations

import copy
import io
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

from labc.errors import LabcError
from labc.train import lab
from labc.train.lab import LAB, closed_form
from labc.train.layers import BinaryLinear

# torch's own: dynamo instantiates autograd.Function while it traces a custom one.
DYNAMO_WARNING = "ignore:<class 'torch.autograd.function.Function'> should not be instantiated:DeprecationWarning:torch._dynamo"

U32 = 2.0**-24  # half a last bit of float32, relative


def network(*widths: int, dtype: torch.dtype = torch.float32, seed: int = 0, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential()
    for fan_in, fan_out in pairwise(widths):
        model.append(BinaryLinear(fan_in, fan_out, dtype=dtype))
        model.append(nn.Tanh())
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.mul_(scale)
            layer.alpha.copy_(layer.weight.abs().mean())
    return model


def fill_gradients(model: nn.Module, seed: int) -> None:
    """Gradients of very different sizes, the same for every copy of a model."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            sizes = 10.0 ** torch.randn(parameter.shape, generator=generator)
            parameter.grad = (torch.randn(parameter.shape, generator=generator) * sizes).to(parameter.dtype)


def weight_and_alpha(weight: Tensor) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(weight), nn.Parameter(weight.abs().mean(), requires_grad=False)


def pair_optimizer(weight: Tensor, alpha: Tensor, **options: Any) -> LAB:
    return LAB([{"params": [weight], "pairs": [(weight, alpha)]}], **options)


def alpha_of(optimizer: LAB, weight: Tensor, beta2: float = 0.999, eps: float = 1e-8) -> float:
    """Proposition 3.1 with d exactly as Algorithm 1, line 22, writes it (lr left out), in float64 and exact sums."""
    state = optimizer.state[weight]
    corrected = state.get("max_exp_avg_sq", state["exp_avg_sq"]).double() / (1 - beta2 ** state["step"].item())
    d = (eps + corrected.sqrt()).flatten().tolist()
    w = weight.detach().double().abs().flatten().tolist()
    return math.fsum(x * y for x, y in zip(d, w, strict=True)) / math.fsum(d)


def algorithm_1(
    weights: list[np.ndarray], biases: list[np.ndarray], batches: list[tuple[np.ndarray, np.ndarray]], etas: list[float]
) -> list[dict[str, list[Any]]]:
    """Algorithm 1 with the latent clip, line by line; tanh between layers and at the end, mean squared hinge loss, no batch norm."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    layers = range(len(weights))
    w, c = [x.copy() for x in weights], [x.copy() for x in biases]
    m, v = ([np.zeros_like(x) for x in w] for _ in range(2))
    m_c, v_c = ([np.zeros_like(x) for x in c] for _ in range(2))
    d = [np.ones_like(x) for x in w]  # v = 0 before the first step: constant
    history = []
    for t, ((x, y), eta) in enumerate(zip(batches, etas, strict=True), 1):
        xs, alphas, bs, scaled = [x], [], [], []
        for i in layers:
            alphas.append(np.sum(d[i] * np.abs(w[i])) / np.sum(d[i]))  # line 3
            bs.append(np.where(w[i] >= 0, 1.0, -1.0))  # line 4
            scaled.append(alphas[i] * xs[i])  # line 5
            xs.append(np.tanh(scaled[i] @ bs[i].T + c[i]))  # lines 6, 7
        slack = np.maximum(0.0, 1.0 - y * xs[-1])
        dx = -2.0 * y * slack / slack.size  # line 9
        for i in reversed(layers):  # lines 10-14
            dz = dx * (1.0 - xs[i + 1] ** 2)
            dx = alphas[i] * (dz @ bs[i])
            gradient, gradient_c = dz.T @ xs[i], dz.sum(axis=0)  # at α·b, not through α or sign
            for p, g, first, second in ((w, gradient, m, v), (c, gradient_c, m_c, v_c)):
                first[i] = beta1 * first[i] + (1 - beta1) * g  # line 18
                second[i] = beta2 * second[i] + (1 - beta2) * g * g  # line 19
                m_hat, v_hat = first[i] / (1 - beta1**t), second[i] / (1 - beta2**t)  # lines 20, 21
                curvature = (eps + np.sqrt(v_hat)) / eta  # line 22
                p[i] = p[i] - m_hat / curvature  # line 23
                if p is w:
                    d[i] = curvature
            w[i] = np.clip(w[i], -1.0, 1.0)
        copies = {"m": m, "v": v, "w": w, "c": c}
        history.append({"alpha": alphas, "b": bs} | {name: [x.copy() for x in value] for name, value in copies.items()})
    return history


def test_algorithm_1_in_numpy() -> None:
    steps, batch, widths = 12, 20, (6, 7, 5, 3)
    model = network(*widths, dtype=torch.float64, scale=2.8)
    layers: list[BinaryLinear] = list(model[::2])
    for layer in layers:
        layer.bias.data.uniform_(-0.1, 0.1)
    generator = np.random.default_rng(1)
    batches = []
    for _ in range(steps):
        y = np.where(generator.integers(0, 3, batch)[:, None] == np.arange(3), 1.0, -1.0)
        batches.append((generator.normal(size=(batch, widths[0])), y))
    etas = [0.1 * 0.9**t for t in range(steps)]  # a scheduler: eta cancels in α
    expected = algorithm_1([x.weight.detach().numpy() for x in layers], [x.bias.detach().numpy() for x in layers], batches, etas)

    optimizer = LAB(model, lr=etas[0])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    # All numbers here are below 10 and every sum has at most 60 terms, so a gradient is wrong by at most about 10·60·2⁻⁵³ < 1e-13.
    # Adam's quotient m̂/√v̂ enlarges that by 1/√v̂ < 1e4 (asserted), the step scales it by 0.1, twelve steps add up: below 1e-8 with
    # room for what a wrong weight or α does to later gradients. A wrong line of the algorithm shows at 1e-3.
    close = {"rtol": 0, "atol": 1e-8}
    for (x, y), want in zip(batches, expected, strict=True):
        for i, layer in enumerate(layers):
            np.testing.assert_allclose(layer.alpha.item(), want["alpha"][i], **close)
            np.testing.assert_array_equal(np.where(layer.weight.detach().numpy() >= 0, 1.0, -1.0), want["b"][i])
        optimizer.zero_grad()
        torch.clamp(1 - torch.from_numpy(y) * model(torch.from_numpy(x)), min=0).square().mean().backward()
        optimizer.step()
        scheduler.step()
        for i, layer in enumerate(layers):
            state = optimizer.state[layer.weight]
            np.testing.assert_allclose(state["exp_avg"].numpy(), want["m"][i], **close)
            np.testing.assert_allclose(state["exp_avg_sq"].numpy(), want["v"][i], **close)
            np.testing.assert_allclose(layer.weight.detach().numpy(), want["w"][i], **close)
            np.testing.assert_allclose(layer.bias.detach().numpy(), want["c"][i], **close)
    assert min(np.sqrt(v / (1 - 0.999**steps)).min() for v in expected[-1]["v"]) > 1e-4
    assert sum((np.abs(w) == 1).sum() for w in expected[-1]["w"]) >= 3, "nothing was clipped, so the clip was not tested"
    signs = [np.concatenate([b.ravel() for b in step["b"]]) for step in expected]
    assert (signs[0] != signs[-1]).sum() >= 3, "no sign changed"


ADAM_OPTIONS: list[dict[str, Any]] = [
    {},
    {"foreach": True},
    {"fused": True},
    {"amsgrad": True},
    {"amsgrad": True, "fused": True, "weight_decay": 0.1},
    {"weight_decay": 0.1, "maximize": True, "betas": (0.3, 0.8), "eps": 1e-3},
    {"weight_decay": 0.1, "decoupled_weight_decay": True},
    {"lr": torch.tensor(1e-3)},
]


@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_parameters_and_state_are_adams_to_the_bit(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "_PIECE", 64)  # 37·23 = 851 = 13 pieces and a rest that is no multiple of a vector
    ours, theirs = network(37, 23, 5), network(37, 23, 5)
    first = LAB(ours, **{"lr": 1e-3, **options})
    second = torch.optim.Adam([p for p in theirs.parameters() if p.requires_grad], **{"lr": 1e-3, **options})
    for step in range(5):
        for model, optimizer in ((ours, first), (theirs, second)):
            fill_gradients(model, step)
            optimizer.step()
    assert all((layer.weight.abs() < 1).all() for layer in ours[::2]), "clipped, so Adam's weights differ"
    mine, its = first.state_dict(), second.state_dict()
    assert mine["param_groups"] == its["param_groups"]
    assert mine["state"].keys() == its["state"].keys()
    for number, state in its["state"].items():
        assert mine["state"][number].keys() == state.keys()
        assert all(torch.equal(mine["state"][number][name], value) for name, value in state.items())
    for ours_p, theirs_p in zip(first.param_groups[0]["params"], second.param_groups[0]["params"], strict=True):
        assert torch.equal(ours_p, theirs_p)


def test_a_weight_of_several_full_size_pieces() -> None:
    count = 2 * lab._PIECE * torch.get_num_threads() + 12345
    start = torch.randn(count, generator=torch.Generator().manual_seed(3)) * 0.1
    weight, alpha = weight_and_alpha(start.clone())
    reference = nn.Parameter(start.clone())
    optimizer, adam = pair_optimizer(weight, alpha), torch.optim.Adam([reference])
    weight.grad = reference.grad = torch.randn(count, generator=torch.Generator().manual_seed(4))
    optimizer.step()
    adam.step()
    assert torch.equal(weight, reference)
    # torch adds float32 in a tree: 16 terms a level, at most 5 levels of it and a few vector lanes, so fewer than 150 roundings a sum.
    assert alpha.item() == pytest.approx(alpha_of(optimizer, weight), rel=2 * 150 * U32)


def test_only_binarized_weights_are_clipped_and_their_moments_are_not() -> None:
    model = nn.Sequential(BinaryLinear(4, 3), nn.Linear(3, 2))
    optimizer = LAB(model, lr=5.0, clip=0.5)
    fill_gradients(model, 0)
    optimizer.step()
    assert torch.equal(model[0].weight.abs(), torch.full((3, 4), 0.5))
    assert (model[0].bias.abs() > 1).all()
    assert (model[1].weight.abs() > 1).all()
    expected = model[0].weight.grad * (1 - 0.9)
    torch.testing.assert_close(optimizer.state[model[0].weight]["exp_avg"], expected, rtol=4 * U32, atol=0)
    across, alpha = weight_and_alpha(torch.ones(3, 4).t())  # not contiguous, so not in pieces
    across.grad = torch.full((4, 3), 7.0)
    pair_optimizer(across, alpha, lr=5.0, clip=0.5).step()
    assert torch.equal(across, torch.full((4, 3), -0.5))
    model_without = network(4, 3)
    fill_gradients(model_without, 0)
    LAB(model_without, lr=5.0, clip=math.inf).step()
    assert (model_without[0].weight.abs() > 1).all()


def test_alpha_of_pieces_whole_tensors_and_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight as one piece, as many, laid out across memory, in bfloat16, and with each of Adam's kernels: the same α."""
    monkeypatch.setattr(lab, "_PIECE", 32)
    start = (torch.rand(24, 50, generator=torch.Generator().manual_seed(5)) - 0.5).bfloat16()
    gradients = [torch.randn(24, 50, generator=torch.Generator().manual_seed(s)).bfloat16() for s in range(4)]
    longest = 1200  # terms of the longest sum

    def train(convert: Any, **options: Any) -> tuple[LAB, Tensor, float]:
        weight, alpha = weight_and_alpha(convert(start.clone()))
        optimizer = pair_optimizer(weight, alpha, **options)
        for gradient in gradients:
            weight.grad = convert(gradient.clone())
            optimizer.step()
        return optimizer, weight, alpha.item()

    _, exact_weight, exact = train(lambda x: x.double())
    across = {"many": lambda x: x.float(), "across memory": lambda x: x.float().t().contiguous().t(), "bfloat16": lambda x: x}
    for name, convert in across.items():
        for options in ({}, {"foreach": True}, {"fused": True}):
            optimizer, weight, alpha = train(convert, **options)
            own = alpha_of(optimizer, weight)
            if name == "bfloat16":
                # α from the bfloat16 weights and moments in float64, rounded once to 8 bits; and √, as alpha_of takes it.
                assert alpha == pytest.approx(own, rel=2.0**-8), (name, options)
                continue
            assert weight.is_contiguous() == (name == "many")
            # d is rounded three times, a product once, a sum of n numbers of one sign at most n − 1 times, in any order.
            assert alpha == pytest.approx(own, rel=(2 * longest + 8) * U32), (name, options)
            # Four steps: m and v by 4 roundings each, √v by half of v's, the step (at most 4·lr) by about 20: less than 0.004·20·U32,
            # and the weight itself by 1 a step; α is a weighted mean of |w| whose weights are off by 10·U32.
            torch.testing.assert_close(weight.double(), exact_weight, rtol=0, atol=(4 + 1) * U32)
            assert alpha == pytest.approx(exact, rel=(2 * longest + 8 + 20) * U32, abs=5 * U32)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(("contiguous", "fused"), [(True, False), (True, True), (False, False)])
def test_alpha_takes_the_curvature_that_adam_divides_by(amsgrad: bool, contiguous: bool, fused: bool) -> None:
    """A large eps and a short memory, so that the correction of v and the choice between v and its maximum show in α."""
    start = torch.linspace(-0.5, 0.9, 60).reshape(6, 10)
    weight, alpha = weight_and_alpha(start if contiguous else start.t().contiguous().t())
    optimizer = pair_optimizer(weight, alpha, lr=0.01, eps=0.5, betas=(0.9, 0.8), amsgrad=amsgrad, fused=fused)
    for size in (3.0, 0.1, 0.1):
        weight.grad = size * torch.linspace(0, 1, 60).reshape(6, 10)
        optimizer.step()
        assert alpha.item() == pytest.approx(alpha_of(optimizer, weight, 0.8, 0.5), rel=(2 * 60 + 8) * U32)
    state = optimizer.state[weight]
    assert ("max_exp_avg_sq" in state) == amsgrad
    assert alpha.item() != pytest.approx(alpha_of(optimizer, weight, 0.8, 0.5 * 1.5), rel=1e-3)
    assert not amsgrad or (state["max_exp_avg_sq"][1:] > state["exp_avg_sq"][1:] * 1.5).all()


def test_first_alpha_is_the_mean_until_gradients_differ() -> None:
    model = network(8, 6)
    layer: BinaryLinear = model[0]
    mean = layer.weight.abs().mean().item()
    optimizer = LAB(model, lr=0.0)  # lr = 0 leaves w alone, and cancels in α
    assert layer.alpha.item() == pytest.approx(mean, rel=48 * U32)
    layer.weight.grad = torch.full_like(layer.weight, -0.25)  # the same curvature everywhere
    optimizer.step()
    assert layer.alpha.item() == pytest.approx(mean, rel=(2 * 48 + 8) * U32)
    # All the curvature in one place: α is that weight's size.
    layer.weight.grad = torch.zeros_like(layer.weight)
    layer.weight.grad[2, 3] = 1e6
    optimizer.step()
    assert layer.alpha.item() == pytest.approx(layer.weight[2, 3].abs().item(), rel=1e-4)


def test_without_a_gradient_nothing_of_a_layer_changes() -> None:
    model = network(5, 4, 3)
    optimizer = LAB(model, lr=0.1)
    fill_gradients(model, 0)
    model[0].weight.grad = None
    fresh = model[0].alpha.clone()
    optimizer.step()
    assert model[0].weight not in optimizer.state
    assert torch.equal(model[0].alpha, fresh)
    assert fresh.item() == pytest.approx(model[0].weight.abs().mean().item(), rel=20 * U32)
    fill_gradients(model, 1)
    optimizer.step()
    seen = copy.deepcopy((model[0].state_dict(), optimizer.state[model[0].weight]))
    optimizer.zero_grad()
    optimizer.step()
    assert all(torch.equal(value, seen[0][name]) for name, value in model[0].state_dict().items())
    assert all(torch.equal(value, seen[1][name]) for name, value in optimizer.state[model[0].weight].items())


def test_a_frozen_layer_is_left_out() -> None:
    model = network(5, 4, 3)
    model[0].requires_grad_(False)
    before = copy.deepcopy(model[0].state_dict())
    optimizer = LAB(model, weight_decay=0.1)
    train(model, optimizer, range(2))
    assert len(optimizer.param_groups[0]["params"]) == 2
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())


def test_a_complex_parameter_beside_a_binary_layer_gets_adams_step() -> None:
    start = torch.tensor([1 + 2j, 3 - 1j])
    weight, alpha = weight_and_alpha(torch.ones(3))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = LAB([{"params": [weight, ours], "pairs": [(weight, alpha)]}], foreach=True)
    ours.grad = theirs.grad = torch.tensor([0.5 - 1j, 2j])
    optimizer.step()
    torch.optim.Adam([theirs], foreach=True).step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("eps", [1e-8, 1e-30])
def test_a_dead_gradient_gives_the_mean(eps: float) -> None:
    model = network(8, 6)
    optimizer = LAB(model, eps=eps)
    for _ in range(3):
        model[0].weight.grad = torch.zeros_like(model[0].weight)
        optimizer.step()
    assert model[0].alpha.item() == pytest.approx(model[0].weight.abs().double().mean().item(), rel=(2 * 48 + 8) * U32)


EDGES = {
    "all weights zero": (torch.zeros(64), torch.zeros(64), torch.finfo(torch.float32).tiny),
    "products underflow": (torch.full((64,), 1e-37), torch.full((64,), 1e-12), 1e-37),
    "products lose their bits": (torch.full((64,), 3e-38), torch.full((64,), 3e-5), 3e-38),
    "subnormal weights": (torch.full((64,), 1e-44), torch.ones(64), torch.finfo(torch.float32).tiny),
    "one weight is not zero": (torch.cat([torch.zeros(63), torch.full((1,), 2.0**-100)]), torch.ones(64), 2.0**-106),
    "second moment overflows": (torch.cat([torch.full((32,), 0.5), torch.full((32,), 0.25)]), torch.full((64,), 1e25), 0.375),
    "it overflows in one place": (torch.cat([torch.full((63,), 0.5), torch.full((1,), 0.25)]), torch.tensor([1.0] * 63 + [1e30]), 0.25),
}


@pytest.mark.parametrize("edge", EDGES)
def test_alpha_at_the_edges_of_float32(edge: str) -> None:
    start, gradient, expected = EDGES[edge]
    for layout in (start, torch.stack([start, start], dim=1)[:, 0]):  # in pieces, and across memory: `closed_form` alone
        weight, alpha = weight_and_alpha(layout)
        optimizer = pair_optimizer(weight, alpha, lr=0.0)
        weight.grad = gradient.clone()
        optimizer.step()
        assert torch.equal(weight, start)
        assert alpha.item() == pytest.approx(expected, rel=1e-5, abs=0)


finite = {"allow_nan": False, "allow_infinity": False}


@given(
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1, 1, width=32)).flatmap(
        lambda w: st.tuples(st.just(w), hnp.arrays(np.float32, w.shape, elements=st.floats(0, None, width=32, allow_nan=False)))
    ),
    st.floats(0, 1e-3),
)
def test_closed_form_is_the_weighted_mean(arrays: tuple[np.ndarray, np.ndarray], offset: float) -> None:
    w, v = arrays
    value = closed_form(torch.from_numpy(w.copy()), torch.from_numpy(v.copy()), offset).item()
    sizes = np.abs(w.astype(np.float64))
    assert sizes.min() * (1 - 1e-13) <= value <= sizes.max() * (1 + 1e-13)
    d = np.sqrt(v.astype(np.float64)) + offset
    if np.isinf(v).any():  # the limit of ever larger equal moments
        d = np.isinf(v).astype(np.float64)
    if not d.any():  # no curvature at all: constant
        d = np.ones_like(d)
    # Rounding: at most 40 terms a sum, so below 100 · 2⁻⁵³; the finite moments beside an infinite one weigh 2e19 / 1.8e308.
    assert value == pytest.approx(math.fsum(d * sizes) / math.fsum(d), rel=100 * 2.0**-53, abs=1e-280)


def train(model: nn.Module, optimizer: LAB, seeds: range) -> None:
    for seed in seeds:
        fill_gradients(model, seed)
        optimizer.step()


def test_a_saved_optimizer_continues_identically() -> None:
    model = network(9, 8, 4)
    optimizer = LAB(model, lr=0.3)
    train(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = network(9, 8, 4, seed=99)
    second = LAB(resumed, lr=1.0)
    resumed.load_state_dict(saved["model"])
    second.load_state_dict(saved["optimizer"])
    pair = copy.deepcopy((model, optimizer))  # the other way to continue; keeps clip and the pairs
    for one, its in ((model, optimizer), (resumed, second), pair):
        train(one, its, range(3, 6))
    for other in (resumed, pair[0]):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_an_adams_state_loads() -> None:
    model, other = network(9, 8), network(9, 8)
    adam = torch.optim.Adam([p for p in other.parameters() if p.requires_grad], lr=1e-3)
    fill_gradients(other, 0)
    adam.step()
    optimizer = LAB(model)
    optimizer.load_state_dict(adam.state_dict())
    fill_gradients(model, 1)
    optimizer.step()
    assert optimizer.state[model[0].weight]["step"] == 2
    assert model[0].alpha.item() == pytest.approx(alpha_of(optimizer, model[0].weight), rel=(2 * 72 + 8) * U32)


def test_groups_with_their_own_rates_and_an_added_one() -> None:
    model = network(9, 8, 7, 6)
    extra, extra_alpha = weight_and_alpha(torch.linspace(-0.9, 0.8, 12))
    optimizer = LAB([{"params": model[0], "lr": 0.25}, {"params": iter([extra]), "pairs": [(extra, extra_alpha)]}], lr=0.125)
    optimizer.add_param_group({"params": model[2:], "lr": 0.0})
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    before = copy.deepcopy(model)
    fill_gradients(model, 0)
    extra.grad = torch.arange(1.0, 13.0)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.0625, 0.0]
    # Adam's first step is lr·sign(g), to eps and rounding.
    moved = (model[0].bias - before[0].bias).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25), rtol=1e-4, atol=0)
    assert all(torch.equal(model[i].weight, before[i].weight) for i in (2, 4))
    for weight, alpha in ((extra, extra_alpha), *((model[i].weight, model[i].alpha) for i in (0, 2, 4))):
        assert alpha.item() == pytest.approx(alpha_of(optimizer, weight), rel=(2 * 72 + 8) * U32)
    assert "pairs" not in optimizer.state_dict()["param_groups"][1]


def test_a_closure_is_run_with_gradients_and_hooks_once() -> None:
    model = network(4, 3)
    torch.optim.Adam([nn.Parameter(torch.ones(1))])  # from here on Adam.step carries torch's hooks as well
    optimizer = LAB(model)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))

    def closure() -> Tensor:
        calls.append("closure")
        optimizer.zero_grad()
        loss: Tensor = model(torch.ones(2, 4)).square().sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.requires_grad
    assert calls == ["before", "closure", "after"]
    assert optimizer.step() is None


def test_a_gradient_that_overflowed_is_skipped_by_the_fused_kernel() -> None:
    """With torch.amp.GradScaler the fused kernel unscales and skips by itself; skipping the very first step leaves v = 0 and t = 0."""
    model = network(6, 5)
    optimizer = LAB(model, lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    x = torch.ones(3, 6)
    start = copy.deepcopy(model.state_dict())
    for factor, steps in ((math.inf, 0), (1.0, 1)):
        optimizer.zero_grad()
        scaler.scale(model(x).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        assert optimizer.state[model[0].weight]["step"] == steps
        if steps == 0:
            alpha = start.pop("0.alpha")
            assert all(torch.equal(model.state_dict()[name], value) for name, value in start.items())
            torch.testing.assert_close(model[0].alpha, alpha, rtol=(30 + 2) * U32, atol=0)
    assert model[0].alpha.item() == pytest.approx(alpha_of(optimizer, model[0].weight), rel=(2 * 30 + 8) * U32)


@pytest.mark.filterwarnings(DYNAMO_WARNING)
def test_training_a_compiled_model(capsys: pytest.CaptureFixture[str]) -> None:
    backend = "aot_eager"  # traces as inductor does, and needs no compiler on the machine
    with capsys.disabled():
        print(f"\ntorch.compile backend: {backend}")
    plain, inner = network(5, 6, 2), network(5, 6, 2)
    compiled = torch.compile(inner, backend=backend)
    optimizers = LAB(plain, lr=0.05), LAB(compiled, lr=0.05)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(4):
        for model, optimizer in zip((plain, compiled), optimizers, strict=True):
            optimizer.zero_grad()
            loss = (model(x) - 0.5).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    # The same operations in the same order, so that even a sign near 0 agrees; and the compiled graph reads every new α.
    assert losses[::2] == losses[1::2]
    assert len(set(losses)) == 4
    assert all(torch.equal(value, inner.state_dict()[name]) for name, value in plain.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="not run here: no CUDA device (needs no tool)")
@pytest.mark.parametrize("options", [{}, {"fused": True}, {"capturable": True}], ids=str)
def test_cuda_agrees_with_the_cpu(options: dict[str, Any]) -> None:
    here, there = network(33, 20, 5), network(33, 20, 5).cuda()
    first, second = LAB(here, lr=1e-3), LAB(there, lr=1e-3, **options)
    for seed in range(3):
        fill_gradients(here, seed)
        for mine, its in zip(here.parameters(), there.parameters(), strict=True):
            its.grad = None if mine.grad is None else mine.grad.cuda()
        first.step()
        second.step()
    for name, value in here.state_dict().items():
        torch.testing.assert_close(there.state_dict()[name].cpu(), value, rtol=(2 * 660 + 30) * U32, atol=1e-6)


def other_pair(**changes: Any) -> dict[str, Any]:
    weight, alpha = weight_and_alpha(torch.ones(2, 3))
    pair = {"weight": weight, "alpha": alpha, **changes}
    return {"params": [pair["weight"]], "pairs": [(pair["weight"], pair["alpha"])]}


shared = nn.Parameter(torch.ones(2))
BAD_GROUPS = {
    "not among its group's parameters": {"params": [nn.Parameter(torch.ones(1))], "pairs": other_pair()["pairs"]},
    "0 elements": other_pair(weight=nn.Parameter(torch.ones(0))),
    "torch.complex64": other_pair(weight=nn.Parameter(torch.ones(2, dtype=torch.complex64))),
    r"its α is torch.float32 \[2\]": other_pair(alpha=torch.ones(2)),
    "requires_grad=False": other_pair(alpha=nn.Parameter(torch.ones(()))),
    "share α too": {"params": [shared], "pairs": [(shared, torch.ones(())), (shared, torch.ones(()))]},
}


@pytest.mark.parametrize("fact", BAD_GROUPS)
def test_a_pair_that_does_not_fit_is_refused_and_adds_nothing(fact: str) -> None:
    model = network(4, 3)
    optimizer = LAB(model)
    with pytest.raises(LabcError, match=fact):
        optimizer.add_param_group(BAD_GROUPS[fact])
    assert len(optimizer.param_groups) == 1
    train(model, optimizer, range(1))


def test_options_that_make_no_sense_are_refused() -> None:
    model = network(4, 3)
    for clip in (0.0, -1.0, math.nan):
        with pytest.raises(LabcError, match="clip is"):
            LAB(model, clip=clip)
    with pytest.raises(LabcError, match="differentiable"):
        LAB(model, differentiable=True)
    for floats in (nn.Linear(2, 2), list(model.parameters())):
        with pytest.raises(LabcError, match="none of the parameters is a binary layer's weight"):
            LAB(floats)
    with pytest.raises(ValueError, match="Invalid learning rate"):
        LAB(model, lr=-1.0)
    optimizer = LAB(model)
    model[0].weight.grad = torch.ones(3, 4).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
