"""The device is chosen with its index, and its own module is asked for all that a GPU's is."""

import pytest
import torch
from mock_device import GIBIBYTE, NAME, use_mock_device

from cifarlab.cli.machine import findings
from cifarlab.system import device
from cifarlab.system.device import (
    Compute,
    choose_compute,
    device_name,
    fastest_device,
    has_bfloat16,
    widest_float,
)
from cifarlab.system.device_memory import forget_peak_memory, free_memory, peak_memory
from cifarlab.system.errors import UserError
from cifarlab.system.processes import init_distributed
from cifarlab.system.randomness import seed_global
from cifarlab.system.transfer import cache_on_gpu, to_device


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Four GPUs of CUDA, of which the third is in use; what is made the one in use is listed."""
    devices: list[torch.device] = []
    monkeypatch.delenv("CIFARLAB_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    return devices


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "cuda:2"),
        ("cuda", "cuda:2"),
        ("cuda:3", "cuda:3"),
        ("cuda:0", "cuda:0"),
        ("cpu", "cpu"),
    ],
)
def test_a_gpu_is_chosen_with_its_index(
    name: str, expected: str, four_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is unequal to the device that its tensors name."""
    monkeypatch.setenv("CIFARLAB_DEVICE", name)
    assert fastest_device() == torch.device(expected)
    assert choose_compute("float32").device == torch.device(expected)
    assert four_gpus == ([] if expected == "cpu" else [torch.device(expected)])


@pytest.mark.parametrize("name", ["cuda:4", "cuda:", "cuda:-1", "mps", "gpu", "cpu:0", "cuda:3 "])
def test_a_device_that_is_not_here_is_refused(
    name: str, four_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIFARLAB_DEVICE", name)
    here = "take one of cpu, cuda, cuda:0, cuda:1, cuda:2, cuda:3 "
    with pytest.raises(UserError, match=f"CIFARLAB_DEVICE={name}: there is no such") as error:
        choose_compute()
    assert error.value.hint.startswith(here)


def test_without_a_gpu_only_the_processor_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda:0", "mps"):
        monkeypatch.setenv("CIFARLAB_DEVICE", name)
        with pytest.raises(UserError, match="no such device here") as error:
            choose_compute()
        assert error.value.hint.startswith("take one of cpu (")


def test_one_gpu_is_not_for_several_processes(
    four_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIFARLAB_DEVICE", "cuda:1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(device, "has_bfloat16", lambda _: True)
    with pytest.raises(UserError, match="one device, for 2 processes"), init_distributed():
        pass


def test_apple_s_gpu_is_taken_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mps, waits = torch.device("mps"), []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "Apple M4")
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 24 * GIBIBYTE)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * GIBIBYTE)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waits.append(1))
    emptied: list[int] = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append(1))
    monkeypatch.setenv("CIFARLAB_DEVICE", "")
    assert fastest_device() == torch.device("cpu")
    monkeypatch.setenv("CIFARLAB_DEVICE", "mps")
    compute = choose_compute()
    assert (compute.device, compute.precision) == (mps, "float32")
    assert compute.describe()["name"] == "Apple M4"
    compute.synchronize()
    assert waits == [1]
    assert free_memory(mps) == (22 * GIBIBYTE, 24 * GIBIBYTE)
    forget_peak_memory(mps)
    assert emptied == [1]
    assert peak_memory(mps) == 2 * GIBIBYTE
    assert widest_float(mps) == torch.float32
    assert ("memory", "22.0 GiB free of 24.0 GiB on the GPU") in findings()
    assert ("CIFARLAB_DEVICE", "takes cpu, mps") in findings()


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
