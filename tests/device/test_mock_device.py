"""The mock device keeps CUDA's rules: what a GPU would refuse or wait for shows on it."""

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mock_device import NAME, Device, OnDevice, use_mock_device
from torch import Tensor, nn

from cifarlab.inference.tta import confidence
from cifarlab.system.transfer import to_device
from cifarlab.training.loop import require_finite_losses
from cifarlab.training.state import Totals

THERE = torch.device(NAME, 0)


@pytest.fixture
def device() -> Iterator[Device]:
    with use_mock_device() as mock:
        yield mock


def there(*values: float) -> Tensor:
    return to_device(torch.tensor(values, dtype=torch.float32), THERE)


@pytest.mark.parametrize(
    "mix",
    [
        lambda: there(1, 2) + torch.ones(2),
        lambda: torch.ones(2) + there(1, 2),
        lambda: torch.ones(2)[there(0, 1).long()],
        lambda: torch.cat([there(1), torch.ones(1)]),
        lambda: torch.stack([there(1)[0], torch.tensor(1.0)]),
        lambda: torch.where(torch.ones(2).bool(), there(1, 2), there(3, 4)),
        lambda: torch.zeros(2, device=THERE).index_put_((there(0, 1).long(),), torch.ones(2)),
        lambda: torch._foreach_add([there(1)], [torch.ones(1)]),
        lambda: nn.functional.linear(there(1, 2), torch.ones(3, 2)),
        lambda: nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2, device=THERE)),
    ],
)
def test_devices_are_not_mixed(device: Device, mix: Callable) -> None:
    with pytest.raises(RuntimeError, match="on the same device"):
        mix()


def test_a_single_number_may_come_from_the_processor(device: Device) -> None:
    number = torch.tensor(1.0)
    assert (there(1, 2) + number).tolist() == [2, 3]
    assert torch.where(there(1, 0) > 0, number, 0.0).tolist() == [1, 0]
    (sum_,) = torch._foreach_add([there(1)], number)
    assert sum_.tolist() == [2]


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (lambda: there(1).numpy(), TypeError),
        (lambda: np.asarray(there(1)), TypeError),
        (lambda: there(1).pin_memory(), RuntimeError),
        (lambda: torch.rand(2, device=THERE, generator=torch.Generator()), RuntimeError),
        (lambda: there(1).uniform_(generator=torch.Generator()), RuntimeError),
    ],
)
def test_what_a_gpu_refuses(device: Device, action: Callable, error: type) -> None:
    with pytest.raises(error):
        action()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda x: x.sum().item(), "a value is read"),
        (lambda x: float(x[0]), "a value is read"),
        (lambda x: bool(x[0] > 0), "a value is read"),
        (lambda x: x.cpu(), "a copy from the device"),
        (lambda x: x.to("cpu", non_blocking=True), "a copy from the device"),
        (lambda x: x.tolist(), "a copy from the device"),
        (lambda x: torch.zeros(2).copy_(x), "a copy from the device"),
        (lambda _: torch.ones(2).to(THERE), "a copy to the device"),
        (lambda _: torch.ones(2).to(THERE, non_blocking=True), "a copy to the device"),
        (lambda _: torch.ones(2).pin_memory().to(THERE), "a copy to the device"),
        (lambda _: torch.tensor([1, 2], device=THERE), "a copy to the device"),
        (lambda x: x.new_tensor([1, 2]), "a copy to the device"),
        (lambda x: x.copy_(torch.ones(2)), "a copy to the device"),
        (lambda x: x[x > 0], "a mask as index"),
        (lambda x: x[torch.tensor([0])], "an index of the CPU"),
        (lambda x: x.nonzero(), "aten.nonzero"),
        (lambda x: x.unique(), "aten._unique2"),
        (lambda x: x.long().bincount(), "aten.bincount"),
        (lambda x: torch.equal(x, x), "aten.equal"),
        (lambda x: torch.linalg.inv(torch.diag(x)), "aten._linalg_check_errors"),
        (lambda _: torch.get_device_module(THERE).synchronize(THERE), "that is asked for"),
    ],
)
def test_the_host_waits(device: Device, action: Callable, message: str) -> None:
    x = there(1, 2)
    assert device.take_waits() == []
    action(x)
    assert message in "".join(device.take_waits())


@pytest.mark.parametrize(
    "action",
    [
        lambda x: to_device(torch.ones(2), THERE),
        lambda x: x.add_(1).mul(2).sum(),
        lambda x: x[torch.arange(2, device=THERE)],
        lambda x: torch.where(x > 1, x, 0.0),
        lambda x: x.new_full((2,), 3).to(torch.int64),
        lambda x: torch.zeros(2, device=THERE).copy_(x),
        lambda x: confidence(torch.stack([x, x])),
        lambda x: nn.functional.dropout(x),
    ],
)
def test_the_host_does_not_wait(device: Device, action: Callable) -> None:
    x = there(1, 2)
    action(x)
    assert device.take_waits() == []


def test_a_wait_says_which_lines_lead_to_it(device: Device) -> None:
    totals = Totals.zero(THERE)
    totals.add(there(1)[0], there(1)[0].long(), 1, 0)
    assert device.take_waits() == []
    require_finite_losses(SimpleNamespace(state=SimpleNamespace(totals=totals)))  # type: ignore[arg-type]
    (wait,) = device.take_waits()
    assert re.fullmatch(r"a value is read at training/loop\.py:\d+", wait)


def test_it_computes_what_the_processor_does(device: Device) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    images = torch.rand(2, 3, 5, 5)
    sums = []
    for target in (torch.device("cpu"), THERE):
        network.to(target).zero_grad()
        torch.manual_seed(1)
        network(to_device(images, target)).square().sum().backward()
        gradients = [p.grad for p in network.parameters()]
        assert {g.device for g in gradients} == {target}
        sums.append([float(g.abs().sum()) for g in gradients])
    assert sums[0] == sums[1]


def test_a_view_and_its_base_have_one_memory(device: Device) -> None:
    base = torch.zeros(2, 2, device=THERE)
    row = base[1]
    assert row.add_(1) is row
    base.t()[0].fill_(5)
    assert base.tolist() == [[5, 0], [5, 1]]


def test_autocast_computes_products_in_bfloat16(device: Device) -> None:
    layer, x = nn.Linear(2, 2).to(THERE), there(1, 2)
    with torch.autocast(NAME, torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        with torch.autocast(NAME, enabled=False):
            assert layer(x).dtype == torch.float32
    assert layer(x).dtype == torch.float32


def test_a_device_may_lack_float64() -> None:
    with use_mock_device(float64=False):
        assert there(1).float().dtype == torch.float32
        with pytest.raises(TypeError, match="float64"):
            there(1).double()


def test_without_the_device_nothing_runs_on_it() -> None:
    with use_mock_device():
        x = there(1, 2)
    assert isinstance(x, OnDevice)
    with pytest.raises(AssertionError, match="outside"):
        x + 1
    assert not torch.get_device_module(THERE).is_available()
