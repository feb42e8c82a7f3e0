"""A device with the CPU's arithmetic and CUDA's rules, for machines without a GPU.

Inside ``use_mock_device()`` cifarlab trains and predicts on it. As on a GPU, an operation that
mixes two devices is an error, and whatever makes the host wait for the device (a value or a size
that is read, a copy from memory that is not pinned) is noted, with the lines of cifarlab that lead
to it. Departures: draws come from the CPU's generator, so that losses can be compared; autocast
lowers products and convolutions alone. Which kernels CUDA has is not checked.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from mock_tensor import (
    INDEXING,
    NAME,
    Memory,
    OnDevice,
    aten,
    is_composite,
    leaves,
    map_leaves,
    require_one_device,
    unwrap,
    wrap_result,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import cifarlab
from cifarlab.augment import transforms
from cifarlab.system import device as compute

PACKAGE = f"{Path(cifarlab.__file__).parent}/"
GIBIBYTE = 2**30
# what CUDA can't answer without the host waiting, since a shape or a number depends on values
READS = {
    aten._linalg_check_errors.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
LOWERED = ("conv2d", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm")


class Device(TorchDispatchMode):
    """The device, while it is there; ``waits`` has each wait of the host: what for, and where."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def take_waits(self) -> list[str]:
        """The waits since the last call."""
        waits, self.waits = self.waits, []
        return waits

    def wait(self, what: str) -> None:
        """Note a wait, and the lines of cifarlab that lead to it, the outermost first."""
        lines: list[str] = []
        frame: FrameType | None = sys._getframe(1)
        while frame:
            file = frame.f_code.co_filename
            if file.startswith(PACKAGE):
                lines.insert(0, f"{file.removeprefix(PACKAGE)}:{frame.f_lineno}")
            frame = frame.f_back
        self.waits.append(f"{what} at {' > '.join(lines)}")

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and looking takes time

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        is_ours = any(isinstance(x, OnDevice) for x in leaves((args, kwargs)))
        if not is_ours and func not in PINNING and not _names_the_device(args, kwargs):
            return func(*args, **kwargs)
        if func in SPECIAL:
            return SPECIAL[func](self, func, *args, **kwargs)
        if is_composite(func):  # inference mode hands over operations that are made of others
            with self:
                return func.decompose(*args, **kwargs)
        require_one_device(func, args, kwargs)
        self._note_reads(func, args)
        if kwargs.get("generator") is not None:
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
        if "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        out = func(*unwrap(args), **unwrap(kwargs))
        return wrap_result(func, args, kwargs, out)

    def _note_reads(self, func: Any, args: tuple[Any, ...]) -> None:
        if func in READS:
            self.wait(str(func))
        if func in INDEXING:
            indices = [index for index in args[1] if isinstance(index, Tensor)]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.wait("a mask as index")
            if not all(isinstance(index, OnDevice) for index in indices):
                self.wait("an index of the CPU")


def _names_the_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    values = [kwargs.get("device"), *args]
    return any(isinstance(x, torch.device) and x.type == NAME for x in values)


def _to_copy(device: Device, func: Any, x: Tensor, /, **options: Any) -> Tensor:
    """aten._to_copy: between the devices, or to another type."""
    target = options.pop("device", None) or x.device
    waits = not options.pop("non_blocking", False)
    options.pop("pin_memory", None)
    out: Tensor = func(unwrap(x), **options)
    if target.type == NAME:
        if not isinstance(x, OnDevice) and (waits or not _is_pinned(x)):
            device.wait("a copy to the device")
        return OnDevice(out)
    device.wait("a copy from the device")
    return out


def _copy(device: Device, _func: Any, out: Tensor, x: Tensor, non_blocking: bool = False) -> Tensor:
    """aten.copy_: also between the devices."""
    if isinstance(out, OnDevice) and not isinstance(x, OnDevice):
        if not (non_blocking and _is_pinned(x)):
            device.wait("a copy to the device")
    elif isinstance(x, OnDevice) and not isinstance(out, OnDevice):
        device.wait("a copy from the device")
    unwrap(out).copy_(unwrap(x))
    return out


