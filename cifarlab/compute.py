"""Which device and which arithmetic: chosen in one place, recorded with each run."""

import contextlib
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from cifarlab.errors import UserError

_LIBRARIES = ("torch", "numpy", "pydantic", "safetensors", "pillow", "scikit-learn", "scipy")
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Compute:
    """Where and in which arithmetic a network runs. Weights are float32 either way."""

    device: torch.device
    precision: Precision

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The arithmetic of convolutions and matrix products inside the block."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def synchronise(self) -> None:
        """Wait for the device: before a clock is read, never inside a step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> dict[str, Any]:
        """For provenance: the device's name, and what else decides speed and last bits."""
        return {
            "name": device_name(self.device),
            "type": self.device.type,
            "threads": torch.get_num_threads(),
        }


def choose(precision: str = "auto") -> Compute:
    """The fastest device here ($CIFARLAB_DEVICE overrides) and ``precision`` on it.

    ``auto`` is bfloat16 where the device computes in it natively, else float32. Raises UserError
    for a device that is not there.
    """
    wanted = os.environ.get("CIFARLAB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted not in ("cpu", "cuda") or (wanted == "cuda" and not torch.cuda.is_available()):
        raise UserError(
            f"CIFARLAB_DEVICE={wanted}: there is no such device here",
            "take cpu, or cuda where PyTorch sees a GPU ('cifarlab check' tells)",
        )
    device = torch.device(wanted)
    if device.type == "cuda":
        # PyTorch would run float32 convolutions in TF32 and choose their kernels unmeasured
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    return Compute(device, "bfloat16" if precision == "bfloat16" else "float32")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware: emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide a run's outcome."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def device_name(device: torch.device) -> str:
    """The product name of the GPU or the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def forget_peak_memory(device: torch.device) -> None:
    """Start counting a GPU's peak anew; a process's own can't be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Largest memory in bytes: of the GPU's allocator, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
