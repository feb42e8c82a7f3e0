"""Test-time views: logits averaged over mirrored and shifted copies of each image.

1: the image. 2: and its mirror. 6: both, also shifted by one pixel up-left and down-right, edges
reflected (the test-time augmentation of KellerJordan/cifar10-airbench, with equal weights).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cifarlab.data.augment import crop

_SHIFTS = {1: ((1, 1),), 2: ((1, 1),), 6: ((1, 1), (0, 0), (2, 2))}


def averaged(network: Callable[[Tensor], Tensor], images: Tensor, views: int) -> Tensor:
    """Mean logits (N, K) over ``views`` of the images (N, H, W, C)."""
    total: Tensor | None = None
    for shift in _SHIFTS[views]:
        offsets = torch.tensor(shift, device=images.device).expand(len(images), 2)
        shifted = images if shift == (1, 1) else crop(images, offsets, 1, "reflect")
        for view in (shifted,) if views == 1 else (shifted, shifted.flip(2)):
            logits = network(view)
            total = logits if total is None else total + logits
    assert total is not None
    return total / views
