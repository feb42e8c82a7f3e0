"""Which device and which arithmetic: chosen in one place, recorded with each run."""

import contextlib
import ctypes
import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch

from cifarlab.system.errors import UserError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's mallopt, as malloc.h numbers them
_WITHOUT_FLOAT64 = {"mps"}
_VARIANTS = 64  # compiled forms of one network: sizes, numbers of images, trained parameters
_LIBRARIES = ("torch", "numpy", "pydantic", "safetensors", "pillow", "scikit-learn", "scipy")
Precision = Literal["float32", "bfloat16"]
Network = TypeVar("Network", bound=torch.nn.Module)


@dataclass(frozen=True)
class Compute:
    """Where and in which arithmetic a network runs. Weights are float32 either way.

    ``compile_mode`` is the mode of torch.compile in which training runs; None: as it is written.
    """

    device: torch.device
    precision: Precision
    compile_mode: str | None = None

    def compile(self, network: Network) -> Network:
        """Return the network as training calls it; it shares its weights with ``network``."""
        if self.compile_mode is None:
            return network
        # at torch's limit of 8, further forms would run as they are written, in silence
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, _VARIANTS)
        # else what is computed again in the backward pass is not rounded to bfloat16 as the maximum
        # that it is compared with: none is equal, and the gradient of amax is 0 / 0
        torch._inductor.config.emulate_precision_casts = True
        return cast(Network, torch.compile(network, mode=self.compile_mode, dynamic=False))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Set the arithmetic of convolutions and matrix products inside the block."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def synchronize(self) -> None:
        """Wait for the device: before a clock is read, never inside a step."""
        device = () if self.device.type == "mps" else (self.device,)  # there is but one
        torch.get_device_module(self.device).synchronize(*device)

    def describe(self) -> dict[str, Any]:
        """Return, for provenance, the device's name and what else decides speed and last bits."""
        packed = self.device.type == "cpu" and self.compile_mode is None
        packed = packed and self.precision == "bfloat16" and packs_convolutions()
        return {
            "name": device_name(self.device),
            "type": self.device.type,
            "threads": torch.get_num_threads(),
            "compiled": self.compile_mode,
            "packed_convolutions": packed,
        }


def choose_compute(precision: str = "auto") -> Compute:
    """Return the fastest device here ($CIFARLAB_DEVICE overrides) and ``precision`` on it.

    It becomes the device that PyTorch draws on and allocates on where none is named.

    ``auto`` is bfloat16 where the device computes in it natively, else float32. $CIFARLAB_COMPILE
    is a mode of torch.compile (default, max-autotune, ...; empty: none): worth its half minute of
    compilation only for long runs on a GPU.

    Raises:
        UserError: a variable names a device or a mode that does not exist here
    """
    device = fastest_device()
    if device.type == "cpu":
        keep_freed_memory()
    else:
        # PyTorch would run float32 convolutions in TF32 and choose their kernels unmeasured
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    arithmetic: Precision = "bfloat16" if precision == "bfloat16" else "float32"
    mode = os.environ.get("CIFARLAB_COMPILE") or None
    if mode and mode not in (modes := list(torch._inductor.list_mode_options())):
        raise UserError(f"CIFARLAB_COMPILE={mode}: there is no such mode", f"take {modes}")
    return Compute(device, arithmetic, mode)


def fastest_device() -> torch.device:
    """Return the device that ``choose_compute`` takes; a GPU of CUDA with its index.

    Apple's (mps) is taken where $CIFARLAB_DEVICE names it: nobody has measured yet that it is the
    faster one.

    Raises:
        UserError: $CIFARLAB_DEVICE names a device that does not exist here
    """
    names = device_names()
    name = os.environ.get("CIFARLAB_DEVICE") or ("cuda" if "cuda" in names else "cpu")
    if name not in names:
        what = f"CIFARLAB_DEVICE={name}: there is no such device here"
        raise UserError(what, f"take one of {', '.join(names)} ('cifarlab check' says more)")
    # "cuda" alone is not equal to the "cuda:0" that its tensors say they are on
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def device_names() -> list[str]:
    """Return the devices that are here, as $CIFARLAB_DEVICE names them."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = ["cuda", *(f"cuda:{number}" for number in range(gpus))] if gpus else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def widest_float(device: torch.device) -> torch.dtype:
    """Return the type in which sums lose least on that device: float64 where it has it."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed tensors instead of returning it to the system.

    Without this, glibc maps and unmaps every large activation, and each step touches fresh pages:
    7 % of the airbench network's training time at micro-batches of 250 images, 15 % at 500. Other
    C libraries have no such setting.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        # before glibc 2.35 it takes 32 MiB at most; the other alone would fix it at 128 KiB
        if any(mallopt(_MMAP_THRESHOLD, size) for size in (2**30, 2**25)):
            mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device has bfloat16 in hardware: emulated, it is slower than float32."""
    if device.type == "mps":  # which of them have it can't be asked
        return False
    if device.type != "cpu":
        module = torch.get_device_module(device)
        return bool(module.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


def packs_convolutions() -> bool:
    """Return whether convolutions of small maps take several images in a row.

    They do where bfloat16 is computed in AMX tiles (models/packed_conv.py); $CIFARLAB_PACK
    overrides, as 1 or 0.

    Raises:
        UserError: $CIFARLAB_PACK has another value
    """
    override = os.environ.get("CIFARLAB_PACK", "")
    if override not in ("", "0", "1"):
        raise UserError(f"CIFARLAB_PACK={override}: that is neither 0 nor 1", "leave it out")
    return override == "1" or (not override and has_amx())


@cache
def has_amx() -> bool:
    """Return whether oneDNN computes bfloat16 in AMX tiles; $ONEDNN_MAX_CPU_ISA may forbid it."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"
    permitted = limit.upper() in ("ALL", "DEFAULT") or "AMX" in limit.upper()
    return permitted and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide a run's outcome."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def device_name(device: torch.device) -> str:
    """Return the product name of the GPU or the processor."""
    if device.type == "mps":
        return str(torch.backends.mps.get_name())
    if device.type != "cpu":
        return str(torch.get_device_module(device).get_device_name(device))
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
