"""Layers whose images are spread over processes, beside PyTorch's own in one."""

import copy
from typing import Any

import pytest
import torch
from threads import in_threads
from torch import Tensor, nn
from torch.nn import functional

from cifarlab.models.build import build_body
from cifarlab.models.distributed_layers import (
    DistributedBatchNorm,
    DistributedDropout,
    batch_position,
    distribute_layers,
)
from cifarlab.models.network import parameter_roles
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.system.processes import SINGLE_PROCESS, Processes

SHAPES = [(7, 4, 3, 2), (6, 4, 1, 1), (5, 4)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=draws, dtype=torch.float64).to(dtype) * 3 + 1
    return values.to(memory_format=torch.channels_last) if values.ndim == 4 else values


def batch_norm(maps: bool, dtype: torch.dtype = torch.float64) -> nn.Module:
    layer = (nn.BatchNorm2d if maps else nn.BatchNorm1d)(4, eps=1e-3, momentum=0.3).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.5, -0.5, 2.0, 1.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, -0.3, 0.0]))
    return layer


def trained(layer: nn.Module, x: Tensor, part: slice) -> dict[str, Tensor]:
    """Output, gradients of a sum with random factors, and running statistics."""
    factors = normal(*x.shape, dtype=x.dtype, seed=1)[part]
    own = x[part].clone().requires_grad_()
    y = layer(own)
    (y * factors).sum().backward()
    found = {"y": y.detach(), "x": own.grad}
    found |= {f"{name} gradient": p.grad for name, p in layer.named_parameters()}
    return found | {name: buffer.clone() for name, buffer in layer.named_buffers()}


@every_shape
@pytest.mark.parametrize("count", [2, 3])
def test_batch_norm_is_that_of_the_whole_batch(shape: tuple[int, ...], count: int) -> None:
    x, plain = normal(*shape), batch_norm(len(shape) == 4)
    expected = trained(copy.deepcopy(plain), x, slice(None))

    def work(processes: Processes) -> dict[str, Tensor]:
        layer = DistributedBatchNorm(copy.deepcopy(plain), processes)
        return trained(layer, x, processes.shard(shape[0]))

    found = in_threads(count, work)
    for name in ("y", "x"):
        torch.testing.assert_close(torch.cat([one[name] for one in found]), expected[name])
    for name in ("weight gradient", "bias gradient"):
        torch.testing.assert_close(sum(one[name] for one in found), expected[name])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert all(torch.equal(one[name], found[0][name]) for one in found)
        torch.testing.assert_close(found[0][name], expected[name])
    alone = trained(
        copy.deepcopy(plain), x, SINGLE_PROCESS.shard(shape[0] // 2)
    )  # so the test can fail
    assert not torch.allclose(alone["running_mean"], expected["running_mean"])


@pytest.mark.parametrize("frozen", ["x", "weights", "both"])
def test_batch_norm_where_something_needs_no_gradient(frozen: str) -> None:
    x, plain = normal(6, 4, 2, 2), batch_norm(True)
    if frozen != "x":
        plain.requires_grad_(False)

    def output(layer: nn.Module, part: slice) -> tuple[Tensor, dict[str, Tensor | None]]:
        own = x[part].clone().requires_grad_(frozen == "weights")
        y = layer(own)
        if y.requires_grad:
            y.square().sum().backward()
        gradients = {name: p.grad for name, p in layer.named_parameters()}
        return y.detach(), {**gradients, "x": own.grad}

    expected, gradients = output(copy.deepcopy(plain), slice(None))
    found = in_threads(
        2, lambda p: output(DistributedBatchNorm(copy.deepcopy(plain), p), p.shard(len(x)))
    )
    torch.testing.assert_close(torch.cat([y for y, _ in found]), expected)
    for name in ("weight", "bias"):
        if gradients[name] is None:
            assert {one[name] for _, one in found} == {None}
        else:
            torch.testing.assert_close(found[0][1][name] + found[1][1][name], gradients[name])
    if frozen == "weights":
        torch.testing.assert_close(torch.cat([one["x"] for _, one in found]), gradients["x"])


def test_batch_norm_of_bfloat16_has_statistics_in_float32() -> None:
    x, plain = normal(6, 4, 3, 3, dtype=torch.bfloat16), batch_norm(True, torch.float32)
    expected = trained(copy.deepcopy(plain), x, slice(None))
    found = in_threads(
        2, lambda p: trained(DistributedBatchNorm(copy.deepcopy(plain), p), x, p.shard(6))
    )
    assert found[0]["y"].dtype == found[0]["x"].dtype == torch.bfloat16
    torch.testing.assert_close(found[0]["running_var"], expected["running_var"])
    for name in ("y", "x"):
        whole = torch.cat([one[name] for one in found])
        torch.testing.assert_close(whole, expected[name], rtol=2e-2, atol=2e-2)


@every_shape
def test_dropout_has_the_mask_of_the_whole_batch(shape: tuple[int, ...]) -> None:
    x = normal(*shape, dtype=torch.float32)
    torch.manual_seed(3)
    expected = functional.dropout(x, 0.4)
    rows = []
    for rank in range(2):
        processes = Processes(rank, 2)
        network = nn.Sequential(nn.Dropout(0.4))
        distribute_layers(network, processes)
        part = processes.shard(shape[0])
        torch.manual_seed(3)
        with batch_position(part.start, shape[0]):
            rows.append(network(x[part]))
        assert torch.equal(network.eval()(x[part]), x[part])
    assert torch.equal(torch.cat(rows), expected)
    assert not torch.equal(expected, x)


def test_one_process_keeps_its_layers() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.1))
    layers = list(network)
    distribute_layers(network, SINGLE_PROCESS)
    assert list(network) == layers


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_network_is_spread_whole_and_stays_what_it_was(name: str) -> None:
    with torch.device("meta"):
        body = build_body(find(name).model, (32, 32, 3), 10)
    before, roles = body.state_dict(), described(parameter_roles(body))
    distribute_layers(body, Processes(0, 2))
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)
    spread_ones = (DistributedBatchNorm, DistributedDropout)
    assert not [m for m in body.modules() if isinstance(m, plain) and type(m) not in spread_ones]
    assert list(body.state_dict()) == list(before)
    assert described(parameter_roles(body)) == roles


def described(roles: Any) -> dict[str, list[int]]:
    return {role: [id(p) for p in parameters] for role, parameters in roles.items()}
