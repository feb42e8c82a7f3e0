"""Copies of tensors to the training device that do not wait for it."""

import torch
from torch import Tensor

_GPU_MEMORY_FRACTION = 0.5  # the rest is the network's


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on ``device`` without waiting for the copy: from pinned memory.

    One that is on such a device stays as it is, whether or not ``device`` has an index.
    """
    if tensor.device.type == device.type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def cache_on_gpu(images: Tensor, device: torch.device) -> Tensor:
    """Return the images, on the GPU if they take at most half of its free memory."""
    if device.type != "cpu":
        free_bytes, _ = torch.get_device_module(device).mem_get_info(device)
        if images.nbytes <= _GPU_MEMORY_FRACTION * free_bytes:
            return images.to(device)
    return images