def _empty_strided(
    size: list[int], stride: list[int], *, dtype: torch.dtype, **_options: Any
) -> Tensor:
    return OnDevice(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(x: Tensor, out: OnDevice, non_blocking: bool = False) -> Tensor:
    assert BACKEND.device is not None
    return _copy(BACKEND.device, None, out, x, non_blocking)


def _pin_memory(_device: Device, _func: Any, x: Tensor, /, *_args: Any, **_options: Any) -> Tensor:
    if isinstance(x, OnDevice):
        raise RuntimeError(
            "cannot pin a tensor of the device, only dense CPU tensors can be pinned"
        )
    copy = x.clone()
    copy.is_page_locked = True  # type: ignore[attr-defined]
    return copy


def _is_pinned(x: Tensor) -> bool:
    return getattr(x, "is_page_locked", False)


def _read_value(device: Device, _func: Any, x: OnDevice) -> Any:
    device.wait("a value is read")
    return x.values.item()


def _native_dropout(
    _device: Device, _func: Any, x: OnDevice, p: float, _train: bool | None = None
) -> tuple[Tensor, Tensor]:
    """aten.native_dropout, with the draws that the CPU makes without it."""
    mask = torch.empty_like(x.values).bernoulli_(1 - p)
    return OnDevice(x.values * mask.div(1 - p)), OnDevice(mask.bool())


PINNING = {aten._pin_memory.default, aten.is_pinned.default, aten.pin_memory.default}
SPECIAL: dict[Any, Callable[..., Any]] = {
    aten._to_copy.default: _to_copy,
    aten.copy_.default: _copy,
    aten._pin_memory.default: _pin_memory,
    aten.pin_memory.default: _pin_memory,
    aten.is_pinned.default: lambda _device, _func, x, *_: _is_pinned(x),
    aten._local_scalar_dense.default: _read_value,
    aten.native_dropout.default: _native_dropout,
}


class Backend:
    """What ``torch.cuda`` is to a GPU."""

    device: Device | None = None  # the one that is there
    free = 0

    def is_available(self) -> bool:
        return self.device is not None

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def empty_cache(self) -> None:
        """What is freed is free at once."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_device_name(self, _device: torch.device) -> str:
        return "mock device"

    def is_bf16_supported(self, *, including_emulation: bool) -> bool:
        return not including_emulation

    def manual_seed(self, seed: int) -> None:
        """Its draws come from the CPU's generator."""

    manual_seed_all = manual_seed

    def max_memory_allocated(self, _device: torch.device) -> int:
        return OnDevice.memory.counted_peak if OnDevice.memory else GIBIBYTE

    def mem_get_info(self, _device: torch.device) -> tuple[int, int]:
        return self.free, 80 * GIBIBYTE

    def reset_peak_memory_stats(self, _device: torch.device) -> None:
        if OnDevice.memory:
            OnDevice.memory.counted_peak = OnDevice.memory.used

    def synchronize(self, _device: torch.device) -> None:
        assert self.device is not None
        self.device.wait("a wait that is asked for")


def _autocast(operation: Any) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def lower(x: Any) -> Any:
        return x.to(torch.bfloat16) if x.is_floating_point() and x.device.type == NAME else x

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operation(*map_leaves(args, Tensor, lower), **kwargs)

    return run


# PyTorch has one place for a device of somebody else's, to be taken before the first backward pass:
# that counts the devices
BACKEND = Backend()
_setup_privateuseone_for_python_backend(NAME, BACKEND)
OTHERS = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
OTHERS.fallback(torch.library.fallthrough_kernel)
AUTOCAST = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
for _name in LOWERED:
    AUTOCAST.impl(_name, _autocast(getattr(aten, _name).default))
# torch.tensor and new_tensor ask the device past all that looks on
FACTORIES = torch.library.Library("aten", "IMPL", "PrivateUse1")
FACTORIES.impl("empty_strided", _empty_strided)
FACTORIES.impl("_copy_from", _copy_from)


@contextmanager
def use_mock_device(
    *,
    index: bool = True,
    free: int = 70 * GIBIBYTE,
    float64: bool = True,
    memory: Memory | None = None,
) -> Iterator[Device]:
    """Use the device inside the block; without ``index`` as "cuda" is, with it as "cuda:0".

    Its tensors name it with its index either way. ``free`` is its free memory in bytes; without
    ``float64`` it lacks that type, as Apple's do. ``memory`` counts what its tensors take.
    """
    choice = torch.device(NAME, 0) if index else torch.device(NAME)
    transforms._resize_weights.cache_clear()  # nothing is there yet
    with pytest.MonkeyPatch.context() as patch, Device() as device:
        patch.setattr(compute, "fastest_device", lambda: choice)
        patch.setattr(BACKEND, "device", device)
        patch.setattr(BACKEND, "free", free)
        patch.setattr(OnDevice, "has_float64", float64)
        patch.setattr(OnDevice, "memory", memory)
        patch.setattr(compute, "_WITHOUT_FLOAT64", {"mps"} if float64 else {"mps", NAME})
        yield device
