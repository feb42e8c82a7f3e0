"""Copies of tensors to the training device that do not wait for it."""

import torch
from torch import Tensor

from cifarlab.system.device_memory import free_memory

_GPU_MEMORY_FRACTION = 0.5  # the rest is the network's


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on ``device`` without waiting for the copy: from pinned memory.

    One that is on such a device stays as it is, whether or not ``device`` has an index.
    """
    if tensor.device.type == device.type:
        return tensor
    if device.type == "mps":  # its copies don't keep the source alive
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def cache_on_gpu(images: Tensor, device: torch.device) -> Tensor:
    """Return the images, on the GPU if they take at most half of its free memory."""
    if device.type != "cpu":
        free_bytes, _ = free_memory(device)
        if images.nbytes <= _GPU_MEMORY_FRACTION * free_bytes:
            return images.to(device)
    return images
