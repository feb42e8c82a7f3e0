"""The device is chosen with its index, and its own module is asked for all that a GPU's is."""

import pytest
import torch
from mock_device import GIBIBYTE, NAME, use_mock_device

from cifarlab.cli.machine import findings
from cifarlab.system.device import (
    Compute,
    choose_compute,
    device_name,
    fastest_device,
    forget_peak_memory,
    has_bfloat16,
    peak_memory,
)
from cifarlab.system.randomness import seed_global
from cifarlab.system.transfer import cache_on_gpu, to_device


def test_a_gpu_is_chosen_with_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it is unequal to the device that its tensors name."""
    monkeypatch.delenv("CIFARLAB_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert fastest_device() == torch.device("cuda:3")
    monkeypatch.setenv("CIFARLAB_DEVICE", "cpu")
    assert fastest_device() == torch.device("cpu")


@pytest.mark.parametrize("index", [True, False])
def test_what_is_there_is_not_sent_again(index: bool) -> None:
    device = torch.device(NAME, 0) if index else torch.device(NAME)
    with use_mock_device(index=index):
        images = cache_on_gpu(torch.zeros(2, 3, dtype=torch.uint8), device)
        assert images.device == torch.device(NAME, 0)
        assert to_device(images, device) is images


@pytest.mark.parametrize(("free", "type_"), [(1999, "cpu"), (2000, NAME)])
def test_images_are_resident_that_take_half_of_the_free_memory(free: int, type_: str) -> None:
    images = torch.empty(1000, dtype=torch.uint8)
    with use_mock_device(free=free):
        assert cache_on_gpu(images, torch.device(NAME)).device.type == type_


@pytest.mark.parametrize("index", [True, False])
def test_the_device_s_own_module_is_used(index: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with use_mock_device(index=index) as device:
        compute = choose_compute()
        assert compute.precision == "bfloat16"
        assert has_bfloat16(compute.device)
        assert compute.describe()["name"] == device_name(compute.device) == "mock device"
        forget_peak_memory(compute.device)
        assert peak_memory(compute.device) == GIBIBYTE
        assert ("memory", "70.0 GiB free of 80.0 GiB on the GPU") in findings()
        compute.synchronize()
        assert len(device.take_waits()) == 1
        seeds: list[int] = []
        module = torch.get_device_module(compute.device)
        monkeypatch.setattr(module, "manual_seed", seeds.append)
        seed_global(compute.device, 1, "network", 2)
        assert len(seeds) == 1
    Compute(torch.device("cpu"), "float32").synchronize()
    assert device.take_waits() == []
