"""BinaryLinear and Sign: forward and backward rules, evaluation arithmetic, torch.compile, DDP."""

from __future__ import annotations

import copy
import math
import os
import shutil
import socket
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from breadth import some
from here import not_run_here
from torch import nn

from labc.errors import LabcError
from labc.train.layers import BinaryLinear, Sign, affine, signs

# torch's own: dynamo instantiates autograd.Function while it traces a custom one; inductor imports modules that use torch.jit.
DYNAMO_WARNING = "ignore:<class 'torch.autograd.function.Function'> should not be instantiated:DeprecationWarning:torch._dynamo"
INDUCTOR_WARNING = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning:torch"


def trained(*widths: int, activation: type[nn.Module] = Sign, seed: int = 0) -> nn.Sequential:
    """A network with batch-norm statistics and random gamma and beta, in evaluation mode."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [BinaryLinear(fan_in, fan_out, bias=False, batch_norm=True), activation()]
    model = nn.Sequential(*layers[:-1])
    for layer in model:
        if isinstance(layer, BinaryLinear):
            layer.gamma.data.normal_()
            layer.beta.data.normal_()
    images = torch.randint(0, 256, (50, widths[0]), dtype=torch.uint8)
    for _ in range(30):
        model(images)
    return model.eval()


def test_initial_values() -> None:
    layer = BinaryLinear(300, 100)
    assert float(layer.weight.detach().abs().max()) <= math.sqrt(1.5 / 400)
    torch.testing.assert_close(layer.alpha.detach(), layer.weight.detach().abs().mean())
    assert layer.alpha.shape == ()
    assert not layer.alpha.requires_grad


def test_sign_of_zero_is_plus_one() -> None:
    zeros = torch.tensor([0.0, -0.0, 1e-30, -1e-30])
    assert signs(zeros).tolist() == [1, 1, 1, -1]
    assert Sign()(zeros).tolist() == [1, 1, 1, -1]
    assert Sign()(torch.tensor([0, 3, 255], dtype=torch.uint8)).tolist() == [1, 1, 1]


def test_sign_passes_the_gradient_where_x_is_at_most_one() -> None:
    x = torch.tensor([-1.5, -1.0, 0.0, 0.5, 1.0, 1.0001], requires_grad=True)
    (Sign()(x) * torch.arange(1, 7)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]


def test_training_forward_and_straight_through_gradient() -> None:
    layer = BinaryLinear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -2.0, 0.0], [-0.1, 0.2, -0.0]]))
        layer.alpha.fill_(0.25)
    x = torch.tensor([[1.0, 2.0, 4.0]])
    out = layer(x)
    assert out.tolist() == [[0.25 * (1 - 2 + 4), 0.25 * (-1 + 2 + 4)]]
    out.backward(torch.tensor([[1.0, 10.0]]))
    # The gradient at α·b: not multiplied by α, not windowed at |w| > 1.
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[1, 2, 4], [10, 20, 40]]
    assert layer.alpha.grad is None


def test_batch_norm_is_torch_s() -> None:
    torch.manual_seed(1)
    layer, norm = BinaryLinear(20, 7, batch_norm=True, eps=1000, momentum=0.3), nn.BatchNorm1d(7, eps=1000, momentum=0.3)
    layer.bias.data.normal_(std=100)
    bare = BinaryLinear(20, 7)
    bare.load_state_dict({key: value for key, value in layer.state_dict().items() if key in bare.state_dict()})
    x = torch.randint(0, 256, (40, 20), dtype=torch.uint8)
    for _ in range(3):
        torch.testing.assert_close(layer(x), norm(bare(x)))
    torch.testing.assert_close(layer.running_var, norm.running_var)
    torch.testing.assert_close(layer.eval()(x), norm.eval()(bare(x)), rtol=1e-5, atol=1e-5)


def test_evaluation_is_one_multiply_and_one_add_on_exact_sums() -> None:
    model = trained(31, 9)
    layer = model[0]
    x = torch.randint(0, 256, (64, 31), dtype=torch.uint8)
    acc = x.numpy().astype(np.int64) @ np.where(layer.weight.detach().numpy() >= 0, 1, -1).T
    scale, shift = (vector.numpy() for vector in layer.affine())
    assert scale.dtype == np.float32
    assert np.array_equal(layer(x).detach().numpy(), acc.astype(np.float32) * scale + shift)


def test_affine_rounds_once_from_float64() -> None:
    layer = trained(31, 9)[0]
    gain = layer.gamma.double() / (layer.running_var.double() + layer.eps).sqrt()
    scale, shift = layer.affine()
    assert torch.equal(scale, (layer.alpha.double() * gain).float())
    assert torch.equal(shift, ((0 - layer.running_mean.double()) * gain + layer.beta.double()).float())


def test_affine_is_not_fused() -> None:
    # (1 + 2^-12)² = 1 + 2^-11 + 2^-24: rounded to float32 it loses the last term, which a fused multiply-add would keep.
    x = torch.tensor([1 + 2.0**-12])
    assert affine(x, x, -torch.tensor([1 + 2.0**-11])).item() == 0


def test_evaluation_passes_a_gradient_to_the_input() -> None:
    model = trained(12, 8, 3, activation=nn.ReLU)
    x = torch.rand(4, 12, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


@pytest.mark.filterwarnings(DYNAMO_WARNING, INDUCTOR_WARNING)
@pytest.mark.parametrize("backend", some(["aot_eager", "inductor"], ["aot_eager"]))
def test_compiled_evaluation_and_training(backend: str) -> None:
    """The same graph is traced for either; inductor, which compiles C++ for a minute, shows that it makes the same numbers."""
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        not_run_here("torch.compile with inductor", "no C++ compiler: apt install g++")
        return
    model = trained(45, 33, 17, 5)
    x = torch.randint(0, 256, (100, 45), dtype=torch.uint8)
    with torch.no_grad():
        compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend=backend)
        assert torch.equal(compiled(x), model(x))
    twin = copy.deepcopy(model).train()
    model.train()
    torch.compile(twin, fullgraph=True, backend=backend)(x).square().sum().backward()
    model(x).square().sum().backward()
    torch.testing.assert_close(twin[0].weight.grad, model[0].weight.grad, rtol=1e-3, atol=1e-3)


def test_autocast_does_not_touch_the_sums() -> None:
    model = trained(100, 6)
    x = torch.randint(0, 256, (10, 100), dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(x), model(x.float()))
    assert torch.equal(model(x), copy.deepcopy(model)(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="not run here: no CUDA device (needs no tool)")
def test_cuda_gives_the_same_bits() -> None:
    model = trained(200, 64, 10)
    x = torch.randint(0, 256, (128, 200), dtype=torch.uint8)
    expected = model(x)
    assert torch.equal(model.cuda()(x.cuda()).cpu(), expected)


def test_state_dict_round_trip() -> None:
    first, second = trained(20, 9, seed=1), trained(20, 9, seed=2)
    second.load_state_dict(first.state_dict())
    x = torch.randint(0, 256, (10, 20), dtype=torch.uint8)
    assert torch.equal(first(x), second(x))


def test_more_dimensions_than_a_batch() -> None:
    layer = BinaryLinear(6, 4, batch_norm=True)
    assert layer(torch.rand(5, 3, 6)).shape == (5, 3, 4)
    assert layer.eval()(torch.rand(5, 3, 6)).shape == (5, 3, 4)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: BinaryLinear(0, 3), "must be at least 1"),
        (lambda: BinaryLinear(3, 3, batch_norm=True, eps=0.0), "eps is 0.0"),
        (lambda: BinaryLinear(3, 2)(torch.rand(1, 4)), "has 4 features"),
    ],
)
def test_errors(make: object, text: str) -> None:
    with pytest.raises(LabcError, match=text):
        make()  # type: ignore[operator]


def _ddp_worker(rank: int, port: int, path: str) -> None:
    import torch.distributed as dist

    from labc.train.lab import LAB

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(rank)  # other weights on each rank: DDP takes rank 0's
    model = nn.Sequential(BinaryLinear(12, 8, bias=False, batch_norm=True), Sign(), BinaryLinear(8, 3, bias=False, batch_norm=True))
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = LAB(model, lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        parallel(torch.randint(0, 17, (16, 12), dtype=torch.uint8)).square().mean().backward()
        optimizer.step()
    torch.save({key: value for key, value in model.state_dict().items() if "running" not in key}, f"{path}/{rank}.part")
    Path(f"{path}/{rank}.part").rename(f"{path}/{rank}.pt")
    # A rank whose file is there has done all its communication. Then end at once: torch's threads, when they are torn down in order,
    # abort the process now and then ("terminate called without an active exception", seen in 1 of some 20 runs).
    limit = time.monotonic() + 60
    while not Path(f"{path}/{1 - rank}.pt").exists() and time.monotonic() < limit:
        time.sleep(0.01)
    os._exit(0)


def test_ddp_keeps_ranks_equal(tmp_path: object) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_ddp_worker, (port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(f"{tmp_path}/{rank}.pt", weights_only=True) for rank in range(2))
    assert set(first) >= {"0.weight", "0.alpha", "2.alpha"}
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
