"""Layers whose images are distributed over processes, against those of PyTorch in one process."""

import copy
from typing import Any

import pytest
import torch
from threaded_processes import in_threads
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


def random_values(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=draws, dtype=torch.float64).to(dtype) * 3 + 1
    return values.to(memory_format=torch.channels_last) if values.ndim == 4 else values


def batch_norm(maps: bool, dtype: torch.dtype = torch.float64) -> nn.Module:
    layer = (nn.BatchNorm2d if maps else nn.BatchNorm1d)(4, eps=1e-3, momentum=0.3).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.5, -0.5, 2.0, 1.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, -0.3, 0.0]))
    return layer


def train_layer(layer: nn.Module, x: Tensor, part: slice) -> dict[str, Tensor]:
    """Output, gradients of a sum with random factors, and running statistics."""
    factors = random_values(*x.shape, dtype=x.dtype, seed=1)[part]
    shard = x[part].clone().requires_grad_()
    y = layer(shard)
    (y * factors).sum().backward()
    results = {"y": y.detach(), "x": shard.grad}
    results |= {f"{name} gradient": p.grad for name, p in layer.named_parameters()}
    return results | {name: buffer.clone() for name, buffer in layer.named_buffers()}


@every_shape
@pytest.mark.parametrize("count", [2, 3])
def test_batch_norm_is_that_of_the_whole_batch(shape: tuple[int, ...], count: int) -> None:
    x, layer = random_values(*shape), batch_norm(len(shape) == 4)
    expected = train_layer(copy.deepcopy(layer), x, slice(None))

    def work(processes: Processes) -> dict[str, Tensor]:
        distributed = DistributedBatchNorm(copy.deepcopy(layer), processes)
        return train_layer(distributed, x, processes.shard(shape[0]))

    results = in_threads(count, work)
    for name in ("y", "x"):
        torch.testing.assert_close(torch.cat([result[name] for result in results]), expected[name])
    for name in ("weight gradient", "bias gradient"):
        torch.testing.assert_close(sum(result[name] for result in results), expected[name])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert all(torch.equal(result[name], results[0][name]) for result in results)
        torch.testing.assert_close(results[0][name], expected[name])
    half = SINGLE_PROCESS.shard(shape[0] // 2)  # so the test can fail
    single = train_layer(copy.deepcopy(layer), x, half)
    assert not torch.allclose(single["running_mean"], expected["running_mean"])


@pytest.mark.parametrize("frozen", ["x", "weights", "both"])
def test_batch_norm_where_something_needs_no_gradient(frozen: str) -> None:
    x, layer = random_values(6, 4, 2, 2), batch_norm(True)
    if frozen != "x":
        layer.requires_grad_(False)

    def output(layer: nn.Module, part: slice) -> tuple[Tensor, dict[str, Tensor | None]]:
        shard = x[part].clone().requires_grad_(frozen == "weights")
        y = layer(shard)
        if y.requires_grad:
            y.square().sum().backward()
        gradients = {name: p.grad for name, p in layer.named_parameters()}
        return y.detach(), {**gradients, "x": shard.grad}

    expected, gradients = output(copy.deepcopy(layer), slice(None))
    results = in_threads(
        2, lambda p: output(DistributedBatchNorm(copy.deepcopy(layer), p), p.shard(len(x)))
    )
    torch.testing.assert_close(torch.cat([y for y, _ in results]), expected)
    for name in ("weight", "bias"):
        if gradients[name] is None:
            assert {result[name] for _, result in results} == {None}
        else:
            torch.testing.assert_close(results[0][1][name] + results[1][1][name], gradients[name])
    if frozen == "weights":
        grad_x = torch.cat([result["x"] for _, result in results])
        torch.testing.assert_close(grad_x, gradients["x"])


def test_batch_norm_of_bfloat16_has_statistics_in_float32() -> None:
    x = random_values(6, 4, 3, 3, dtype=torch.bfloat16)
    layer = batch_norm(True, torch.float32)
    expected = train_layer(copy.deepcopy(layer), x, slice(None))
    results = in_threads(
        2,
        lambda p: train_layer(DistributedBatchNorm(copy.deepcopy(layer), p), x, p.shard(6)),
    )
    assert results[0]["y"].dtype == results[0]["x"].dtype == torch.bfloat16
    torch.testing.assert_close(results[0]["running_var"], expected["running_var"])
    for name in ("y", "x"):
        total = torch.cat([result[name] for result in results])
        torch.testing.assert_close(total, expected[name], rtol=2e-2, atol=2e-2)


@every_shape
def test_dropout_has_the_mask_of_the_whole_batch(shape: tuple[int, ...]) -> None:
    x = random_values(*shape, dtype=torch.float32)
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
def test_every_network_is_distributed_without_other_changes(name: str) -> None:
    with torch.device("meta"):
        body = build_body(find(name).model, (32, 32, 3), 10)
    before, roles = body.state_dict(), ids_by_role(parameter_roles(body))
    distribute_layers(body, Processes(0, 2))
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)
    distributed = (DistributedBatchNorm, DistributedDropout)
    assert not [m for m in body.modules() if isinstance(m, kinds) and type(m) not in distributed]
    assert list(body.state_dict()) == list(before)
    assert ids_by_role(parameter_roles(body)) == roles


def ids_by_role(roles: Any) -> dict[str, list[int]]:
    return {role: [id(p) for p in parameters] for role, parameters in roles.items()}
