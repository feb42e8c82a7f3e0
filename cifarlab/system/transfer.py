"""Tensors on their way to the training device, without waiting for them."""

import torch
from torch import Tensor

_GPU_MEMORY_FRACTION = 0.5  # the rest is the network's


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on ``device`` without waiting for it: from pinned memory, in the stream.

    One that is there already stays as it is, whether or not ``device`` has an index.
    """
    if tensor.device.type == device.type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def resident(images: Tensor, device: torch.device) -> Tensor:
    """The images on the GPU if they take at most half of its free memory, else as they are."""
    if device.type != "cpu":
        free, _ = torch.get_device_module(device).mem_get_info(device)
        if images.nbytes <= _GPU_MEMORY_FRACTION * free:
            return images.to(device)
    return images
