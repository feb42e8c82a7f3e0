"""Which GPUs of CUDA this machine leaves to runs; PyTorch is imported only where there are some."""

import os
import sys
from pathlib import Path

# one of these is there where NVIDIA's driver is, on its boards, AMD's, or that of Linux in Windows
_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/kfd", "/dev/dxg")


def allows_gpus() -> bool:
    """Return whether $CIFARLAB_DEVICE leaves GPUs of CUDA to the trials."""
    return os.environ.get("CIFARLAB_DEVICE") not in ("cpu", "mps")


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine that trials may use, as CUDA_VISIBLE_DEVICES names them.

    Where that variable is set, they are its entries; a $CIFARLAB_DEVICE such as cuda:3 is one GPU.
    PyTorch, whose import takes a second, is asked only where there is a driver for GPUs.

    Raises:
        UserError: $CIFARLAB_DEVICE names a device that does not exist here
    """
    name = os.environ.get("CIFARLAB_DEVICE") or "cuda"
    if not allows_gpus() or (name == "cuda" and not _has_driver()):
        return []
    import torch

    from cifarlab.system.device import fastest_device

    count = torch.cuda.device_count()  # does not start CUDA
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(n) for n in range(count)] if names is None else names.split(",")
    if not count or not gpus[0].startswith("MIG-"):  # a process sees one of these parts at most
        gpus = gpus[:count]
    return gpus if name == "cuda" else [gpus[fastest_device().index]]


def _has_driver() -> bool:
    return sys.platform == "win32" or any(Path(file).exists() for file in _DRIVERS)
